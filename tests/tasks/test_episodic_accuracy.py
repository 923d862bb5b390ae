"""Episodic accuracy: the Gram path is the dense path, and both are the head on the sampler's tasks."""

import pytest
import torch
from scipy import stats

from selectlib.seeding import generator
from selectlib.tasks import EpisodeGram, EpisodeSampler, episodic_accuracy, nearest_centroid_logits

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
WAY, QUERIES = 5, 10


def world(spread=1.5, dtype=torch.float32, classes=9, dim=24):
    """Items of some classes with lengths of their own, in no order."""
    draws = generator(100)
    labels = torch.randint(classes, (400,), generator=draws)
    features = torch.randn(classes, dim, generator=draws)[labels] + spread * torch.randn(400, dim, generator=draws)
    return (features * torch.rand(400, 1, generator=draws).add(0.1)).to(dtype), labels


def accuracy(features, labels, **options):
    sizes = {"n_way": WAY, "n_shot": 1, "n_query": QUERIES, "n_tasks": 150, "seed": 100}
    return episodic_accuracy(features, labels, **{**sizes, **options})


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_shot", [1, 2, 5])
@pytest.mark.parametrize("classes", [None, [0, 2, 3, 5, 7, 8]])
def test_gram_and_dense_logits_and_accuracies_are_equal(device, n_shot, classes):
    features, labels = world()
    features = features.to(device)
    sampler = EpisodeSampler(labels, WAY, n_shot, QUERIES, 400, classes=classes, seed=100, device=device)
    tasks = sampler.tasks()
    dense = nearest_centroid_logits(features[tasks[:, :, :n_shot]], features[tasks[:, :, n_shot:]].flatten(1, 2), 1.0)
    for items in (None, sampler.items):
        gram = EpisodeGram(features, items).logits(tasks, n_shot, 1.0)
        assert (gram - dense).abs().max() <= 1e-5
        assert torch.equal(gram.argmax(-1), dense.argmax(-1))
    found = [accuracy(features, labels, n_shot=n_shot, classes=classes, method=method) for method in ("gram", "dense")]
    assert torch.equal(found[0].per_task, found[1].per_task)
    assert found[0].per_task.device.type == device


@pytest.mark.oracle
@pytest.mark.parametrize("method", ["gram", "dense"])
def test_accuracy_is_that_of_the_head_task_by_task(method):
    features, labels = world()
    found = accuracy(features, labels, n_shot=2, method=method)
    for task, share in zip(EpisodeSampler(labels, WAY, 2, QUERIES, 150, seed=100).tasks(), found.per_task, strict=True):
        logits = nearest_centroid_logits(features[task[None, :, :2]], features[task[:, 2:]].flatten(0, 1)[None])
        right = sum(int(row.argmax()) == i // QUERIES for i, row in enumerate(logits[0]))
        assert float(share) == pytest.approx(right / (WAY * QUERIES))
    assert 0.3 < found.mean < 0.95  # neither trivial nor hopeless, so that a wrong order of queries shows
    half = stats.t.ppf(0.975, 149) * stats.sem(found.per_task)
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half))


@pytest.mark.parametrize("method", ["gram", "dense"])
def test_blocks_and_dtypes_do_not_change_the_answer(method):
    features, labels = world(dtype=torch.float16)
    expected = accuracy(features.float(), labels, method=method)
    for block in (1, 7, 1000):
        assert torch.equal(accuracy(features, labels, method=method, block=block).per_task, expected.per_task)
    double = accuracy(features.double(), labels, method=method)
    torch.testing.assert_close(double.per_task, expected.per_task, rtol=0, atol=0.021)  # a near tie may fall


@pytest.mark.parametrize("n_shot", [1, 2])
def test_of_equal_scores_the_first_class_is_predicted_on_both_paths(n_shot):
    labels = torch.arange(6).repeat_interleave(12)
    for features in (torch.ones(72, 3), torch.zeros(72, 3)):
        for method in ("gram", "dense"):
            found = accuracy(features, labels, n_shot=n_shot, method=method)
            assert found.per_task.tolist() == pytest.approx([1 / WAY] * 150)


def test_features_that_are_zero_or_cancel_give_no_nan():
    features, labels = world()
    features[::3] = 0
    features[1::3] = -features[:1].expand(len(features[1::3]), -1)
    tasks = EpisodeSampler(labels, WAY, 2, QUERIES, 200, seed=100).tasks()
    assert EpisodeGram(features).logits(tasks, 2).isfinite().all()


def test_auto_takes_the_gram_matrix_for_many_tasks_from_few_items(monkeypatch):
    features, labels = world()
    made = []
    build = EpisodeGram.__init__
    monkeypatch.setattr(EpisodeGram, "__init__", lambda self, *given: (made.append(1), build(self, *given))[0])
    accuracy(features, labels, n_tasks=2)
    assert not made
    accuracy(features, labels, n_tasks=2000)
    assert made


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"method": "fast"}, ValueError, "method must be one of auto, gram, dense, got 'fast'"),
        ({"features": [[1.0]]}, TypeError, "features must be a floating tensor, got list"),
        ({"features": torch.ones(399, 3)}, ValueError, "a row for each of the 400 labels"),
        ({"features": torch.full((400, 3), torch.nan)}, ValueError, "features must be finite"),
        ({"n_tasks": 1}, ValueError, "n_tasks must be at least 2, got 1"),
        ({"n_way": 10}, ValueError, "n_way must be at most the number of classes, 9"),
        ({"block": 0}, ValueError, "block must be at least 1"),
        ({"level": 1.0}, ValueError, "level must lie in"),
    ],
)
def test_accuracy_errors_name_the_argument(given, error, message):
    features, labels = world()
    with pytest.raises(error, match=message):
        accuracy(given.pop("features", features), labels, **given)
