"""Method "direct": the bound, the closed forms, the law whatever the dictionary, and wrong variants that must fail."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.seeding import generator
from selectlib.stats import chi_square_fit
from selectlib.subsets import KDPP, RBF, Dictionary, Linear, Precomputed
from selectlib.subsets import _direct as direct_module
from selectlib.subsets._esp import log_esp
from selectlib.subsets._uniform import enumerate_kdpp

pytestmark = pytest.mark.filterwarnings("ignore:the first sample is expected")
P_LEAST = 1e-6  # some 40 p-values in this file


def points(n, d=2, seed=100):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed))


def p_value(samples, L, k):
    sets, p = enumerate_kdpp(L, k)
    n = len(L)
    code = torch.tensor([n ** (k - 1 - j) for j in range(k)])
    places = torch.searchsorted(sets @ code, samples @ code)
    return chi_square_fit(torch.bincount(places, minlength=len(sets)), p).p


def bad_dictionary(X, m, seed, factor=1.0):
    g = generator(seed)
    rows = torch.randperm(len(X), generator=g)[:m]
    p = torch.rand(m, dtype=torch.float64, generator=g) * 0.9 + 0.1
    return Dictionary(rows, X[rows], p / factor, 1.0, 1.0)


def direct(X, kernel, k, *, dictionary=None, seed=100, **options):
    return KDPP(X, kernel, k, method="direct", generator=generator(seed), **options).fit(dictionary)


@pytest.mark.oracle
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(6, 30),
    k=st.integers(1, 5),
    log_gamma=st.floats(-4, 4),
    m=st.integers(5, 30),
    log_factor=st.floats(-4, 4),
)
def test_no_set_is_accepted_with_more_than_certainty(seed, n, k, log_gamma, m, log_factor):
    """For any multiset of t items, likely or not, and any dictionary: e_k(L̃_σ) <= e_k(Ĉ)."""
    X, kernel = points(n, 3, seed), RBF(math.exp(log_gamma))
    sampler = direct(X, kernel, k, dictionary=bad_dictionary(X, min(m, n), seed, math.exp(log_factor)))._way.sampler
    sampler.looked.look_at_all()
    rows = torch.randint(n, (400, sampler.t), generator=generator(seed))
    rows[::2] = rows[::2] % 3  # many copies of few items
    owner = torch.arange(400).repeat_interleave(sampler.t)
    rows, copies = sampler.packed(owner, rows.flatten(), 400)
    log_a = sampler.log_acceptance(sampler.gram(rows, copies))
    assert float(log_a.max()) <= 1e-10


@pytest.mark.oracle
@pytest.mark.parametrize(("m", "factor"), [(400, 1.0), (25, 1.0), (8, 0.1), (8, 30.0)])
def test_acceptance_and_looks_follow_the_closed_forms(m, factor):
    n, k, t = 400, 4, 8
    X, kernel = points(n), RBF(0.7)
    dictionary = bad_dictionary(X, m, 101, factor)
    if m == n:
        dictionary = Dictionary(torch.arange(n), X, torch.ones(n, dtype=torch.float64), 1.0, 1.0)
    sampler = direct(X, kernel, k, dictionary=dictionary, t=t, cache=False)
    few = sampler._way.sampler
    before, proposals, mean = few.looked.draws, 6000, 0.0
    log_a = torch.cat([few.log_acceptances(600) for _ in range(proposals // 600)])
    # s = Σ l_i over all items, by brute force.
    total = float(few.covariance.quadratic_form(X, kernel.diag(X), few.scores._outside, few.scores._weights).sum())
    log_ek = float(log_esp(torch.linalg.eigvalsh(kernel(X, X)).clamp(min=0), k))
    expected = math.exp(
        math.lgamma(t + 1) - math.lgamma(t - k + 1) - k * math.log(t) + k * math.log(k / total) + log_ek - few.log_ek
    )
    mean, error = float(log_a.exp().mean()), float(log_a.exp().std()) / math.sqrt(proposals)
    assert abs(mean - expected) < 4.5 * error + 1e-12
    if m == n:  # Ĉ = C: s = k, and only the factor of distinct places is left
        assert total == pytest.approx(k) and expected == pytest.approx(8 * 7 * 6 * 5 / 8**4)
    assert few.looked.complete or few.looked.draws > before


@pytest.mark.oracle
def test_random_looks_per_proposal_follow_the_closed_form():
    """A kept draw takes γ_0 n κ² / s looks at the bound, whatever is in memory already."""
    n, k = 200_000, 4
    X, kernel = points(n), RBF(0.7)
    few = direct(X, kernel, k)._way.sampler
    total = float(few.covariance.quadratic_form(X, kernel.diag(X), few.scores._outside, few.scores._weights).sum())
    before, draws = few.looked.draws, 40_000
    few.scores.draw(draws)
    looks, expected = few.looked.draws - before, draws * few.scores._outside * n / total
    # A geometric number of looks for each kept draw, and up to 3 % that the last round draws in excess.
    assert -4.5 * math.sqrt(draws) * expected / draws < looks - expected < 0.03 * expected + 4.5 * expected / draws**0.5


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("options", "dictionary"),
    [
        ({}, None),
        ({}, (3, 1.0)),  # no more landmarks than k
        ({}, (4, 10.0)),  # weights ten times too large
        ({}, (4, 0.1)),
        ({"t": 3}, None),
        ({"t": 30}, None),
        ({"cache": False}, (4, 3.0)),
        ({"cache": False}, None),
    ],
)
@pytest.mark.parametrize("batch", [1, None])
def test_the_law_is_the_same_whatever_the_dictionary(options, dictionary, batch):
    X, kernel, k = points(9), RBF(0.7), 3
    made = None if dictionary is None else bad_dictionary(X, dictionary[0], 102, dictionary[1])
    sampler = direct(X, kernel, k, dictionary=made, seed=103, **options)
    n_samples = 100 if batch == 1 else 4000
    samples = sampler.sample(n_samples, batch=batch, max_proposals=10**6)
    assert p_value(samples, kernel(X, X), k) > P_LEAST


@pytest.mark.oracle
def test_uniform_weights_in_place_of_the_scores_would_be_seen():
    """Draws by l_i, weights as if they were uniform: the constants no longer cancel, and chi-square must say so."""
    X, kernel, k = points(9), RBF(0.7), 3

    class Wrong(direct_module.DirectSampler):
        def intermediate(self, size):
            rows, gram = super().intermediate(size)
            root = self.scores.of(rows).sqrt()
            return rows, 1.5 * gram * root[..., :, None] * root[..., None, :]

    sampler = direct(X, kernel, k)
    few = sampler._way.sampler
    wrong = Wrong(few.looked, few.covariance, few.report, k=k, t=few.t, landmarks=None, cache=True)
    assert p_value(torch.stack(wrong.sample(4000, None, 10**6)), kernel(X, X), k) < P_LEAST


@pytest.mark.oracle
def test_a_clipped_acceptance_would_be_seen(monkeypatch):
    """An acceptance above 1, clipped, changes the law; the sampler refuses it instead."""
    X, kernel, k = points(9), RBF(0.7), 3
    few = direct(X, kernel, k)._way.sampler
    few.log_ek -= 6.0
    with pytest.raises(RuntimeError, match="acceptance probability"):
        few.sample(4000, None, 10**6)
    monkeypatch.setattr(direct_module, "check_bounded", lambda log_a: None)
    assert p_value(torch.stack(few.sample(4000, None, 10**6)), kernel(X, X), k) < P_LEAST


@pytest.mark.oracle
def test_scores_of_another_k_would_be_refused_or_seen():
    X, kernel = points(9), RBF(0.7)
    one, other = direct(X, kernel, 3)._way.sampler, direct(X, kernel, 2)._way.sampler
    one.scores = other.scores
    with pytest.raises(RuntimeError, match="acceptance probability"):
        one.sample(2000, None, 10**6)


def test_a_dictionary_of_too_low_a_rank_is_refused():
    X = points(9)
    with pytest.raises(ValueError, match=r"k = 3 is larger than the numerical rank 2"):
        direct(X, RBF(1.0), 3, dictionary=bad_dictionary(X, 2, 100))


def test_giving_up_raises_and_returns_nothing():
    X = points(9)
    sampler = direct(X, RBF(0.7), 3, dictionary=bad_dictionary(X, 3, 100))
    with pytest.raises(RuntimeError, match="max_proposals"):
        sampler.sample(1000, max_proposals=50)


def test_a_kernel_that_is_not_positive_semidefinite_is_refused():
    L = torch.eye(8, dtype=torch.float64)
    L[0, 1] = L[1, 0] = 3.0
    sampler = KDPP(range(8), Precomputed(L), 2, method="direct", generator=generator(100))
    with pytest.raises((ValueError, RuntimeError), match="positive semi-definite"):
        sampler.sample(50)


@pytest.mark.oracle
def test_items_without_length_are_never_drawn_and_copies_never_together():
    X = torch.cat([points(6), torch.zeros(2, 2, dtype=torch.float64)])
    X[1] = X[0]
    samples = direct(X, Linear(), 2).sample(1000)
    assert int(samples.max()) < 6
    assert not bool(((samples == 0).any(-1) & (samples == 1).any(-1)).any())
