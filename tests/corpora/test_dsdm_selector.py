"""DsDm's selection: the best subset of the linear surrogate, the mix of tasks, ties and missing scores."""

import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from selectlib.corpora._dsdm import DsDmSelector
from selectlib.corpora._estimator import DatamodelEstimator
from selectlib.corpora._outputs import CorrectClassMargin
from selectlib.pool import Pool
from selectlib.seeding import generator


class Dots:
    """An example's score is its product with the mean target, as that of a linear surrogate is."""

    def score_mean(self, pool, targets):
        return [SimpleNamespace(scores=pool[0] @ vectors.mean(0)) for (vectors,) in targets]


class Given:
    """Scores that are given, a vector a task."""

    def __init__(self, *scores):
        self.scores = [torch.as_tensor(column, dtype=torch.float64) for column in scores]

    def score_mean(self, pool, targets):
        return [SimpleNamespace(scores=column, report={"task": t}) for t, column in enumerate(self.scores)]


def rows(n, d=3, seed=100):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed))


def select(scores, k, *, pool_size=None, **options):
    """Choose by given scores, with one target sample a task."""
    n = pool_size or len(scores[0])
    selector = DsDmSelector(Given(*scores), (torch.zeros(n),), **options)
    pool = Pool(torch.zeros(n, 1), target_samples=[(torch.zeros(1),)] * len(scores))
    return selector.select(pool, k, generator=generator(100)), selector


@pytest.mark.oracle
def test_the_choice_is_the_best_of_all_subsets_of_the_surrogate():
    examples, targets = rows(12), rows(7, seed=101)
    theta = [-(examples @ x) for x in targets]  # the datamodel of each target sample: effects on its loss

    def surrogate_loss(subset):
        return float(sum(column[list(subset)].sum() for column in theta) / len(theta))

    best = min(itertools.combinations(range(12), 4), key=surrogate_loss)
    selector = DsDmSelector(Dots(), (examples,))
    chosen = selector.select(Pool(examples, target_samples=(targets,)), 4, generator=generator(100))
    assert sorted(chosen.tolist()) == list(best)
    helpfulness = selector.scores_[chosen]
    assert torch.equal(helpfulness, helpfulness.sort(descending=True).values)


@pytest.mark.oracle
def test_ties_go_to_the_lower_index_and_missing_scores_last():
    nan = float("nan")
    chosen, selector = select([[1.0, nan, 3.0, 1.0, nan, -2.0, 3.0]], 7)
    assert chosen.tolist() == [2, 6, 0, 3, 5, 1, 4]
    assert selector.report_["nan_scores"] == 2
    assert selector.report_["tied"] == 4
    assert selector.report_["estimates"] == [{"task": 0}]


@pytest.mark.oracle
def test_an_item_that_one_task_has_no_score_for_has_none():
    chosen, selector = select([[1.0, 5.0, 2.0], [1.0, float("nan"), 3.0]], 2)
    assert chosen.tolist() == [2, 0] and selector.report_["nan_scores"] == 1
    assert selector.report_["task_std"][1] == 1.0  # of the two that have one


A, B = rows(50, 1).squeeze(1).tolist(), (2.5 * rows(50, 1, seed=101).squeeze(1)).tolist()


