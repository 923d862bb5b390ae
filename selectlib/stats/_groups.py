"""Intervals for a statistic of several samples."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from selectlib.stats._intervals import Interval
from selectlib.stats._samples import Groups, Sample, check_fraction, sample_of


def bootstrap_groups(
    groups: Groups,
    statistic: Callable[..., Any],
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Any statistic of several independent groups of observations with its bootstrap interval (percentiles).

    Parameters
    ----------
    groups
        Samples, each of shape ``(n_i,)``, ``n_i >= 2``, finite. Each is resampled by itself.
    statistic
        ``statistic(*groups, axis)`` maps the samples to a number each time; it reduces ``axis`` of every group, so that
        all resamples are computed at once.
    generator
        Source of the resamples.
    level
        Confidence level; default 0.95.
    resamples
        Number of resamples; default 2000.

    Returns
    -------
    Interval
        ``n`` counts the observations of all groups. An interval that would miss its own estimate is widened to reach
        it.

    Raises
    ------
    ValueError
        No group; a group is not one-dimensional, has fewer than two entries or is not finite; ``level`` outside (0, 1);
        ``resamples < 1``.

    Notes
    -----
    Time O(resamples Σ n_i). Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.

    Examples
    --------
    >>> slow, fast = [8.0, 9.0, 10.0, 9.5], [3.0, 2.5, 3.5]
    >>> ratio = lambda a, b, axis: np.median(a, axis) / np.median(b, axis)
    >>> interval = bootstrap_groups([slow, fast], ratio, generator=np.random.default_rng(100))
    >>> interval.n, round(interval.value, 2), 2.0 < interval.low < interval.high < 4.5
    (7, 3.08, True)
    """
    samples = [sample_of(group, f"groups[{i}]") for i, group in enumerate(groups)]
    if not samples:
        raise ValueError("groups must hold at least one sample")
    check_fraction(level, "level")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1; got {resamples}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # equal observations: an interval of no width
        result = stats.bootstrap(
            samples,
            statistic,
            n_resamples=resamples,
            confidence_level=level,
            method="percentile",
            vectorized=True,
            random_state=generator,
        )
    low, high = result.confidence_interval
    value = float(statistic(*samples, axis=-1))
    n = sum(map(len, samples))
    return Interval(value, min(float(low), value), max(float(high), value), n, level)


def growth_exponent(
    x: Sample,
    groups: Groups,
    *,
    center: Callable[..., Any] = np.mean,
    generator: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Power of ``x`` with which a positive quantity grows: the slope of its log on log ``x``, by least squares.

    Parameters
    ----------
    x
        Sizes, shape ``(m,)``, ``m >= 2``, positive and not all equal.
    groups
        For each size, the observations made there, shape ``(n_i,)``, ``n_i >= 2``, positive.
    center
        Centre of the observations at one size, ``center(sample, axis=...)``; default: the mean.
    generator
        Source of the resamples, drawn within each size.
    level
        Confidence level; default 0.95.
    resamples
        Number of resamples; default 2000.

    Returns
    -------
    Interval
        A pure number: 1 for growth in proportion to ``x``, 0 for no growth. ``n`` counts all observations.

    Raises
    ------
    ValueError
        ``x`` and ``groups`` differ in length, ``x`` is not positive or holds one size only, an observation is not
        positive, and as `bootstrap_groups`.

    Notes
    -----
    Time O(resamples Σ n_i). The interval holds the spread of the observations alone, and not that a power of ``x`` may
    be a poor description.

    Examples
    --------
    >>> seconds = [[2.0, 2.2], [20.0, 22.0], [200.0, 220.0]]
    >>> round(growth_exponent([1, 10, 100], seconds, generator=np.random.default_rng(100)).value, 6)
    1.0
    """
    sizes = sample_of(x, "x")
    if len(sizes) != len(groups):
        raise ValueError(f"x and groups must have one length; got {len(sizes)} sizes and {len(groups)} groups")
    if not (sizes > 0).all() or np.ptp(sizes) == 0:
        raise ValueError(f"x must be positive and hold at least two different sizes; got {sizes}")
    for i, group in enumerate(groups):
        if not (sample_of(group, f"groups[{i}]") > 0).all():
            raise ValueError(f"groups[{i}] must be positive to have a logarithm")
    weights = np.log(sizes) - np.log(sizes).mean()
    weights /= weights @ weights

    def slope(*samples: Any, axis: int = -1) -> Any:
        return sum(w * np.log(center(sample, axis=axis)) for w, sample in zip(weights, samples, strict=True))

    return bootstrap_groups(groups, slope, generator=generator, level=level, resamples=resamples)
