"""Is there a difference, is there none worth speaking of, and what could have been seen."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, stats

from selectlib.stats._intervals import Interval, mean_interval
from selectlib.stats._samples import Number, Sample, Vector, check_fraction, sample_of


@dataclass(frozen=True)
class PairedResult(Interval):
    """A mean difference with its interval and the p-value of a test about it.

    Parameters
    ----------
    p
        p-value, not corrected for other tests.
    """

    p: float


def paired_test(
    a: Sample,
    b: Sample | Number,
    *,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
    level: float = 0.95,
) -> PairedResult:
    """Mean of the paired differences ``a - b``, with the t test that it is zero.

    Parameters
    ----------
    a, b
        Paired observations (the same seeds, the same data), shape ``(n,)`` each, ``n >= 2``; ``b`` may be one number.
    alternative
        What a small p speaks for: the mean difference is not 0 (default), greater than 0, or less than 0.
    level
        Confidence level of the interval, which is two-sided whatever the alternative; default 0.95.

    Returns
    -------
    PairedResult
        In the units of ``a``.

    Raises
    ------
    ValueError
        Lengths differ, fewer than two pairs, an entry is not finite, an unknown alternative, or all differences are
        the same and not zero: then there is no spread to test against.

    Notes
    -----
    Time O(n).

    Examples
    --------
    >>> result = paired_test([3.0, 4.0, 5.5, 6.0], [2.0, 2.5, 5.0, 4.0])
    >>> result.value, round(result.p, 4)
    (1.25, 0.0305)
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative must be 'two-sided', 'greater' or 'less'; got {alternative!r}")
    differences, interval = _differences(a, b, level)
    p = 1.0 if not differences.any() else float(stats.ttest_1samp(differences, 0.0, alternative=alternative).pvalue)
    return PairedResult(**vars(interval), p=p)


def equivalence_test(a: Sample, b: Sample | Number, *, margin: Number, level: float = 0.95) -> PairedResult:
    """Two one-sided t tests (TOST) that the mean of ``a - b`` lies within ``margin`` of zero.

    Parameters
    ----------
    a, b
        Paired observations, shape ``(n,)`` each, ``n >= 2``; ``b`` may be one number.
    margin
        Largest difference that counts as equal, in the units of ``a``; above 0, and chosen before the run.
    level
        Confidence level of the interval; default 0.95.

    Returns
    -------
    PairedResult
        ``p`` is small when the two are equivalent. ``p <= 1 - level`` is the usual test; the two-sided interval at
        ``level`` lying inside the margin asks for a little more.

    Raises
    ------
    ValueError
        ``margin <= 0``, and as `paired_test`.

    Notes
    -----
    Time O(n). Schuirmann, "A comparison of the two one-sided tests procedure", J. Pharmacokin. Biopharm. 1987.

    Examples
    --------
    >>> result = equivalence_test([1.0, 1.1, 0.9, 1.05], 1.0, margin=0.5)
    >>> result.p < 0.01
    True
    """
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError(f"margin must be a number above 0; got {margin}")
    differences, interval = _differences(a, b, level)
    if not differences.any():
        return PairedResult(**vars(interval), p=0.0)
    above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    return PairedResult(**vars(interval), p=float(max(above, below)))


def holm(p: Sample) -> Vector:
    """Adjust p-values for several tests by Holm's step-down method.

    Parameters
    ----------
    p
        p-values, shape ``(n,)``, in [0, 1]; may be empty.

    Returns
    -------
    array
        Adjusted p-values in the given order, shape ``(n,)``: rejecting those at most alpha keeps the chance of any
        false rejection at most alpha, whatever the dependence between the tests.

    Raises
    ------
    ValueError
        ``p`` is not one-dimensional or has an entry outside [0, 1].

    Notes
    -----
    Time O(n log n). Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p must be a vector of numbers in [0, 1]; got {values}")
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def minimum_detectable_effect(sd: Number, n: int, *, level: float = 0.95, power: float = 0.8) -> float:
    """Smallest mean (paired) difference that a two-sided t test finds with the given power.

    Parameters
    ----------
    sd
        Standard deviation of the observations or of the paired differences, above 0.
    n
        Number of observations or pairs, at least 2.
    level
        One minus the level of the test; default 0.95, a test at 5 %.
    power
        Chance of finding the effect, above ``1 - level`` and below 1; default 0.8.

    Returns
    -------
    float
        In the units of ``sd``.

    Raises
    ------
    ValueError
        ``sd <= 0``, ``n < 2``, ``level`` outside (0, 1), or ``power`` outside ``(1 - level, 1)``.

    Notes
    -----
    Exact: solves for the noncentrality of Student's t.

    Examples
    --------
    >>> round(minimum_detectable_effect(1.0, 34), 3)
    0.495
    """
    if not (np.isfinite(sd) and sd > 0):
        raise ValueError(f"sd must be a number above 0; got {sd}")
    if n < 2:
        raise ValueError(f"n must be at least 2; got {n}")
    check_fraction(level, "level")
    if not 1 - level < power < 1:
        raise ValueError(f"power must lie between 1 - level = {1 - level:g} and 1; got {power}")
    critical = stats.t.ppf((1 + level) / 2, n - 1)

    def excess(noncentrality: float) -> float:
        # The square of a noncentral t follows a noncentral F, whose tail stays finite where that of t does not.
        return float(stats.ncf.sf(critical**2, 1, n - 1, noncentrality**2) - power)

    upper = 1.0
    while excess(upper) < 0:
        upper *= 2
    return float(optimize.brentq(excess, 0.0, upper) * sd / np.sqrt(n))


def _differences(a: Sample, b: Sample | Number, level: float) -> tuple[Vector, Interval]:
    """The paired differences and the interval of their mean."""
    first = sample_of(a, "a")
    second = np.full_like(first, b) if isinstance(b, float | int) else sample_of(b, "b")
    if first.shape != second.shape:
        raise ValueError(f"a and b must be paired; got {len(first)} and {len(second)} observations")
    differences = first - second
    if np.ptp(differences) == 0 and differences[0] != 0:
        raise ValueError(f"all {len(first)} differences are {differences[0]:g}: there is no spread to test against")
    return differences, mean_interval(differences, level=level)
