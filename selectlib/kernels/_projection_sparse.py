"""Projections onto a sparse random matrix, and back."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_int
from selectlib.kernels._checks import accumulator, check_grads, check_num_params, check_stream, check_vectors, steps
from selectlib.kernels._philox import Stream, philox_grid

SJLT_TAG = 2
SJLT_ROWS = 4  # of R that share a counter: each has one word


def project_sjlt(
    grads: Float[Tensor, "b p"], proj_dim: int, *, nnz: int = 1, seed: int, model_id: int = 0, row_offset: int = 0
) -> Float[Tensor, "b {proj_dim}"]:
    """Project vectors with a sparse Johnson-Lindenstrauss matrix: `nnz` entries ±1/√nnz in each of its rows.

    Parameters
    ----------
    grads : Tensor, shape (b, p)
        As in `project_rademacher`.
    proj_dim : int
        As in `project_rademacher`.
    nnz : int, default 1
        Entries a row, from 1 (the count sketch) to k. The columns are cut into `nnz` blocks of equal width (to within
        one column), and each block holds one of the entries.
    seed, model_id, row_offset : int
        As in `project_rademacher`.

    Returns
    -------
    Tensor, shape (b, k)
        As in `project_rademacher`.

    Raises
    ------
    TypeError, ValueError
        As in `project_rademacher`; also if `nnz` is no int from 1 to k.

    Notes
    -----
    ``b p nnz`` additions, whatever k; memory is the result and a block of coordinates. A row has one word of 32 bits
    for each of its entries: the lowest bit is the sign, the other 31 choose the column (columns of a block of width w
    differ in probability by at most 2**-31). Sums are taken in the order of the coordinates, on CUDA in one that
    sorting fixes; no atomics, so that two runs agree bit by bit.
    Source: D. Kane and J. Nelson, "Sparser Johnson-Lindenstrauss transforms", 2014 (the block construction).

    Examples
    --------
    >>> import torch
    >>> phi = project_sjlt(torch.eye(3), 8, nnz=2, seed=100)
    >>> (phi != 0).sum(1).tolist()
    [2, 2, 2]
    """
    stream = _check_stream(proj_dim, nnz, seed, model_id)
    check_grads(grads, row_offset, SJLT_ROWS)
    grads = grads.detach()
    on_cpu = grads.device.type == "cpu"
    # scatter_add_ on the CPU is fast along the rows of memory, index_put_ sorts along the first dimension.
    out = grads.new_zeros((len(grads), proj_dim) if on_cpu else (proj_dim, len(grads)), dtype=accumulator(grads.dtype))
    for rows in _blocks(row_offset, row_offset + grads.shape[1], len(grads), grads.device):
        part = grads[:, rows.start - row_offset : rows.stop - row_offset].to(out.dtype)
        for j in range(nnz):
            columns, signs = sparse_entries(rows, proj_dim, j, nnz, stream, dtype=out.dtype, device=out.device)
            if on_cpu:
                out.scatter_add_(1, columns.expand_as(part), part * signs)
            else:
                out.index_put_((columns,), (part * signs).mT, accumulate=True)
    return out.mul_(nnz**-0.5) if on_cpu else out.mul_(nnz**-0.5).mT.contiguous()


def back_project_sjlt(
    v: Float[Tensor, "k *m"], num_params: int, *, nnz: int = 1, seed: int, model_id: int = 0, row_offset: int = 0
) -> Float[Tensor, "{num_params} *m"]:
    """Bring vectors of projections back to the parameters: ``R @ v``, R as in `project_sjlt`.

    Parameters
    ----------
    v : Tensor, shape (k,) or (k, m)
        As in `back_project_rademacher`.
    num_params : int
        As in `back_project_rademacher`.
    nnz : int, default 1
        As in `project_sjlt`.
    seed, model_id, row_offset : int
        As in `project_rademacher`.

    Returns
    -------
    Tensor, shape (num_params,) or (num_params, m)
        As in `back_project_rademacher`.

    Raises
    ------
    TypeError, ValueError
        As in `back_project_rademacher`; also if `nnz` is no int from 1 to k.

    Notes
    -----
    ``p nnz m`` additions: entry r is the sum of the numbers of `v` in the columns of row r, with their signs.

    Examples
    --------
    >>> import torch
    >>> R = back_project_sjlt(torch.eye(8), 3, nnz=2, seed=100)
    >>> torch.equal(R, project_sjlt(torch.eye(3), 8, nnz=2, seed=100))
    True
    """
    check_vectors(v)
    stream = _check_stream(len(v), nnz, seed, model_id)
    check_num_params(num_params, row_offset, SJLT_ROWS)
    vectors = v.detach().to(accumulator(v.dtype))
    out = vectors.new_zeros((num_params, *v.shape[1:]))
    for rows in _blocks(row_offset, row_offset + num_params, v[0].numel(), v.device):
        part = out[rows.start - row_offset : rows.stop - row_offset]
        for j in range(nnz):
            columns, signs = sparse_entries(rows, len(v), j, nnz, stream, dtype=out.dtype, device=out.device)
            part += vectors[columns] * (signs if v.ndim == 1 else signs[:, None])
    return out.mul_(nnz**-0.5)


def sparse_entries(
    rows: range, proj_dim: int, j: int, nnz: int, stream: Stream, *, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Column and sign of the entry that each row has in block j of the columns, each of shape (rows,).

    Row r reads word ``r % 4`` at the counter (r // 4, j, model_id, 2). Block j spans the columns ``j k // nnz`` to
    ``(j + 1) k // nnz``, so that the columns of a row differ.
    """
    counters = range(rows.start // SJLT_ROWS, -(-rows.stop // SJLT_ROWS))
    words = philox_grid(counters, range(j, j + 1), SJLT_TAG, stream, device)
    skipped = rows.start - counters.start * SJLT_ROWS
    drawn = words.flatten()[skipped : skipped + len(rows)].to(torch.int64) & 0xFFFFFFFF
    first, end = j * proj_dim // nnz, (j + 1) * proj_dim // nnz
    columns = ((drawn >> 1) * (end - first) >> 31) + first
    return columns, ((drawn & 1) * 2 - 1).to(dtype)


def _check_stream(proj_dim: int, nnz: int, seed: int, model_id: int) -> Stream:
    stream = check_stream(proj_dim, seed, model_id)
    check_int("nnz", nnz, 1, proj_dim)
    return stream


def _blocks(start: int, stop: int, width: int, device: torch.device) -> Iterator[range]:
    """Blocks of coordinates: in the cache on the CPU, large enough elsewhere to hide the launches of kernels."""
    entries = 2**20 if device.type == "cpu" else 2**26
    return steps(start, stop, max(entries // max(width, 1), 1024))
