"""Triton kernels of the top-p mask: one program a row, all rows in one launch."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_ON_CHIP = 8192  # entries of a row that a program holds in registers
_CHUNK = 4096  # of longer rows, read again from the cache in each step


@triton.jit
def _first_interval(total, largest, length, drop):
    """Bit patterns around the threshold, as in the reference: below the first there is less than may be dropped."""
    lower = (drop * total / length).to(tl.int32, bitcast=True) >> 20
    return tl.maximum(lower - 1, 0) << 20, largest.to(tl.int32, bitcast=True) + 1


@triton.jit
def _final(lower, total, least, largest):
    """The least pattern that is kept: never that of 0; that of infinity where a row is 0 or has what is no weight."""
    sound = (least >= 0) & (total < float("inf")) & (largest > 0)
    return tl.where(sound, tl.maximum(lower, 1), 0x7F800000)


@triton.jit
def _kept(bits, final):
    return (bits >= final) & (final < 0x7F800000)


@triton.jit
def short_rows_kernel(weights, mask, threshold, length, stride_row, stride_column, p, drop, steps, BLOCK: tl.constexpr):
    """Rows that fit on chip: read once."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < length
    entries = tl.load(weights + row * stride_row + at.to(tl.int64) * stride_column, mask=inside, other=0.0)
    entries = entries.to(tl.float32)
    bits = entries.to(tl.int32, bitcast=True)
    total, least, largest = tl.sum(entries, 0), tl.min(entries, 0), tl.max(entries, 0)
    lower, upper = _first_interval(total, largest, length, drop)
    step = 0
    while (upper - lower > 1) & (step < steps):
        mid = lower + ((upper - lower) >> 1)
        enough = tl.sum(tl.where(bits >= mid, entries, 0.0), 0) >= p * total
        lower = tl.where(enough, mid, lower)
        upper = tl.where(enough, upper, mid)
        step += 1
    final = _final(lower, total, least, largest)
    tl.store(mask + row * length + at, _kept(bits, final), mask=inside)
    tl.store(threshold + row, final.to(tl.float32, bitcast=True))


@triton.jit
def long_rows_kernel(weights, mask, threshold, length, stride_row, stride_column, p, drop, steps, BLOCK: tl.constexpr):
    """Rows of any length, in chunks."""
    row = tl.program_id(0).to(tl.int64)
    start_of_row = weights + row * stride_row
    lane = tl.arange(0, BLOCK).to(tl.int64)
    total_of_lane = tl.zeros((BLOCK,), tl.float32)
    least_of_lane = tl.zeros((BLOCK,), tl.float32)
    largest_of_lane = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, length, BLOCK):
        at = start + lane
        entries = tl.load(start_of_row + at * stride_column, mask=at < length, other=0.0).to(tl.float32)
        total_of_lane += entries
        least_of_lane = tl.minimum(least_of_lane, entries)
        largest_of_lane = tl.maximum(largest_of_lane, entries)
    total, least, largest = tl.sum(total_of_lane, 0), tl.min(least_of_lane, 0), tl.max(largest_of_lane, 0)
    lower, upper = _first_interval(total, largest, length, drop)
    step = 0
    while (upper - lower > 1) & (step < steps):
        mid = lower + ((upper - lower) >> 1)
        kept_of_lane = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, length, BLOCK):
            at = start + lane
            entries = tl.load(start_of_row + at * stride_column, mask=at < length, other=0.0).to(tl.float32)
            kept_of_lane += tl.where(entries.to(tl.int32, bitcast=True) >= mid, entries, 0.0)
        enough = tl.sum(kept_of_lane, 0) >= p * total
        lower = tl.where(enough, mid, lower)
        upper = tl.where(enough, upper, mid)
        step += 1
    final = _final(lower, total, least, largest)
    for start in range(0, length, BLOCK):
        at = start + lane
        entries = tl.load(start_of_row + at * stride_column, mask=at < length, other=0.0).to(tl.float32)
        kept = _kept(entries.to(tl.int32, bitcast=True), final)
        tl.store(mask + row * length + at, kept, mask=at < length)
    tl.store(threshold + row, final.to(tl.float32, bitcast=True))


def topp(rows: Tensor, p: float, steps: int) -> tuple[Tensor, Tensor]:
    """Mask and thresholds, (n, 1), of a matrix by bisection of bit patterns; see `topp_mask`."""
    count, length = rows.shape
    if rows.dtype == torch.float64:
        rows = rows.float()
    mask = torch.empty((count, length), dtype=torch.bool, device=rows.device)
    threshold = torch.empty((count, 1), dtype=torch.float32, device=rows.device)
    on_chip = length <= _ON_CHIP
    block = triton.next_power_of_2(length) if on_chip else _CHUNK
    with torch.cuda.device_of(rows):
        (short_rows_kernel if on_chip else long_rows_kernel)[(count,)](
            rows,
            mask,
            threshold,
            length,
            rows.stride(0),
            rows.stride(1),
            p,
            1 - p,
            steps,
            BLOCK=block,
            num_warps=max(1, min(block // 512, 16)),
        )
    return mask, threshold
