"""Moments of the Gram matrix against their definition, chain by chain, and against what they estimate."""

import math
from itertools import combinations, pairwise

import pytest
import scipy.sparse as sp
import torch

from selectlib.features import gram_moments
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def table(n, d, seed=100):
    draws = generator(seed)
    X, y = (torch.randn(*shape, dtype=torch.float64, generator=draws) for shape in ((n, d), (n,)))
    return X, y, torch.rand(d, dtype=torch.float64, generator=draws)


def mean_over_chains(X, y, s, k):
    """The mean over all chains of k + 1 rows in ascending order, in plain Python."""
    gram = ((X * s) @ X.T).tolist()
    terms = [
        y[chain[0]].item() * y[chain[-1]].item() * math.prod(gram[i][j] for i, j in pairwise(chain))
        for chain in combinations(range(len(y)), k + 1)
    ]
    return sum(terms) / len(terms)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("backend", "chunk"), [("chunk", 1), ("chunk", 3), ("chunk", None), ("gram", None), ("scan", None)]
)
def test_moments_are_means_over_all_ascending_chains(backend, chunk, device):
    X, y, s = table(8, 3)
    expected = X.new_tensor([mean_over_chains(X, y, s, k) for k in range(1, 8)])
    X, y, s = X.to(device), y.to(device), s.to(device)
    found = gram_moments(X, y, s, order=7, backend=backend, chunk=chunk)
    assert torch.allclose(found.cpu(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.oracle
def test_moments_have_no_bias():
    """12 rows of 6 correlated columns, 20,000 times: within four standard errors of ``bᵀ Σ^(k-1) b``."""
    draws = generator(100)
    root = torch.randn(6, 6, dtype=torch.float64, generator=draws) / 2
    sigma, beta = root @ root.T, torch.randn(6, dtype=torch.float64, generator=draws)
    b = sigma @ beta
    X = torch.randn(20_000, 12, 6, dtype=torch.float64, generator=draws) @ root.T
    y = X @ beta + torch.randn(20_000, 12, dtype=torch.float64, generator=draws)
    gram = (X @ X.transpose(1, 2)).triu(1)
    power = y.unsqueeze(2)
    for k in range(1, 5):
        power = gram @ power
        draw = (y * power.squeeze(2)).sum(1) / math.comb(12, k + 1)
        expected = b @ torch.linalg.matrix_power(sigma, k - 1) @ b
        assert (draw.mean() - expected).abs() < 4 * draw.std() / math.sqrt(len(draw))
        assert gram_moments(X[7], y[7], order=4)[k - 1] == pytest.approx(draw[7].item(), rel=1e-10)


@pytest.mark.oracle
def test_only_the_first_moment_does_not_ask_for_the_order_of_the_rows():
    X, y, s = table(30, 4)
    turn = torch.randperm(30, generator=generator(101))
    first, second = gram_moments(X, y, s), gram_moments(X[turn], y[turn], s)
    assert first[0] == pytest.approx(second[0].item(), rel=1e-11)
    assert ((first - second)[1:].abs() > 1e-6 * first[1:].abs()).all()


@pytest.mark.oracle
@pytest.mark.parametrize("backend", ["chunk", "gram"])
def test_float32_is_enough_for_long_chains_of_many_rows(backend):
    X, y, s = table(3000, 40)
    X, y = X / 6, y + X[:, 0]
    exact = gram_moments(X, y, s, order=12, backend="chunk")
    rough = gram_moments(X.float(), y.float(), s.float(), order=12, backend=backend)
    assert ((rough - exact).abs() <= 1e-5 * exact.abs()).all()


@pytest.mark.parametrize("form", ["dense", "scipy", "torch"])
def test_more_orders_of_the_rows_are_averaged(form):
    X, y, s = table(40, 5)
    X = X * (torch.rand(X.shape, generator=generator(102)) < 0.5)
    rows = {"dense": X, "scipy": sp.csr_matrix(X.numpy()), "torch": X.to_sparse_csr()}[form]
    draws = generator(103)
    turns = [torch.randperm(40, generator=draws) for _ in range(3)]
    expected = torch.stack([gram_moments(X[turn], y[turn], s, order=3) for turn in turns]).mean(0)
    found = gram_moments(rows, y, s, order=3, n_permutations=3, generator=generator(103))
    assert torch.allclose(found, expected, rtol=1e-10)


def test_masks_are_1_by_default_and_rows_keep_their_order():
    X, y, s = table(20, 3)
    assert torch.equal(gram_moments(X, y), gram_moments(X, y, torch.ones_like(s)))


@pytest.mark.parametrize("where", ["X", "y"])
def test_numbers_must_be_finite(where):
    X, y, _ = table(9, 3)
    {"X": X, "y": y}[where].view(-1)[4] = math.inf
    with pytest.raises(ValueError, match=f"{where} must be finite, got NaN or infinity"):
        gram_moments(X, y, order=2)


def test_a_sparse_table_must_be_finite_too():
    with pytest.raises(ValueError, match="X must be finite"):
        gram_moments(sp.csr_matrix([[math.nan], [1.0], [2.0]]), torch.ones(3, dtype=torch.float64), order=1)


def test_random_orders_need_a_generator():
    X, y, _ = table(9, 3)
    with pytest.raises(TypeError, match=r"generator must be a torch.Generator, got NoneType"):
        gram_moments(X, y, n_permutations=2)
    with pytest.raises(ValueError, match="n_permutations must be at least 1, got 0"):
        gram_moments(X, y, n_permutations=0)


def test_there_must_be_chains():
    X, y, _ = table(4, 3)
    with pytest.raises(ValueError, match="X must have at least 5 rows for order 4 and degree 1, got 4"):
        gram_moments(X, y)
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        gram_moments(X, y, order=0)
