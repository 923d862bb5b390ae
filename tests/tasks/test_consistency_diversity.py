"""The selection of tasks and its coverage, against a reference that starts anew at each step."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone

from selectlib.tasks import ConsistencyDiversitySelector, TaskStats, coverage_curve

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def pool(seed, d, n_tasks=12, sizes=(20, 30)):
    """Candidate tasks around their own middles, some near the target's."""
    rng = np.random.default_rng(seed)
    tasks = [rng.normal(rng.normal(1, 1, size=d), size=(rng.integers(*sizes), d)) for _ in range(n_tasks)]
    return tasks, rng.normal(1, 1, size=(25, d))


def cover(rows, middle, shrinkage):
    covariance = np.cov(rows, rowvar=False).reshape(len(middle), len(middle))
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / len(middle) * np.eye(len(middle))
    gap = rows.mean(0) - middle
    return 1 / (gap @ np.linalg.solve(covariance, gap))


def brute_force(tasks, target, p, patience, shrinkage):
    """The rule from its definition: samples are concatenated and everything is computed again at each step."""
    middle = target.mean(0)
    cosines = [t.mean(0) @ middle / np.linalg.norm(t.mean(0)) / np.linalg.norm(middle) for t in tasks]
    order = sorted(range(len(tasks)), key=lambda i: -cosines[i])
    chosen, failures = [order[0]], 0
    best = cover(tasks[order[0]], middle, shrinkage)
    path = [best]
    for i in order[1:]:
        path.append(cover(np.concatenate([tasks[j] for j in [*chosen, i]]), middle, shrinkage))
        if path[-1] >= (1 + p) * best:
            chosen.append(i)
            best, failures = path[-1], 0
            continue
        failures += 1
        if failures >= patience:
            break
    return order, cosines, chosen, path


