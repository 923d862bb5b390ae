"""Leverage scores against the dense formula; BLESS against its guarantee; looks that do not depend on n."""

import pytest
import torch

from selectlib.seeding import generator
from selectlib.subsets import (
    RBF,
    CallableKernel,
    CountingSource,
    Dictionary,
    Linear,
    Precomputed,
    bless,
    effective_dimension,
    ridge_leverage_scores,
)
from selectlib.subsets._covariance import dictionary_covariance, looked_covariance
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._sources import as_source


def points(n, d=3, seed=100):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed))


def exact_scores(L, lam):
    return torch.linalg.solve(L + lam * torch.eye(len(L), dtype=L.dtype), L).diagonal()


SQUARED = CallableKernel(lambda X, Y: (X @ Y.T) ** 2, diag_bound=None)


@pytest.mark.oracle
@pytest.mark.parametrize("kernel", [RBF(0.2), RBF(5.0), Linear(), SQUARED])
@pytest.mark.parametrize("lam", [1e-3, 0.5, 20.0])
def test_all_items_as_the_dictionary_give_the_exact_scores(kernel, lam):
    X = points(120)
    expected = exact_scores(kernel(X, X), lam)
    assert float((ridge_leverage_scores(X, kernel, lam) - expected).abs().max()) < 1e-9
    some = torch.tensor([5, 119, 5])
    assert float((ridge_leverage_scores(X, kernel, lam, some) - expected[some]).abs().max()) < 1e-9


@pytest.mark.oracle
@pytest.mark.parametrize("kernel", [RBF(0.2), Linear(), SQUARED])
def test_a_weighted_dictionary_is_the_operator_that_it_says(kernel):
    X = points(40)
    p = torch.rand(40, dtype=torch.float64, generator=generator(101)) * 0.9 + 0.1
    weights, lam = 1 / p, 0.3
    L = kernel(X, X)
    scale = weights.sqrt()
    G = scale[:, None] * L * scale
    inverse = torch.linalg.inv(G + lam * torch.eye(40, dtype=L.dtype))
    # (Ĉ + lam I)^{-1} by Woodbury: (L_xx - L_xD W^{1/2} (G + lam I)^{-1} W^{1/2} L_Dx) / lam.
    new = points(15, seed=102)
    cross = kernel(new, X) * scale
    expected = (kernel.diag(new) - ((cross @ inverse) * cross).sum(-1)) / lam
    dictionary = Dictionary(torch.arange(40), X, p, lam, 1.0)
    scores = ridge_leverage_scores(new, kernel, lam, dictionary=dictionary)
    assert torch.allclose(scores, expected, rtol=1e-8, atol=1e-10)
    eigvals = dictionary_covariance(kernel, dictionary).eigvals
    assert torch.allclose(eigvals, torch.linalg.eigvalsh(G)[-len(eigvals) :], rtol=1e-9, atol=1e-10)


@pytest.mark.oracle
@pytest.mark.parametrize("kernel", [RBF(0.5), Linear(), Precomputed(RBF(1.0)(points(60), points(60)))])
def test_a_covariance_of_all_items_has_the_spectrum_of_the_kernel(kernel):
    X = range(60) if isinstance(kernel, Precomputed) else points(60)
    looked = LookedItems(as_source(X), kernel, generator(100))
    looked.look_at_all()
    everything = looked.features(torch.arange(60))
    covariance = looked_covariance(looked, everything)
    eigvals = torch.linalg.eigvalsh(kernel(everything, everything))
    expected = eigvals[eigvals > 1e-9 * eigvals[-1]]
    assert torch.allclose(covariance.eigvals[-len(expected) :], expected, rtol=1e-6)
    assert float(covariance.uncovered(everything, looked.diag).max()) < 1e-9 * float(looked.diag.max())


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(100, 105))
def test_bless_scores_are_within_a_factor_of_two(seed):
    X, kernel, lam = points(500, 2, seed), RBF(2.0), 1.0
    dictionary = bless(X, kernel, lam=lam, oversample=10.0, generator=generator(seed))
    exact = exact_scores(kernel(X, X), lam)
    scores = ridge_leverage_scores(X, kernel, lam, dictionary=dictionary)
    assert float(((scores >= exact / 2) & (scores <= 2 * exact)).double().mean()) >= 0.95
    assert len(dictionary.indices) <= 3 * 10 * float(exact.sum())
    assert dictionary.dim == pytest.approx(float(exact.sum()), rel=0.5)


@pytest.mark.oracle
def test_bless_on_the_public_case_of_a_squared_linear_kernel():
    X = torch.randn(100, 5, dtype=torch.float64, generator=generator(100))
    exact = exact_scores(SQUARED(X, X), 10.0)
    dictionary = bless(X, SQUARED, lam=10.0, oversample=10.0)
    scores = ridge_leverage_scores(X, SQUARED, 10.0, dictionary=dictionary)
    assert torch.allclose(scores, exact, rtol=0.5)
    assert torch.allclose(ridge_leverage_scores(X, SQUARED, 10.0), exact, rtol=1e-7)


@pytest.mark.oracle
def test_bless_reaches_the_dimension_asked_for():
    X, kernel = points(3000, 2), RBF(4.0)
    dictionary = bless(X, kernel, target_dim=12.0)
    eigvals = torch.linalg.eigvalsh(kernel(X, X)).clamp(min=0)
    dim = float((eigvals / (eigvals + dictionary.lam)).sum())
    assert 12 < dim < 40
    assert bool(((dictionary.p > 0) & (dictionary.p <= 1)).all())
    assert torch.equal(dictionary.points, X[dictionary.indices])


@pytest.mark.oracle
def test_the_looks_of_bless_do_not_grow_with_n():
    looks = []
    for n in (10**4, 10**6, 10**8):
        source = CountingSource(plane(n))
        bless(source, RBF(2.0), target_dim=8.0)
        looks.append(source.n_looked)
    assert max(looks) < 3 * min(looks) and max(looks) < 5_000


def plane(n):
    """n points that fill the unit square evenly, made on access."""
    return as_source(
        lambda idx: torch.stack([(idx.double() * 0.7548776662).frac(), (idx.double() * 0.5698402910).frac()], -1), n=n
    )


def test_bad_arguments_are_named():
    X = points(10)
    with pytest.raises(ValueError, match="either lam or target_dim"):
        bless(X, RBF(1.0))
    with pytest.raises(ValueError, match="either lam or target_dim"):
        bless(X, RBF(1.0), lam=1.0, target_dim=3.0)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="lam"):
            bless(X, RBF(1.0), lam=bad)
        with pytest.raises(ValueError, match="lam"):
            ridge_leverage_scores(X, RBF(1.0), bad)
        with pytest.raises(ValueError, match="lam"):
            effective_dimension(X, RBF(1.0), bad)
    with pytest.raises(ValueError, match="idx"):
        ridge_leverage_scores(X, RBF(1.0), 1.0, torch.tensor([10]))
    with pytest.raises(ValueError, match="p must be positive"):
        Dictionary(torch.arange(2), X[:2], torch.tensor([0.0, 1.0]).double(), 1.0, 1.0)


def test_a_rank_below_the_dimension_asked_for_ends_the_search():
    X = points(500, 2)
    dictionary = bless(X, Linear(), target_dim=10.0)
    assert len(dictionary.indices) >= 2
