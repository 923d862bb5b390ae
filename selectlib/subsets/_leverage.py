"""Ridge leverage scores, and a dictionary that estimates them without a pass over the items (BLESS)."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_positive
from selectlib.subsets._checks import check_kernel, generator_for
from selectlib.subsets._covariance import Covariance, Dictionary, dictionary_covariance
from selectlib.subsets._kernels import Kernel
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._sources import as_source

_BLOCK = 16_384  # items whose scores are computed at once
_ENOUGH = 1.15  # the dictionary's dimension over the one asked for
_SPANNED = 1e-10  # share of the trace outside the dictionary's span below which the span is taken as everything


def bless(
    source: Any,
    kernel: Kernel,
    *,
    lam: float | int | None = None,
    target_dim: float | int | None = None,
    oversample: float | int = 4.0,
    generator: torch.Generator | None = None,
) -> Dictionary:
    """Choose a weighted dictionary of items by their ridge leverage scores, looking at few of them.

    The regularisation is halved from level to level. At each level the items looked at so far are scored by the
    dictionary of the level before, and kept with a probability proportional to the score.

    Parameters
    ----------
    source : ItemSource
        n items; anything that `as_source` takes.
    kernel : Kernel
        Its values on the items make L.
    lam : float, optional
        Regularisation of the last level, > 0. Give either this or `target_dim`.
    target_dim : float, optional
        Stop at the first level whose effective dimension is at least 1.15 times this, or where the dictionary spans
        all items looked at.
    oversample : float, default 4.0
        q: an item with score τ is kept with probability min(1, q τ).
    generator : torch.Generator, optional
        Source of the draws; its device is where the computing is done. Default: seed 100, where the items are.

    Returns
    -------
    Dictionary
        About q times the effective dimension items, with their probabilities.

    Raises
    ------
    ValueError
        If not exactly one of `lam` and `target_dim` is given, a number is out of range, or an item is not finite.

    Notes
    -----
    Looks at about q · n κ² / lam items (all levels share them: the candidates are nested) and takes O(m² looks) time
    for a dictionary of m items. Source: Rudi, Calandriello, Carratino and Rosasco (NeurIPS 2018); that candidates are
    nested is ours.

    Examples
    --------
    >>> import torch
    >>> from selectlib.subsets import RBF
    >>> X = torch.randn(500, 2, generator=torch.Generator().manual_seed(100))
    >>> dictionary = bless(X, RBF(0.5), target_dim=5)
    >>> len(dictionary.indices) < 200, bool(dictionary.dim >= 5)
    (True, True)
    """
    if (lam is None) == (target_dim is None):
        raise ValueError("give either lam or target_dim")
    for name, value in (("lam", lam), ("target_dim", target_dim), ("oversample", oversample)):
        if value is not None:
            check_positive(name, value)
    items = as_source(source)
    looked = LookedItems(items, check_kernel(kernel), generator_for(items, generator))
    return build_dictionary(looked, lam=lam, target_dim=target_dim, oversample=oversample)


def build_dictionary(
    looked: LookedItems,
    *,
    lam: float | int | None = None,
    target_dim: float | int | None = None,
    oversample: float | int,
) -> Dictionary:
    """`bless` on a memory of looked items, which grows."""
    level = looked.total / max(target_dim - 1, 0.5) if target_dim is not None else max(looked.total, lam or 0.0)
    look_at_least(looked, oversample * looked.total / level)
    dictionary = _keep(looked, looked.inclusion(), looked.inclusion(), level, 0.0)
    while True:
        covariance = dictionary_covariance(looked.kernel, dictionary)
        level = level / 2 if lam is None else max(level / 2, lam)
        look_at_least(looked, oversample * looked.total / level)
        X, included = looked.features(torch.arange(looked.count, device=looked.device)), looked.inclusion()
        scores = leverage(covariance, X, looked.diag, level)
        dim = float((scores / included).sum())  # Horvitz-Thompson: each look stands for 1 / included items
        spanned = float(covariance.uncovered(X, looked.diag).sum()) <= _SPANNED * float(looked.diag.sum())
        if target_dim is not None and spanned:
            return Dictionary(dictionary.indices, dictionary.points, dictionary.p, level, dim)
        dictionary = _keep(looked, torch.minimum(oversample * scores, included), included, level, dim)
        if (target_dim is not None and dim >= _ENOUGH * target_dim) or level == lam:
            return dictionary


def ridge_leverage_scores(
    source: Any,
    kernel: Kernel,
    lam: float | int,
    idx: Int[Tensor, "b"] | None = None,
    *,
    dictionary: Dictionary | None = None,
) -> Float[Tensor, "b"]:
    """Ridge leverage scores τ_i = [L (L + lam I)^{-1}]_ii: the marginals of the DPP with kernel L / lam.

    Parameters
    ----------
    source : ItemSource
        n items; anything that `as_source` takes.
    kernel : Kernel
        Its values on the items make L.
    lam : float
        Regularisation, > 0.
    idx : Tensor of int64, shape (b,), optional
        Which items; all n if left out.
    dictionary : Dictionary, optional
        Estimate the scores from this dictionary: an overestimate or underestimate by a small factor, from b items
        alone. Without it all n items are the dictionary, and the scores are exact.

    Returns
    -------
    Tensor of float64, shape (b,)
        Scores, at least 0.

    Raises
    ------
    ValueError
        If `lam` is not positive or an index is out of range.

    Notes
    -----
    O(b m² + m³) time for a dictionary of m items (m = n without one). Source: Calandriello, Lazaric and Valko (2017).

    Examples
    --------
    >>> import torch
    >>> from selectlib.subsets import Linear
    >>> ridge_leverage_scores(torch.eye(3), Linear(), 1.0)  # eigenvalues 1: τ = 1 / (1 + 1)
    tensor([0.5000, 0.5000, 0.5000], dtype=torch.float64)
    """
    check_positive("lam", lam)
    items = as_source(source)
    n = len(items)
    if idx is None:
        idx = torch.arange(n)
    elif idx.numel() and not (0 <= int(idx.min()) and int(idx.max()) < n):
        raise ValueError(f"idx must be from 0 to {n - 1}")
    if dictionary is None:
        everything = torch.arange(n)
        points = items.fetch(everything).to(torch.float64)
        dictionary = Dictionary(everything, points, points.new_ones(n), lam, float("nan"))
    covariance = dictionary_covariance(kernel, dictionary)
    blocks = [items.fetch(block).to(covariance.landmarks) for block in idx.split(_BLOCK)]
    return torch.cat([leverage(covariance, X, kernel.diag(X), lam) for X in blocks])


def leverage(
    covariance: Covariance, X: Float[Tensor, "b d"], diag: Float[Tensor, "b"], lam: float | int
) -> Float[Tensor, "b"]:
    """bᵀ (Ĉ + lam I)^{-1} b for the items with features `X`."""
    return covariance.quadratic_form(X, diag, 1 / lam, 1 / (covariance.eigvals + lam))


def look_at_least(looked: LookedItems, draws: float | int) -> None:
    """Extend the random looks to `draws`; where that means most items, look at all of them."""
    if looked.complete:
        return
    if draws >= 2 * looked.n:
        looked.look_at_all()
    elif draws > looked.draws:
        looked.draw(math.ceil(draws) - looked.draws)


def _keep(looked: LookedItems, p: Tensor, included: Tensor, level: float | int, dim: float) -> Dictionary:
    """Thin the items in memory from the probability `included` to `p`; the best one always stays."""
    share = p / included
    u = torch.rand(len(share), dtype=torch.float64, device=looked.device, generator=looked.generator)
    kept = u < share
    kept[share.argmax()] = True
    rows = kept.nonzero()[:, 0]
    # An item with score 0 adds nothing to Ĉ, whatever its weight.
    return Dictionary(looked.index(rows), looked.features(rows), p[rows].clamp(min=1e-300), level, dim)
