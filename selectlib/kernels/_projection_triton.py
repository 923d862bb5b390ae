"""Triton kernels of the dense sign projection: the signs are made in registers and never written to memory."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from selectlib.kernels._philox import Stream

_ROWS = 128  # of R that share a counter
_PARTS = {torch.bfloat16: 1, torch.float16: 2, torch.float32: 3}  # of 8 significant bits each: none is lost
_PROGRAMS = 512  # keeps any device busy, and is the same on all, so that the order of the sums is too
_LEAST_COUNTERS = 16  # of a program
_BATCH = 256  # rows at a time: bounds what the sums of the parts take


@triton.jit
def _add_word(acc, word, grads, start, num_params, stride_coordinate, live, PARTS: tl.constexpr, OPERAND: tl.constexpr):
    """Add the 32 coordinates whose signs are the bits of `word`, one word a column, to the sums (columns, batch).

    Triton's interpreter cannot multiply bfloat16: with float32 as OPERAND it rounds to bfloat16 and widens again.
    """
    bit = tl.arange(0, 32)
    signs = tl.where((word[:, None] >> bit[None, :].to(tl.uint32)) & 1 == 1, 1.0, -1.0).to(tl.bfloat16).to(OPERAND)
    at = start + bit
    inside = (at >= 0) & (at < num_params)
    left = tl.load(grads + at[:, None] * stride_coordinate, mask=inside[:, None] & live[None, :], other=0.0)
    left = left.to(tl.float32)
    for _ in tl.static_range(PARTS - 1):
        # The upper half of a float32 is a bfloat16, and what it leaves is exact.
        upper = (left.to(tl.int32, bitcast=True) & -65536).to(tl.float32, bitcast=True)
        acc = tl.dot(signs, upper.to(tl.bfloat16).to(OPERAND), acc)
        left = left - upper
    return tl.dot(signs, left.to(tl.bfloat16).to(OPERAND), acc)


# No argument may be called `params`: Triton's launcher keeps a variable of that name, and passes it instead.
@triton.jit(do_not_specialize=["seed", "model_id", "first_counter", "skipped"])
def project_kernel(
    grads,
    partial,
    batch,
    num_params,
    proj_dim,
    first_counter,
    skipped,
    counters,
    counters_each,
    stride_batch,
    stride_coordinate,
    seed,
    model_id,
    TILE_BATCH: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    PARTS: tl.constexpr,
    OPERAND: tl.constexpr,
):
    """Sums over one part of the coordinates, for one tile of columns and one of the batch."""
    column = tl.program_id(0) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    member = (tl.program_id(1) * TILE_BATCH + tl.arange(0, TILE_BATCH)).to(tl.int64)
    part = tl.program_id(2)
    live = member < batch
    row_of_grads = grads + (member * stride_batch)[None, :]
    model = tl.full((TILE_COLUMNS,), 0, tl.uint32) + model_id.to(tl.uint32)
    tag = tl.full((TILE_COLUMNS,), 0, tl.uint32)
    acc = tl.zeros((TILE_COLUMNS, TILE_BATCH), tl.float32)
    first = part * counters_each
    counter = tl.full((TILE_COLUMNS,), 0, tl.uint32) + (first_counter + first).to(tl.uint32)
    at = first.to(tl.int64) * 128 - skipped
    for _ in range(first, tl.minimum(first + counters_each, counters)):
        w0, w1, w2, w3 = tl.philox(seed, counter, column.to(tl.uint32), model, tag)
        acc = _add_word(acc, w0, row_of_grads, at, num_params, stride_coordinate, live, PARTS, OPERAND)
        acc = _add_word(acc, w1, row_of_grads, at + 32, num_params, stride_coordinate, live, PARTS, OPERAND)
        acc = _add_word(acc, w2, row_of_grads, at + 64, num_params, stride_coordinate, live, PARTS, OPERAND)
        acc = _add_word(acc, w3, row_of_grads, at + 96, num_params, stride_coordinate, live, PARTS, OPERAND)
        counter += 1
        at += 128
    into = partial + ((part * batch + member) * proj_dim)[None, :] + column[:, None]
    tl.store(into, acc, mask=live[None, :] & (column < proj_dim)[:, None])


@triton.jit
def _signed(word, minus_bits):
    """Numbers with the 32 signs of their word, (columns, 32), from the bits of the numbers' negatives."""
    shift = (31 - tl.arange(0, 32)).to(tl.uint32)
    flip = (word[:, None] << shift[None, :]) & 0x80000000
    return (minus_bits[:, None] ^ flip).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["seed", "model_id", "first_counter", "skipped"])
