"""The multiplier is read off the random curve, and never from beyond its ends."""

import re
from math import exp, inf, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.corpora._multiplier import compute_multiplier
from selectlib.seeding import generator

BUDGETS = [1e6, 2e6, 4e6, 8e6]
LOSSES = [5.0, 4.6, 4.2, 4.1]


@pytest.mark.oracle
@pytest.mark.parametrize(
    "value, multiplier",
    [(5.0, 1), (4.6, 2), (4.2, 4), (4.1, 8), (4.8, 2**0.5), (4.3, 2 * 2**0.75), (4.175, 4 * 2**0.25)],
)
def test_inside_the_curve(value, multiplier):
    found = compute_multiplier(BUDGETS, LOSSES, value)
    assert found.value == pytest.approx(multiplier, rel=1e-12)
    assert (found.at_least, found.at_most, found.low, found.high) == (None, None, None, None)


@pytest.mark.oracle
@settings(deadline=None)
@given(
    drops=st.lists(st.floats(0.01, 1), min_size=1, max_size=6),
    growth=st.lists(st.floats(1.1, 10), min_size=6, max_size=6),
    place=st.floats(0, 1),
    budget=st.floats(1e3, 1e9),
)
def test_agrees_with_interpolation(drops, growth, place, budget):
    losses = 6 - np.cumsum([0, *drops])
    budgets = 1e6 * np.cumprod([1, *growth[: len(drops)]])
    value = float(losses[-1] + place * (losses[0] - losses[-1]))
    expected = exp(np.interp(-value, -losses, np.log(budgets))) / budget
    assert compute_multiplier(budgets, losses, value, budget=budget).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.oracle
def test_a_straight_line_in_the_logarithm_is_read_exactly():
    budgets = [3.0, 10.0, 100.0]
    losses = [7 - 0.3 * log(b) for b in budgets]
    assert compute_multiplier(budgets, losses, 7 - 0.3 * log(51.0), budget=17.0).value == pytest.approx(3.0)


@pytest.mark.oracle
def test_beyond_the_ends_there_are_bounds_and_no_number():
    better = compute_multiplier(BUDGETS, LOSSES, 4.0999)
    assert (better.value, better.at_least, better.at_most) == (None, 8.0, None)
    worse = compute_multiplier(BUDGETS, LOSSES, 5.0001)
    assert (worse.value, worse.at_least, worse.at_most) == (None, None, 1.0)
    assert compute_multiplier(BUDGETS, LOSSES, 3.0, budget=2e6).at_least == 4.0
    assert compute_multiplier(BUDGETS, LOSSES, 9.0, budget=2e6).at_most == 0.5
    assert compute_multiplier(BUDGETS, LOSSES, 4.8, budget=2e6).value == pytest.approx(0.5**0.5)
    assert [str(compute_multiplier(BUDGETS, LOSSES, value)) for value in (4.0, 4.8, 6.0)] == [">8", "1.41", "<1"]


@pytest.mark.oracle
def test_means_over_the_seeds_count():
    curves = np.array(LOSSES) + np.array([[0.3], [-0.1], [-0.2]])
    found = compute_multiplier(BUDGETS, curves, [4.5, 4.9, 4.4])
    assert found.value == pytest.approx(2.0)
    tensors = [torch.tensor(x, dtype=torch.float64) for x in (BUDGETS, curves, [4.5, 4.9, 4.4])]
    assert compute_multiplier(*tensors) == found


def test_where_the_curve_rises_the_smallest_budget_counts():
    assert compute_multiplier(BUDGETS, [5.0, 4.4, 4.8, 4.0], 4.6).value == pytest.approx(2 ** (2 / 3))
    assert compute_multiplier(BUDGETS, [4.5, 4.6, 4.2, 4.1], 4.55).at_most == 1.0


