"""From looks to an estimate of the covariance operator: how many looks, which landmarks, which eigenvectors."""

import math

import torch
from scipy.optimize import brentq

from selectlib.subsets._covariance import Covariance, Dictionary, looked_covariance
from selectlib.subsets._leverage import build_dictionary, leverage, look_at_least
from selectlib.subsets._looked import LookedItems

_NEGLIGIBLE = 0.01  # loss of log acceptance that leaving out small eigenvalues may cost


def alpha_for(covariance: Covariance, size: float | int) -> float:
    """α at which DPP(αĈ) has this mean size, which is below the rank, unless Ĉ leaves something outside."""
    per_item = size / (float(covariance.eigvals.sum()) + covariance.outside)  # at least that, as each term is < αλ
    high = per_item
    while covariance.dimension(high) < size:
        high *= 2
    low, high = math.log(per_item / 2), math.log(high * 2)
    return math.exp(brentq(lambda log_alpha: covariance.dimension(math.exp(log_alpha)) - size, low, high, xtol=1e-12))


def balanced_alpha(covariance: Covariance, k: int, total: float | int) -> float:
    """α at which k is the expected size (or, where the rank forbids it, half an item less than the rank).

    Of an empty Ĉ it is the one for items without likeness, whose diagonals sum to at most `total`.
    """
    rank = len(covariance.eigvals)
    if not rank:
        return k / total
    flat = covariance.outside <= 1e-9 * float(covariance.eigvals.sum())
    return alpha_for(covariance, min(k, rank - 0.5) if flat else k)


def first_estimate(
    looked: LookedItems, *, k: int | None, alpha: float | int | None, oversample: float | int
) -> tuple[Dictionary, Covariance]:
    """BLESS to the level of k or of α, and Ĉ from the items that it looked at; raise where the rank is below k."""
    if alpha is None:
        dictionary = build_dictionary(looked, target_dim=k, oversample=oversample)
    else:
        dictionary = build_dictionary(looked, lam=1 / alpha, oversample=oversample)
    covariance = looked_covariance(looked, dictionary.points)
    if k is not None and len(covariance.eigvals) < k:
        raise ValueError(f"k = {k} is larger than the numerical rank of the kernel, {len(covariance.eigvals)}")
    return dictionary, covariance


def sharpen(
    looked: LookedItems,
    covariance: Covariance,
    *,
    k: int,
    alpha: float | int | None,
    draws: float | int,
    landmarks: float | int,
) -> Covariance:
    """Look at more items, so that Ĉ rests on `draws` · α Σβ random looks, and choose its landmarks from all of them."""
    look_at_least(looked, draws * looked.total * (alpha or balanced_alpha(covariance, k, looked.total)))
    return estimate_anew(looked, covariance, k=k, alpha=alpha, landmarks=landmarks)


def estimate_anew(
    looked: LookedItems, covariance: Covariance, *, k: int, alpha: float | int | None, landmarks: float | int
) -> Covariance:
    """Ĉ from all items in memory, in the span of about `landmarks` items for each effective dimension.

    Landmarks are chosen by their leverage scores under the estimate at hand. Their number is what limits acceptance;
    the number of looks matters less, since each score is far below its bound.
    """
    scale = alpha or balanced_alpha(covariance, k, looked.total)
    X = looked.features(torch.arange(looked.count, device=looked.device))
    share = landmarks * leverage(covariance, X, looked.diag, 1 / scale) / looked.inclusion()
    u = torch.rand(len(share), dtype=torch.float64, device=looked.device, generator=looked.generator)
    chosen = u < share
    chosen[share.argmax()] = True
    estimate = looked_covariance(looked, X[chosen])
    if len(estimate.eigvals) < k:
        estimate = looked_covariance(looked, covariance.landmarks)
    scale = alpha or balanced_alpha(estimate, k, looked.total)
    # Leaving λ_j out of Ĉ lowers log a(σ) by αλ_j - log(1 + αλ_j), about (αλ_j)²/2, and saves work with every look.
    loss = (scale * estimate.eigvals).square().cumsum(0) / 2  # eigenvalues ascend
    return estimate.without(min(int((loss < _NEGLIGIBLE).sum()), max(0, len(loss) - 2 * k)))
