"""Episodes: their law, that each can be made again alone, and the errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader

from selectlib.seeding import generator
from selectlib.tasks import EpisodeSampler

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
SIZES = [5, 9, 6, 40, 7, 5, 12]
LABELS = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))[
    torch.randperm(sum(SIZES), generator=generator(100))
]


def sampler(n_tasks=50, **options):
    return EpisodeSampler(LABELS, 4, 2, 3, n_tasks, **{"seed": 100, **options})


@pytest.mark.oracle
@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(4, 9), min_size=3, max_size=8),
    way=st.integers(1, 3),
    shot=st.integers(1, 2),
    query=st.integers(1, 2),
    seed=st.integers(0, 2**64 - 1),
)
def test_tasks_are_distinct_items_of_distinct_classes(sizes, way, shot, query, seed):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).flip(0)
    tasks = EpisodeSampler(labels, way, shot, query, 20, seed=seed).tasks()
    assert tasks.shape == (20, way, shot + query)
    for task in tasks:
        assert len(task.unique()) == task.numel()  # so support and queries share nothing
        assert (labels[task] == labels[task][:, :1]).all()
        assert len(labels[task][:, 0].unique()) == way


@pytest.mark.oracle
def test_classes_and_items_are_uniform_and_so_are_their_places():
    labels = torch.arange(8).repeat_interleave(5)
    tasks = EpisodeSampler(labels, 3, 1, 2, 20_000, seed=100).tasks()
    for places in (labels[tasks][:, 0, 0], labels[tasks][:, 2, 0], tasks[:, 0, 0], tasks[:, 1, 2]):
        counts = torch.bincount(places)
        assert len(counts) == 8 if places.max() < 8 else len(counts) == 40
        assert stats.chisquare(counts).pvalue > 1e-3
    pairs = (tasks[:, 0, 0] % 5) * 5 + tasks[:, 0, 1] % 5  # what one class gives first and second
    counts = torch.bincount(pairs, minlength=25)
    assert (counts[::6] == 0).all()
    assert stats.chisquare(counts[counts > 0]).pvalue > 1e-3


@pytest.mark.oracle
def test_whole_classes_come_in_every_order():
    tasks = EpisodeSampler(torch.zeros(4, dtype=torch.int64), 1, 1, 3, 24_000, seed=100).tasks()
    orders = (tasks[:, 0] * torch.tensor([64, 16, 4, 1])).sum(1)
    found, counts = orders.unique(return_counts=True)
    assert len(found) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("device", DEVICES)
def test_a_task_is_the_same_alone_in_any_batch_and_among_more(device):
    tasks = sampler(3000).tasks()  # more than are drawn at once
    other = sampler(5000, tasks_per_batch=7, device=device)
    assert torch.equal(other.tasks(0, 3000).cpu(), tasks)
    for i in (0, 1023, 1024, 2999):
        assert torch.equal(other.tasks(i, i + 1)[0].cpu(), tasks[i])
    assert torch.equal(torch.cat(list(other))[:3000].cpu(), tasks)
    assert other.tasks(0, 1).device.type == device


def test_seeds_differ_also_in_their_high_words():
    tasks = [sampler(seed=seed).tasks() for seed in (0, 1, 2**32, 2**63)]
    for i, first in enumerate(tasks):
        assert not any(torch.equal(first, other) for other in tasks[i + 1 :])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_in_workers(workers):
    made = sampler(23, tasks_per_batch=5)
    batches = list(DataLoader(made, batch_size=None, num_workers=workers))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert len(made) == 5
    assert torch.equal(torch.cat(batches), made.tasks())


def test_only_the_given_classes_are_drawn():
    made = EpisodeSampler(LABELS, 2, 2, 3, 200, classes=[6, 1, 3], seed=100)
    assert made.classes.tolist() == [1, 3, 6]
    assert LABELS[made.tasks()].unique().tolist() == [1, 3, 6]
    assert sorted(made.items.tolist()) == torch.isin(LABELS, made.classes).nonzero().flatten().tolist()
    assert (LABELS[made.items].diff() >= 0).all()


def test_labels_may_be_any_ints_and_lists():
    tasks = EpisodeSampler([-7, 9, -7, 9, 9], 2, 1, 1, 30).tasks()
    assert {frozenset(task.flatten().tolist()) - {1, 3, 4} for task in tasks} == {frozenset({0, 2})}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"n_query": 4}, ValueError, "n_query = 6 items or more, but class 0 has 5, class 5 has 5"),
        ({"n_way": 8}, ValueError, "n_way must be at most the number of classes, 7, got 8"),
        ({"classes": [1, 2, 3]}, ValueError, "n_way must be at most the number of classes, 3, got 4"),
        ({"classes": [1, 2, 3, 99]}, ValueError, r"classes must occur in labels, but these do not: \[99\]"),
        ({"classes": []}, ValueError, "classes must be 1-D and not empty"),
        ({"labels": LABELS.double()}, TypeError, "labels must hold ints, got torch.float64"),
        ({"labels": LABELS[None]}, ValueError, "labels must be 1-D"),
        ({"n_shot": 0}, ValueError, "n_shot must be at least 1, got 0"),
        ({"n_tasks": 2**32}, ValueError, "n_tasks must be from 1 to"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
        ({"tasks_per_batch": 1.0}, TypeError, "tasks_per_batch must be an int"),
        ({"device": "abacus"}, ValueError, "device must be"),
    ],
)
def test_errors_name_the_argument(given, error, message):
    arguments = {"labels": LABELS, "n_way": 4, "n_shot": 2, "n_query": 3, "n_tasks": 10, **given}
    with pytest.raises(error, match=message):
        EpisodeSampler(**arguments)


def test_ranges_outside_the_tasks_are_refused():
    for start, stop in ((0, 51), (50, None), (-1, 3), (4, 4)):
        with pytest.raises(ValueError, match="must be"):
            sampler().tasks(start, stop)
    for batch in (50, -1):
        with pytest.raises(IndexError, match="batch must be from 0 to 49"):
            sampler()[batch]
