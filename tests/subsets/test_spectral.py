"""Spectral samplers against the enumerated law; marginals against enumeration."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from selectlib.seeding import generator
from selectlib.stats import chi_square_fit
from selectlib.subsets._spectral import eigh_psd, kdpp_marginals, sample_dpp_dense, sample_kdpp_dense
from selectlib.subsets._uniform import enumerate_kdpp

P_LEAST = 1e-6  # some 60 p-values in this file


def rbf(n, seed, d=2):
    X = torch.randn(n, d, dtype=torch.float64, generator=generator(seed))
    return torch.exp(-(torch.cdist(X, X) ** 2))


def low_rank(n, rank, seed):
    B = torch.randn(n, rank, dtype=torch.float64, generator=generator(seed))
    return B @ B.T


def with_duplicates(n, seed):
    idx = torch.tensor([0, 0, *range(1, n - 1)])
    return rbf(n, seed)[idx][:, idx]


def blocks(n, seed):
    L = rbf(n, seed)
    L[: n // 2, n // 2 :] = L[n // 2 :, : n // 2] = 0
    return L


def ill_conditioned(n, seed):
    V = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator(seed))).Q
    return (V * 10 ** torch.linspace(-4, 4, n, dtype=torch.float64)) @ V.T


KERNELS = {
    "rbf": rbf(8, 100),
    "rank 4": low_rank(8, 4, 101),
    "duplicates": with_duplicates(8, 102),
    "blocks": blocks(8, 103),
    "ill-conditioned": ill_conditioned(8, 104),
    "zero item": torch.block_diag(rbf(7, 105), torch.zeros(1, 1, dtype=torch.float64)),
}
RANKS = {"rbf": 8, "rank 4": 4, "duplicates": 7, "blocks": 8, "ill-conditioned": 8, "zero item": 7}


def fit_of(samples, L, k):
    sets, p = (x.numpy() for x in enumerate_kdpp(L, k))
    codes = {tuple(s): i for i, s in enumerate(sets.tolist())}
    counts = np.bincount([codes[tuple(row)] for row in samples.tolist()], minlength=len(sets))
    if (p > 1e-9).sum() == 1:
        return float(counts[p > 1e-9].sum() == len(samples))
    return chi_square_fit(counts, p).p


@pytest.mark.oracle
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("k", range(1, 9))
def test_kdpp_samples_follow_the_enumerated_law(name, k):
    if k > RANKS[name]:
        with pytest.raises(ValueError, match=f"numerical rank of the kernel, {RANKS[name]}, got {k}"):
            sample_kdpp_dense(*eigh_psd(KERNELS[name]), k, n_samples=1, generator=generator(100))
        return
    samples = sample_kdpp_dense(*eigh_psd(KERNELS[name]), k, n_samples=10_000, generator=generator(100 + k))
    assert samples.shape == (10_000, k)
    assert bool((samples.diff(dim=-1) > 0).all())
    assert fit_of(samples, KERNELS[name], k) > P_LEAST


@pytest.mark.oracle
def test_a_batch_of_different_kernels():
    # Three kernels side by side, one padded with zeros, each member of the batch with its own law.
    kernels = torch.stack([KERNELS["rbf"], KERNELS["rank 4"], KERNELS["zero item"]])
    eigvals, eigvecs = (x.expand(6000, *x.shape) for x in eigh_psd(kernels))
    samples = sample_kdpp_dense(eigvals, eigvecs, 3, generator=generator(110))
    assert samples.shape == (6000, 3, 3)
    for b in range(3):
        assert fit_of(samples[:, b], kernels[b], 3) > P_LEAST


@pytest.mark.oracle
@pytest.mark.parametrize("name", KERNELS)
def test_dpp_samples_follow_the_enumerated_law(name):
    L = KERNELS[name][:6, :6] * 0.7
    eigvals, eigvecs = eigh_psd(L)
    mask = sample_dpp_dense(eigvals, eigvecs, n_samples=30_000, generator=generator(120))
    codes = (mask.double() @ 2 ** torch.arange(6, dtype=torch.float64)).long()
    p = np.zeros(64)
    for code in range(64):
        s = [i for i in range(6) if code >> i & 1]
        p[code] = max(float(torch.linalg.det(L[s][:, s])), 0) / float(torch.linalg.det(torch.eye(6) + L)) if s else 0
    p[p < 1e-12] = 0
    p[0] = 1 / float(torch.linalg.det(torch.eye(6) + L))
    assert p.sum() == pytest.approx(1, abs=1e-10)
    assert chi_square_fit(np.bincount(codes, minlength=64), p / p.sum()).p > P_LEAST
    batched = sample_dpp_dense(eigvals.expand(500, 6), eigvecs.expand(500, 6, 6), generator=generator(121))
    assert batched.shape == (500, 6)
    assert chi_square_fit(np.bincount(batched.sum(-1), minlength=7), size_law(eigvals)).p > P_LEAST


def size_law(eigvals):
    """Law of a sum of independent coins λ / (1 + λ), one convolution at a time."""
    p = np.ones(1)
    for head in (eigvals / (1 + eigvals)).tolist():
        p = np.convolve(p, [1 - head, head])
    return p


@pytest.mark.oracle
def test_dpp_size_and_marginals_at_n_200():
    # E|S| = 2.9 at n = 200: a sampler of DPP(cL) with c off by a few per cent is 6 standard errors away.
    X = torch.randn(200, 3, dtype=torch.float64, generator=generator(130))
    eigvals, eigvecs = eigh_psd(torch.exp(-(torch.cdist(X, X) ** 2) / 8) / 20)
    mask = sample_dpp_dense(eigvals, eigvecs, n_samples=12_000, generator=generator(131))
    marginal = (eigvecs.square() @ (eigvals / (1 + eigvals))).numpy()
    sizes = mask.sum(-1)
    variance = float((eigvals / (1 + eigvals) ** 2).sum())
    assert abs(float(sizes.double().mean()) - marginal.sum()) < 4.5 * math.sqrt(variance / 12_000)
    assert chi_square_fit(np.bincount(sizes, minlength=201), size_law(eigvals)).p > P_LEAST
    z = (mask.double().mean(0).numpy() - marginal) / np.sqrt(marginal * (1 - marginal) / 12_000)
    assert np.abs(z).max() < stats.norm.isf(P_LEAST / 400)


@pytest.mark.oracle
@pytest.mark.parametrize("name", KERNELS)
def test_marginals_against_enumeration(name):
    for k in range(1, RANKS[name] + 1):
        sets, p = enumerate_kdpp(KERNELS[name], k)
        expected = torch.zeros(8, dtype=torch.float64).index_add_(0, sets.flatten(), p.repeat_interleave(k))
        # Where products of small eigenvalues decide, the determinants of the enumeration carry the larger error.
        np.testing.assert_allclose(kdpp_marginals(KERNELS[name], k), expected, atol=1e-12 if k < 7 else 1e-9)


def dppy_kernels():
    """The kernels of DPPy's own tests: rank 6 on 10 items, linear on 100 x 6, min(x, y) on 100 points of [0, 1]."""
    vectors = torch.linalg.qr(torch.randn(10, 6, dtype=torch.float64, generator=generator(180))).Q
    integers = 1 + torch.from_numpy(np.random.default_rng(181).geometric(0.5, size=6)).double()
    uniform = torch.rand(100, 7, dtype=torch.float64, generator=generator(182))
    return {
        "projection": vectors @ vectors.T,
        "integer spectrum": (vectors * integers) @ vectors.T,
        "gram": low_rank(10, 6, 183),
        "linear": uniform[:, :6] @ uniform[:, :6].T,
        "min": torch.minimum(uniform[:, 6:], uniform[:, 6:].T),
    }


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["projection", "integer spectrum", "gram", "linear", "min"])
def test_the_cases_of_dppy(name):
    # With counts in place of its proportions, and with the inclusion probabilities of k-DPPs.
    L = dppy_kernels()[name]
    n = len(L)
    eigvals, eigvecs = eigh_psd(L)
    mean_size = float((eigvals / (1 + eigvals)).sum())
    for k in (3, 6) if n == 10 else (int(mean_size) // 2,):
        assert k >= 1
        samples = sample_kdpp_dense(eigvals, eigvecs, k, n_samples=10_000, generator=generator(184 + k))
        if math.comb(n, k) <= 5000:
            assert fit_of(samples, L, k) > P_LEAST
        marginal = kdpp_marginals(L, k)
        z = torch.bincount(samples.flatten(), minlength=n) / 10_000 - marginal
        z = z / (marginal * (1 - marginal) / 10_000).clamp(min=1e-12).sqrt()
        assert float(z.abs().max()) < 5.5
    mask = sample_dpp_dense(eigvals, eigvecs, n_samples=10_000, generator=generator(185)).double()
    K = (eigvecs * (eigvals / (1 + eigvals))) @ eigvecs.T
    pairs = (K.diagonal()[:, None] * K.diagonal() - K**2).clamp(min=0)
    pairs.diagonal().copy_(K.diagonal())
    z = (mask.T @ mask / 10_000 - pairs) / ((pairs * (1 - pairs)).clamp(min=0.01) / 10_000).sqrt()
    assert float(z.abs().max()) < 6.5
    assert chi_square_fit(np.bincount(mask.sum(1).long(), minlength=n + 1), size_law(eigvals)).p > P_LEAST


@pytest.mark.oracle
def test_frequencies_against_marginals_at_n_300():
    L = rbf(300, 140, d=3)
    marginal = kdpp_marginals(L, 5)
    assert float(marginal.sum()) == pytest.approx(5, abs=1e-10)
    samples = sample_kdpp_dense(*eigh_psd(L), 5, n_samples=5000, generator=generator(141))
    frequency = torch.bincount(samples.flatten(), minlength=300) / 5000
    z = (frequency - marginal) / (marginal * (1 - marginal) / 5000).sqrt()
    assert float(z.abs().max()) < 5.5


@pytest.mark.oracle
def test_pairs_at_k_30():
    # Large k: Pr(i, j ∈ S) of a projection DPP (k = rank) is K_ii K_jj - K_ij², in closed form.
    V = torch.linalg.qr(torch.randn(200, 30, dtype=torch.float64, generator=generator(150))).Q
    samples = sample_kdpp_dense(torch.ones(30, dtype=torch.float64), V, 30, n_samples=4000, generator=generator(151))
    member = torch.zeros(4000, 200, dtype=torch.float64).scatter_(1, samples, 1.0)
    K = V @ V.T
    pairs = K.diagonal()[:, None] * K.diagonal() - K**2
    upper = torch.triu(torch.ones(200, 200, dtype=torch.bool), 1)
    z = ((member.T @ member / 4000 - pairs) / (pairs * (1 - pairs) / 4000).sqrt())[upper]
    assert float(z.abs().max()) < 6.5  # 19,900 pairs; the counts are a little skewed
    assert float(z.square().mean()) == pytest.approx(1, abs=0.06)


@pytest.mark.oracle
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_rank_deficient_sets_are_never_drawn(n, rank, seed):
    rank = min(rank, n)
    L = low_rank(n, rank, seed % 1000 + 100)
    idx = torch.arange(n).repeat_interleave(2)  # every item twice: both together have determinant 0
    eigvals, eigvecs = eigh_psd(L[idx][:, idx])
    assert int((eigvals > 0).sum()) == rank
    samples = sample_kdpp_dense(eigvals, eigvecs, rank, n_samples=50, generator=generator(seed))
    assert bool(((samples // 2).diff(dim=-1) > 0).all())


@pytest.mark.oracle
def test_scaled_kernels_give_the_same_samples():
    L = rbf(40, 160)
    first, second = (
        sample_kdpp_dense(*eigh_psd(c * L), 6, n_samples=50, generator=generator(161)) for c in (1.0, 2.0**-20)
    )
    assert torch.equal(first, second)


def test_k_zero_no_samples_and_all_items():
    eigvals, eigvecs = eigh_psd(rbf(5, 170))
    assert sample_kdpp_dense(eigvals, eigvecs, 0, n_samples=3, generator=generator(100)).shape == (3, 0)
    assert sample_kdpp_dense(eigvals, eigvecs, 2, n_samples=0, generator=generator(100)).shape == (0, 2)
    everything = sample_kdpp_dense(eigvals, eigvecs, 5, n_samples=3, generator=generator(100))
    assert everything.tolist() == [list(range(5))] * 3
    assert kdpp_marginals(rbf(5, 170), 0).tolist() == [0.0] * 5
    nothing = sample_dpp_dense(torch.zeros(5), eigvecs, n_samples=3, generator=generator(100))
    assert nothing.tolist() == [[False] * 5] * 3


def test_k_one_is_proportional_to_the_diagonal():
    L = ill_conditioned(6, 171)
    torch.testing.assert_close(kdpp_marginals(L, 1), L.diagonal() / L.trace(), rtol=1e-10, atol=0)


def test_float32_kernels_are_taken_at_their_precision():
    L = low_rank(50, 5, 172).float()
    eigvals, _ = eigh_psd(L)
    assert int((eigvals > 0).sum()) == 5
    assert float(kdpp_marginals(L, 5).sum()) == pytest.approx(5)


@pytest.mark.parametrize(
    ("L", "words"),
    [
        (torch.diag(torch.tensor([1.0, -1e-3])), "positive semi-definite; its smallest eigenvalue is -1.000e-03"),
        (-torch.eye(2), "positive semi-definite"),
        (torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (torch.tensor([[1.0, math.nan], [math.nan, 1.0]]), "finite"),
        (torch.ones(2, 3), "square"),
        (torch.ones(0, 0), "at least one item"),
    ],
)
def test_bad_kernels_are_named(L, words):
    with pytest.raises(ValueError, match=words):
        eigh_psd(L)


def test_bad_arguments_are_named():
    eigvals, eigvecs = eigh_psd(torch.eye(3))
    with pytest.raises(ValueError, match="k must be at least 0, got -1"):
        sample_kdpp_dense(eigvals, eigvecs, -1, generator=generator(100))
    with pytest.raises(ValueError, match="numerical rank of the kernel, 3, got 4"):
        kdpp_marginals(torch.eye(3), 4)
    with pytest.raises(ValueError, match="n_samples is for a single decomposition"):
        sample_kdpp_dense(eigvals.expand(2, 3), eigvecs.expand(2, 3, 3), 1, n_samples=2, generator=generator(100))
    with pytest.raises(ValueError, match="n_samples must be at least 0"):
        sample_dpp_dense(eigvals, eigvecs, n_samples=-1, generator=generator(100))
    with pytest.raises(RuntimeError, match="orthonormal"):
        sample_kdpp_dense(torch.ones(2), torch.ones(4, 2), 2, n_samples=1, generator=generator(100))
