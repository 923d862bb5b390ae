"""The uniform-subsample shortcut: enumeration, its exact law, and its samples."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.seeding import generator
from selectlib.stats import chi_square_fit
from selectlib.subsets._esp import log_esp
from selectlib.subsets._kernels import RBF, Linear
from selectlib.subsets._sources import CountingSource
from selectlib.subsets._uniform import _distinct, _rank, enumerate_kdpp, tv_of_uniform_subsample, uniform_subsample_kdpp


def clustered_and_far(seed):
    """Nine items in one spot and three far away: what uniform subsamples miss."""
    X = torch.cat(
        [0.3 * torch.randn(9, 2, dtype=torch.float64, generator=generator(seed)), 4 * torch.eye(3, 2).double()]
    )
    X[-1] = torch.tensor([-4.0, 0.0])
    return X


def shortcut_law(L, k, m):
    """Q(S), from the definition: one subsample, one set and one e_k at a time."""
    n = len(L)
    Q = dict.fromkeys(itertools.combinations(range(n), k), 0.0)
    for U in itertools.combinations(range(n), m):
        eigvals = np.linalg.eigvalsh(L[list(U)][:, list(U)].numpy())
        e_k = math.exp(float(log_esp(torch.from_numpy(eigvals).clamp(min=0), k)))
        for S in itertools.combinations(U, k):
            Q[S] += np.linalg.det(L[list(S)][:, list(S)].numpy()) / e_k / math.comb(n, m)
    return np.array(list(Q.values()))


@pytest.mark.oracle
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(100, 10_000), st.data())
def test_enumeration_against_rationals(rank, seed, data):
    B = torch.randint(-3, 4, (6, rank), generator=generator(seed))
    L = B @ B.T
    k = data.draw(st.integers(0, int(np.linalg.matrix_rank(L.numpy()))))
    minors = [exact_det([[int(L[i, j]) for j in s] for i in s]) for s in itertools.combinations(range(6), k)]
    sets, p = enumerate_kdpp(L.double(), k)
    assert [tuple(s) for s in sets.tolist()] == list(itertools.combinations(range(6), k))
    expected = [float(Fraction(d, sum(minors))) for d in minors]
    np.testing.assert_allclose(p, expected, atol=1e-12)
    assert [x > 0 for x in p.tolist()] == [x > 0 for x in expected]  # zeros are exact


def exact_det(rows):
    if not rows:
        return 1
    return sum((-1) ** j * rows[0][j] * exact_det([r[:j] + r[j + 1 :] for r in rows[1:]]) for j in range(len(rows)))


@pytest.mark.oracle
def test_ranks_of_sets():
    for n, k in ((7, 3), (5, 5), (6, 1), (4, 0)):
        sets = torch.tensor(list(itertools.combinations(range(n), k)), dtype=torch.int64).reshape(math.comb(n, k), k)
        assert _rank(sets, n).tolist() == list(range(math.comb(n, k)))


@pytest.mark.oracle
@pytest.mark.parametrize("k", [1, 2, 3])
def test_total_variation_against_the_definition(k):
    X = clustered_and_far(100)
    L = RBF(1.0)(X, X)
    law = enumerate_kdpp(L, k)[1].numpy()
    previous = 1.0
    for m in (3, 5, 8, 11):
        tv = tv_of_uniform_subsample(L, k, m)
        assert tv == pytest.approx(np.abs(shortcut_law(L, k, m) - law).sum() / 2, abs=1e-10)
        assert 0 < tv < previous or k == 1  # a constant diagonal makes k = 1 uniform: the shortcut is exact
        previous = tv
    assert tv_of_uniform_subsample(L, k, 12) == pytest.approx(0, abs=1e-12)


@pytest.mark.oracle
def test_in_closed_form_at_k_1():
    # k = m = 1: uniform against ∝ L_ii.
    diagonal = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    expected = float((diagonal / 8 - 1 / 3).abs().sum() / 2)
    assert tv_of_uniform_subsample(torch.diag(diagonal), 1, 1) == pytest.approx(expected, abs=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("m", [3, 6, 12])
def test_samples_follow_the_shortcut_law(m):
    X = clustered_and_far(101)
    L = RBF(1.0)(X, X)
    samples = uniform_subsample_kdpp(X, RBF(1.0), 3, m, n_samples=8000, generator=generator(100 + m))
    code = {s: i for i, s in enumerate(itertools.combinations(range(12), 3))}
    counts = np.bincount([code[tuple(s)] for s in samples.tolist()], minlength=220)
    Q = shortcut_law(L, 3, m)
    assert chi_square_fit(counts, Q / Q.sum()).p > 1e-6
    if m == 3:  # and are visibly not a k-DPP
        assert chi_square_fit(counts, enumerate_kdpp(L, 3)[1].numpy()).p < 1e-6


@pytest.mark.oracle
@pytest.mark.parametrize(("n", "m"), [(6, 3), (5, 1), (7, 6), (4, 4)])
def test_subsamples_are_uniform(n, m):
    sets = _distinct(n, m, 20_000, generator(100)).sort(-1).values
    counts = torch.bincount(_rank(sets, n), minlength=math.comb(n, m))
    assert bool((sets.diff(dim=-1) > 0).all())
    if m < n:
        assert chi_square_fit(counts, np.full(len(counts), 1 / len(counts))).p > 1e-6


def test_looks_at_the_subsample_only():
    spy = CountingSource(torch.randn(5000, 3, generator=generator(102)))
    samples = uniform_subsample_kdpp(spy, RBF(0.5), 4, 50, generator=generator(100))
    assert samples.shape == (1, 4) and spy.n_looked == 50
    assert uniform_subsample_kdpp(spy, RBF(0.5), 0, 50, n_samples=2, generator=generator(100)).shape == (2, 0)
    assert uniform_subsample_kdpp(spy, RBF(0.5), 4, 50, n_samples=0, generator=generator(100)).shape == (0, 4)


def test_bad_arguments_are_named():
    L = torch.eye(5, dtype=torch.float64)
    L[0, 0] = 0
    with pytest.raises(ValueError, match="m must be from 1 to 5, got 6"):
        tv_of_uniform_subsample(L, 2, 6)
    with pytest.raises(ValueError, match="k must be from 0 to 3, got 4"):
        tv_of_uniform_subsample(L, 4, 3)
    with pytest.raises(ValueError, match=r"rank of every subsample of 2 items, got 2: \[0, 1\] has less"):
        tv_of_uniform_subsample(L, 2, 2)
    with pytest.raises(ValueError, match="enumeration is for small kernels"):
        tv_of_uniform_subsample(torch.eye(40), 3, 20)
    with pytest.raises(ValueError, match="enumeration is for small kernels"):
        enumerate_kdpp(torch.eye(200), 5)
    with pytest.raises(ValueError, match="k must be at most the rank of the kernel, got 5"):
        enumerate_kdpp(L, 5)
    with pytest.raises(ValueError, match="positive semi-definite"):
        enumerate_kdpp(-torch.eye(3), 1)
    X = torch.ones(10, 2)
    with pytest.raises(ValueError, match="numerical rank of the kernel, 1, got 2"):
        uniform_subsample_kdpp(X, Linear(), 2, 5, generator=generator(100))
    with pytest.raises(ValueError, match="m must be from 1 to 10, got 11"):
        uniform_subsample_kdpp(X, Linear(), 2, 11, generator=generator(100))
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        uniform_subsample_kdpp(X, Linear(), 1, 5, generator=None)
    X[3] = math.nan
    with pytest.raises(ValueError, match="item 3 has NaN or infinity"):
        uniform_subsample_kdpp(X, Linear(), 1, 10, generator=generator(100))
