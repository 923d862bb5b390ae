"""Elementary symmetric polynomials against exact rationals, a log-space recursion and enumeration."""

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
from selectlib.subsets._esp import draw_eigenvectors, head_tree, kdpp_spectrum, log_ek, log_esp

spectra = st.lists(st.integers(0, 50), min_size=1, max_size=14)


def exact(numbers, k):
    """e_0, ..., e_k as rationals."""
    e = [Fraction(1)] + [Fraction(0)] * k
    for x in numbers:
        for j in range(k, 0, -1):
            e[j] += Fraction(x) * e[j - 1]
    return e


def log_recursion(log_lam, k):
    """log e_k by the textbook recursion, with logaddexp in extended precision."""
    e = np.full(k + 1, -np.inf, dtype=np.longdouble)
    e[0] = 0
    for x in log_lam.astype(np.longdouble):
        e[1:] = np.logaddexp(e[1:], e[:-1] + x)
    return float(e[k])


@pytest.mark.oracle
@settings(max_examples=60, deadline=None)
@given(spectra, st.data())
def test_integer_spectra_against_rationals(numbers, data):
    k = data.draw(st.integers(0, len(numbers) + 1))
    lam = torch.tensor(numbers, dtype=torch.float64)
    e = exact(numbers, k)
    spectrum = kdpp_spectrum(lam, k)
    if e[k] == 0:
        assert float(log_esp(lam, k)) == float(spectrum.log_ek) == -math.inf
        assert all(bool(x.isnan().all()) for x in (spectrum.gamma0, spectrum.g, spectrum.pi, spectrum.alpha))
        return
    g = [exact(numbers[:j] + numbers[j + 1 :], k - 1)[k - 1] / e[k] if k else 0 for j in range(len(numbers))]
    gamma0 = e[k - 1] / e[k] if k else 0
    assert abs(float(log_esp(lam, k)) - math.log(e[k])) < 1e-11
    assert float(spectrum.log_ek) == float(log_esp(lam, k))
    assert float(spectrum.gamma0) == pytest.approx(float(gamma0), rel=1e-11)
    assert spectrum.g.tolist() == pytest.approx([float(x) for x in g], rel=1e-11)
    assert spectrum.pi.tolist() == pytest.approx([float(x * y) for x, y in zip(g, numbers, strict=True)], rel=1e-11)


