"""Agreement of two orders, against SciPy's own correlation and a population whose correlation is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from selectlib.stats import rank_correlation


def rng(seed=100):
    return np.random.default_rng(seed)


@pytest.mark.oracle
def test_value_and_interval_are_those_of_scipys_correlation_on_each_resample():
    a, b = rng(1).normal(size=(7, 5)).round(1), rng(2).normal(size=(7, 5)).round(1)  # rounded: there are ties
    found = rank_correlation(a, b, generator=rng(), resamples=200)
    drawn = rng().integers(5, size=(200, 5))
    again = [spearmanr(a[:, rows].mean(1), b[:, rows].mean(1)).statistic for rows in drawn]
    assert found.value == pytest.approx(spearmanr(a.mean(1), b.mean(1)).statistic)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(again, [0.025, 0.975])))
    assert found.n == 5


@pytest.mark.oracle
def test_leading_axes_are_averaged_resample_by_resample():
    a, b = rng(3).normal(size=(4, 6, 8)), rng(4).normal(size=(4, 6, 8))
    each = [rank_correlation(one, other, generator=rng()).value for one, other in zip(a, b, strict=True)]
    assert rank_correlation(a, b, generator=rng()).value == pytest.approx(np.mean(each))


@pytest.mark.oracle
def test_opposite_orders_and_no_order():
    a = np.arange(5.0)[:, None] + 0.01 * rng().normal(size=(5, 6))
    assert rank_correlation(a, -a, generator=rng()).high == pytest.approx(-1)
    flat = rank_correlation(a, np.ones_like(a), generator=rng())
    assert (flat.low, flat.value, flat.high) == (0, 0, 0)


@pytest.mark.oracle
def test_pairs_of_replicates_stay_together():
    """Both gradings share each replicate's noise, which alone would leave no order: together they agree fully."""
    noise = 10 * rng().normal(size=(6, 9))
    assert rank_correlation(noise, noise + 1e-6, generator=rng()).low == pytest.approx(1)


@pytest.mark.parametrize(
    ("a", "b", "options", "words"),
    [
        (np.ones((3, 4)), np.ones((3, 5)), {}, "a and b must have the same shape"),
        (np.ones(3), np.ones(3), {}, "a must have at least two items"),
        (np.ones((3, 4)), np.ones((3, 1)), {}, "b must have at least two items and two replicates"),
        (np.full((3, 4), np.nan), np.ones((3, 4)), {}, "a must be finite"),
        (np.ones((3, 4)), np.ones((3, 4)), {"level": 1.0}, "level"),
        (np.ones((3, 4)), np.ones((3, 4)), {"resamples": 0}, "resamples must be at least 1"),
    ],
)
def test_bad_input_is_named(a, b, options, words):
    with pytest.raises(ValueError, match=words):
        rank_correlation(a, b, generator=rng(), **options)
