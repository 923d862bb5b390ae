"""The swap chain: its transition matrix by enumeration, and its law."""

import itertools

import numpy as np
import pytest
import torch

from selectlib.seeding import generator
from selectlib.stats import chi_square_fit
from selectlib.subsets._greedy import greedy_map
from selectlib.subsets._kernels import RBF
from selectlib.subsets._mcmc import k_dpp_mcmc, swap
from selectlib.subsets._spectral import eigh_psd, sample_kdpp_dense
from selectlib.subsets._uniform import enumerate_kdpp


def kernel_matrix(n, seed):
    X = torch.randn(n, 2, dtype=torch.float64, generator=generator(seed))
    return torch.exp(-(torch.cdist(X, X) ** 2))


def transition_matrix(L, k):
    """P(S -> T) of the lazy chain, from `swap`."""
    n = len(L)
    sets = list(itertools.combinations(range(n), k))
    code = {s: i for i, s in enumerate(sets)}
    P = torch.zeros(len(sets), len(sets), dtype=torch.float64)
    for s, place, u in itertools.product(sets, range(k), range(n)):
        if u in s:
            continue
        idx = torch.tensor(s)
        inverse = torch.linalg.inv(L[idx][:, idx])[None]
        ratio, swapped = swap(inverse, L[u, idx][None], L[u, u][None], torch.tensor([place]))
        new = idx.clone()
        new[place] = u
        torch.testing.assert_close(swapped[0] @ L[new][:, new], torch.eye(k, dtype=torch.float64), rtol=0, atol=1e-9)
        P[code[s], code[tuple(sorted(new.tolist()))]] += float(ratio.clamp(max=1)) / (2 * k * (n - k))
    P += torch.diag(1 - P.sum(1))
    return P


@pytest.mark.oracle
@pytest.mark.parametrize(("n", "k"), [(6, 2), (6, 1), (6, 4), (7, 3)])
def test_detailed_balance(n, k):
    L = kernel_matrix(n, 100)
    P, law = transition_matrix(L, k), enumerate_kdpp(L, k)[1]
    flow = law[:, None] * P
    torch.testing.assert_close(flow, flow.T, rtol=0, atol=1e-12)
    assert bool((P.diagonal() >= 0.5 - 1e-12).all())
    # Only swaps, and the chain reaches every set.
    assert bool((torch.linalg.matrix_power(P, 4 * n) > 0).all())


@pytest.mark.oracle
def test_the_code_makes_these_transitions():
    # One, then two steps from each of the 15 sets, against the enumerated matrix.
    L = kernel_matrix(6, 101)
    P, sets = transition_matrix(L, 2), enumerate_kdpp(L, 2)[0]
    code = {tuple(s): i for i, s in enumerate(sets.tolist())}
    for n_steps, start in itertools.product((1, 2), range(15)):
        ends = k_dpp_mcmc(L, 2, n_steps, chains=8000, init=sets[start].flip(0), generator=generator(100 + start))
        counts = np.bincount([code[tuple(s)] for s in ends.tolist()], minlength=15)
        expected = torch.linalg.matrix_power(P, n_steps)[start].numpy()
        assert chi_square_fit(counts, expected / expected.sum()).p > 1e-6


@pytest.mark.oracle
def test_the_law_stays_where_it_is():
    # 300 steps (past two recomputations of the inverses) from exact samples.
    L = kernel_matrix(8, 102)
    sets, law = enumerate_kdpp(L, 3)
    start = sample_kdpp_dense(*eigh_psd(L), 3, n_samples=5000, generator=generator(100))
    ends = k_dpp_mcmc(L, 3, 300, chains=5000, init=start, generator=generator(101))
    assert chi_square_fit(counts_of(ends, sets), law.numpy()).p > 1e-6
    assert not torch.equal(ends, start)


@pytest.mark.oracle
def test_the_law_is_reached_from_greedy():
    X = torch.randn(9, 2, dtype=torch.float64, generator=generator(103))
    sets, law = enumerate_kdpp(RBF(1.0)(X, X), 3)
    ends = k_dpp_mcmc(X, 3, 400, kernel=RBF(1.0), chains=5000, generator=generator(102))
    assert chi_square_fit(counts_of(ends, sets), law.numpy()).p > 1e-6


def counts_of(samples, sets):
    code = {tuple(s): i for i, s in enumerate(sets.tolist())}
    return np.bincount([code[tuple(s)] for s in samples.tolist()], minlength=len(code))


def test_starts_and_corners():
    L = kernel_matrix(5, 104)
    assert (
        k_dpp_mcmc(L, 2, 0, chains=3, generator=generator(100)).tolist()
        == [greedy_map(L, 2).sort().values.tolist()] * 3
    )
    assert k_dpp_mcmc(L, 0, 9, chains=3, generator=generator(100)).shape == (3, 0)
    assert k_dpp_mcmc(L, 5, 9, chains=2, generator=generator(100)).tolist() == [[0, 1, 2, 3, 4]] * 2
    first, second = (k_dpp_mcmc(L, 2, 50, generator=generator(7)) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (64, 2)


@pytest.mark.parametrize(
    ("k", "options", "error", "words"),
    [
        (6, {}, ValueError, "k must be from 0 to 5, got 6"),
        (2, {"chains": 0}, ValueError, "chains must be at least 1, got 0"),
        (2, {"n_steps": -1}, ValueError, "n_steps must be at least 0, got -1"),
        (2, {"init": "random"}, ValueError, "init must be one of greedy"),
        (2, {"init": torch.tensor([0, 0])}, ValueError, "init must hold distinct items"),
        (2, {"init": torch.tensor([0, 5])}, ValueError, "init must hold indices from 0 to 4"),
        (2, {"init": torch.tensor([0, 1, 2])}, ValueError, r"init must have shape \(2,\) or \(64, 2\)"),
        (2, {"init": torch.tensor([3, 4])}, ValueError, "init must have a positive determinant"),
        (5, {}, ValueError, "numerical rank"),
        (2, {"generator": 100}, TypeError, "generator must be a torch.Generator"),
    ],
)
def test_bad_arguments_are_named(k, options, error, words):
    idx = torch.tensor([0, 1, 2, 3, 3])
    L = kernel_matrix(4, 105)[idx][:, idx]
    with pytest.raises(error, match=words):
        k_dpp_mcmc(L, k, **{"n_steps": 3, "generator": generator(100), **options})
