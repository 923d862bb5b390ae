"""A contest is paired, repeatable, and goes on after an interrupt; its referees learn from the chosen alone."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selectlib.pool import Pool, Random
from selectlib.seeding import generator
from selectlib.tournament import Job, Row, compare_selectors, referee_of

N = 20
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


class Fixed:
    """The first k of a list of indices; notes what it was asked."""

    needs = frozenset()

    def __init__(self, indices=range(N)):
        self.indices, self.calls = torch.tensor(list(indices)), []

    def select(self, pool, k, *, generator):
        draw = torch.rand(1, generator=generator, device=pool.device)
        self.calls.append((pool, k, draw.item()))
        return self.indices[:k].to(pool.device)


class Referee:
    """Grades by the mean index, and by nothing but its draws; notes what it was given."""

    def __init__(self, interrupt_at=None):
        self.calls, self.interrupt_at = [], interrupt_at

    def __call__(self, chosen, generator):
        if len(self.calls) + 1 == self.interrupt_at:
            raise KeyboardInterrupt
        luck = torch.rand(1, generator=generator).item()
        self.calls.append((chosen, luck))
        return {"late": chosen.double().mean() / (N - 1), "luck": luck}


class Only:
    """Can do some budgets and no others."""

    needs = frozenset()

    def __init__(self, largest):
        self.largest = largest

    def select(self, pool, k, *, generator):
        if k > self.largest:
            raise ValueError(f"k must be at most {self.largest}, got {k}")
        return torch.arange(k)


class NeedsLogits(Fixed):
    needs = frozenset({"logits"})


def make_jobs(referee=None, settings=("a", "b"), seeds=(100, 101), device="cpu"):
    def pool(seed):
        return Pool(torch.rand(N, 2, generator=generator(seed)).to(device))

    return [Job(name, pool(seed), referee or Referee(), seed) for seed in seeds for name in settings]


def compare(entrants=None, jobs=None, budgets=(2, 5), **options):
    entrants = {"random": Random(), "first": Fixed()} if entrants is None else entrants
    return compare_selectors(entrants, make_jobs() if jobs is None else jobs, budgets, **{"seed": 100} | options)


def graded(contest):
    """All but the times, in no order."""
    return sorted(row._replace(seconds=0.0) for row in contest.rows)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_a_contest_made_by_hand(device):
    contest = compare({"first": Fixed(), "last": Fixed(reversed(range(N)))}, make_jobs(device=device))
    rows = [row._replace(seconds=0.0) for row in contest.rows if row.referee == "late"]
    mean = {("first", 2): 0.5, ("first", 5): 2.0, ("last", 2): 18.5, ("last", 5): 17.0}
    assert rows == [
        Row(setting, seed, budget, entrant, 0, "late", pytest.approx(mean[entrant, budget] / 19), 0.0)
        for seed in (100, 101)
        for setting in "ab"
        for entrant in ("first", "last")
        for budget in (2, 5)
    ]
    assert all(row.seconds >= 0 for row in contest.rows)
    assert (contest.entrants, contest.settings, contest.referees) == (("first", "last"), ("a", "b"), ("late", "luck"))
    assert (contest.budgets, contest.absent) == ({"a": (2, 5), "b": (2, 5)}, {})


@pytest.mark.oracle
def test_all_is_paired():
    referee, one, other = Referee(), Fixed(), Fixed(reversed(range(N)))
    compare({"one": one, "other": other}, make_jobs(referee), draws=3)
    assert len(one.calls) == 2 * 2 * 2 * 3
    assert [(id(pool), k, draw) for pool, k, draw in one.calls] == [(id(p), k, draw) for p, k, draw in other.calls]
    luck = {len(chosen): [] for chosen, _ in referee.calls}
    for who, first in {"one": {0, 1}, "other": {19, 18}}.items():
        mine = [draw for chosen, draw in referee.calls if set(chosen[:2].tolist()) == first]
        assert len(set(mine)) == 24  # each job, budget and draw has its own
        luck[who] = mine
    assert luck["one"] == luck["other"]
    assert len({draw for _, _, draw in one.calls} | set(luck["one"])) == 48


def test_grades_depend_neither_on_order_nor_on_company():
    whole = compare({"random": Random(), "first": Fixed(), "logits": NeedsLogits()}, draws=2)
    parts = [
        compare({"first": Fixed(), "random": Random()}, make_jobs(settings="ba", seeds=(101,)), [5], draws=2),
        compare({"random": Random()}, make_jobs(settings="ab", seeds=(100,)), [2], draws=1),
    ]
    for part in parts:
        assert set(graded(part)) < set(graded(whole))


def test_the_seed_counts():
    assert graded(compare()) == graded(compare())
    one, other = ({row[:6]: row.score for row in compare(seed=seed).rows} for seed in (100, 101))
    assert one.keys() == other.keys()
    differ = {key[3:6:2] for key in one if one[key] != other[key]}
    assert differ == {("random", "late"), ("random", "luck"), ("first", "luck")}


def test_budgets_of_each_setting():
    contest = compare(budgets={"b": [3, 20], "a": [1, 2]})
    assert contest.budgets == {"a": (1, 2), "b": (3, 20)}
    assert {(row.setting, row.budget) for row in contest.rows} == {("a", 1), ("a", 2), ("b", 3), ("b", 20)}


def test_an_entrant_may_be_made_for_the_job():
    made = []

    def make(job):
        made.append((job.name, job.seed, Fixed([job.seed - 100, 5, 6, 7, 8])))
        return made[-1][2]

    contest = compare({"made": make})
    assert [who[:2] for who in made] == [("a", 100), ("b", 100), ("a", 101), ("b", 101)]  # once for both budgets
    score = {(row.seed, row.budget): row.score for row in contest.rows if row.referee == "late"}
    assert score[101, 2] == pytest.approx(3 / 19)


def test_who_cannot_choose_is_absent_with_the_reason():
    contest = compare({"first": Fixed(), "logits": NeedsLogits(), "small": Only(2), "made": lambda job: Only(4)})
    reasons = {"small": "k must be at most 2, got 5", "made": "k must be at most 4, got 5"}
    assert contest.absent == {
        **{(setting, k, "logits"): "the pool has no logits" for setting in "ab" for k in (2, 5)},
        **{(setting, 5, name): reason for setting in "ab" for name, reason in reasons.items()},
    }
    assert {row.budget for row in contest.rows if row.entrant == "small"} == {2}
    assert "logits" not in {row.entrant for row in contest.rows}


class Returns:
    needs = frozenset()

    def __init__(self, value):
        self.value = value

    def select(self, pool, k, *, generator):
        return self.value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.tensor([3, 3]), "must return 2 distinct indices, got 1"),
        (torch.tensor([3]), r"must return 2 distinct indices of int64, got torch.int64 of shape \(1,\)"),
        (torch.tensor([3, N]), "must return 2 distinct indices of the pool's 20 items, got indices from 3 to 20"),
        (torch.tensor([-1, 3]), "got indices from -1 to 3"),
        (torch.tensor([0.0, 1.0]), "of int64, got torch.float32"),
        ([0, 1], "as a tensor, got list"),
    ],
)
def test_a_wrong_choice_is_an_error_that_says_whose_and_where(value, message):
    with pytest.raises(ValueError, match=f"entrant 'odd' .*{message}") as caught:
        compare({"odd": Returns(value)}, budgets=[2])
    assert caught.value.__notes__ == ["while comparing entrant 'odd' in setting 'a', seed 100, budget 2, draw 0"]


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (0.5, TypeError, "a referee must return a mapping from names to shares, got 0.5"),
        ({}, TypeError, "got {}"),
        ({"late": 83.0}, ValueError, "a referee must return shares from 0 to 1, got 83.0 for 'late'"),
        ({"late": float("nan")}, ValueError, "got nan for 'late'"),
    ],
)
def test_a_referee_returns_shares(returned, error, message):
    with pytest.raises(error, match=message) as caught:
        compare(jobs=make_jobs(lambda chosen, generator: returned))
    assert "entrant 'random' in setting 'a', seed 100" in caught.value.__notes__[0]


def test_a_value_error_of_a_referee_is_no_absence():
    def referee(chosen, generator):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        compare(jobs=make_jobs(referee))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"entrants": {}}, ValueError, "entrants must hold at least one, got none"),
        ({"entrants": [Random()]}, TypeError, "entrants must be a mapping from names, got list"),
        ({"entrants": {"random": Random}}, TypeError, "entrant 'random' must be a selector such as Random()"),
        ({"entrants": {"random": 3}}, TypeError, "entrant 'random' must be a selector such as Random()"),
        ({"jobs": []}, ValueError, "jobs must hold at least one, got none"),
        ({"jobs": ["a"]}, TypeError, "jobs must hold Jobs, got str"),
        ({"jobs": make_jobs() + make_jobs()}, ValueError, "jobs must differ in name or seed, got 'a' with seed 100"),
        ({"budgets": []}, ValueError, "budgets must hold at least one, got none"),
        ({"budgets": [0]}, ValueError, "budgets of 'a' must be from 1 to 20, got 0"),
        ({"budgets": [21]}, ValueError, "budgets of 'a' must be from 1 to 20, got 21"),
        ({"budgets": [0.5]}, TypeError, "budgets of 'a' must be an int, got float"),
        ({"budgets": [5, 2]}, ValueError, r"budgets of 'a' must be at least one, and increase, got \[5, 2\]"),
        ({"budgets": {"a": [2]}}, ValueError, "budgets must have the settings a, b, got a"),
        ({"budgets": {"a": [2], "b": [2, 5]}}, ValueError, "equally many in all settings, got 1 of 'a', 2 of 'b'"),
        ({"budgets": {"a": [], "b": []}}, ValueError, "budgets of 'a' must be at least one"),
        ({"draws": 0}, ValueError, "draws must be at least 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be from 0 to 4294967295, got -1"),
        ({"checkpoint": "/nowhere/at/all.json"}, ValueError, "checkpoint must be in a folder that is there"),
    ],
)
def test_errors_come_before_any_work(changed, error, message):
    referee = Referee()
    with pytest.raises(error, match=message.replace("()", r"\(\)")):
        compare(**{"jobs": make_jobs(referee)} | changed)
    assert referee.calls == []


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"name": ""}, ValueError, "name must not be empty"),
        ({"name": 1}, TypeError, "name must be a str, got int"),
        ({"pool": torch.eye(3)}, TypeError, "pool must be a selectlib.pool.Pool, got Tensor"),
        ({"referee": 0.5}, TypeError, "referee must be callable, got float"),
        ({"seed": 2**32}, ValueError, "seed must be from 0 to 4294967295"),
        ({"n_classes": 0}, ValueError, "n_classes must be at least 1, got 0"),
    ],
)
def test_errors_of_a_job(changed, error, message):
    with pytest.raises(error, match=message):
        Job(**{"name": "a", "pool": Pool(torch.eye(3)), "referee": Referee(), "seed": 100} | changed)


@pytest.mark.parametrize("at", [1, 4, 8])
def test_an_interrupt_loses_no_grade(tmp_path, at):
    path = tmp_path / "rows.json"
    entrants = {"random": Random(), "small": Only(2), "logits": NeedsLogits()}
    whole = compare(entrants, make_jobs())
    with pytest.raises(KeyboardInterrupt):
        compare(entrants, make_jobs(Referee(interrupt_at=at)), checkpoint=path)
    assert len(json.loads(path.read_text())["rows"]) == at - 1
    rest = Referee()
    contest = compare(entrants, make_jobs(rest), checkpoint=path)
    assert [row[:7] for row in contest.rows] == [row[:7] for row in whole.rows]
    assert contest.absent == whole.absent
    assert len(rest.calls) == 12 - (at - 1)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.json"]


def test_a_contest_can_grow(tmp_path):
    path = tmp_path / "rows.json"
    small = compare({"random": Random()}, make_jobs(seeds=(101,)), [5], checkpoint=path)
    referee = Referee()
    assert graded(compare(jobs=make_jobs(referee), draws=2, checkpoint=path)) == graded(compare(draws=2))
    assert len(referee.calls) == 2 * 2 * 2 * 2 * 2 - 2
    again = compare({"random": Random()}, make_jobs(seeds=(101,)), [5], checkpoint=path)
    assert again.rows == small.rows  # the times too: only what is asked for, and nothing anew


def test_a_job_whose_pool_changed_is_graded_anew(tmp_path):
    path, referee = tmp_path / "rows.json", Referee()
    compare(checkpoint=path)
    one = Job("a", Pool(torch.zeros(N, 2)), referee, 100)
    compare(jobs=[one, *make_jobs(referee)[1:]], checkpoint=path)
    assert len(referee.calls) == 4


def test_a_checkpoint_of_another_seed_is_refused(tmp_path):
    path = tmp_path / "rows.json"
    compare(checkpoint=path)
    before = path.read_text()
    with pytest.raises(ValueError, match="is of a comparison with other seed"):
        compare(checkpoint=path, seed=101)
    assert path.read_text() == before


def test_progress_wraps_the_turns():
    seen = []

    def progress(turns):
        seen.append(len(turns))
        return turns

    compare(progress=progress)
    assert seen == [2 * 2 * 2]


# Referees of scikit-learn: two classes on a line, the border at 0.5.
X = torch.linspace(0, 1, 21)[:, None]
Y = (X[:, 0] > 0.5).long()
MODELS = {"1-NN": KNeighborsClassifier(1), "centroid": NearestCentroid()}


def grades(estimators, chosen, seed=100, **options):
    return referee_of(estimators, X, Y, X, Y, **options)(torch.tensor(chosen), generator(seed))


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_grades_worked_out_by_hand(device):
    x, y = X.to(device), Y.to(device)
    referee = referee_of(MODELS, x, y, x, y)
    near = referee(torch.tensor([0, 15], device=device), generator(100))  # parted at 7.5: 8, 9 and 10 are wrong
    assert near == dict.fromkeys(MODELS, 18 / 21)
    far = referee(torch.tensor([0, 3, 16], device=device), generator(100))  # parted at 9.5, and at 8.75
    assert far == {"1-NN": 20 / 21, "centroid": 19 / 21}


@pytest.mark.oracle
def test_a_choice_of_one_class_predicts_that_class():
    models = MODELS | {"logistic": LogisticRegression()}
    assert grades(models, [0, 1, 2]) == dict.fromkeys(models, 11 / 21)
    assert grades(models, [20]) == dict.fromkeys(models, 10 / 21)


@pytest.mark.oracle
def test_extra_items_are_learnt_from():
    extra = (X[[0, 13]], Y[[0, 13]], 1)
    assert grades(MODELS, [1, 2], extra=extra)["1-NN"] == grades(MODELS, [0, 1, 2, 13])["1-NN"] < 1
    twice = {"logistic": LogisticRegression(C=10.0, tol=1e-8)}
    weighed = grades(twice, [3, 12], extra=(X[[0, 13, 13]], 1 - Y[[0, 13, 13]], 2))
    repeated = grades(twice, [3, 12], extra=(X[[0, 13, 13, 0, 13, 13]], 1 - Y[[0, 13, 13, 0, 13, 13]], 1.0))
    assert weighed == repeated != grades(twice, [3, 12])


def test_every_random_state_comes_from_the_generator():
    models = {"alone": Perceptron(), "in a pipeline": make_pipeline(StandardScaler(), Perceptron())}
    noisy = torch.rand(200, 5, generator=generator(100))
    labels = (noisy[:, 0] + 0.5 * torch.rand(200, generator=generator(101)) > 0.7).long()
    referee = referee_of(models, noisy, labels, noisy, labels)
    chosen = torch.arange(60)
    for name in models:
        found = [referee(chosen, generator(seed))[name] for seed in (100, 100, 101, 102, 103)]
        assert found[0] == found[1]
        assert len(set(found)) > 1
    assert models["alone"].random_state == 0  # as it was
    assert not hasattr(models["alone"], "coef_")


def test_numpy_arrays_are_taken_too():
    x, y = X.numpy(), Y.numpy()
    referee = referee_of(MODELS, x, y, x, y, extra=(np.zeros((1, 1), np.float32), np.zeros(1, np.int64), 1))
    assert referee(torch.tensor([13]), generator(100))["1-NN"] == 17 / 21


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"estimators": [NearestCentroid()]}, TypeError, "estimators must be a mapping from names, got list"),
        ({"estimators": {}}, ValueError, "estimators must hold at least one, got none"),
        ({"estimators": {"x": NearestCentroid}}, TypeError, "must hold classifiers of scikit-learn, got <class"),
        ({"estimators": {"x": StandardScaler()}}, TypeError, "got StandardScaler.. for 'x'"),
        ({"X": Y}, ValueError, r"X must be 2-D \(items, width\), got shape \(21,\)"),
        ({"y": Y[1:]}, ValueError, r"y must have shape \(21,\) as X has that many rows, got \(20,\)"),
        ({"y_test": X}, ValueError, r"y_test must have shape \(21,\)"),
        ({"X_test": X.repeat(1, 2)}, ValueError, "X_test must have the width of X, 1, got 2"),
        ({"X_test": X[:0], "y_test": Y[:0]}, ValueError, "X_test must hold at least one item, got none"),
        ({"extra": (X.repeat(1, 2), Y, 1)}, ValueError, r"extra\[0\] must have the width of X, 1, got 2"),
        ({"extra": (X, Y[1:], 1)}, ValueError, r"extra\[1\] must have shape \(21,\)"),
        ({"extra": (X, Y, 0.0)}, ValueError, r"extra\[2\] must be a finite positive number, got 0.0"),
        ({"extra": (X, Y, 0.5)}, ValueError, r"extra\[2\] must be 1, as '1-NN' takes no sample_weight, got 0.5"),
    ],
)
def test_errors_of_a_referee(changed, error, message):
    given = {"estimators": {"1-NN": KNeighborsClassifier(1)}, "X": X, "y": Y, "X_test": X, "y_test": Y} | changed
    with pytest.raises(error, match=message):
        referee_of(**given)
