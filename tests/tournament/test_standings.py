"""Scores, gains and ranks of a contest whose grades are given."""

import numpy as np
import pytest
from scipy import stats

from selectlib.tournament import Contest, Row

# setting, budget, entrant: the scores of seeds 7 and 5 and 6, in this order
GIVEN = {
    ("a", 2, "random"): (0.50, 0.60, 0.55),
    ("a", 2, "far"): (0.60, 0.62, 0.61),
    ("a", 2, "near"): (0.40, 0.61, 0.50),
    ("a", 9, "random"): (0.80, 0.90, 0.85),
    ("a", 9, "far"): (0.70, 0.95, 0.95),
    ("b", 4, "random"): (0.10, 0.20, 0.30),
    ("b", 4, "far"): (0.30, 0.30, 0.30),
    ("b", 4, "near"): (0.30, 0.10, 0.40),
    ("b", 8, "random"): (0.40, 0.40, 0.40),
    ("b", 8, "far"): (0.50, 0.60, 0.50),
    ("b", 8, "near"): (0.60, 0.50, 0.60),
}
SEEDS = (7, 5, 6)
BUDGETS = {"a": (2, 9), "b": (4, 8)}
ABSENT = {("a", 9, "near"): "k must be at most 5, got 9"}
ENTRANTS = ("random", "far", "near")


def make_rows(referees=("1-NN",), draws=1):
    return [
        Row(setting, seed, budget, entrant, draw, referee, score + 0.01 * (2 * draw - draws + 1) + 0.001 * r, 0.0)
        for s, seed in enumerate(SEEDS)
        for (setting, budget, entrant), scores in GIVEN.items()
        for draw in range(draws)
        for r, referee in enumerate(referees)
        for score in [scores[s]]
    ]


@pytest.fixture
def contest():
    return Contest(make_rows(), ENTRANTS, BUDGETS, ABSENT)


def test_scores_of_one_setting_are_in_the_order_of_the_seeds(contest):
    assert contest.scores("far", at=0, setting="a").tolist() == [0.60, 0.62, 0.61]
    assert contest.scores("far", at=-1, setting="b").tolist() == [0.50, 0.60, 0.50]


@pytest.mark.oracle
def test_scores_are_means_over_settings_and_draws(contest):
    assert contest.scores("far", at=0) == pytest.approx([0.45, 0.46, 0.455])
    drawn = Contest(make_rows(draws=3), ENTRANTS, BUDGETS, ABSENT)
    assert drawn.scores("far", at=0) == pytest.approx([0.45, 0.46, 0.455])


def test_settings_count_alike_however_many_draws_they_had(contest):
    rows = [*contest.rows, *[row._replace(draw=1) for row in contest.rows if row.setting == "a"]]
    assert Contest(rows, ENTRANTS, BUDGETS, ABSENT).scores("far", at=0) == pytest.approx([0.45, 0.46, 0.455])


def test_grades_of_referees_are_not_mixed():
    contest = Contest(make_rows(("1-NN", "linear")), ENTRANTS, BUDGETS, ABSENT)
    assert contest.referees == ("1-NN", "linear")
    for referee, more in {"1-NN": 0.0, "linear": 0.001}.items():
        found = contest.scores("far", at=0, referee=referee, setting="b")
        assert found == pytest.approx(np.array([0.3, 0.3, 0.3]) + more)
    with pytest.raises(ValueError, match="referee must be one of 1-NN, linear, got None"):
        contest.scores("far", at=0)


@pytest.mark.oracle
def test_a_gain_is_paired_and_in_points(contest):
    gain = contest.gain("near", at=0, setting="b")
    t = stats.ttest_1samp([20.0, -10.0, 10.0], 0)
    low, high = t.confidence_interval()
    assert (gain.value, gain.low, gain.high) == pytest.approx((20 / 3, low, high))
    assert (gain.p, gain.n, gain.level) == (pytest.approx(t.pvalue), 3, 0.95)
    assert contest.gain("random", "near", at=0, setting="b").value == pytest.approx(-20 / 3)


def test_gains_leave_out_who_was_absent_somewhere(contest):
    assert list(contest.gains(at=0)) == ["far", "near"]
    assert list(contest.gains("far", at=0)) == ["random", "near"]
    assert list(contest.gains(at=1)) == ["far"]
    assert list(contest.gains(at=1, setting="b")) == ["far", "near"]
    assert contest.gains(at=0)["near"] == contest.gain("near", at=0)


@pytest.mark.oracle
def test_blocks_of_ranks_are_settings_with_seeds(contest):
    result = contest.ranks(at=0)
    # In a: 2 1 3, 3 1 2, 2 1 3; in b: 3 1.5 1.5, 2 1 3, 2.5 2.5 1.
    assert result.names == ("far", "near", "random")
    assert result.mean_ranks == pytest.approx((8 / 6, 13.5 / 6, 14.5 / 6))
    assert result.n == 6
    assert contest.ranks(at=0, setting="a").mean_ranks == pytest.approx((1, 7 / 3, 8 / 3))


def test_two_are_too_few_for_ranks(contest):
    with pytest.raises(ValueError, match=r"at least 3 competitors; got shape \(6, 2\)"):
        contest.ranks(at=1)


def test_the_position_may_be_left_out_where_there_is_one():
    rows = [row for row in make_rows() if row.budget in (2, 4)]
    contest = Contest(rows, ENTRANTS, {"a": (2,), "b": (4,)}, {})
    assert (
        contest.scores("far").tolist() == contest.scores("far", at=0).tolist() == contest.scores("far", at=-1).tolist()
    )


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"entrant": "margin", "at": 0}, ValueError, "entrant must be one of random, far, near, got 'margin'"),
        ({"at": 0, "setting": "c"}, ValueError, "setting must be one of a, b, got 'c'"),
        ({"at": 0, "referee": "linear"}, ValueError, "referee must be one of 1-NN, got 'linear'"),
        ({}, ValueError, "at must say which of the 2 budgets is meant, from 0 to 1"),
        ({"at": 2}, ValueError, "at must be from -2 to 1, got 2"),
        ({"at": 0.5}, TypeError, "at must be an int, got float"),
        (
            {"entrant": "near", "at": 1},
            ValueError,
            "near was absent from 'a' at a budget of 9: k must be at most 5, got 9",
        ),
    ],
)
def test_errors(contest, asked, error, message):
    with pytest.raises(error, match=message):
        contest.scores(**{"entrant": "far"} | asked)


def test_settings_with_other_seeds_are_not_averaged(contest):
    rows = [row for row in contest.rows if (row.setting, row.seed) != ("b", 6)]
    contest = Contest(rows, ENTRANTS, BUDGETS, ABSENT)
    with pytest.raises(ValueError, match="setting must be given: 'b' was not graded on seed 6, but others were"):
        contest.scores("far", at=0)
    assert len(contest.scores("far", at=0, setting="b")) == 2


def test_a_referee_may_grade_some_budgets_only(contest):
    rows = [*contest.rows, *[row._replace(referee="network") for row in contest.rows if row.budget in (2, 4)]]
    contest = Contest(rows, ENTRANTS, BUDGETS, ABSENT)
    assert len(contest.scores("far", at=0, referee="network")) == 3
    with pytest.raises(ValueError, match="far got no grade 'network' in 'a' at this budget"):
        contest.scores("far", at=1, referee="network")
