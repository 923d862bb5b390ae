"""The same tables and the same laws on a CUDA device as on the CPU."""

import numpy as np
import pytest
import torch

from selectlib.seeding import generator
from selectlib.stats import chi_square_fit
from selectlib.subsets import DPP, KDPP, RBF, greedy_map, k_dpp_mcmc, kdpp_marginals, log_esp, uniform_subsample_kdpp
from selectlib.subsets._esp import kdpp_spectrum
from selectlib.subsets._spectral import eigh_psd, sample_dpp_dense, sample_kdpp_dense
from selectlib.subsets._uniform import enumerate_kdpp, tv_of_uniform_subsample

P_LEAST = 1e-6


def items(n, seed):
    return torch.randn(n, 2, dtype=torch.float64, generator=generator(seed))


def fit_of(samples, L):
    """p-value of samples (on any device) against the law enumerated on the CPU."""
    sets, p = enumerate_kdpp(L, samples.shape[1])
    codes = {tuple(s): i for i, s in enumerate(sets.tolist())}
    counts = np.bincount([codes[tuple(sorted(s))] for s in samples.tolist()], minlength=len(sets))
    return chi_square_fit(counts, p.numpy()).p


@pytest.mark.cuda
@pytest.mark.parametrize(("shape", "k"), [((2000,), 10), ((5000,), 200), ((16, 50), 10), ((8, 7), 7)])
def test_tables_equal_those_of_the_cpu(shape, k):
    lam = 10 ** (torch.rand(*shape, dtype=torch.float64, generator=generator(100)) * 12 - 6)
    here, there = kdpp_spectrum(lam, k), kdpp_spectrum(lam.cuda(), k)
    for name in ("log_ek", "gamma0", "g", "pi"):
        assert getattr(there, name).is_cuda
        torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name), rtol=1e-10, atol=1e-300)
    torch.testing.assert_close(log_esp(lam.cuda(), k).cpu(), here.log_ek, rtol=1e-12, atol=1e-10)


@pytest.mark.cuda
@pytest.mark.parametrize("k", [1, 3, 6, 8])
def test_spectral_samples_follow_the_enumerated_law(k):
    L = RBF(1.0)(items(9, 101), items(9, 101))
    eigvals, eigvecs = eigh_psd(L.cuda())
    samples = sample_kdpp_dense(eigvals, eigvecs, k, n_samples=50_000, generator=generator(100 + k, "cuda"))
    assert samples.is_cuda
    assert fit_of(samples, L) > P_LEAST
    torch.testing.assert_close(kdpp_marginals(L.cuda(), k).cpu(), kdpp_marginals(L, k), rtol=1e-9, atol=1e-12)


@pytest.mark.cuda
def test_dpp_masks_have_the_right_marginals_and_pairs():
    L = RBF(1.0)(items(30, 102), items(30, 102))
    eigvals, eigvecs = eigh_psd(L.cuda())
    mask = sample_dpp_dense(eigvals, eigvecs, n_samples=50_000, generator=generator(100, "cuda")).double().cpu()
    eigvals, eigvecs = eigvals.cpu(), eigvecs.cpu()
    K = (eigvecs * (eigvals / (1 + eigvals))) @ eigvecs.T
    pairs = K.diagonal()[:, None] * K.diagonal() - K**2
    pairs.diagonal().copy_(K.diagonal())
    z = (mask.T @ mask / 50_000 - pairs) / ((pairs * (1 - pairs)).clamp(min=1e-3) / 50_000).sqrt()
    assert float(z.abs().max()) < 6


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["direct", "alpha", "spectral"])
@pytest.mark.parametrize("k", [1, 3])
def test_kdpp_follows_the_enumerated_law(method, k):
    X = items(9, 103)
    sampler = KDPP(X.cuda(), RBF(1.0), k, method=method, generator=generator(100 + k, "cuda")).fit()
    samples = sampler.sample(10_000)
    assert samples.is_cuda and samples.shape == (10_000, k)
    assert fit_of(samples, RBF(1.0)(X, X)) > P_LEAST


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["alpha", "spectral"])
def test_dpp_sizes_are_a_sum_of_coins(method):
    X = items(40, 107)
    sampler = DPP(X.cuda(), RBF(1.0), method=method, generator=generator(100, "cuda")).fit()
    sizes = [len(sample) for sample in sampler.sample(5000)]
    law = np.ones(1)
    for lam in torch.linalg.eigvalsh(RBF(1.0)(X, X)).clamp(min=0).tolist():
        law = np.convolve(law, [1 / (1 + lam), lam / (1 + lam)])
    assert chi_square_fit(np.bincount(sizes, minlength=41), law / law.sum()).p > P_LEAST


@pytest.mark.cuda
def test_chains_follow_the_enumerated_law():
    X = items(9, 104)
    ends = k_dpp_mcmc(X.cuda(), 3, 400, kernel=RBF(1.0), chains=20_000, generator=generator(100, "cuda"))
    assert ends.is_cuda
    assert fit_of(ends, RBF(1.0)(X, X)) > P_LEAST


@pytest.mark.cuda
def test_deterministic_functions_agree_with_the_cpu():
    X = items(500, 105)
    for window in (None, 4):
        here = greedy_map(X, 20, kernel=RBF(1.0), window=window)
        assert greedy_map(X.cuda(), 20, kernel=RBF(1.0), window=window).cpu().tolist() == here.tolist()
    L = RBF(1.0)(X[:10], X[:10])
    assert tv_of_uniform_subsample(L.cuda(), 3, 6) == pytest.approx(tv_of_uniform_subsample(L, 3, 6), abs=1e-10)


@pytest.mark.cuda
def test_the_shortcut_on_all_items_is_exact():
    X = items(9, 106)
    samples = uniform_subsample_kdpp(X.cuda(), RBF(1.0), 3, 9, n_samples=10_000, generator=generator(100, "cuda"))
    assert samples.is_cuda
    assert fit_of(samples, RBF(1.0)(X, X)) > P_LEAST