@pytest.mark.oracle
def test_every_degree_of_every_prefix_by_enumeration():
    # The case in DPPy's tests (there with signs): N = 10, all k, all leading parts of the spectrum.
    lam = torch.randn(10, dtype=torch.float64, generator=generator(105)).abs()
    for n, k in itertools.product(range(1, 11), range(1, 11)):
        expected = sum(math.prod(c) for c in itertools.combinations(lam[:n].tolist(), k))
        assert float(log_esp(lam[:n], k).exp()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.oracle
def test_wide_spectrum_against_log_recursion():
    # m = 5000, k = 200, eigenvalues over 24 orders of magnitude: e_k is of the order of 10^1000.
    lam = 10 ** (torch.rand(5000, dtype=torch.float64, generator=generator(100)) * 24 - 12)
    spectrum = kdpp_spectrum(lam, 200)
    assert float(spectrum.log_ek) > math.log(1e308)
    for k in (1, 7, 200):
        expected = log_recursion(lam.log().numpy(), k)
        assert float(log_esp(lam, k)) == pytest.approx(expected, rel=1e-13, abs=1e-10)
    below = log_recursion(lam.log().numpy(), 199)
    assert math.log(float(spectrum.gamma0)) == pytest.approx(below - float(spectrum.log_ek), abs=1e-10)
    for j in (0, 2500, int(lam.argmax()), int(lam.argmin())):
        without = log_recursion(np.delete(lam.log().numpy(), j), 199)
        assert math.log(float(spectrum.g[j])) == pytest.approx(without - float(spectrum.log_ek), abs=1e-10)
    assert float(spectrum.pi.sum()) == pytest.approx(200, abs=1e-10)


@pytest.mark.oracle
def test_raw_recursion_overflows_where_this_does_not():
    lam = torch.full((400,), 1e4, dtype=torch.float64)
    expected = math.lgamma(401) - math.lgamma(101) - math.lgamma(301) + 100 * math.log(1e4)
    assert float(log_esp(lam, 100)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize(("k", "rank"), [(3, 3), (5, 5), (1, 1), (4, 9)])
def test_gaps_and_full_sets(k, rank):
    # k large eigenvalues, then nothing or very little: the tilt sits in a gap of 24 orders, or at its limit.
    lam = torch.zeros(9, dtype=torch.float64)
    lam[:k], lam[k:rank] = 1e12, 1e-12
    spectrum = kdpp_spectrum(lam, k)
    numbers = [Fraction(x) for x in lam.tolist()]
    e = exact(numbers, k)
    log_e = float(np.log(np.longdouble(e[k].numerator)) - np.log(np.longdouble(e[k].denominator)))
    assert float(spectrum.log_ek) == pytest.approx(log_e, abs=1e-10)
    assert float(spectrum.gamma0) == pytest.approx(float(e[k - 1] / e[k]), rel=1e-10)
    assert spectrum.pi.tolist() == pytest.approx([1.0] * k + [0.0] * (9 - k), abs=1e-10)


@pytest.mark.oracle
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(1e-9, 1e9), min_size=2, max_size=40),
    st.floats(1e-6, 1e6),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_scale_order_and_padding(numbers, c, random, data):
    k = data.draw(st.integers(1, len(numbers)))
    lam = torch.tensor(numbers, dtype=torch.float64)
    order = list(range(len(numbers)))
    random.shuffle(order)
    spectrum = kdpp_spectrum(lam, k)
    assert float(spectrum.pi.sum()) == pytest.approx(k, abs=1e-10)
    assert bool((spectrum.pi <= 1 + 1e-12).all())
    torch.testing.assert_close(spectrum.pi, lam * spectrum.g, rtol=1e-11, atol=0)
    scaled = kdpp_spectrum(c * lam, k)
    assert float(scaled.log_ek) == pytest.approx(float(spectrum.log_ek) + k * math.log(c), abs=1e-9)
    torch.testing.assert_close(scaled.pi, spectrum.pi, rtol=1e-10, atol=1e-300)
    torch.testing.assert_close(kdpp_spectrum(lam[order], k).pi, spectrum.pi[order], rtol=1e-10, atol=1e-300)
    padded = kdpp_spectrum(torch.cat([lam, lam.new_zeros(3)]), k)
    torch.testing.assert_close(padded.log_ek, spectrum.log_ek, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(padded.g[-3:], padded.gamma0.expand(3), rtol=1e-12, atol=0)
    assert padded.pi[-3:].tolist() == [0, 0, 0]


@pytest.mark.oracle
@pytest.mark.parametrize("k", [0, 1, 4, 7, 8])
def test_a_batch_is_its_members(k):
    lam = 10 ** (torch.rand(3, 5, 8, dtype=torch.float64, generator=generator(101)) * 12 - 6)
    lam[0, 0, 2:] = 0  # rank 2
    batch = kdpp_spectrum(lam, k)
    assert batch.log_ek.shape == (3, 5) and batch.g.shape == (3, 5, 8)
    for i, j in itertools.product(range(3), range(5)):
        single = kdpp_spectrum(lam[i, j], k)
        for name in ("log_ek", "gamma0", "g", "pi", "alpha"):
            expected, seen = getattr(single, name), getattr(batch, name)[i, j]
            rtol = 1e-8 if name == "alpha" else 1e-10  # the other values do not depend on the tilt
            torch.testing.assert_close(seen, expected, rtol=rtol, atol=1e-300, equal_nan=True)
    assert (float(batch.log_ek[0, 0]) == -math.inf) == (k > 2)
    torch.testing.assert_close(log_ek(lam, k), batch.log_ek, rtol=0, atol=0)


@pytest.mark.oracle
def test_the_tilt_makes_k_the_mean():
    lam = torch.rand(50, dtype=torch.float64, generator=generator(102))
    for k in (1, 10, 49):
        alpha = kdpp_spectrum(lam, k).alpha
        assert float((alpha * lam / (1 + alpha * lam)).sum()) == pytest.approx(k, rel=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize(("m", "k"), [(7, 3), (6, 1), (8, 6), (5, 5)])
def test_eigenvectors_are_drawn_with_the_products_of_their_eigenvalues(m, k):
    lam = 10 ** (torch.rand(2, m, dtype=torch.float64, generator=generator(103)) * 3 - 1)
    lam[1, 0] = 0 if k < m else lam[1, 0]
    owner = torch.arange(2).repeat_interleave(20_000)
    drawn = draw_eigenvectors(head_tree(lam, k), owner, generator(104))
    sets = list(itertools.combinations(range(m), k))
    for b in range(2):
        weights = torch.stack([lam[b, list(s)].prod() for s in sets])
        codes = {s: i for i, s in enumerate(sets)}
        counts = np.bincount([codes[tuple(row)] for row in drawn[owner == b].tolist()], minlength=len(sets))
        if len(sets) > 1:
            assert chi_square_fit(counts, (weights / weights.sum()).numpy()).p > 1e-6
        assert counts.sum() == 20_000


def test_rounding_below_zero_counts_as_zero():
    lam = torch.tensor([3.0, 2.0, -1e-12, 0.0])
    assert float(log_esp(lam, 2).exp()) == pytest.approx(6, rel=1e-6)
    assert float(log_esp(lam, 3)) == -math.inf


@pytest.mark.parametrize(
    ("eigvals", "k", "error", "words"),
    [
        ([1.0, -0.5], 1, ValueError, "at least 0, got -0.5"),
        ([-1.0, -2.0], 1, ValueError, "at least 0"),
        ([1.0, math.nan], 1, ValueError, "finite"),
        ([1.0, math.inf], 1, ValueError, "finite"),
        ([1.0, 2.0], -1, ValueError, "k must be at least 0, got -1"),
        ([1.0, 2.0], 1.0, TypeError, "k must be an int"),
    ],
)
def test_bad_input_is_named(eigvals, k, error, words):
    with pytest.raises(error, match=words):
        log_esp(torch.tensor(eigvals), k)
