"""Projections onto dense random matrices, and back, without ever holding the matrix."""

import importlib.util

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.kernels._checks import accumulator, check_grads, check_num_params, check_stream, check_vectors, steps
from selectlib.kernels._dense_laws import GAUSSIAN, RADEMACHER, DenseLaw, dense_tile
from selectlib.kernels._philox import Stream

_COLUMNS = 1024
_HAS_TRITON = importlib.util.find_spec("triton") is not None


def project_rademacher(
    grads: Float[Tensor, "b p"], proj_dim: int, *, seed: int, model_id: int = 0, row_offset: int = 0
) -> Float[Tensor, "b {proj_dim}"]:
    """Project vectors onto random signs: ``grads @ R`` with entries ±1/√k.

    Parameters
    ----------
    grads : Tensor, shape (b, p)
        Coordinates `row_offset` to ``row_offset + p - 1`` of b vectors; floating, of any strides.
    proj_dim : int
        k, from 1 to 2**31.
    seed : int
        From 0 to 2**64 - 1.
    model_id : int, default 0
        From 0 to 2**32 - 1; another model has an independent matrix.
    row_offset : int, default 0
        The row of R that belongs to the first coordinate, at least 0. The projections of consecutive chunks add up to
        the projection of the whole.

    Returns
    -------
    Tensor, shape (b, k)
        float64 for float64 input, else float32; on the device of `grads`. No gradient flows through it.

    Raises
    ------
    TypeError
        If `grads` is no floating tensor, or a number is no int.
    ValueError
        If `grads` is not two-dimensional, or a number is out of range.

    Notes
    -----
    ``2 b p k`` operations and ``p k`` random bits; memory is the result and one tile of R. The sign of entry (r, c) is
    bit ``r % 32`` of word ``r % 128 // 32`` of Philox4x32-10 at the counter (r // 128, c, model_id, 0), with `seed` as
    the key; a set bit is plus. On CUDA a Triton kernel makes the signs in registers and splits each number into
    bfloat16 parts whose sum is exact, so that none is too small for tensor cores.
    Source: S. M. Park et al., "TRAK: attributing model behavior at scale", 2023, section 3; the counters are ours.

    Examples
    --------
    >>> import torch
    >>> g = torch.arange(6.0).reshape(2, 3)
    >>> chunks = [project_rademacher(g[:, i : i + 1], 4, seed=100, row_offset=i) for i in range(3)]
    >>> torch.equal(sum(chunks), project_rademacher(g, 4, seed=100))
    True
    """
    stream = check_stream(proj_dim, seed, model_id)
    check_grads(grads, row_offset, RADEMACHER.rows)
    if _fits_triton(grads):
        from selectlib.kernels import _projection_triton

        return _projection_triton.project(grads.detach(), proj_dim, stream, row_offset)
    return project_dense(RADEMACHER, grads, proj_dim, stream, row_offset)


def back_project_rademacher(
    v: Float[Tensor, "k *m"], num_params: int, *, seed: int, model_id: int = 0, row_offset: int = 0
) -> Float[Tensor, "{num_params} *m"]:
    """Bring vectors of projections back to the parameters: ``R @ v``, R as in `project_rademacher`.

    Parameters
    ----------
    v : Tensor, shape (k,) or (k, m)
        Floating; its length is k.
    num_params : int
        Rows of R, from `row_offset` on, at least 0.
    seed, model_id, row_offset : int
        As in `project_rademacher`.

    Returns
    -------
    Tensor, shape (num_params,) or (num_params, m)
        float64 for float64 input, else float32; on the device of `v`. No gradient flows through it.

    Raises
    ------
    TypeError
        If `v` is no floating tensor, or a number is no int.
    ValueError
        If `v` has no or more than two dimensions, or a number is out of range.

    Notes
    -----
    ``2 p k m`` operations and ``p k`` random bits. On CUDA a Triton kernel takes the sums while it makes the signs.
    The inner product of a gradient with ``R @ v`` is that of its projection with `v`: the derivative of an output in
    the direction ``R @ v`` is therefore the score of an example, without its gradient. The counters are ours.

    Examples
    --------
    >>> import torch
    >>> g, v = torch.randn(1, 300, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
    >>> there, back = project_rademacher(g, 16, seed=100), back_project_rademacher(v, 300, seed=100)
    >>> torch.allclose(there @ v, g @ back)
    True
    """
    check_vectors(v)
    stream = check_stream(len(v), seed, model_id)
    check_num_params(num_params, row_offset, RADEMACHER.rows)
    if _fits_triton(v):
        from selectlib.kernels import _projection_triton

        return _projection_triton.back_project(v.detach(), num_params, stream, row_offset)
    return back_project_dense(RADEMACHER, v, num_params, stream, row_offset)


