"""Flaws made to order: exact counts, the account of them, and what is left alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.data import imbalanced, with_duplicates, with_outliers, with_wrong_labels
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
SHAPES = [(3,), (1, 4, 4)]


def items(n, shape=(3,), classes=3, device="cpu"):
    """Items that all differ, of classes of nearly the same size."""
    X = torch.randn(n, *shape, dtype=torch.float64, generator=generator(100))
    return X.to(device), torch.arange(n, device=device) % classes


def check_account(pool, X, y):
    """What is not flawed is the clean pool, each item once."""
    kept = ~pool.flawed
    assert sorted(pool.origin[kept].tolist()) == list(range(len(X)))
    assert torch.equal(pool.X[kept], X[pool.origin[kept]]) and torch.equal(pool.y[kept], y[pool.origin[kept]])
    assert pool.X.dtype == X.dtype and pool.origin.dtype == pool.y.dtype == torch.int64
    assert {t.device for t in (pool.X, pool.y, pool.origin, pool.flawed)} == {X.device}


# Copies.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_copies_are_of_so_many_items_each_so_often(shape, device):
    X, y = items(21, shape, device=device)
    pool = with_duplicates(X, y, 0.5, copies=4, jitter=0.0, generator=generator(101, device))
    check_account(pool, X, y)
    of_item = pool.origin[pool.flawed].bincount(minlength=21)
    assert of_item.unique().tolist() == [0, 4] and int((of_item > 0).sum()) == round(0.5 * 21)
    assert torch.equal(pool.X, X[pool.origin]) and torch.equal(pool.y, y[pool.origin])


@pytest.mark.oracle
def test_the_jitter_is_in_units_of_the_spread():
    X = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64).repeat(500, 1) * 10  # variances 225 and 400
    pool = with_duplicates(X, torch.zeros(1000, dtype=torch.int64), 1.0, copies=5, jitter=0.1, generator=generator(101))
    noise = (pool.X - X[pool.origin])[pool.flawed]
    assert noise.shape == (5000, 2)
    torch.testing.assert_close(noise.std(0), torch.full((2,), 0.1 * 312.5**0.5, dtype=torch.float64), rtol=0.05, atol=0)
    assert noise.mean(0).abs().max() < 0.1 and len(noise.unique(dim=0)) == 5000


# Outliers.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("share", "added"), [(0.0, 0), (0.1, 10), (0.5, 90), (1 / 3, 45)])
def test_the_outliers_are_a_share_of_what_comes_out(shape, share, added, device):
    X, y = items(90, shape, device=device)
    pool = with_outliers(X, y, share, generator=generator(101, device))
    check_account(pool, X, y)
    assert int(pool.flawed.sum()) == added and len(pool.X) == 90 + added
    assert torch.equal(pool.flawed, pool.origin == -1)


@pytest.mark.oracle
def test_an_outlier_keeps_every_column_but_not_what_ties_columns_together():
    values = torch.randn(200, 1, generator=generator(100), dtype=torch.float64)
    X, y = torch.cat([values, values + 100], 1), (values[:, 0] > 0).long()  # the columns and the label agree
    pool = with_outliers(X, y, 0.9, generator=generator(101))
    noise, labels = pool.X[pool.flawed], pool.y[pool.flawed]
    for column in range(2):
        assert set(noise[:, column].tolist()) <= set(X[:, column].tolist())
    together = torch.corrcoef(torch.stack([noise[:, 0], noise[:, 1], labels.double()]))
    assert (together - torch.eye(3)).abs().max() < 0.1  # 1800 outliers: four standard errors
    assert abs(float(labels.double().mean() - y.double().mean())) < 0.06


# Imbalance.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("classes", "ratio", "counts"),
    [
        (3, 10.0, [10, 32, 100]),
        (2, 4.0, [25, 100]),
        (5, 1.0, [100] * 5),
        (3, 1e6, [1, 1, 100]),
        (3, 16.0, [6, 25, 100]),
    ],
)
def test_the_classes_fall_by_one_factor(classes, ratio, counts, device):
    y = torch.arange(100 * classes, device=device) % classes
    kept = imbalanced(y, ratio, generator=generator(101, device))
    assert kept.device == y.device and len(kept.unique()) == len(kept)
    assert sorted(y[kept].bincount().tolist()) == counts


@pytest.mark.oracle
def test_every_order_of_the_classes_occurs_and_no_item_is_preferred():
    y = torch.arange(12) % 3
    seen, taken = set(), torch.zeros(12)
    for seed in range(100, 400):
        kept = imbalanced(y, 4.0, generator=generator(seed))
        seen.add(tuple(y[kept].bincount().tolist()))
        taken[kept] += 1
    assert seen == {(4, 2, 1), (4, 1, 2), (2, 4, 1), (1, 4, 2), (2, 1, 4), (1, 2, 4)}
    assert (taken / 300 - 7 / 12).abs().max() < 5 * (7 / 12 * 5 / 12 / 300) ** 0.5


@pytest.mark.oracle
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    ratio=st.floats(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_unequal_classes_give_as_many_as_they_can(counts, ratio, seed):
    y = torch.repeat_interleave(5 * torch.arange(len(counts)) - 3, torch.tensor(counts))  # labels with gaps
    kept = y[imbalanced(y, ratio, generator=generator(seed))]
    there = torch.tensor(counts)
    got = torch.stack([(kept == label).sum() for label in y.unique()])
    assert (got >= 1).all() and (got <= there).all()
    assert (got == there).any()  # one class is used up: more would not be possible
    steps = got.sort(descending=True).values.double()
    largest = float(there[got == there].max()) * ratio  # no class can have more than that
    assert steps[0] <= largest + 1
    shape = steps[0] * ratio ** (-torch.arange(len(counts), dtype=torch.float64) / (len(counts) - 1))
    assert ((steps - shape).abs() <= 1.0).all()  # both are rounded


# Wrong labels.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.21, 1.0])
def test_so_many_labels_are_wrong_and_none_else(share, device):
    _, y = items(90, device=device)
    before = y.clone()
    labels, wrong = with_wrong_labels(y, share, 3, generator=generator(101, device))
    assert torch.equal(y, before) and torch.equal(wrong, labels != y)
    assert int(wrong.sum()) == round(share * 90)
    assert labels.dtype == torch.int64 and int(labels.min()) >= 0 and int(labels.max()) < 3


@pytest.mark.oracle
def test_every_other_class_is_as_likely():
    y = torch.full((3000,), 2)
    labels, _ = with_wrong_labels(y, 1.0, 4, generator=generator(101))
    assert int(labels.bincount(minlength=4)[2]) == 0
    assert (labels.bincount(minlength=4)[[0, 1, 3]] - 1000).abs().max() < 5 * (3000 * 2 / 9) ** 0.5


# All of them.

FLAWS = {
    "duplicates": lambda X, y, g: with_duplicates(X, y, 0.5, 3, generator=g),
    "outliers": lambda X, y, g: with_outliers(X, y, 0.2, generator=g),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", FLAWS)
def test_the_generator_decides_and_the_order_tells_nothing(name):
    X, y = items(60)
    before = X.clone()
    first, second, other = (FLAWS[name](X, y, generator(seed)) for seed in (101, 101, 102))
    assert torch.equal(X, before)
    for field in ("X", "y", "origin", "flawed"):
        assert torch.equal(getattr(first, field), getattr(second, field))
    assert not torch.equal(first.X, other.X)
    places = torch.cat([FLAWS[name](X, y, generator(seed)).flawed.nonzero()[:, 0] for seed in range(100, 200)])
    middle = (len(first.y) - 1) / 2
    assert abs(float(places.double().mean()) - middle) < 5 * middle / (3 * len(places)) ** 0.5


@pytest.mark.parametrize("flaw", [with_duplicates, with_outliers])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"X": torch.zeros(4, 2, dtype=torch.int64)}, TypeError, "X must be a tensor of floats, got torch.int64"),
        ({"X": torch.zeros(4)}, ValueError, r"X must hold items .*, got shape \(4,\)"),
        ({"X": torch.zeros(0, 2)}, ValueError, r"got shape \(0, 2\)"),
        ({"X": torch.tensor([[0.0], [torch.nan], [0.0], [0.0]])}, ValueError, "X must be finite"),
        ({"y": torch.zeros(4)}, TypeError, "y must be a tensor of int64, got torch.float32"),
        ({"y": torch.zeros(3, dtype=torch.int64)}, ValueError, "y must have one label an item: 3 labels for 4 items"),
        ({"share": "half"}, TypeError, "share must be a number, got str"),
        ({"share": 1.5}, ValueError, "share must be from 0 to 1, got 1.5"),
        ({"share": float("nan")}, ValueError, "share must be from 0 to 1, got nan"),
        ({"generator": 100}, TypeError, "generator must be a torch.Generator, got int"),
    ],
)
def test_a_wrong_argument_is_named(flaw, changes, error, message):
    arguments = {"X": torch.eye(4), "y": torch.arange(4), "share": 0.5, "generator": generator(100)} | changes
    with pytest.raises(error, match=message):
        flaw(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y, g: with_duplicates(X, y, 0.5, 0, generator=g), "copies must be at least 1, got 0"),
        (lambda X, y, g: with_duplicates(X, y, 0.5, 1, -0.1, generator=g), "jitter must be finite and at least 0"),
        (lambda X, y, g: with_outliers(X, y, 1.0, generator=g), "share must be below 1"),
        (lambda X, y, g: imbalanced(y, 0.5, generator=g), "ratio must be finite and at least 1, got 0.5"),
        (lambda X, y, g: imbalanced(y[:1], 2, generator=g), "y must have at least 2 classes, got 1"),
        (lambda X, y, g: with_wrong_labels(y, 0.1, 2, generator=g), "y must be from 0 to 1, got 2"),
        (lambda X, y, g: with_wrong_labels(y, 0.1, 1, generator=g), "n_classes must be at least 2, got 1"),
        (lambda X, y, g: with_wrong_labels(y[:0], 0.1, 3, generator=g), "y must be 1-D with at least one label"),
    ],
)
def test_a_number_out_of_range_is_named(call, message):
    X, y = items(12)
    with pytest.raises(ValueError, match=message):
        call(X, y, generator(100))
