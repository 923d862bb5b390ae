"""The k largest of many numbers, exactly."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

_BLOCK = 2**22  # numbers looked at together


class TopK(NamedTuple):
    """Where the largest numbers are, and how many were no numbers."""

    indices: Int[Tensor, "k"]
    nan_count: int


def top_k(values: Float[Tensor, "n"] | Shaped[np.ndarray, "n"], k: int) -> TopK:
    """Find the k largest values: ties go to the lower index, and NaN ranks below everything.

    Parameters
    ----------
    values : Tensor or ndarray of floats, shape (n,)
        The numbers; an array may be memory-mapped and larger than memory.
    k : int
        How many, from 1 to n.

    Returns
    -------
    TopK
        `indices`, int64 of shape (k,), best first, on the device of `values`; and `nan_count`, how many of all the
        values are NaN. Where fewer than k values are numbers, the first NaNs fill up.

    Raises
    ------
    TypeError
        If `values` does not hold floats, or `k` is not an int.
    ValueError
        If `values` is not 1-D, or `k` is out of range.

    Notes
    -----
    One pass in blocks; time O(n + k log k) for numbers in random order, memory O(k) and one block.

    Examples
    --------
    >>> top_k(torch.tensor([1.0, 3.0, float("nan"), 3.0, 2.0]), 3)
    TopK(indices=tensor([1, 3, 4]), nan_count=1)
    """
    if not isinstance(values, Tensor | np.ndarray):
        raise TypeError(f"values must be a tensor or an array, got {type(values).__name__}")
    if not (values.is_floating_point() if isinstance(values, Tensor) else np.issubdtype(values.dtype, np.floating)):
        raise TypeError(f"values must hold floats, got {values.dtype}")
    if values.ndim != 1:
        raise ValueError(f"values must be 1-D, got shape {tuple(values.shape)}")
    if isinstance(k, bool) or not isinstance(k, int):
        raise TypeError(f"k must be an int, got {type(k).__name__}")
    if not 1 <= k <= len(values):
        raise ValueError(f"k must be from 1 to the {len(values)} values, got {k}")
    return _scan(values, k)


def _scan(values: Float[Tensor, "n"] | Shaped[np.ndarray, "n"], k: int) -> TopK:
    best: Tensor | None = None  # the best so far, in the order of their indices
    where = missing = torch.empty(0, dtype=torch.int64, device=getattr(values, "device", "cpu"))
    nan_count = 0
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        new = block if isinstance(block, Tensor) else torch.from_numpy(np.array(block))  # a copy: maps are read-only
        idx = torch.arange(start, start + len(new), device=new.device)
        nan = new.isnan()
        nan_count += int(nan.sum())
        missing = torch.cat([missing, idx[nan]])[:k]
        kept = ~nan if best is None or len(best) < k else new > best.min()  # a later tie of the k-th best loses
        best = new[kept] if best is None else torch.cat([best, new[kept]])
        where = torch.cat([where, idx[kept]])
        if len(best) > k:
            chosen = largest(best, k)
            best, where = best[chosen], where[chosen]
    assert best is not None  # there is at least one block
    order = best.sort(descending=True, stable=True).indices
    return TopK(torch.cat([where[order], missing])[:k], nan_count)


def largest(values: Float[Tensor, "m"], k: int) -> Int[Tensor, "k"]:
    """Positions of the k largest in ascending order, the first of the ties at the border."""
    border = values.topk(k, sorted=False).values.min()
    above, ties = values > border, (values == border).nonzero().squeeze(1)
    above[ties[: k - int(above.sum())]] = True
    return above.nonzero().squeeze(1)