@pytest.mark.oracle
@pytest.mark.parametrize("shrinkage", [0.0, 0.1])
@pytest.mark.parametrize("d", [3, 16])
@pytest.mark.parametrize("p", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("patience", [1, 3, 100])
def test_brute_force_chooses_the_same(shrinkage, d, p, patience):
    for seed in range(100, 110):
        tasks, target = pool(seed, d)
        order, cosines, chosen, path = brute_force(tasks, target, p, patience, shrinkage)
        selector = ConsistencyDiversitySelector(p, patience=patience, shrinkage=shrinkage).fit(tasks, target)
        assert selector.order_.tolist() == order
        assert selector.selected_.tolist() == chosen
        np.testing.assert_allclose(selector.similarity_, cosines, rtol=1e-9)
        np.testing.assert_allclose(selector.coverage_path_["coverage"], path, rtol=1e-9)
        looked_at = selector.coverage_path_
        assert looked_at["task"].tolist() == order[: len(path)]
        assert looked_at["task"][looked_at["kept"]].tolist() == chosen


@pytest.mark.oracle
def test_hand_case():
    tasks = [[[1.0], [3.0]], [[2.0], [4.0]]]
    for p in (0.0, 0.5):
        selector = ConsistencyDiversitySelector(p, shrinkage=0.0).fit(tasks, [[-1.0], [1.0]])
        np.testing.assert_allclose(selector.coverage_path_["coverage"], [1 / 2, 4 / 15])
        assert selector.selected_.tolist() == [0]
        assert selector.similarity_.tolist() == [0.0, 0.0]  # the target's mean is 0: ties go to the first
    np.testing.assert_allclose(coverage_curve(tasks, [[0.0]], shrinkage=0.0), [1 / 2, 4 / 15])


@pytest.mark.oracle
def test_turning_and_scaling_the_features_changes_nothing():
    tasks, target = pool(100, 8)
    turn = np.linalg.qr(np.random.default_rng(101).normal(size=(8, 8)))[0]
    plain = ConsistencyDiversitySelector().fit(tasks, target)
    turned = ConsistencyDiversitySelector().fit([5 * task @ turn for task in tasks], 5 * target @ turn)
    assert turned.order_.tolist() == plain.order_.tolist()
    assert turned.selected_.tolist() == plain.selected_.tolist()
    np.testing.assert_allclose(turned.coverage_path_["coverage"], plain.coverage_path_["coverage"], rtol=1e-8)


@pytest.mark.oracle
def test_shuffling_the_candidates_shuffles_the_choice():
    tasks, target = pool(102, 8)
    shuffle = np.random.default_rng(103).permutation(len(tasks))
    plain = ConsistencyDiversitySelector().fit(tasks, target)
    shuffled = ConsistencyDiversitySelector().fit([tasks[i] for i in shuffle], target)
    assert shuffle[shuffled.selected_].tolist() == plain.selected_.tolist()


@pytest.mark.oracle
@pytest.mark.parametrize("defect", ["duplicate", "constant", "few"])
def test_a_singular_covariance_needs_shrinkage(defect):
    tasks, target = pool(104, 6, sizes=(2, 4) if defect == "few" else (20, 30))
    for rows in [*tasks, target]:
        if defect == "duplicate":
            rows[:, 1] = 3 * rows[:, 0]
        elif defect == "constant":
            rows[:, 2] = 1.0
    shrunk = coverage_curve(tasks, target)
    assert np.isfinite(shrunk).all()
    assert (shrunk > 0).all()
    plain = coverage_curve(tasks, target, shrinkage=0.0)
    assert np.isnan(plain[:2]).all()
    with pytest.raises(ValueError, match=r"shrinkage must be above 0 here, or min_tasks larger: .* is singular"):
        ConsistencyDiversitySelector(shrinkage=0.0).fit(tasks, target)
    if defect == "few":
        assert np.isfinite(plain[4:]).all()
        patient = ConsistencyDiversitySelector(shrinkage=0.0, min_tasks=6).fit(tasks, target)
        assert patient.selected_.tolist()[:6] == patient.order_.tolist()[:6]
    else:
        assert np.isnan(plain).all()


@pytest.mark.oracle
def test_the_pseudo_inverse_leaves_out_directions_without_variance():
    tasks, target = pool(105, 4)
    doubled = [np.concatenate([rows, rows[:, :1]], axis=1) for rows in tasks]
    target_doubled, order = np.concatenate([target, target[:, :1]], axis=1), range(12)
    found = coverage_curve(doubled, target_doubled, order=order, shrinkage=0.0, inverse="pinv")
    np.testing.assert_allclose(found, coverage_curve(tasks, target, order=order, shrinkage=0.0), rtol=1e-8)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_tables_tensors_and_statistics_give_the_same(device):
    rng = np.random.default_rng(106)
    tasks, target = rng.normal(1, 1, size=(9, 20, 5)), rng.normal(1, 1, size=(30, 5))
    expected = ConsistencyDiversitySelector().fit(tasks, target)
    table = torch.tensor(tasks, device=device)
    stats = [TaskStats.from_features(task) for task in table]
    found = [
        ConsistencyDiversitySelector().fit(table, torch.tensor(target)),
        ConsistencyDiversitySelector().fit(list(table), target),
        ConsistencyDiversitySelector().fit(stats, TaskStats.from_features(target)),
    ]
    for selector in found:
        assert selector.selected_.tolist() == expected.selected_.tolist()
        np.testing.assert_allclose(selector.coverage_path_["coverage"], expected.coverage_path_["coverage"], rtol=1e-9)


def test_the_curve_follows_the_order():
    tasks, target = pool(107, 5)
    kept = ConsistencyDiversitySelector(patience=100, min_tasks=12).fit(tasks, target)
    np.testing.assert_allclose(coverage_curve(tasks, target), kept.coverage_path_["coverage"], rtol=1e-12)
    some = coverage_curve(tasks, target, order=[4, 2, 7])
    rows = [np.concatenate([tasks[i] for i in [4, 2, 7][:count]]) for count in (1, 2, 3)]
    np.testing.assert_allclose(some, [cover(x, target.mean(0), 0.1) for x in rows], rtol=1e-9)


def test_another_order_leaves_consistency_out():
    tasks, target = pool(108, 5)
    order = np.random.default_rng(109).permutation(12)
    selector = ConsistencyDiversitySelector(patience=3).fit(tasks, target, order=order)
    assert selector.order_.tolist() == order.tolist()
    assert selector.selected_[0] == order[0]
    assert selector.coverage_path_["task"].tolist() == order[: len(selector.coverage_path_)].tolist()
    part = ConsistencyDiversitySelector().fit(tasks, target, order=[11, 3])
    assert part.get_support().shape == (12,)


def test_least_and_most_tasks():
    tasks, target = pool(110, 5)
    top = ConsistencyDiversitySelector(min_tasks=4, max_tasks=4).fit(tasks, target)
    assert top.selected_.tolist() == top.order_[:4].tolist()
    assert top.stop_reason_ == "max_tasks"
    assert top.get_support(indices=True).tolist() == sorted(top.selected_)
    assert np.flatnonzero(top.get_support()).tolist() == sorted(top.selected_)
    every = ConsistencyDiversitySelector(min_tasks=12).fit(tasks, target)
    assert (every.get_support().all(), every.stop_reason_) == (True, "exhausted")
    alone = ConsistencyDiversitySelector(shrinkage=0.0).fit([np.ones((1, 5))], target)
    assert (alone.selected_.tolist(), alone.n_features_in_) == ([0], 5)


def test_patience_passes_over_tasks_that_do_not_help():
    rng = np.random.default_rng(111)
    near, away = rng.normal([4.0, 1.0], size=(50, 2)), rng.normal([4.0, -2.0], size=(50, 2))
    other, target = rng.normal([4.0, 4.5], size=(50, 2)), rng.normal([4.0, 2.4], size=(50, 2))
    order = [0, 1, 2]
    first = ConsistencyDiversitySelector(patience=1).fit([near, away, other], target, order=order)
    assert (first.selected_.tolist(), first.stop_reason_) == ([0], "patience")
    second = ConsistencyDiversitySelector(patience=2).fit([near, away, other], target, order=order)
    assert (second.selected_.tolist(), second.stop_reason_) == ([0, 2], "exhausted")
    assert second.coverage_path_["kept"].tolist() == [True, False, True]


def test_a_target_that_is_met_exactly_ends_the_search():
    square = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    selector = ConsistencyDiversitySelector().fit([square + 1, square], [[2.0, 2.0]])
    assert (selector.selected_.tolist(), selector.stop_reason_) == ([0], "covered")
    assert math.isinf(selector.coverage_path_["coverage"][0])


def test_single_samples_are_covered_by_nothing_until_they_differ():
    tasks = [np.array([[1.0, 1.0]]), np.array([[1.0, 3.0]]), np.array([[3.0, 1.1]])]
    selector = ConsistencyDiversitySelector().fit(tasks, [[2.0, 2.0]])
    coverage = selector.coverage_path_["coverage"]
    assert coverage[0] == 0
    assert (coverage[1:] > 0).all()
    assert coverage_curve(tasks[:1], tasks[0]).tolist() == [math.inf]


def test_centring_changes_similarities_alone():
    rng = np.random.default_rng(112)
    tasks = [100 + rng.normal(rng.normal(size=5), size=(rng.integers(5, 40), 5)) for _ in range(10)]
    target = 100 + rng.normal(size=(30, 5))
    raw = ConsistencyDiversitySelector(min_tasks=10).fit(tasks, target)
    centred = ConsistencyDiversitySelector(center=True, min_tasks=10).fit(tasks, target)
    middle = np.concatenate(tasks).mean(0)
    again = ConsistencyDiversitySelector(min_tasks=10).fit([task - middle for task in tasks], target - middle)
    np.testing.assert_allclose(centred.similarity_, again.similarity_, atol=1e-9)
    assert np.ptp(raw.similarity_) < 0.01 < np.ptp(centred.similarity_)
    np.testing.assert_allclose(coverage_curve(tasks, target, order=centred.order_), again.coverage_path_["coverage"])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"p": -0.1}, ValueError, "p must be a finite number, at least 0, got -0.1"),
        ({"p": "no"}, TypeError, "p must be a number, got str"),
        ({"patience": 0}, ValueError, "patience must be at least 1, got 0"),
        ({"shrinkage": 1.5}, ValueError, "shrinkage must be from 0 to 1, got 1.5"),
        ({"min_tasks": 0}, ValueError, "min_tasks must be at least 1, got 0"),
        ({"min_tasks": 3, "max_tasks": 2}, ValueError, "max_tasks must be at least 3, got 2"),
    ],
)
def test_wrong_settings(options, error, words):
    tasks, target = pool(113, 3)
    with pytest.raises(error, match=words):
        clone(ConsistencyDiversitySelector(**options)).fit(tasks, target)


