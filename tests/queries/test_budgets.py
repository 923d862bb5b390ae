"""How many labels each round asks for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selectlib.queries import round_sizes

# Images in the official list files, and labels a round.
OFFICIAL = {2817: 29, 498: 5, 795: 8, 2427: 25, 4365: 44, 4439: 45, 4357: 44, 55388: 554}


@pytest.mark.oracle
@pytest.mark.parametrize(("n_total", "each"), OFFICIAL.items())
def test_official_rounds_have_the_counts_of_the_official_code(n_total, each):
    assert round_sizes(n_total, rounding="official") == [each] * 5


@pytest.mark.oracle
@pytest.mark.parametrize("n_total", OFFICIAL)
def test_exact_rounds_spend_the_budget_to_the_label(n_total):
    assert sum(round_sizes(n_total)) == n_total // 20


@pytest.mark.oracle
@given(st.integers(1, 10**6), st.integers(1, 100), st.integers(1, 30))
def test_exact_rounds_differ_by_one_at_most_the_larger_first(n_total, percent, rounds):
    labels = n_total * percent // 100
    if labels < rounds:
        with pytest.raises(ValueError, match="buy a label each round"):
            round_sizes(n_total, budget=percent / 100, rounds=rounds)
        return
    sizes = round_sizes(n_total, budget=percent / 100, rounds=rounds)
    assert sum(sizes) == labels and len(sizes) == rounds
    assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1


@pytest.mark.oracle
@given(st.integers(5, 10**6), st.integers(1, 100))
def test_official_rounds_are_nested_ceilings(n_total, percent):
    """One in a hundred of the target is 1/alpha1 in a hundred of the share that the first step keeps."""
    kept = -(-n_total * percent // 100)
    assert round_sizes(n_total, rounding="official", alpha1=percent / 100) == [-(-kept // percent)] * 5


def test_products_are_not_cut_by_rounding_errors():
    assert 0.29 * 100 < 29  # what a plain floor would cut
    assert sum(round_sizes(100, budget=0.29, rounds=1)) == 29
    assert math.ceil(0.07 * 100) == 8  # what a plain ceiling would add
    assert round_sizes(100, budget=0.07, rounds=1, rounding="official", alpha1=1.0) == [7]


def test_no_rounds_ask_for_nothing():
    assert round_sizes(100, rounds=0) == []


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"n_total": 0}, ValueError, "n_total must be at least 1, got 0"),
        ({"n_total": 10.0}, TypeError, "n_total must be an int, got float"),
        ({"rounds": -1}, ValueError, "rounds must be at least 0, got -1"),
        ({"rounds": True}, TypeError, "rounds must be an int, got bool"),
        ({"budget": 0.0}, ValueError, "budget must be above 0 and at most 1, got 0.0"),
        ({"budget": 1.5}, ValueError, "budget must be above 0 and at most 1"),
        ({"alpha1": math.nan}, ValueError, "alpha1 must be above 0 and at most 1"),
        ({"rounding": "up"}, ValueError, "rounding must be one of exact, official, got 'up'"),
        ({"n_total": 80}, ValueError, "0.05 of 80 is 4 for 5"),
        ({"n_total": 4, "rounding": "official"}, ValueError, "at least the 5 labels of the official rounds, got 4"),
    ],
)
def test_bad_arguments_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        round_sizes(**{"n_total": 1000, **given})
