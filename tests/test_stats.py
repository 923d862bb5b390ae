"""The intervals cover as often as they say, and the tests give known numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from selectlib.stats import (
    Interval,
    bootstrap_groups,
    bootstrap_interval,
    chi_square_fit,
    distance_interval,
    equivalence_test,
    growth_exponent,
    holm,
    mean_interval,
    minimum_detectable_effect,
    paired_test,
    proportion_interval,
)

# Ten patients' hours of extra sleep under two drugs: the data of Student's paper of 1908, where t = 4.06.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

# A rate from `RUNS` simulations strays by 4.4 standard errors with probability below 1e-5.
RUNS = 2000


def _tolerance(rate: float) -> float:
    return 4.4 * float(np.sqrt(rate * (1 - rate) / RUNS))


def test_student_1908():
    result = paired_test(SLEEP_2, SLEEP_1)
    assert result.value == pytest.approx(1.58)
    assert (result.low, result.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert result.p == pytest.approx(0.00283289, abs=1e-7)
    assert paired_test(SLEEP_2, SLEEP_1, alternative="greater").p == pytest.approx(0.00283289 / 2, abs=1e-7)
    assert paired_test(SLEEP_2, SLEEP_1, alternative="less").p == pytest.approx(1 - 0.00283289 / 2, abs=1e-7)


def test_fields_are_what_record_takes():
    from selectlib.claims import record

    assert record("kdpp/exactness/tv", **vars(mean_interval(SLEEP_1))).n == 10
    assert record("kdpp/exactness/tv", **vars(paired_test(SLEEP_2, SLEEP_1))).p is not None


@pytest.mark.oracle
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_mean_interval_covers(level):
    rng = np.random.default_rng(101)
    covered = np.mean([_holds(mean_interval(rng.normal(3.0, 2.0, 6), level=level), 3.0) for _ in range(RUNS)])
    assert abs(covered - level) < _tolerance(level)


@pytest.mark.oracle
def test_bootstrap_covers_the_mean_of_a_skewed_law():
    rng = np.random.default_rng(102)
    runs = 400
    covered = np.mean(
        [_holds(bootstrap_interval(rng.exponential(1.0, 80), generator=rng, resamples=400), 1.0) for _ in range(runs)]
    )
    assert 0.88 < covered < 0.995  # BCa at n = 80 covers about 0.94


@pytest.mark.oracle
def test_proportion_interval_is_exact():
    """The coverage at each p is a finite sum, so no simulation is needed: it is never below the level."""
    n, level = 15, 0.9
    intervals = [proportion_interval(s, n, level=level) for s in range(n + 1)]
    for p in np.linspace(0.01, 0.99, 99):
        mass = scipy_stats.binom.pmf(np.arange(n + 1), n, p)
        coverage = sum(m for m, i in zip(mass, intervals, strict=True) if i.low <= p <= i.high)
        assert coverage >= level
    # With no success, (1 - high)^n is half of what the level leaves.
    assert (1 - intervals[0].high) ** n == pytest.approx((1 - level) / 2)
    assert intervals[0].low == 0 and intervals[n].high == 1


@pytest.mark.oracle
def test_paired_test_rejects_a_true_null_at_its_level():
    rng = np.random.default_rng(103)
    p = [paired_test(pair[0], pair[1]).p for pair in rng.normal(size=(RUNS, 2, 8))]
    assert abs(np.mean(np.array(p) <= 0.05) - 0.05) < _tolerance(0.05)


@pytest.mark.oracle
def test_equivalence_at_the_edge_of_the_margin():
    """With the true difference on the margin, equivalence is claimed at the test's own level; inside, nearly always."""
    rng = np.random.default_rng(104)
    edge = [equivalence_test(x, 0.0, margin=1.0).p for x in rng.normal(1.0, 0.5, (RUNS, 12))]
    assert abs(np.mean(np.array(edge) <= 0.05) - 0.05) < _tolerance(0.05)
    inside = [equivalence_test(x, 0.0, margin=1.0).p for x in rng.normal(0.0, 0.5, (200, 12))]
    assert np.mean(np.array(inside) <= 0.05) > 0.95