def test_wrong_data():
    tasks, target = pool(114, 3)
    fit = ConsistencyDiversitySelector().fit
    with pytest.raises(ValueError, match="task_features must hold at least one task, got none"):
        fit([], target)
    with pytest.raises(TypeError, match="task_features must be a list or a table of tasks, got dict"):
        fit({}, target)
    with pytest.raises(ValueError, match=r"task_features\[2\] must have 3 features like the target, got 4"):
        fit([*tasks[:2], np.ones((5, 4))], target)
    with pytest.raises(ValueError, match=r"task_features\[0\] must be a table of floats"):
        fit(np.ones((5, 3)), target)
    with pytest.raises(ValueError, match=r"target_features must be a table of floats"):
        fit(tasks, target[0])
    tasks[5][3, 1] = np.nan
    with pytest.raises(ValueError, match=r"task_features\[5\] must be finite, got NaN or infinity"):
        fit(tasks, target)
    stats = TaskStats.from_features(tasks[0])
    broken = TaskStats(stats.n, stats.mean, stats.scatter * np.inf)
    with pytest.raises(ValueError, match=r"task_features\[0\] must be finite, .* in its scatter"):
        fit([broken], target)
    with pytest.raises(ValueError, match="target_features must be finite"):
        fit(tasks[:3], target * np.inf)
    for order in ([], [0, 0], [0, 3]):
        with pytest.raises(ValueError, match="order must hold distinct tasks from 0 to 2"):
            coverage_curve(tasks[:3], target, order=order)
