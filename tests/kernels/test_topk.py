"""The k largest, against a full sort by value and index."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.kernels import _topk, top_k
from selectlib.seeding import generator

NUMBERS = st.sampled_from([0.0, -0.0, 1.0, 2.0, -3.0, float("inf"), float("-inf"), float("nan")])
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def by_sorting(values, k):
    """Best value first, lower index first among equals, NaN after everything."""
    return sorted(
        range(len(values)), key=lambda i: (values[i] != values[i], -values[i] if values[i] == values[i] else 0, i)
    )[:k]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_topk, "_BLOCK", 5)


@pytest.mark.oracle
@settings(max_examples=300, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=40), st.data())
def test_any_numbers(values, data):
    k = data.draw(st.integers(1, len(values)))
    for given_values in (torch.tensor(values), np.array(values), torch.tensor(values, dtype=torch.bfloat16)):
        found = top_k(given_values, k)
        assert found.indices.tolist() == by_sorting(values, k)
        assert found.nan_count == sum(v != v for v in values)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("k", [1, 13, 999, 1000])
@pytest.mark.parametrize("block", [1, 64, 10_000])
def test_many_numbers_with_ties(monkeypatch, k, block, device):
    monkeypatch.setattr(_topk, "_BLOCK", block)
    values = torch.randint(0, 40, (1000,), generator=generator(100)).double().to(device)
    values[::7] = torch.nan
    found = top_k(values, k)
    assert found.indices.device == values.device and found.indices.dtype == torch.int64
    assert found.indices.tolist() == by_sorting(values.tolist(), k)
    assert found.nan_count == 143


@pytest.mark.oracle
def test_a_read_only_memory_map(tmp_path):
    values = torch.randn(103, generator=generator(100)).numpy()
    values.tofile(tmp_path / "scores")
    mapped = np.memmap(tmp_path / "scores", dtype=np.float32, mode="r")
    assert top_k(mapped, 20).indices.tolist() == by_sorting(values.tolist(), 20)


def test_a_memory_map_is_never_read_whole(monkeypatch):
    read = []

    class Counted(np.ndarray):
        def __getitem__(self, key):
            found = np.asarray(super().__getitem__(key))
            read.append(found.size)
            return found

    top_k(np.arange(23.0).view(Counted), 3)
    assert read == [5, 5, 5, 5, 3]


def test_the_values_stay_as_they_were():
    values = torch.tensor([1.0, float("nan"), 3.0])
    top_k(values, 2)
    assert values[0] == 1 and values[1].isnan() and values[2] == 3


@pytest.mark.parametrize(
    ("values", "k", "error", "message"),
    [
        (torch.ones(3), 0, ValueError, "k must be from 1 to the 3 values, got 0"),
        (torch.ones(3), 4, ValueError, "k must be from 1 to the 3 values, got 4"),
        (torch.ones(3), 2.0, TypeError, "k must be an int"),
        (torch.ones(3, 1), 1, ValueError, "values must be 1-D"),
        (torch.ones(3, dtype=torch.int64), 1, TypeError, "values must hold floats"),
        (np.ones(3, dtype=np.int32), 1, TypeError, "values must hold floats"),
        ([1.0], 1, TypeError, "values must be a tensor or an array, got list"),
    ],
)
def test_bad_arguments_are_named(values, k, error, message):
    with pytest.raises(error, match=message):
        top_k(values, k)