def test_a_large_p_is_not_equivalence():
    a, b = [0.0, 10.0, -10.0, 5.0], [1.0, 0.0, 0.0, 0.0]
    assert paired_test(a, b).p > 0.5
    assert equivalence_test(a, b, margin=1.0).p > 0.3


@pytest.mark.oracle
def test_minimum_detectable_effect_is_found_with_its_power():
    n, sd, power = 9, 2.5, 0.8
    effect = minimum_detectable_effect(sd, n, power=power)
    rng = np.random.default_rng(105)
    found = np.mean([paired_test(x, 0.0).p <= 0.05 for x in rng.normal(effect, sd, (RUNS, n))])
    assert abs(found - power) < _tolerance(power)
    assert minimum_detectable_effect(2 * sd, n) == pytest.approx(2 * effect)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.99])
def test_minimum_detectable_effect_of_few_samples(n, power):
    effect = minimum_detectable_effect(1.0, n, power=power)
    critical, spread = scipy_stats.t.ppf(0.975, n - 1), scipy_stats.chi(n - 1, scale=1 / np.sqrt(n - 1))
    spreads = spread.ppf((np.arange(20_000) + 0.5) / 20_000)  # given the sample's spread, the mean is normal
    shift = effect * np.sqrt(n)
    found = scipy_stats.norm.sf(critical * spreads - shift) + scipy_stats.norm.cdf(-critical * spreads - shift)
    assert found.mean() == pytest.approx(power, abs=1e-4)


def test_minimum_detectable_effect_known_value():
    """The textbook's case: an effect of half a standard deviation needs 34 pairs for a power of 0.8."""
    assert minimum_detectable_effect(1.0, 34) < 0.5 < minimum_detectable_effect(1.0, 33)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


@pytest.mark.oracle
@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_step_down_rule_rejects(p, alpha):
    """The rule as it is stated: go up the sorted p-values while the i-th of m is at most alpha / (m - i)."""
    rejected = set()
    for i, index in enumerate(sorted(range(len(p)), key=lambda j: p[j])):
        if p[index] * (len(p) - i) > alpha:
            break
        rejected.add(index)
    assert {i for i, adjusted in enumerate(holm(p)) if adjusted <= alpha} == rejected


