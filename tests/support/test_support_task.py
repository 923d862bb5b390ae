"""What is known of a task: its pool, and how a model is graded on it."""

import dataclasses

import pytest
import torch
from torch import nn

from selectlib.support import SupportTask

N, M, C = 30, 12, 3


def make_task(seed: int = 100, **changed) -> SupportTask:
    draws = torch.Generator().manual_seed(seed)
    images, test = (torch.randn(n, C, generator=draws) for n in (N, M))
    labels, test_labels = (torch.randint(C, (n,), generator=draws) for n in (N, M))
    proba = torch.rand(N, C, generator=draws)
    values = {
        "images": images,
        "labels": labels,
        "test": test,
        "test_labels": test_labels,
        "models": {"source": nn.Identity()},
        "features": {"projector": images},
        "proba": {"ensemble": proba / proba.sum(1, keepdim=True)},
        "seed": seed,
    }
    return SupportTask(**{**values, **changed})


def percent(task: SupportTask, images, labels) -> float:
    return 100 * sum(int(row.argmax()) == int(label) for row, label in zip(images, labels, strict=True)) / len(labels)


@pytest.mark.oracle
def test_a_softmax_of_the_pools_logits_gives_the_probabilities_back():
    proba = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]).repeat(N // 2, 1)
    pool = make_task(proba={"ensemble": proba}).pool()
    torch.testing.assert_close(pool.logits.softmax(1), proba)
    assert pool.logits.isfinite().all()


@pytest.mark.oracle
@pytest.mark.parametrize("batch_size", [1, 5, 256])
def test_accuracy_counts_by_hand(batch_size):
    task, model = make_task(), nn.Identity()
    assert task.accuracy(model, batch_size=batch_size) == pytest.approx(percent(task, task.test, task.test_labels))
    assert task.accuracy(model, "pool", batch_size=batch_size) == pytest.approx(percent(task, task.images, task.labels))
    chosen = torch.tensor([3, 0, 17])
    rest = [i for i in range(N) if i not in chosen.tolist()]
    expected = percent(task, task.images[rest], task.labels[rest])
    assert task.accuracy(model, "pool", exclude=chosen, batch_size=batch_size) == pytest.approx(expected)


def test_a_class_whose_score_is_minus_infinity_is_never_predicted():
    task = make_task(labels=torch.zeros(N, dtype=torch.int64))

    class First(nn.Module):
        def forward(self, images):
            return torch.full((len(images), C), -torch.inf).index_fill_(1, torch.tensor([0]), -5.0)

    assert task.accuracy(First(), "pool") == 100


def test_scores_that_are_nan_are_refused():
    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), C), torch.nan)

    with pytest.raises(ValueError, match="NaN"):
        make_task().accuracy(Broken())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": "test"}, "where must be one of held_out, pool"),
        ({"exclude": torch.tensor([0])}, "exclude must be None for the held-out images"),
        ({"where": "pool", "exclude": torch.arange(N)}, "exclude must leave at least one"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_accuracy_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_task().accuracy(nn.Identity(), **arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": torch.zeros(N - 1, dtype=torch.int64)}, "labels must hold one int64 for each of the 30 images"),
        ({"labels": torch.zeros(N)}, "labels must hold one int64"),
        ({"labels": torch.full((N,), C)}, "labels must be from 0 to 2, got 3 to 3"),
        ({"test_labels": torch.full((M,), -1)}, "test_labels must be from 0 to 2, got -1 to -1"),
        ({"features": {"projector": torch.zeros(4, 2)}}, r"features\['projector'\] must have 30 rows"),
        ({"proba": {}}, "proba must hold tensors of one width"),
        ({"proba": {"a": torch.ones(N, 2), "b": torch.ones(N, 3)}}, r"got \[2, 3\]"),
        ({"seed": -1}, "seed must be from 0"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        make_task(**changed)


def test_a_pool_of_an_unknown_name_says_what_there_is():
    with pytest.raises(ValueError, match="features must be one of projector, got 'raw'"):
        make_task().pool("raw")
    with pytest.raises(ValueError, match="proba must be one of ensemble"):
        make_task().pool(proba="source")


def test_a_task_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_task().seed = 1