@pytest.mark.oracle
def test_the_interval_covers():
    """Twelve seeds of a noisy straight curve; the true multiplier is √2 · 2."""
    rng, draws = np.random.default_rng(100), generator(101)
    budgets, runs = [1.0, 2.0, 4.0, 8.0], 400
    covered, width = 0, []
    for _ in range(runs):
        curves = 5 - 0.4 * np.log2(budgets) + rng.normal(0, 0.1, (12, 4))
        found = compute_multiplier(
            budgets, curves, rng.normal(5 - 0.6, 0.1, 12), budget=1.0, resamples=300, generator=draws
        )
        assert found.low <= found.value <= found.high
        covered += found.low <= 2**1.5 <= found.high
        width.append(log(found.high / found.low))
    assert 0.86 < covered / runs < 0.99  # about 0.93; from 400 runs four standard errors are 0.05
    # The spread of the logarithm: that of the difference of two means, over the slope 0.4 / log 2.
    expected = 2 * 1.96 * np.sqrt((0.1**2 + 0.1**2 / 2) / 12) / (0.4 / log(2))
    assert np.mean(width) == pytest.approx(expected, rel=0.15)


@pytest.mark.oracle
def test_an_interval_that_leaves_the_curve_has_an_open_end():
    draws = generator(100)
    near = compute_multiplier(BUDGETS, LOSSES, [4.0, 4.05, 4.1, 4.3], generator=draws)
    assert near.value == pytest.approx(4 * 2**0.875) and near.low < near.value and near.high == inf
    beyond = compute_multiplier(BUDGETS, LOSSES, [3.0, 3.01, 3.02], generator=draws)
    assert (beyond.value, beyond.at_least, beyond.low, beyond.high) == (None, 8.0, 8.0, inf)
    worse = compute_multiplier(BUDGETS, LOSSES, [6.0, 6.01, 6.02], generator=draws)
    assert (worse.value, worse.at_most, worse.low, worse.high) == (None, 1.0, 0.0, 1.0)
    assert [str(x) for x in (beyond, worse)] == [">8 [8, inf]", "<1 [0, 1]"]


def test_resamples_are_the_generator_s():
    curves = np.array(LOSSES) + np.array([[0.3], [-0.1], [-0.2]])
    first, second, third = (
        compute_multiplier(BUDGETS, curves, [4.5, 4.9, 4.4], generator=generator(seed)) for seed in (100, 100, 101)
    )
    assert first == second and (first.low, first.high) != (third.low, third.high)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"budgets": [1.0]}, ValueError, "budgets must be two or more positive numbers, ascending"),
        ({"budgets": [1.0, 1.0]}, ValueError, "budgets must be two or more"),
        ({"budgets": [2.0, 1.0]}, ValueError, "budgets must be two or more"),
        ({"budgets": [0.0, 1.0]}, ValueError, "budgets must be two or more"),
        ({"budgets": [1.0, inf]}, ValueError, "budgets must be finite"),
        ({"losses": [1.0, 2.0, 3.0]}, ValueError, "losses must have shape (2,) or (s, 2)"),
        ({"losses": np.ones((0, 2))}, ValueError, "losses must have shape"),
        ({"losses": np.ones((2, 2, 2))}, ValueError, "losses must have shape"),
        ({"losses": [float("nan"), 1.0]}, ValueError, "losses must be finite"),
        ({"value": []}, ValueError, "value must be a number or a vector"),
        ({"value": np.ones((2, 2))}, ValueError, "value must be a number or a vector"),
        ({"value": float("nan")}, ValueError, "value must be finite"),
        ({"budget": 0.0}, ValueError, "budget must be a positive number; got 0.0"),
        ({"resamples": 0}, ValueError, "resamples must be at least 1, got 0"),
        ({"generator": np.random.default_rng(100)}, TypeError, "generator must be None or a torch.Generator"),
        ({"generator": generator(100)}, ValueError, "an interval needs two seeds or more"),
    ],
)
def test_wrong_arguments_are_refused(changes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        compute_multiplier(**({"budgets": [1.0, 2.0], "losses": [5.0, 4.0], "value": 4.5} | changes))
