"""Philox against its published answers and against a reading of its definition in plain integers."""

import pytest
import torch
from by_hand import philox_by_hand, words
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.kernels import philox
from selectlib.kernels._philox import Stream, grid_numpy, grid_torch

WORD = st.integers(0, 2**32 - 1)
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.oracle
@pytest.mark.parametrize(("counter", "key", "answer"), PUBLISHED)
def test_published_answers(counter, key, answer):
    found = philox(torch.tensor(counter), torch.tensor(key))
    assert " ".join(f"{word:08x}" for word in found.tolist()) == answer


@pytest.mark.oracle
@settings(max_examples=50, deadline=None)
@given(counters=st.lists(st.tuples(WORD, WORD, WORD, WORD), min_size=1, max_size=4), key=st.tuples(WORD, WORD))
def test_any_counter_and_key(counters, key):
    found = philox(torch.tensor([counters]), torch.tensor(key))
    assert found.tolist() == [[list(philox_by_hand(counter, key)) for counter in counters]]


@pytest.mark.parametrize("make", [grid_numpy, lambda *a: grid_torch(*a, torch.device("cpu"))], ids=["numpy", "torch"])
@pytest.mark.parametrize(("seed", "model_id"), [(0, 0), (100, 3), (2**64 - 1, 2**32 - 1), (2**40 + 7, 2**31)])
def test_a_grid_is_the_words_of_its_counters(make, seed, model_id):
    blocks, columns = range(2**32 - 3, 2**32), range(5, 9)
    grid = make(blocks, columns, 2, Stream(seed, model_id))
    assert grid.dtype == torch.int32 and grid.shape == (4, 3, 4)
    expected = [[list(words(b, c, model_id, 2, seed)) for b in blocks] for c in columns]
    assert (grid.to(torch.int64) & 0xFFFFFFFF).tolist() == expected


@pytest.mark.parametrize(
    ("counter", "key", "error", "message"),
    [
        (torch.zeros(4), torch.zeros(2, dtype=torch.int64), TypeError, "counter must be an int64 tensor"),
        ([0, 0, 0, 0], torch.zeros(2, dtype=torch.int64), TypeError, "counter must be an int64 tensor, got list"),
        (torch.zeros(3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), ValueError, "counter must have 4 words"),
        (torch.zeros(4, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), ValueError, "key must have 2 words"),
        (torch.zeros(4, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64), ValueError, "key must have shape"),
    ],
)
def test_what_is_no_counter_or_key_is_refused(counter, key, error, message):
    with pytest.raises(error, match=message):
        philox(counter, key)