@pytest.mark.oracle
@pytest.mark.parametrize("weights", [None, [3, 1], [0.0, 2.0]])
@pytest.mark.parametrize("normalize", ["none", "std", "rank"])
def test_the_tasks_are_mixed_as_said(normalize, weights):
    a, b = np.array(A), np.array(B)
    a[7] = a[3]
    transform = {"none": lambda x: x, "std": lambda x: x / x.std(), "rank": lambda x: (stats.rankdata(x) - 1) / 49}
    w = np.array([0.5, 0.5] if weights is None else weights) / (1 if weights is None else sum(weights))
    expected = w[0] * transform[normalize](a) + w[1] * transform[normalize](b)
    chosen, selector = select([a, b], 20, normalize=normalize, task_weights=weights)
    np.testing.assert_allclose(selector.scores_.numpy(), expected, rtol=1e-12, atol=1e-12)
    assert chosen.tolist() == np.argsort(-expected, kind="stable")[:20].tolist()
    np.testing.assert_allclose(selector.report_["task_std"], [a.std(), b.std()], rtol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("normalize", ["std", "rank"])
def test_a_tasks_units_do_not_matter_when_normalised(normalize):
    mixed, scaled = (select([A, [c * b for b in B]], 20, normalize=normalize)[0] for c in (1.0, 1024.0))
    assert torch.equal(mixed, scaled)


def test_a_task_that_decides_alone_is_warned_of():
    ones = (np.array(A) / np.std(A)).tolist()
    with pytest.warns(UserWarning, match=r"task 1 have a standard deviation of 3\.1, those of task 0 of 1"):
        select([ones, [3.1 * x for x in ones]], 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        select([ones, [2.9 * x for x in ones]], 5)
        select([ones, [9 * x for x in ones]], 5, normalize="std")
        select([ones, [9 * x for x in ones]], 5, normalize="rank")
        select([[9 * x for x in ones]], 5)


def test_a_task_whose_scores_are_all_equal_changes_nothing():
    alone = select([A], 20)[0]
    for normalize in ("std", "rank"):
        assert torch.equal(select([A, [0.25] * 50], 20, normalize=normalize)[0], alone)


def test_options_of_the_scoring_reach_the_estimator():
    class Recorder(Given):
        def score_mean(self, pool, targets, **options):
            self.options = options
            return super().score_mean(pool, targets)

    recorder = Recorder(A)
    pool = Pool(torch.zeros(50, 1), target_samples=(torch.zeros(1),))
    DsDmSelector(recorder, (torch.zeros(50),), mode="project").select(pool, 3, generator=generator(100))
    assert recorder.options == {"mode": "project"}


def clusters(n, seed):
    """Two classes of points, the first coordinate telling which."""
    X = rows(n, 4, seed=seed).float()
    labels = (X[:, 0] > 0).long()
    return X, labels


@pytest.mark.oracle
@pytest.mark.parametrize("kernel_rows", [None, 30])
def test_with_the_estimator_mislabelled_examples_are_the_last(kernel_rows):
    X, labels = clusters(60, 100)
    wrong = torch.arange(0, 60, 6)
    labels[wrong] = 1 - labels[wrong]
    target = clusters(40, 101)
    model = torch.nn.Linear(4, 2)
    draws = generator(102)
    checkpoints = [
        {"weight": 0.1 * torch.randn(2, 4, generator=draws), "bias": torch.zeros(2)},
        {"weight": 0.1 * torch.randn(2, 4, generator=draws), "bias": torch.zeros(2)},
    ]
    estimator = DatamodelEstimator(model, CorrectClassMargin(), projector=None)
    selector = DsDmSelector(estimator, (X, labels), checkpoints=checkpoints, kernel_rows=kernel_rows)
    chosen = selector.select(Pool(X, target_samples=target), 60, generator=generator(100))
    assert set(chosen[-5:].tolist()) <= set(wrong.tolist())
    assert len(set(chosen[:40].tolist()) & set(wrong.tolist())) <= 1
    expected = estimator.score_mean((X, labels), target).scores
    torch.testing.assert_close(selector.scores_, expected)
    assert selector.report_["estimates"][0]["models"] == 2


ONE = (torch.zeros(3),)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (torch.zeros(3), TypeError, "target_samples must be a tuple of tensors .* got Tensor"),
        ([], TypeError, "target_samples must be a tuple of tensors"),
        ((torch.zeros(0),), ValueError, "target_samples holds no examples"),
        ([ONE, (torch.zeros(0),)], ValueError, r"target_samples\[1\] holds no examples"),
        ((torch.zeros(3), torch.zeros(4)), ValueError, r"target_samples must .* \[\(3,\), \(4,\)\]"),
        ([ONE, "text"], TypeError, r"target_samples\[1\] must"),
        ([ONE, ONE, ONE], ValueError, "task_weights must have one weight for each of the 3 tasks, got 2"),
    ],
)
def test_bad_targets_are_named(target, error, message):
    selector = DsDmSelector(Given(A), (torch.zeros(50),), task_weights=[1, 2])
    with pytest.raises(error, match=message):
        selector.select(Pool(torch.zeros(50, 1), target_samples=target), 2, generator=generator(100))


def test_a_pool_of_another_length_is_refused():
    with pytest.raises(ValueError, match="pool must hold the 50 items of examples, got 49"):
        DsDmSelector(Given(A), (torch.zeros(50),)).select(
            Pool(torch.zeros(49, 1), target_samples=ONE), 2, generator=generator(100)
        )


def test_an_estimator_that_scores_other_items_is_refused():
    with pytest.raises(ValueError, match=r"estimator must give one score for each of 50 items, got shape \(49,\)"):
        select([A[:49]], 2, pool_size=50)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((object(), ONE), {}, TypeError, "estimator must have a method score_mean, got object"),
        ((Given(A), ONE), {"checkpoints": [{}]}, TypeError, "estimator must have a method fit, got Given"),
        ((Given(A), torch.zeros(3)), {}, TypeError, "examples must be a tuple of tensors"),
        ((Given(A), ONE), {"normalize": "mean"}, ValueError, "normalize must be one of none, std, rank, got 'mean'"),
        ((Given(A), ONE), {"task_weights": [-1]}, ValueError, "task_weights must be finite and at least 0, got -1"),
        ((Given(A), ONE), {"task_weights": [0.0]}, ValueError, "task_weights must hold a weight above 0"),
        ((Given(A), ONE), {"task_weights": 1.0}, TypeError, "task_weights must be a sequence of numbers, got float"),
        ((Given(A), ONE), {"task_weights": ["1"]}, TypeError, "task_weights must hold numbers, got str"),
    ],
)
def test_bad_options_are_named(arguments, options, error, message):
    with pytest.raises(error, match=message):
        DsDmSelector(*arguments, **options)