def back_project_kernel(
    vectors,
    out,
    num_params,
    proj_dim,
    first_counter,
    skipped,
    seed,
    model_id,
    TILE_COLUMNS: tl.constexpr,
):
    """The 128 parameters of one counter, for one vector."""
    i = tl.program_id(0)
    vector = tl.program_id(1).to(tl.int64)
    counter = tl.full((TILE_COLUMNS,), 0, tl.uint32) + (first_counter + i).to(tl.uint32)
    model = tl.full((TILE_COLUMNS,), 0, tl.uint32) + model_id.to(tl.uint32)
    tag = tl.full((TILE_COLUMNS,), 0, tl.uint32)
    s0 = tl.zeros((TILE_COLUMNS, 32), tl.float32)
    s1 = tl.zeros((TILE_COLUMNS, 32), tl.float32)
    s2 = tl.zeros((TILE_COLUMNS, 32), tl.float32)
    s3 = tl.zeros((TILE_COLUMNS, 32), tl.float32)
    for start in range(0, proj_dim, TILE_COLUMNS):
        column = start + tl.arange(0, TILE_COLUMNS)
        w0, w1, w2, w3 = tl.philox(seed, counter, column.to(tl.uint32), model, tag)
        value = tl.load(vectors + vector * proj_dim + column, mask=column < proj_dim, other=0.0)
        bits = (-value).to(tl.uint32, bitcast=True)
        s0 += _signed(w0, bits)
        s1 += _signed(w1, bits)
        s2 += _signed(w2, bits)
        s3 += _signed(w3, bits)
    at = i.to(tl.int64) * 128 - skipped + tl.arange(0, 32)
    into = out + vector * num_params
    tl.store(into + at, tl.sum(s0, 0), mask=(at >= 0) & (at < num_params))
    tl.store(into + at + 32, tl.sum(s1, 0), mask=(at + 32 >= 0) & (at + 32 < num_params))
    tl.store(into + at + 64, tl.sum(s2, 0), mask=(at + 64 >= 0) & (at + 64 < num_params))
    tl.store(into + at + 96, tl.sum(s3, 0), mask=(at + 96 >= 0) & (at + 96 < num_params))


def project(grads: Tensor, proj_dim: int, stream: Stream, row_offset: int) -> Tensor:
    """``grads @ R`` for halves and float32, accumulated in float32; see `project_rademacher`.

    The coordinates are cut into parts that depend on p and k alone, and the sums of the parts are added in order: a row
    has the same result in any batch.
    """
    groups = grads.split(_BATCH) if grads.numel() else ()
    projected = [_project_group(group, proj_dim, stream, row_offset) for group in groups]
    return torch.cat(projected) if projected else grads.new_zeros((len(grads), proj_dim), dtype=torch.float32)


def _project_group(grads: Tensor, proj_dim: int, stream: Stream, row_offset: int) -> Tensor:
    batch, params = grads.shape
    first, counters = _counters(row_offset, params)
    tile_batch, tile_columns = 64, 128
    column_tiles = triton.cdiv(proj_dim, tile_columns)
    parts = max(1, min(triton.cdiv(_PROGRAMS, column_tiles), counters // _LEAST_COUNTERS))
    partial = grads.new_empty((parts, batch, proj_dim), dtype=torch.float32)
    with torch.cuda.device_of(grads):
        project_kernel[(column_tiles, triton.cdiv(batch, tile_batch), parts)](
            grads,
            partial,
            batch,
            params,
            proj_dim,
            first,
            row_offset - first * _ROWS,
            counters,
            triton.cdiv(counters, parts),
            grads.stride(0),
            grads.stride(1),
            stream.seed,
            stream.model_id,
            TILE_BATCH=tile_batch,
            TILE_COLUMNS=tile_columns,
            PARTS=_PARTS[grads.dtype],
            OPERAND=tl.bfloat16 if grads.is_cuda else tl.float32,
            num_warps=8,
        )
    return partial.sum(0).mul_(proj_dim**-0.5)


def back_project(v: Tensor, num_params: int, stream: Stream, row_offset: int) -> Tensor:
    """``R @ v`` for halves and float32, accumulated in float32; see `back_project_rademacher`."""
    vectors = v.to(torch.float32).reshape(len(v), -1).mT.contiguous()
    out = vectors.new_empty((len(vectors), num_params))
    first, counters = _counters(row_offset, num_params)
    if out.numel():
        with torch.cuda.device_of(v):
            back_project_kernel[(counters, len(vectors))](
                vectors,
                out,
                num_params,
                len(v),
                first,
                row_offset - first * _ROWS,
                stream.seed,
                stream.model_id,
                TILE_COLUMNS=64,
                num_warps=4,
            )
    return out.mul_(len(v) ** -0.5).mT.reshape(num_params, *v.shape[1:])


def _counters(row_offset: int, rows: int) -> tuple[int, int]:
    """The first counter of these rows, and how many there are."""
    first = row_offset // _ROWS
    return first, triton.cdiv(row_offset + rows, _ROWS) - first
