"""Do counts follow a given law, and how far from it may they be?"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from selectlib.stats._intervals import Interval
from selectlib.stats._samples import Number, Sample, Vector, check_fraction


@dataclass(frozen=True)
class ChiSquareFit:
    """Pearson's test of counts against given probabilities.

    Parameters
    ----------
    statistic
        Pearson's chi-square over the pooled cells; infinite when an impossible outcome was counted.
    p
        p-value; small when the counts do not follow the probabilities.
    cells
        Number of cells after pooling; the test has ``cells - 1`` degrees of freedom.
    n
        Number of counted outcomes.
    """

    statistic: float
    p: float
    cells: int
    n: int


def chi_square_fit(counts: Sample, probabilities: Sample, *, min_expected: Number = 5) -> ChiSquareFit:
    """Pearson's test that counts follow given probabilities, with cells of small expectation pooled.

    Parameters
    ----------
    counts
        How often each outcome was seen, shape ``(n,)``; whole numbers, at least 0.
    probabilities
        Probability of each outcome, shape ``(n,)``; at least 0, summing to 1.
    min_expected
        Cells are pooled, from the least likely up, until each expects at least this count; default 5. The pooling
        looks at the probabilities alone, so that it cannot favour a result.

    Returns
    -------
    ChiSquareFit
        ``p = 0`` when an outcome of probability 0 was counted.

    Raises
    ------
    ValueError
        Shapes differ, a count is negative or not whole, nothing was counted, the probabilities are negative or do
        not sum to 1, or fewer than two cells remain after pooling.

    Notes
    -----
    Time O(n log n).

    Examples
    --------
    >>> fit = chi_square_fit([44, 56], [0.5, 0.5])
    >>> fit.statistic, round(fit.p, 4)
    (1.44, 0.2301)
    """
    seen = np.asarray(counts, dtype=np.float64)
    q = np.asarray(probabilities, dtype=np.float64)
    if seen.ndim != 1 or seen.shape != q.shape:
        raise ValueError(f"counts and probabilities must be vectors of one length; got {seen.shape} and {q.shape}")
    if not ((seen >= 0) & (seen == np.floor(seen)) & np.isfinite(seen)).all() or seen.sum() < 1:
        raise ValueError("counts must be whole numbers of at least 0, with one or more outcomes counted")
    if not (q >= 0).all() or abs(q.sum() - 1) > 1e-8:
        raise ValueError(f"probabilities must be at least 0 and sum to 1; got sum {q.sum()}")
    n = int(seen.sum())
    if seen[q == 0].any():
        return ChiSquareFit(float("inf"), 0.0, int((q > 0).sum()), n)
    order = np.argsort(q, kind="stable")
    expected = n * q[order] / q.sum()
    starts = _pool(expected, min_expected)
    if len(starts) < 2:
        raise ValueError(
            f"too few counts: {n} outcomes leave {len(starts)} cell(s) that expect {min_expected:g} or more; need two"
        )
    pooled_seen, pooled_expected = np.add.reduceat(seen[order], starts), np.add.reduceat(expected, starts)
    statistic = float(((pooled_seen - pooled_expected) ** 2 / pooled_expected).sum())
    return ChiSquareFit(statistic, float(stats.chi2.sf(statistic, len(starts) - 1)), len(starts), n)


def distance_interval(counts: Sample, probabilities: Sample, *, level: float = 0.95) -> Interval:
    """How far the law behind counts is from given probabilities: half of Cohen's w, with its interval.

    Parameters
    ----------
    counts
        How often each outcome was seen, shape ``(n,)``; whole numbers, at least 0.
    probabilities
        Probability of each outcome, shape ``(n,)``; at least 0, summing to 1.
    level
        Confidence level; default 0.95.

    Returns
    -------
    Interval
        Of ``sqrt(δ) / 2``, with δ the chi-square divergence of the law behind the counts from the probabilities, over
        the pooled cells of `chi_square_fit`. The total variation distance is at most that (Cauchy and Schwarz), so
        that ``high`` bounds it. The ends are infinite when an outcome of probability 0 was counted.

    Raises
    ------
    ValueError
        As `chi_square_fit`; ``level`` outside (0, 1).

    Notes
    -----
    Pearson's statistic follows about the noncentral chi-square law of noncentrality N δ; the interval inverts its
    distribution function. Its upper end is never below that of the median outcome under δ = 0 (a power-constrained
    limit: Cowan, Cranmer, Gross and Vitells 2011). A bootstrap would fail here: at δ = 0 the statistic is degenerate.
    Time O(n log n).

    Examples
    --------
    >>> interval = distance_interval([260, 240, 252, 248], [0.25, 0.25, 0.25, 0.25])
    >>> interval.low, interval.high < 0.06
    (0.0, True)
    """
    check_fraction(level, "level")
    fit = chi_square_fit(counts, probabilities)
    freedom, x = fit.cells - 1, fit.statistic
    if np.isinf(x):
        return Interval(x, x, x, fit.n, level)

    def noncentrality(statistic: float, quantile: float) -> float:
        """The one at which the statistic is this quantile; 0 where it is too small even for the central law."""
        if stats.chi2.cdf(statistic, freedom) <= quantile:
            return 0.0
        upper = 10 * statistic + 1000
        return float(optimize.brentq(lambda c: stats.ncx2.cdf(statistic, freedom, c) - quantile, 1e-9, upper))

    def distance(noncentral: float) -> float:
        return float(np.sqrt(max(noncentral, 0.0) / fit.n) / 2)

    value = distance(x - freedom)
    low = distance(noncentrality(x, (1 + level) / 2))
    # A fit that is too good by luck must not promise more than the median one does; at worst it would promise zero.
    high = distance(noncentrality(max(x, stats.chi2.median(freedom)), (1 - level) / 2))
    return Interval(value, min(low, value), max(high, value), fit.n, level)


def _pool(expected: Vector, least: Number) -> list[int]:
    """Where each pooled cell starts, for expectations in ascending order."""
    starts, total = [0], 0.0
    for i, e in enumerate(expected):
        if total >= least:
            starts.append(i)
            total = 0.0
        total += e
    if total < least and len(starts) > 1:  # what is left over joins the cell before it
        starts.pop()
    return starts
