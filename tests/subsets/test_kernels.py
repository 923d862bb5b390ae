"""Kernels against their definitions, in batches and on one pair at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.seeding import generator
from selectlib.subsets import RBF, CallableKernel, Cosine, Linear, Precomputed

L6 = torch.eye(6, dtype=torch.float64) + 0.1
DEFINITIONS = {
    "rbf": (RBF(0.3), lambda x, y: math.exp(-0.3 * float((x - y).square().sum()))),
    "linear": (Linear(), lambda x, y: float(x @ y)),
    "cosine": (Cosine(), lambda x, y: float(x @ y) / max(1e-300, float(x.norm() * y.norm()))),
    "callable": (
        CallableKernel(lambda X, Y: (X @ Y.T) ** 2, diag_bound=None),
        lambda x, y: float(x @ y) ** 2,
    ),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", DEFINITIONS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 5), m=st.integers(1, 5), d=st.integers(1, 4))
def test_a_kernel_is_its_definition_on_every_pair(name, seed, n, m, d):
    kernel, define = DEFINITIONS[name]
    g = generator(seed)
    X = torch.randn(n, d, dtype=torch.float64, generator=g)
    Y = torch.randn(m, d, dtype=torch.float64, generator=g)
    expected = torch.tensor([[define(x, y) for y in Y] for x in X], dtype=torch.float64)
    assert torch.allclose(kernel(X, Y), expected, rtol=1e-12, atol=1e-13)
    assert torch.allclose(kernel.diag(X), torch.tensor([define(x, x) for x in X], dtype=torch.float64), rtol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("kernel", [RBF(0.5), Linear(), Cosine(), DEFINITIONS["callable"][0], Precomputed(L6)])
def test_leading_dimensions_are_a_batch(kernel):
    if isinstance(kernel, Precomputed):
        X, Y = (torch.randint(6, (2, 3, s, 1), generator=generator(100)).double() for s in (4, 5))
    else:
        X, Y = (torch.randn(2, 3, s, 2, dtype=torch.float64, generator=generator(100)) for s in (4, 5))
    whole = kernel(X, Y)
    assert whole.shape == (2, 3, 4, 5) and kernel.diag(X).shape == (2, 3, 4)
    for i in range(2):
        for j in range(3):
            assert torch.allclose(whole[i, j], kernel(X[i, j], Y[i, j]), rtol=1e-13)
            assert torch.allclose(kernel.diag(X)[i, j], kernel(X[i, j], X[i, j]).diagonal(), rtol=1e-13)


def test_rbf_keeps_its_digits_far_from_the_origin():
    X = torch.randn(50, 3, dtype=torch.float64, generator=generator(100))
    near, far = RBF(1.0)(X, X), RBF(1.0)(X + 1e6, X + 1e6)
    assert float((near - far).abs().max()) < 1e-8  # the shift itself costs 1e6 · 1e-16 of each coordinate


def test_rbf_leaves_its_arguments_alone():
    X = torch.randn(4, 2, generator=generator(100))
    before = X.clone()
    RBF(1.0)(X, X)
    assert torch.equal(X, before)


def test_cosine_of_a_zero_vector_is_zero():
    X = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert Cosine()(X, X)[0].tolist() == [0.0, 0.0] and Cosine().diag(X).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("nan"), float("inf")])
def test_rbf_refuses_a_length_that_is_none(gamma):
    with pytest.raises(ValueError, match="gamma"):
        RBF(gamma)


@pytest.mark.parametrize(
    ("L", "message"),
    [
        (torch.zeros(2, 3), "square"),
        (torch.tensor([[1.0, 2.0], [0.0, 1.0]]), "symmetric"),
        (torch.tensor([[float("nan")]]), "finite"),
        (torch.tensor([[-1.0]]), "positive semi-definite"),
    ],
)
def test_precomputed_refuses_what_is_no_kernel(L, message):
    with pytest.raises(ValueError, match=message):
        Precomputed(L)


def test_bounds_hold():
    X = torch.randn(30, 2, generator=generator(100))
    assert RBF(1.0).diag_bound == Cosine().diag_bound == 1.0
    assert Linear().diag_bound is None and Linear(7.0).diag_bound == 7.0
    assert Precomputed(L6).diag_bound == pytest.approx(1.1)
    assert float(Cosine()(X, X).diagonal().max()) <= 1 + 1e-6
