"""Top-p sets without sorting: which entries of a row hold the share p of its mass."""

import importlib.util
import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selectlib._checks import check_int
from selectlib.kernels._topp_bisection import ALL_STEPS, PUBLISHED_STEPS, bisect_bits, bisect_values
from selectlib.kernels._topp_histogram import descend_digits, sort_rows

_METHODS = ("auto", "bits", "radix", "linear", "sort")
_BOUNDS = ("lower", "mid", "upper")
_SMALLEST = 2.0**-149  # of the positive float32
_ENTRIES = 2**16  # at a time on the CPU: stays in the cache, and below the size at which memory is asked for anew
_MOST_ENTRIES = 2**26  # elsewhere
_HAS_TRITON = importlib.util.find_spec("triton") is not None


def topp_mask(
    weights: Float[Tensor, "*rows l"],
    p: float,
    *,
    method: str = "auto",
    iterations: int | None = None,
    bound: str = "lower",
    min_keep: int = 1,
    return_threshold: bool = False,
) -> Bool[Tensor, "*rows l"] | tuple[Bool[Tensor, "*rows l"], Float[Tensor, "*rows"]]:
    """Mark the smallest set of entries of each row that holds the share p of its mass.

    Parameters
    ----------
    weights : Tensor, shape (..., l)
        At least 0, finite; rows need not sum to 1. Floating, of any strides; halves are widened and float64 is rounded
        to float32 first. Entries that are 0 are never kept, so that shorter rows may be padded with 0.
    p : float
        Share of the mass of the row. From 1 on all positive entries are kept; up to 0 the `min_keep` largest.
    method : str, default "auto"
        ``"bits"`` halves an interval of float bit patterns; ``"radix"`` looks the threshold up digit by digit in
        histograms; ``"sort"`` sorts; all three are exact. ``"linear"`` is the published rule: it halves an interval of
        values ten times, and keeps several times too much where one weight is large. ``"auto"`` is ``"bits"`` on CUDA
        and ``"radix"`` elsewhere.
    iterations : int, optional
        Halvings, at least 1. Default: for ``"bits"`` as many as it takes, at most 31; for ``"linear"`` 10. With 12 of
        them ``"bits"`` is close to exact. The other methods take none.
    bound : str, default "lower"
        Of ``"linear"`` only: the end of the last interval that becomes the threshold, ``"lower"``, ``"mid"`` (the last
        value tried) or ``"upper"``. Only the lower one is sure to hold the mass.
    min_keep : int, default 1
        Keep at least this many of the positive entries, the largest.
    return_threshold : bool, default False
        Return the thresholds too.

    Returns
    -------
    mask : Tensor of bool, shape (..., l)
        The entries of at least the threshold of their row. Entries that tie are kept together, so that a set can be
        larger than what sorting would cut by as many as tie. A row of zeros keeps nothing.
    threshold : Tensor of float32, shape (...)
        Only with `return_threshold`; infinite for a row that keeps nothing.

    Raises
    ------
    TypeError
        If `weights` is no floating tensor, or a number has the wrong type.
    ValueError
        If `weights` has no dimension, or, on the CPU, a negative or non-finite entry; if `p` is NaN, or an option is
        unknown, out of range, or of another method. On other devices the host does not look at the entries, for then
        it would have to wait: a row with such an entry, or with a sum beyond float32, keeps nothing there.

    Notes
    -----
    O(l) work a row for each halving of ``"bits"`` and ``"linear"``, O(l) for ``"radix"``, O(l log l) for ``"sort"``.
    Masses are summed in float64 on the CPU and in float32 elsewhere, where sets whose masses differ by rounding are
    not told apart. On CUDA ``"bits"`` is one launch of a Triton kernel over all rows, which holds rows
    of up to 8192 entries on chip; ``"radix"`` waits for the device.

    Positive floats are ordered like their bit patterns. Halving an interval of patterns therefore halves orders of
    magnitude first, and reaches a threshold far below the largest weight in a few steps. It starts from
    ``(1 - p) / l`` of the mass: all entries below that cannot hold more than 1 - p together.
    Source: H. Shah, "SpecAttn: speculating sparse attention", 2025, for ``"linear"``; the halving of bit patterns is
    ours.

    Examples
    --------
    >>> import torch
    >>> row = torch.tensor([0.5, 0.02, 0.3, 0.0, 0.08, 0.1])
    >>> topp_mask(row, 0.85)
    tensor([ True, False,  True, False, False,  True])
    >>> topp_mask(row, 1.0).sum()
    tensor(5)
    """
    method, steps = _check(weights, p, method, iterations, bound, min_keep)
    share = min(max(float(p), 0.0), 1.0)
    if weights.numel():
        rows = weights.detach().reshape(-1, weights.shape[-1])
        if method == "bits" and rows.is_cuda and _HAS_TRITON and share < 1:
            from selectlib.kernels import _topp_triton

            mask, threshold = _topp_triton.topp(rows, share, steps)
            if min_keep > 1:
                mask, threshold = _apply(rows.float().where(threshold < math.inf, 0.0), threshold, min_keep)
        else:
            at_once = max(1, (_ENTRIES if rows.device.type == "cpu" else _MOST_ENTRIES) // rows.shape[1])
            parts = [_select(part, share, method, steps, bound, min_keep) for part in rows.split(at_once)]
            mask, threshold = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    else:
        mask = weights.new_zeros(weights.shape, dtype=torch.bool)
        threshold = weights.new_full(weights.shape[:-1], math.inf, dtype=torch.float32)
    mask, threshold = mask.view(weights.shape), threshold.view(weights.shape[:-1])
    return (mask, threshold) if return_threshold else mask


def _select(rows: Tensor, p: float, method: str, steps: int, bound: str, min_keep: int) -> tuple[Tensor, Tensor]:
    """Mask and thresholds, (n, 1), of a matrix, in plain torch."""
    rows = rows.float().contiguous()
    total = rows.sum(-1, keepdim=True, dtype=torch.float64 if rows.device.type == "cpu" else None)
    if rows.device.type != "cpu":
        sound = (rows.amin(-1, keepdim=True) >= 0) & (total < math.inf)
        rows, total = rows.where(sound, 0.0), total.where(sound, 0.0)
    if p == 1:
        threshold = rows.new_zeros((len(rows), 1))
    elif method == "radix":
        threshold = descend_digits(rows, total, p)
    elif method == "sort":
        threshold = sort_rows(rows, total, p)
    elif method == "bits":
        threshold = bisect_bits(rows, total, p, steps)
    else:
        threshold = bisect_values(rows, total, p, steps, bound)
    return _apply(rows, threshold, min_keep)


def _apply(rows: Tensor, threshold: Tensor, min_keep: int) -> tuple[Tensor, Tensor]:
    """The rules at the edges: enough entries, none that is 0, and nothing of a row of zeros."""
    enough = rows.amax(-1, keepdim=True) if min_keep == 1 else rows.topk(min(min_keep, rows.shape[1])).values[:, -1:]
    threshold = threshold.minimum(enough).clamp_(min=_SMALLEST)
    threshold = threshold.where(rows.amax(-1, keepdim=True) > 0, math.inf)
    # Bit patterns are compared where subnormal floats may count as 0.
    return rows.view(torch.int32) >= threshold.view(torch.int32), threshold


def _check(weights: Any, p: Any, method: Any, iterations: Any, bound: Any, min_keep: Any) -> tuple[str, int]:
    """The method and its number of halvings, or an error."""
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        raise TypeError(f"weights must be a floating tensor, got {getattr(weights, 'dtype', type(weights).__name__)}")
    if not weights.ndim:
        raise ValueError("weights must have at least one dimension, got a single number")
    if isinstance(p, bool) or not isinstance(p, (int, float)):
        raise TypeError(f"p must be a float, got {type(p).__name__}")
    if math.isnan(p):
        raise ValueError("p must be a number, got nan")
    for name, value, allowed in (("method", method, _METHODS), ("bound", bound, _BOUNDS)):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if method == "auto":
        method = "bits" if weights.is_cuda else "radix"
    if method != "linear" and bound != "lower":
        raise ValueError(f'bound belongs to method "linear", got {bound!r} with method "{method}"')
    if iterations is not None:
        if method not in ("bits", "linear"):
            raise ValueError(f'iterations must be None with method "{method}", got {iterations!r}')
        check_int("iterations", iterations, 1, 2**31 - 1)
    check_int("min_keep", min_keep, 1, 2**31 - 1)
    if weights.device.type == "cpu" and weights.numel():
        least, most = (float(value) for value in weights.detach().aminmax())
        if not (least >= 0 and most < math.inf):  # NaN is the least and the most
            raise ValueError(f"weights must be finite and at least 0, got entries from {least} to {most}")
    return method, iterations or (PUBLISHED_STEPS if method == "linear" else ALL_STEPS)
