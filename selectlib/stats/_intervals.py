"""Estimates with two-sided confidence intervals."""

import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from scipy import stats

from selectlib.stats._samples import Sample, check_fraction, sample_of


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided confidence interval.

    Parameters
    ----------
    value, low, high
        The estimate and the ends of its interval, ``low <= value <= high``, in the units of the sample.
    n
        Number of observations.
    level
        Confidence level, in (0, 1).
    """

    value: float
    low: float
    high: float
    n: int
    level: float


def mean_interval(x: Sample, *, level: float = 0.95) -> Interval:
    """Mean of independent observations with Student's t interval.

    Parameters
    ----------
    x
        Observations, shape ``(n,)``, ``n >= 2``, finite.
    level
        Confidence level; default 0.95.

    Returns
    -------
    Interval
        In the units of ``x``; of zero width when all observations are equal.

    Raises
    ------
    ValueError
        ``x`` is not one-dimensional, has fewer than two entries or is not finite; ``level`` outside (0, 1).

    Notes
    -----
    Time O(n). Student, "The probable error of a mean", Biometrika 1908.

    Examples
    --------
    >>> mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])  # doctest: +ELLIPSIS
    Interval(value=3.0, low=1.0367..., high=4.9632..., n=5, level=0.95)
    """
    sample = sample_of(x, "x")
    check_fraction(level, "level")
    n = len(sample)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * sample.std(ddof=1) / np.sqrt(n))
    mean = float(sample.mean())
    return Interval(mean, mean - half, mean + half, n, level)


def bootstrap_interval(
    x: Sample,
    statistic: Callable[..., Any] = np.mean,
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    resamples: int = 9999,
) -> Interval:
    """Any statistic of independent observations with its bootstrap interval (BCa).

    Parameters
    ----------
    x
        Observations, shape ``(n,)``, ``n >= 2``, finite.
    statistic
        Maps a sample, shape ``(n,)``, to a number. Where it takes ``axis`` (as NumPy's functions do) all resamples
        are computed at once. Default: the mean.
    generator
        Source of the resamples.
    level
        Confidence level; default 0.95.
    resamples
        Number of resamples; default 9999.

    Returns
    -------
    Interval
        Of zero width when every resample gives the same number. Where the correction for acceleration is undefined
        the percentile interval is returned. An interval that would miss its own estimate is widened to reach it.

    Raises
    ------
    ValueError
        ``x`` is not one-dimensional, has fewer than two entries or is not finite; ``level`` outside (0, 1);
        ``resamples < 1``.

    Notes
    -----
    Time O(resamples n). Efron, "Better bootstrap confidence intervals", JASA 1987.

    Examples
    --------
    >>> interval = bootstrap_interval([1.0, 2.0, 3.0, 4.0, 50.0], np.median, generator=np.random.default_rng(100))
    >>> interval.low <= interval.value == 3.0 <= interval.high
    True
    """
    sample = sample_of(x, "x")
    check_fraction(level, "level")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; got {resamples}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # the undefined correction, answered just below
        warnings.filterwarnings("ignore", "invalid value", RuntimeWarning)
        result = stats.bootstrap(
            (sample,),
            statistic,
            n_resamples=resamples,
            confidence_level=level,
            method="BCa",
            random_state=generator,
        )
    low, high = result.confidence_interval
    if np.isnan(low) or np.isnan(high):
        low, high = np.quantile(result.bootstrap_distribution, [(1 - level) / 2, (1 + level) / 2])
    value = float(statistic(sample))
    return Interval(value, min(float(low), value), max(float(high), value), len(sample), level)


def proportion_interval(successes: SupportsIndex, n: SupportsIndex, *, level: float = 0.95) -> Interval:
    """A proportion with the exact (Clopper-Pearson) interval, which covers at least ``level`` of the time.

    Parameters
    ----------
    successes
        Number of successes, ``0 <= successes <= n``.
    n
        Number of independent trials, at least 1.
    level
        Confidence level; default 0.95.

    Returns
    -------
    Interval
        In [0, 1].

    Raises
    ------
    ValueError
        ``n < 1``, ``successes`` outside ``[0, n]``, or ``level`` outside (0, 1).

    Notes
    -----
    Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 1934.

    Examples
    --------
    >>> proportion_interval(0, 10)  # doctest: +ELLIPSIS
    Interval(value=0.0, low=0.0, high=0.3084..., n=10, level=0.95)
    """
    k, trials = operator.index(successes), operator.index(n)
    if trials < 1:
        raise ValueError(f"n must be at least 1; got {trials}")
    if not 0 <= k <= trials:
        raise ValueError(f"successes must lie in [0, n] = [0, {trials}]; got {k}")
    check_fraction(level, "level")
    interval = stats.binomtest(k, trials).proportion_ci(level, method="exact")
    return Interval(k / trials, float(interval.low), float(interval.high), trials, level)