def project_gaussian(
    grads: Float[Tensor, "b p"], proj_dim: int, *, seed: int, model_id: int = 0, row_offset: int = 0
) -> Float[Tensor, "b {proj_dim}"]:
    """Project vectors onto normal numbers: ``grads @ R`` with entries of variance 1/k.

    The normal numbers are quantised: each is one of 65,536 quantiles, at most 4.325, scaled to variance 1. They are
    looked up in a table and so are the same bits on every device, which logarithms and cosines would not be.

    Parameters
    ----------
    grads : Tensor, shape (b, p)
        As in `project_rademacher`.
    proj_dim, seed, model_id, row_offset : int
        As in `project_rademacher`.

    Returns
    -------
    Tensor, shape (b, k)
        As in `project_rademacher`.

    Raises
    ------
    TypeError, ValueError
        As in `project_rademacher`.

    Notes
    -----
    ``2 b p k`` operations and ``16 p k`` random bits. Entry (r, c) reads 16-bit piece ``r % 8``, the lowest first, of
    Philox4x32-10 at the counter (r // 8, c, model_id, 1). Source: as `project_rademacher`; the table is ours.

    Examples
    --------
    >>> import torch
    >>> project_gaussian(torch.eye(3), 4, seed=100).shape
    torch.Size([3, 4])
    """
    stream = check_stream(proj_dim, seed, model_id)
    check_grads(grads, row_offset, GAUSSIAN.rows)
    return project_dense(GAUSSIAN, grads, proj_dim, stream, row_offset)


def back_project_gaussian(
    v: Float[Tensor, "k *m"], num_params: int, *, seed: int, model_id: int = 0, row_offset: int = 0
) -> Float[Tensor, "{num_params} *m"]:
    """Bring vectors of projections back to the parameters: ``R @ v``, R as in `project_gaussian`.

    Parameters
    ----------
    v : Tensor, shape (k,) or (k, m)
        As in `back_project_rademacher`.
    num_params, seed, model_id, row_offset : int
        As in `back_project_rademacher`.

    Returns
    -------
    Tensor, shape (num_params,) or (num_params, m)
        As in `back_project_rademacher`.

    Raises
    ------
    TypeError, ValueError
        As in `back_project_rademacher`.

    Notes
    -----
    ``2 p k m`` operations and ``16 p k`` random bits.

    Examples
    --------
    >>> import torch
    >>> R = back_project_gaussian(torch.eye(4), 3, seed=100)
    >>> torch.allclose(R, project_gaussian(torch.eye(3), 4, seed=100))
    True
    """
    check_vectors(v)
    stream = check_stream(len(v), seed, model_id)
    check_num_params(num_params, row_offset, GAUSSIAN.rows)
    return back_project_dense(GAUSSIAN, v, num_params, stream, row_offset)


def project_dense(law: DenseLaw, grads: Tensor, proj_dim: int, stream: Stream, row_offset: int) -> Tensor:
    """The reference, on any device: make a tile, multiply, forget it."""
    grads = grads.detach()
    out = grads.new_zeros((len(grads), proj_dim), dtype=accumulator(grads.dtype))
    for rows in steps(row_offset, row_offset + grads.shape[1], _tile_rows(grads.device)):
        part = grads[:, rows.start - row_offset : rows.stop - row_offset].to(out.dtype)
        for columns in steps(0, proj_dim, _COLUMNS):
            tile = dense_tile(law, rows, columns, stream, dtype=out.dtype, device=out.device)
            out[:, columns.start : columns.stop].addmm_(part, tile.mT)
    return out.mul_(proj_dim**-0.5)


def back_project_dense(law: DenseLaw, v: Tensor, num_params: int, stream: Stream, row_offset: int) -> Tensor:
    """The reference, on any device, of the way back."""
    v = v.detach()
    vectors = v.to(accumulator(v.dtype)).view(len(v), -1).mT
    out = vectors.new_zeros((len(vectors), num_params))
    for rows in steps(row_offset, row_offset + num_params, _tile_rows(v.device)):
        part = out[:, rows.start - row_offset : rows.stop - row_offset]
        for columns in steps(0, len(v), _COLUMNS):
            tile = dense_tile(law, rows, columns, stream, dtype=out.dtype, device=out.device)
            part.addmm_(vectors[:, columns.start : columns.stop], tile)
    return out.mul_(len(v) ** -0.5).mT.reshape(num_params, *v.shape[1:])


def _tile_rows(device: torch.device) -> int:
    # On the CPU a tile stays in the cache; elsewhere it is large enough to hide the launches of kernels that make it.
    return 1024 if device.type == "cpu" else 16_384


def _fits_triton(x: Tensor) -> bool:
    return x.is_cuda and x.dtype != torch.float64 and _HAS_TRITON
