"""The signs of single entries of the random matrices, straight from their definition: to look at and to test with."""

import torch
from jaxtyping import Int, Int8
from torch import Tensor

from selectlib._checks import check_int
from selectlib.kernels._checks import check_stream
from selectlib.kernels._dense_laws import GAUSSIAN, RADEMACHER
from selectlib.kernels._philox import philox
from selectlib.kernels._projection_sparse import SJLT_ROWS, SJLT_TAG

_LAWS = {"rademacher": (RADEMACHER.tag, 1), "gaussian": (GAUSSIAN.tag, 16), "sjlt": (SJLT_TAG, 128 // SJLT_ROWS)}


def projection_signs(
    kind: str,
    rows: Int[Tensor, "r"],
    cols: Int[Tensor, "c"],
    proj_dim: int,
    *,
    seed: int,
    model_id: int = 0,
    nnz: int = 1,
) -> Int8[Tensor, "r c"]:
    """Signs of the entries of a random matrix at some rows and columns.

    Parameters
    ----------
    kind : str
        ``"rademacher"``, ``"gaussian"`` or ``"sjlt"``.
    rows : Tensor of int64, shape (r,)
        Indices of parameters, at least 0.
    cols : Tensor of int64, shape (c,)
        Columns from 0 to ``proj_dim - 1``.
    proj_dim, seed, model_id : int
        As in `project_rademacher`.
    nnz : int, default 1
        As in `project_sjlt`; the other kinds do not read it.

    Returns
    -------
    Tensor of int8, shape (r, c)
        -1, 0 or 1, on the device of `rows`; 0 occurs with ``"sjlt"`` only.

    Raises
    ------
    TypeError
        If `rows` or `cols` is no int64 tensor, or a number is no int.
    ValueError
        If `kind` is unknown, or an index or a number is out of range.

    Notes
    -----
    One call of Philox for each entry (for ``"sjlt"`` for each row and block), about 100 operations: for a few thousand
    entries, not for a projection.

    Examples
    --------
    >>> import torch
    >>> rows, cols = torch.arange(2), torch.arange(3)
    >>> projection_signs("rademacher", rows, cols, 3, seed=100).shape
    torch.Size([2, 3])
    """
    if kind not in _LAWS:
        raise ValueError(f"kind must be one of {', '.join(_LAWS)}, got {kind!r}")
    stream = check_stream(proj_dim, seed, model_id)
    check_int("nnz", nnz, 1, proj_dim)
    tag, bits = _LAWS[kind]
    for name, index, most in (("rows", rows, 2**32 * (128 // bits)), ("cols", cols, proj_dim)):
        if not isinstance(index, Tensor) or index.dtype != torch.int64:
            raise TypeError(f"{name} must be an int64 tensor, got {getattr(index, 'dtype', type(index).__name__)}")
        if index.ndim != 1 or (index.numel() and not (0 <= int(index.min()) and int(index.max()) < most)):
            raise ValueError(f"{name} must be a vector of indices from 0 to {most - 1}")
    cols = cols.to(rows.device)
    second = torch.arange(nnz, device=rows.device) if kind == "sjlt" else cols
    block, column = torch.broadcast_tensors(rows[:, None] // (128 // bits), second)
    key = torch.tensor(stream.key, device=rows.device)
    counter = torch.stack([block, column, torch.full_like(block, model_id), torch.full_like(block, tag)], -1)
    first_bit = (bits * (rows % (128 // bits)))[:, None, None]
    word = philox(counter, key).gather(-1, (first_bit // 32).expand(*block.shape, 1))[..., 0]
    pattern = (word >> first_bit[..., 0] % 32) & (2**bits - 1)
    if kind != "sjlt":
        return ((pattern >> (bits - 1)) * 2 - 1).to(torch.int8)
    starts = torch.arange(nnz + 1, device=rows.device) * proj_dim // nnz
    hit = starts[:-1] + ((pattern >> 1) * starts.diff() >> 31)
    return torch.where(hit[..., None] == cols, (pattern[..., None] & 1) * 2 - 1, 0).sum(1).to(torch.int8)
