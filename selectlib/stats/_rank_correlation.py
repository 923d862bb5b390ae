"""Whether two gradings put the same items in the same order."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from selectlib.stats._intervals import Interval
from selectlib.stats._samples import check_fraction


def rank_correlation(
    a: Float[np.ndarray, "... m n"],
    b: Float[np.ndarray, "... m n"],
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Spearman's correlation between two gradings of the same items, with an interval over paired replicates.

    Each item's scores are averaged over the replicates, and the averages are ranked. Replicates are drawn with
    replacement, the same for all items and both gradings.

    Parameters
    ----------
    a, b
        Scores, shape ``(..., m, n)``: m >= 2 items in each of n >= 2 replicates, finite. Correlations are averaged over
        the axes before these two.
    generator
        Source of the resamples.
    level
        Confidence level; default 0.95.
    resamples
        Number of resamples; default 2000.

    Returns
    -------
    Interval
        In [-1, 1], by percentiles, widened to reach its own estimate; its ``n`` is that of the replicates. Where all
        items tie there is no order to share, and the correlation is 0.

    Raises
    ------
    ValueError
        ``a`` and ``b`` differ in shape, have too few items or replicates or are not finite; ``level`` outside (0, 1);
        ``resamples < 1``.

    Notes
    -----
    Time O(resamples m (n + log m)) and memory O(resamples m n), for each entry of the leading axes. Spearman, "The
    proof and measurement of association between two things", American Journal of Psychology 1904.

    Examples
    --------
    >>> a = np.array([[1.0, 1.2, 0.9], [2.0, 2.1, 2.2], [3.1, 2.9, 3.0]])
    >>> rank_correlation(a, 10 * a, generator=np.random.default_rng(100))
    Interval(value=1.0, low=1.0, high=1.0, n=3, level=0.95)
    """
    a, b = (_scores(values, name) for values, name in ((a, "a"), (b, "b")))
    if a.shape != b.shape:
        raise ValueError(f"a and b must have the same shape; got {a.shape} and {b.shape}")
    check_fraction(level, "level")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; got {resamples}")
    n = a.shape[-1]
    drawn = np.vstack([np.arange(n), generator.integers(n, size=(resamples, n))])  # first every replicate once
    a, b = (_centred_ranks(values[..., drawn].mean(-1)) for values in (a, b))
    norm = np.sqrt((a**2).sum(-2) * (b**2).sum(-2))
    found = np.divide((a * b).sum(-2), norm, out=np.zeros_like(norm), where=norm > 0)
    found = found.reshape(-1, found.shape[-1]).mean(0)
    value = float(found[0])
    low, high = np.quantile(found[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, min(float(low), value), max(float(high), value), n, level)


def _scores(values: Any, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim < 2 or min(values.shape[-2:]) < 2:
        raise ValueError(
            f"{name} must have at least two items and two replicates, shape (..., m, n); got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite")
    return values


def _centred_ranks(means: np.ndarray) -> np.ndarray:
    """Ranks of the items (second axis from the end) less their mean, ties averaged."""
    return rankdata(means, axis=-2) - (means.shape[-2] + 1) / 2