@pytest.mark.oracle
def test_chi_square_agrees_with_scipy_where_nothing_is_pooled():
    counts, probabilities = np.array([30, 52, 18, 100]), np.array([0.2, 0.2, 0.1, 0.5])
    fit = chi_square_fit(counts, probabilities)
    expected = scipy_stats.chisquare(counts, 200 * probabilities)
    assert (fit.statistic, fit.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (fit.cells, fit.n) == (4, 200)


@pytest.mark.oracle
def test_chi_square_pools_from_the_least_likely_up():
    fit = chi_square_fit([1, 1, 4, 44], [0.02, 0.06, 0.08, 0.84])  # expects 1, 3, 4, 42: the first three make 8
    assert fit.cells == 2
    assert fit.statistic == pytest.approx((6 - 8) ** 2 / 8 + (44 - 42) ** 2 / 42)
    # Expects 6, 6 and 8 of 20; at a least of 10 the first two make a cell, and 8 alone is too small for another.
    with pytest.raises(ValueError, match="leave 1 cell"):
        chi_square_fit([6, 6, 8], [0.3, 0.3, 0.4], min_expected=10)
    # Expects 6, 7, 7, 7, 7, 8 of 42 (least 12): 6 + 7, 7 + 7, 7 + 8.
    assert chi_square_fit([6, 7, 7, 7, 7, 8], np.array([6, 7, 7, 7, 7, 8]) / 42, min_expected=12).cells == 3


@pytest.mark.oracle
def test_chi_square_level_and_power_with_many_small_cells():
    rng = np.random.default_rng(106)
    q = rng.dirichlet(np.ones(120))
    right = [chi_square_fit(rng.multinomial(300, q), q).p for _ in range(RUNS)]
    assert abs(np.mean(np.array(right) <= 0.05) - 0.05) < _tolerance(0.05) + 0.01  # asymptotic: up to a percent
    assert max(chi_square_fit(rng.multinomial(300, q[::-1]), q).p for _ in range(20)) < 1e-6


def test_chi_square_impossible_outcome():
    fit = chi_square_fit([50, 49, 1], [0.5, 0.5, 0.0])
    assert fit.p == 0 and fit.statistic == float("inf")
    assert chi_square_fit([50, 50, 0], [0.5, 0.5, 0.0]).p == pytest.approx(1.0)


@pytest.mark.oracle
def test_distance_interval_covers_and_bounds_the_total_variation():
    """The distance is a closed form of the two laws, so the interval can be held against it."""
    rng = np.random.default_rng(112)
    p = rng.dirichlet(np.full(40, 3.0))
    q = p * np.exp(rng.normal(0, 0.2, 40))
    q /= q.sum()
    truth = float(np.sqrt((q**2 / p).sum() - 1) / 2)
    assert np.abs(q - p).sum() / 2 < truth
    runs = 400
    intervals = [distance_interval(rng.multinomial(5000, q), p, level=0.9) for _ in range(runs)]
    covered = np.mean([_holds(i, truth) for i in intervals])
    assert abs(covered - 0.9) < 4.4 * np.sqrt(0.09 / runs) + 0.01  # the noncentral law is an approximation
    assert np.mean([i.high < truth for i in intervals]) < 0.05 + 4.4 * np.sqrt(0.05 / runs)


@pytest.mark.oracle
def test_distance_interval_of_the_right_law_reaches_zero_and_shrinks():
    rng = np.random.default_rng(113)
    p = rng.dirichlet(np.full(120, 3.0))
    few, many = ([distance_interval(rng.multinomial(n, p), p) for _ in range(200)] for n in (2_000, 200_000))
    assert np.mean([i.low == 0 for i in few]) > 0.92 and np.mean([i.low == 0 for i in many]) > 0.92
    assert np.mean([i.high for i in many]) == pytest.approx(np.mean([i.high for i in few]) / 10, rel=0.15)
    assert all(i.low <= i.value <= i.high for i in few)
    # However well the counts fit, the interval stays as wide as what so few counts can tell.
    assert min(i.high for i in few) > 0.8 * np.median([i.high for i in few])
    assert distance_interval([250, 250, 250, 250], [0.25] * 4).high > 0.03
    wrong = distance_interval(rng.multinomial(2_000, p[::-1]), p)
    assert wrong.low > 0.2


def test_distance_interval_of_an_impossible_outcome_is_infinite():
    assert distance_interval([50, 49, 1], [0.5, 0.5, 0.0]).low == float("inf")


@pytest.mark.oracle
def test_bootstrap_groups_covers_a_ratio_of_means():
    rng = np.random.default_rng(114)
    runs, truth = 400, 4.0

    def ratio(a, b, axis):
        return np.mean(a, axis) / np.mean(b, axis)

    intervals = [
        bootstrap_groups([rng.gamma(4, 1, 60), rng.gamma(2, 0.5, 40)], ratio, generator=rng, resamples=400)
        for _ in range(runs)
    ]
    assert 0.88 < np.mean([_holds(i, truth) for i in intervals]) < 0.995
    assert intervals[0].n == 100


@pytest.mark.oracle
def test_growth_exponent_finds_a_power_law():
    rng = np.random.default_rng(115)
    x = np.array([10.0, 100.0, 1000.0])
    noisy = [growth_exponent(x, [s**0.7 * rng.gamma(9, 1, 40) for s in x], generator=rng) for _ in range(200)]
    assert 0.88 < np.mean([_holds(i, 0.7) for i in noisy]) < 0.995
    # Least squares by hand, with a centre that is not the mean.
    groups = [[1.0, 2.0, 9.0], [3.0, 4.0, 5.0, 90.0], [8.0, 8.0]]
    slope = np.polyfit(np.log(x), np.log([2.0, 4.5, 8.0]), 1)[0]
    assert growth_exponent(x, groups, center=np.median, generator=rng).value == pytest.approx(slope)


def test_bootstrap_of_equal_observations_has_no_width():
    interval = bootstrap_interval([2.0] * 10, generator=np.random.default_rng(107))
    assert (interval.low, interval.value, interval.high) == (2.0, 2.0, 2.0)


def test_bootstrap_reaches_its_own_estimate():
    """The maximum lies at the end of its bootstrap law; the interval must still hold it."""
    interval = bootstrap_interval(
        np.random.default_rng(108).normal(size=30), np.max, generator=np.random.default_rng(109)
    )
    assert interval.low <= interval.value <= interval.high


def test_bootstrap_is_a_function_of_its_generator():
    x = np.arange(12.0)
    one, two, other = (bootstrap_interval(x, generator=np.random.default_rng(s)) for s in (110, 110, 111))
    assert one == two != other


@pytest.mark.oracle
def test_tensors_are_samples_too():
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    assert mean_interval(x) == mean_interval([1.0, 2.0, 4.0])
    assert paired_test(x, x - torch.tensor([1.0, 1.5, 1.0])).value == pytest.approx(3.5 / 3)


def test_no_difference_at_all():
    assert paired_test([1.0, 2.0], [1.0, 2.0]).p == 1.0
    assert equivalence_test([1.0, 2.0], [1.0, 2.0], margin=0.1).p == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0]), "x must be a vector of at least two"),
        (lambda: mean_interval([[1.0, 2.0]]), "x must be a vector"),
        (lambda: mean_interval([1.0, float("nan"), 2.0]), "x must be finite; 1 of 3"),
        (lambda: mean_interval([1.0, 2.0], level=95), "level must lie in"),
        (lambda: bootstrap_interval([1.0, 2.0], generator=np.random.default_rng(100), resamples=0), "resamples"),
        (lambda: bootstrap_groups([], np.mean, generator=np.random.default_rng(100)), "at least one sample"),
        (lambda: bootstrap_groups([[1.0, 2.0], [1.0]], np.mean, generator=np.random.default_rng(100)), r"groups\[1\]"),
        (lambda: growth_exponent([1, 2], [[1.0, 2.0]], generator=np.random.default_rng(100)), "2 sizes and 1 groups"),
        (
            lambda: growth_exponent([2, 2], [[1, 2], [1, 2]], generator=np.random.default_rng(100)),
            "two different sizes",
        ),
        (lambda: growth_exponent([1, 2], [[1, 2], [0, 2]], generator=np.random.default_rng(100)), "have a logarithm"),
        (lambda: distance_interval([10, 20], [0.5, 0.5], level=1.0), "level must lie in"),
        (lambda: proportion_interval(1, 0), "n must be at least 1"),
        (lambda: proportion_interval(3, 2), "successes must lie in"),
        (lambda: paired_test([1.0, 2.0], [1.0, 2.0, 3.0]), "2 and 3 observations"),
        (lambda: paired_test([1.0, 2.0], [0.5, 1.5]), "all 2 differences are 0.5"),
        (lambda: paired_test([1.0, 2.0], [0.0, 1.5], alternative="bigger"), "alternative must be"),
        (lambda: equivalence_test([1.0, 2.0], 1.0, margin=0), "margin must be"),
        (lambda: holm([0.5, 1.5]), "p must be a vector"),
        (lambda: minimum_detectable_effect(0.0, 5), "sd must be"),
        (lambda: minimum_detectable_effect(1.0, 1), "n must be at least 2"),
        (lambda: minimum_detectable_effect(1.0, 5, power=0.01), "power must lie between"),
        (lambda: chi_square_fit([1, 2], [1.0]), "vectors of one length"),
        (lambda: chi_square_fit([1.5, 2], [0.5, 0.5]), "whole numbers"),
        (lambda: chi_square_fit([0, 0], [0.5, 0.5]), "counted"),
        (lambda: chi_square_fit([10, 20], [0.5, 0.4]), "sum to 1"),
        (lambda: chi_square_fit([2, 3], [0.5, 0.5]), "too few counts"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high
