"""Greedy MAP against the brute-force argmax of every step."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.seeding import generator
from selectlib.subsets._greedy import greedy_map
from selectlib.subsets._kernels import RBF, Linear
from selectlib.subsets._sources import CountingSource


def kernel_matrix(n, seed, rank=None):
    B = torch.randn(n, rank or n, dtype=torch.float64, generator=generator(seed))
    return B @ B.T


def brute_force(L, k, window=None):
    """Maximise log det of the remembered items and one more, by slogdet."""
    taken = []
    for _ in range(k):
        recent = taken if window is None else taken[len(taken) - min(len(taken), window - 1) :]
        scores = np.full(len(L), -np.inf)
        for i in set(range(len(L))) - set(taken):
            s = [*recent, i]
            sign, scores[i] = np.linalg.slogdet(L[s][:, s].numpy())
            assert sign > 0
        taken.append(int(scores.argmax()))
    return taken


@pytest.mark.oracle
@settings(max_examples=20, deadline=None)
@given(st.integers(100, 10_000), st.sampled_from([None, 1, 2, 3, 5, 8, 20]))
def test_every_step_is_the_best_one(seed, window):
    L = kernel_matrix(30, seed)
    assert greedy_map(L, 8, window=window).tolist() == brute_force(L, 8, window)


@pytest.mark.oracle
def test_a_long_run_with_a_window_stays_exact():
    L = kernel_matrix(120, 100, rank=40)  # more items than the rank: possible with a window only
    assert greedy_map(L, 110, window=6).tolist() == brute_force(L, 110, 6)
    with pytest.raises(ValueError, match="numerical rank, got 110: after 40 items"):
        greedy_map(L, 110)


@pytest.mark.oracle
@settings(max_examples=20, deadline=None)
@given(st.integers(100, 10_000), st.floats(1e-6, 1e6))
def test_scale_and_order(seed, c):
    L = kernel_matrix(20, seed)
    chosen = greedy_map(L, 6)
    assert torch.equal(greedy_map(c * L, 6), chosen)
    order = torch.randperm(20, generator=generator(seed))
    assert torch.equal(order[greedy_map(L[order][:, order], 6)], chosen)


@pytest.mark.oracle
def test_gain_stops_at_the_unconstrained_mode():
    L = kernel_matrix(12, 101) / 12
    chosen = greedy_map(L, 12, stop="gain").tolist()
    gains = [
        math.exp(np.linalg.slogdet(L[s][:, s].numpy())[1] - (np.linalg.slogdet(L[t][:, t].numpy())[1] if t else 0))
        for s, t in ((chosen[: i + 1], chosen[:i]) for i in range(len(chosen)))
    ]
    assert 0 < len(chosen) < 12 and min(gains) >= 1
    following = greedy_map(L, len(chosen) + 1).tolist()
    before, after = (np.linalg.slogdet(L[s][:, s].numpy())[1] for s in (chosen, following))
    assert following[:-1] == chosen and after < before


@pytest.mark.oracle
def test_a_source_and_its_kernel_matrix_agree():
    X = torch.randn(200, 3, dtype=torch.float64, generator=generator(102))
    kernel = RBF(0.5)
    expected = greedy_map(kernel(X, X), 15)
    assert torch.equal(greedy_map(X, 15, kernel=kernel), expected)
    assert torch.equal(greedy_map(X.numpy(), 15, kernel=kernel), expected)
    spy = CountingSource(X)
    assert torch.equal(greedy_map(spy, 15, kernel=kernel, window=15), expected)
    assert spy.n_looked == 200


def test_duplicates_and_zero_items_are_left_alone():
    X = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert greedy_map(X, 2, kernel=Linear()).tolist() == [1, 3]
    with pytest.raises(ValueError, match="after 2 items"):
        greedy_map(X, 3, kernel=Linear())
    with pytest.raises(ValueError, match="after 0 items"):
        greedy_map(torch.zeros(3, 3), 1)


def test_small_sizes():
    L = kernel_matrix(4, 103)
    assert greedy_map(L, 0).tolist() == []
    assert greedy_map(L, 1).tolist() == [int(L.diagonal().argmax())]
    assert sorted(greedy_map(L, 4).tolist()) == [0, 1, 2, 3]


def test_float32_rows_are_computed_in_double():
    X = torch.randn(100, 4, generator=generator(104))
    assert torch.equal(greedy_map(X, 10, kernel=RBF(1.0)), greedy_map(X.double(), 10, kernel=RBF(1.0)))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((torch.eye(3), 4), {}, ValueError, "k must be from 0 to 3, got 4"),
        ((torch.eye(3), -1), {}, ValueError, "k must be from 0 to 3, got -1"),
        ((torch.eye(3), 1.0), {}, TypeError, "k must be an int"),
        ((torch.eye(3), 2), {"window": 0}, ValueError, "window must be at least 1, got 0"),
        ((torch.eye(3), 2), {"stop": "never"}, ValueError, "stop must be one of size, gain"),
        ((np.eye(3), 2), {}, TypeError, "without a kernel, a kernel matrix"),
        ((torch.ones(3, 2), 2), {}, ValueError, "square"),
        ((torch.tensor([[1.0, 2.0], [2.0, 1.0]]), 2), {}, ValueError, "positive semi-definite"),
        ((torch.tensor([[1.0], [math.nan]]), 1), {"kernel": Linear()}, ValueError, "item 1 has NaN or infinity"),
        ((torch.eye(3), 2), {"kernel": RBF}, TypeError, "kernel must be a kernel such as"),
    ],
)
def test_bad_arguments_are_named(arguments, options, error, words):
    with pytest.raises(error, match=words):
        greedy_map(*arguments, **options)
