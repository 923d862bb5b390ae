"""Ranks and their tests against numbers worked out by hand, published tables and brute force."""

import itertools

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from selectlib.stats import RankTest, rank_test

matplotlib.use("Agg")

# Ranks within the blocks: 1 2 3 4, 1 2.5 2.5 4, 2 1 3 4, 1 2 4 3.
SCORES = [[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.8, 0.1], [0.5, 0.7, 0.4, 0.3], [9.0, 5.0, 1.0, 2.0]]
NAMES = ["a", "b", "c", "d"]


@pytest.mark.oracle
def test_ranks_worked_out_by_hand():
    result = rank_test(np.array(SCORES), NAMES)
    assert result.names == ("a", "b", "c", "d")
    assert result.mean_ranks == (1.25, 1.875, 3.125, 3.75)
    assert result.n == 4
    # Friedman: 12 b / (c (c + 1)) sum (R - 2.5)^2 = 9.375, over 1 - sum (t^3 - t) / (b (c^3 - c)) = 1 - 6 / 240.
    assert result.p == pytest.approx(stats.chi2.sf(9.375 / 0.975, 3))
    assert result.agreement == pytest.approx(9.375 / 0.975 / 12)
    # q = 2.569 times sqrt(4 * 5 / (6 * 4)) is 2.345: only a and d, at 2.5, are further apart.
    assert result.critical_difference == pytest.approx(2.345, abs=1e-3)
    assert result.groups == (("a", "b", "c"), ("b", "c", "d"))


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("level", "published"),
    [
        (0.95, {3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}),
        (0.90, {3: 2.052, 4: 2.291, 5: 2.459, 6: 2.589, 7: 2.693, 8: 2.780, 9: 2.855, 10: 2.920}),
    ],
)
def test_critical_values_are_those_of_demsars_table(level, published):
    for c, q in published.items():
        scores = np.random.default_rng(100).normal(size=(12, c))
        difference = rank_test(scores, [str(i) for i in range(c)], level=level).critical_difference
        assert difference == pytest.approx(q * np.sqrt(c * (c + 1) / 72), abs=2e-3)


@pytest.mark.oracle
@settings(deadline=None, max_examples=60)
@given(st.integers(2, 30), st.integers(3, 9), st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_groups_are_the_longest_runs_without_a_difference(b, c, seed, spread):
    scores = np.random.default_rng(seed).normal(size=(b, c)).round(1) + spread * np.arange(c)
    result = rank_test(scores, [f"n{i}" for i in range(c)])
    rank = dict(zip(result.names, result.mean_ranks, strict=True))
    assert list(result.mean_ranks) == sorted(result.mean_ranks)
    together = [set(group) for group in result.groups]
    for first, second in itertools.combinations(result.names, 2):
        same = abs(rank[first] - rank[second]) <= result.critical_difference
        assert any({first, second} <= group for group in together) == same
    assert not any(one < other for one in together for other in together)


@pytest.mark.oracle
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_only_the_order_within_a_block_counts(seed):
    draws = np.random.default_rng(seed)
    scores = draws.normal(size=(7, 5)).round(1)
    columns, blocks = draws.permutation(5), draws.permutation(7)
    other = np.exp(scores * draws.uniform(1, 2, size=(7, 1)) + draws.normal(size=(7, 1)))[blocks][:, columns]
    names = np.array(list("abcde"))
    first, second = rank_test(scores, list(names)), rank_test(other, list(names[columns]))
    rank = dict(zip(second.names, second.mean_ranks, strict=True))
    assert [rank[name] for name in first.names] == pytest.approx(first.mean_ranks)
    assert first.p == pytest.approx(second.p)


@pytest.mark.oracle
def test_no_difference_is_seldom_called_one():
    draws, names = np.random.default_rng(100), [str(i) for i in range(6)]
    results = [rank_test(draws.random((20, 6)), names) for _ in range(200)]
    for alarms in (sum(r.p < 0.05 for r in results), sum(r.groups != (r.names,) for r in results)):
        assert 1 <= alarms <= 23  # of 200 at 5 %: beyond these with a probability below 1e-3


def test_blocks_that_are_all_tied():
    result = rank_test(np.full((3, 4), 0.5), NAMES)
    assert (result.p, result.agreement, result.groups) == (1.0, 0.0, (tuple(NAMES),))
    assert result.mean_ranks == (2.5, 2.5, 2.5, 2.5)


def test_blocks_that_all_agree():
    result = rank_test(torch.arange(12.0).view(4, 3), ["worst", "middle", "best"])
    assert result.names == ("best", "middle", "worst")
    assert result.agreement == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("scores", "names", "message"),
    [
        (np.ones((1, 4)), NAMES, r"at least 2 blocks of at least 3 competitors; got shape \(1, 4\)"),
        (np.ones((5, 2)), NAMES[:2], r"got shape \(5, 2\)"),
        (np.ones(4), NAMES, r"got shape \(4,\)"),
        (np.ones((5, 4)), NAMES[:3], "names must be 4 different names"),
        (np.ones((5, 4)), ["a", "b", "a", "d"], "names must be 4 different names"),
        (np.array([[1.0, 2.0, np.nan], [1.0, 2.0, 3.0]]), NAMES[:3], "scores must be finite; 1 of 6 are not"),
    ],
)
def test_errors(scores, names, message):
    with pytest.raises(ValueError, match=message):
        rank_test(scores, names)


def test_level_must_be_a_fraction():
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\); got 95"):
        rank_test(np.array(SCORES), NAMES, level=95)


def test_the_picture_shows_ranks_and_differences():
    result = rank_test(np.array(SCORES), NAMES)
    halves = {"first": rank_test(np.array(SCORES[:2]), NAMES), "last": rank_test(np.array(SCORES[2:]), NAMES)}
    ax = result.plot(parts=halves)
    assert [label.get_text() for label in ax.get_yticklabels()] == NAMES
    assert ax.yaxis_inverted()  # the best on top
    drawn = {line.get_label(): line.get_xdata() for line in ax.lines}
    assert list(drawn["all"]) == list(result.mean_ranks)
    assert list(drawn["last"]) == [1.5, 1.5, 3.5, 3.5]
    ends = np.array([bar[:, 0] for bar in ax.collections[0].get_segments()])
    assert np.diff(ends) == pytest.approx(result.critical_difference)
    overlap = {(i, j): ends[j, 0] <= ends[i, 1] for i, j in itertools.combinations(range(4), 2)}
    assert [pair for pair, meets in overlap.items() if not meets] == [(0, 3)]


def test_the_picture_uses_the_axes_that_it_is_given():
    import matplotlib.pyplot as plt

    ax = plt.subplots()[1]
    assert rank_test(np.array(SCORES), NAMES).plot(ax) is ax
    assert ax.get_legend() is None
    plt.close("all")


def test_parts_must_have_the_same_competitors():
    result = rank_test(np.array(SCORES), NAMES)
    with pytest.raises(ValueError, match="part 'x' must have the competitors a, b, c, d"):
        result.plot(parts={"x": rank_test(np.array(SCORES), ["a", "b", "c", "e"])})
    with pytest.raises(ValueError, match="parts must be at most 10; got 11"):
        result.plot(parts={str(i): result for i in range(11)})


def test_a_result_is_plain_values():
    result = rank_test(torch.tensor(SCORES), NAMES)
    assert isinstance(result, RankTest)
    for value in (result.p, result.agreement, result.critical_difference, *result.mean_ranks):
        assert type(value) is float
