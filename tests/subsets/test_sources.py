"""Every kind of source gives the same items; the counting source counts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.pool import ItemSource
from selectlib.subsets import CountingSource, as_source

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(100))
IDX = torch.tensor([3, 0, 19, 3])


class Pairs:
    """A map-style dataset of (features, label), without batched access."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i].view(3, 1), i


class Batched(Pairs):
    def __getitems__(self, indices):
        return [self[i] for i in indices]


def memmap(tmp_path):
    path = tmp_path / "items.npy"
    np.save(path, X.numpy())
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("kind", ["tensor", "array", "memmap", "dataset", "batched", "callable", "source"])
def test_every_kind_gives_the_same_items(kind, tmp_path):
    made = {
        "tensor": lambda: as_source(X),
        "array": lambda: as_source(X.numpy()),
        "memmap": lambda: as_source(memmap(tmp_path)),
        "dataset": lambda: as_source(Pairs()),
        "batched": lambda: as_source(Batched()),
        "callable": lambda: as_source(lambda idx: X[idx], n=20),
        "source": lambda: as_source(CountingSource(X)),
    }
    source = made[kind]()
    assert isinstance(source, ItemSource) and len(source) == 20
    assert torch.equal(source.fetch(IDX), X[IDX])


def test_a_range_is_its_own_features():
    assert torch.equal(as_source(range(7)).fetch(torch.tensor([6, 2])), torch.tensor([[6.0], [2.0]]).double())


def test_trailing_dimensions_are_flattened_and_integers_become_floats():
    images = torch.arange(24, dtype=torch.uint8).view(2, 3, 4)
    fetched = as_source(images).fetch(torch.tensor([1]))
    assert fetched.dtype == torch.float32 and torch.equal(fetched[0], torch.arange(12.0, 24.0))
    big = torch.tensor([[2**40 + 1]])
    assert as_source(big).fetch(torch.tensor([0])).item() == 2**40 + 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: as_source(torch.zeros(3)), ValueError, r"shape \(n, d\)"),
        (lambda: as_source(torch.zeros(0, 3)), ValueError, "no items"),
        (lambda: as_source(torch.zeros(3, 2, dtype=torch.bool)), TypeError, "real numbers"),
        (lambda: as_source(np.array([["a"]])), TypeError, "real numbers"),
        (lambda: as_source(range(2, 5)), ValueError, r"range\(n\)"),
        (lambda: as_source(range(0)), ValueError, "no items"),
        (lambda: as_source(lambda idx: idx), ValueError, r"n=\.\.\."),
        (lambda: as_source(X, n=5), ValueError, "its own length"),
        (lambda: as_source(3.0), TypeError, "X must be"),
        (lambda: as_source("items"), TypeError, "X must be"),
    ],
)
def test_what_is_no_source_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.oracle
@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 19), max_size=30), max_size=8))
def test_counting_source_counts_distinct_items(requests):
    source = CountingSource(X)
    for wanted in requests:
        source.fetch(torch.tensor(wanted, dtype=torch.int64))
    distinct = sorted({i for wanted in requests for i in wanted})
    assert source.looked.tolist() == distinct and source.n_looked == len(distinct)
    assert source.n_fetched == sum(map(len, requests))


def test_counting_source_is_not_fooled_by_a_tensor_that_changes():
    source, idx = CountingSource(X), torch.tensor([4])
    source.fetch(idx)
    idx[0] = 9
    assert source.looked.tolist() == [4]
