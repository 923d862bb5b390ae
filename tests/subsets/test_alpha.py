"""Method "alpha": the bound, the closed forms, the law whatever the dictionary, r and α, and wrong variants."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from selectlib.seeding import generator
from selectlib.stats import chi_square_fit
from selectlib.subsets import DPP, KDPP, RBF, Dictionary
from selectlib.subsets import _scores as scores_module
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


def p_value_any_size(samples, L):
    """Chi-square over all 2^n sets, against det L_S / det(I + L)."""
    n = len(L)
    everyone = torch.eye(n, dtype=L.dtype)
    probabilities = []
    for code in range(2**n):
        S = [i for i in range(n) if code >> i & 1]
        probabilities.append(float(torch.linalg.det(L[S][:, S])) if S else 1.0)
    p = np.array(probabilities).clip(0) / float(torch.linalg.det(everyone + L))
    assert abs(p.sum() - 1) < 1e-9
    counts = np.bincount([int((1 << S).sum()) for S in samples], minlength=2**n)
    return chi_square_fit(counts, p / p.sum()).p


def bad_dictionary(X, m, seed, factor=1.0):
    g = generator(seed)
    rows = torch.randperm(len(X), generator=g)[:m]
    p = torch.rand(m, dtype=torch.float64, generator=g) * 0.9 + 0.1
    return Dictionary(rows, X[rows], p / factor, 1.0, 1.0)


def alpha(X, kernel, k, *, dictionary=None, seed=100, **options):
    return KDPP(X, kernel, k, method="alpha", generator=generator(seed), **options).fit(dictionary)


@pytest.mark.oracle
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(6, 30),
    log_gamma=st.floats(-4, 4),
    m=st.integers(0, 30),
    log_factor=st.floats(-4, 4),
    log_alpha=st.floats(-5, 5),
    r=st.floats(0.3, 30),
)
def test_no_set_is_accepted_with_more_than_certainty(seed, n, log_gamma, m, log_factor, log_alpha, r):
    """For any counts, likely or not, any dictionary, α and r: log a(σ) <= 0."""
    X, kernel = points(n, 3, seed), RBF(math.exp(log_gamma))
    sampler = DPP(X, kernel, method="alpha", r=r, generator=generator(seed))
    few = sampler.fit(bad_dictionary(X, min(m, n), seed, math.exp(log_factor)))._few
    few._fixed_alpha = math.exp(log_alpha)
    few.weigh()
    few.looked.look_at_all()
    counts = torch.poisson(torch.rand(400, n, generator=generator(seed)) * 3, generator=generator(seed)).long()
    counts[::2] *= torch.arange(n) < 3
    counts[0] = 0
    owner, item = counts.nonzero().T
    owner = torch.repeat_interleave(owner, counts[counts > 0])
    rows, copies = few.packed(owner, torch.repeat_interleave(few.looked.rows(item), counts[counts > 0]), 400)
    log_a = few.log_acceptance(copies.sum(-1), few.gram(rows, copies))
    assert float(log_a.max()) <= 1e-10
    assert float(log_a[0]) == pytest.approx(few.z - few.log_det, abs=1e-12)  # the empty set: e^z / det A


@pytest.mark.oracle
@pytest.mark.parametrize(("m", "factor"), [(400, 1.0), (25, 1.0), (6, 10.0), (0, 1.0)])
def test_acceptance_follows_the_closed_form(m, factor):
    n = 400
    X, kernel = points(n), RBF(0.7)
    dictionary = bad_dictionary(X, m, 101, factor)
    if m == n:
        dictionary = Dictionary(torch.arange(n), X, torch.ones(n, dtype=torch.float64), 1.0, 1.0)
    few = DPP(X, kernel, method="alpha", r=6.0, generator=generator(100)).fit(dictionary)._few
    few._fixed_alpha = 0.02
    few.weigh()
    total = float(few.covariance.quadratic_form(X, kernel.diag(X), few.scores._outside, few.scores._weights).sum())
    log_det = float(torch.linalg.slogdet(torch.eye(n, dtype=X.dtype) + few.alpha * kernel(X, X))[1])
    expected = math.exp(few.z - few.r * total * math.expm1(1 / few.r) + log_det - few.log_det)
    proposals = 8000
    before = few.looked.draws
    values = torch.cat([few.log_acceptance(*few.intermediate(1000)[1:]).exp() for _ in range(proposals // 1000)])
    assert abs(float(values.mean()) - expected) < 4.5 * float(values.std()) / math.sqrt(proposals)
    assert few.looked.complete or few.looked.draws > before


@pytest.mark.oracle
def test_counts_are_independent_poisson_with_the_rates_of_the_scores():
    X, kernel, proposals = points(30), RBF(0.7), 20_000
    few = DPP(X, kernel, method="alpha", generator=generator(100)).fit(bad_dictionary(X, 5, 101))._few
    owner, rows = few.scores.poisson(2.5, proposals)
    counts = torch.zeros(proposals, 30).index_put_((owner, few.looked.index(rows)), torch.ones(len(owner)), True)
    rates = 2.5 * few.scores.of(few.looked.rows(torch.arange(30)))
    z = (counts.mean(0).double() - rates) / (rates / proposals).sqrt()
    assert float(z.abs().max()) < 5.5
    assert torch.allclose(counts.var(0).double(), rates, rtol=0.1)
    correlations = torch.corrcoef(counts.T) - torch.eye(30)
    assert float(correlations.abs().max()) < 6 / math.sqrt(proposals)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("options", "dictionary", "alpha_factor"),
    [
        ({}, None, 1.0),
        ({}, (1, 1.0), 1.0),  # a dictionary of one item
        ({}, (0, 1.0), 1.0),  # none at all
        ({}, (4, 10.0), 1.0),
        ({}, None, 30.0),  # α far too large: the search must come back
        ({}, None, 1 / 30),
        ({"r": 1.0}, None, 1.0),
        ({"r": 12.0}, None, 1.0),
        ({"cache": False}, None, 1.0),
    ],
)
def test_the_law_is_the_same_whatever_the_dictionary(options, dictionary, alpha_factor):
    X, kernel, k = points(9), RBF(0.7), 3
    made = None if dictionary is None else bad_dictionary(X, dictionary[0], 102, dictionary[1])
    sampler = alpha(X, kernel, k, dictionary=made, seed=103, **options)
    if alpha_factor != 1.0:
        sampler._way.sampler._fixed_alpha = sampler.alpha_ * alpha_factor
        sampler._way.sampler.weigh()
    n_samples = 3000 if alpha_factor == 1.0 else 1000
    assert p_value(sampler.sample(n_samples, max_proposals=10**6), kernel(X, X), k) > P_LEAST
    if alpha_factor != 1.0:
        path = sampler.report().alpha_path
        assert 1 / 10 < path[-1] / sampler.alpha_ < 10 and len(path) > 2


@pytest.mark.oracle
def test_one_proposal_at_a_time_has_the_same_law():
    X, kernel, k = points(7), RBF(0.7), 2
    samples = alpha(X, kernel, k).sample(300, batch=1)
    assert p_value(samples, kernel(X, X), k) > P_LEAST


@pytest.mark.oracle
@pytest.mark.parametrize("method", ["alpha", "spectral"])
@pytest.mark.parametrize("expected_size", [None, 0.3, 4.0])
def test_random_size_samples_have_the_enumerated_law(method, expected_size):
    X, kernel = points(7), RBF(0.7)
    sampler = DPP(X, kernel, method=method, expected_size=expected_size, generator=generator(100)).fit()
    samples = sampler.sample(6000)
    assert p_value_any_size(samples, sampler.alpha_ * kernel(X, X)) > P_LEAST
    if expected_size is not None:
        eigvals = sampler.alpha_ * torch.linalg.eigvalsh(kernel(X, X))
        assert float((eigvals / (1 + eigvals)).sum()) == pytest.approx(expected_size, rel=0.01)


@pytest.mark.oracle
def test_sizes_are_poisson_binomial():
    n, draws = 300, 4000
    X, kernel = points(n), RBF(0.7)
    sampler = DPP(X, kernel, expected_size=3.0, method="alpha", generator=generator(100)).fit()
    sizes = np.array([len(S) for S in sampler.sample(draws)])
    eigvals = (sampler.alpha_ * torch.linalg.eigvalsh(kernel(X, X)).clamp(min=0)).numpy()
    coins = eigvals / (1 + eigvals)
    law = np.array([1.0])
    for p in coins:
        law = np.append(law * (1 - p), 0) + np.append(0, law * p)
    assert chi_square_fit(np.bincount(sizes, minlength=n + 1), law / law.sum()).p > P_LEAST
    error = math.sqrt((coins * (1 - coins)).sum() / draws)
    assert abs(sizes.mean() - coins.sum()) < 5 * error


@pytest.mark.oracle
def test_a_rate_rounded_up_samples_another_dpp(monkeypatch):
    """⌈rate⌉ in place of the Poisson rate samples DPP(cL), c = ⌈rate⌉ / rate; the mean size shows it."""
    n, draws, r = 200, 12_000, 1.3
    X = points(n)
    kernel, scale = RBF(0.3), 0.06  # mean size about 3, where the rate is about 11
    L = scale * kernel(X, X)

    def mean_size(factor):
        eigvals = factor * torch.linalg.eigvalsh(L).clamp(min=0)
        return float((eigvals / (1 + eigvals)).sum())

    def z_score():
        sampler = DPP(X, kernel, expected_size=mean_size(1.0), method="alpha", r=r, generator=generator(100)).fit()
        assert sampler._looked.complete  # so that the rate is r e^{1/r} Σl, with no part that is thinned
        rate = sampler._few._intensity() * sampler._few.scores.known
        sizes = torch.tensor([float(len(S)) for S in sampler.sample(draws)])
        target = mean_size(sampler.alpha_ / scale)
        return float((sizes.mean() - target) / (sizes.std() / math.sqrt(draws))), math.ceil(rate) / rate

    honest, excess = z_score()
    assert abs(honest) < 5 and excess > 1.02
    poisson = torch.poisson

    def rounded(rates, generator=None):
        return poisson(rates.ceil(), generator=generator)

    monkeypatch.setattr(scores_module.torch, "poisson", rounded)
    assert abs(z_score()[0]) > 5


@pytest.mark.oracle
def test_weights_at_another_alpha_would_be_seen():
    """z, log det A, the rates and the weights belong to one α: with the weights of another, the law is another."""
    X, kernel = points(7), RBF(0.7)
    sampler = DPP(X, kernel, method="alpha", generator=generator(100)).fit()
    few = sampler._few
    few.alpha *= 0.7  # weighs and accepts with 0.7 α, draws with α
    assert p_value_any_size(few.sample(6000, None, 10**6), kernel(X, X)) < P_LEAST


@pytest.mark.oracle
def test_an_acceptance_above_one_is_refused():
    X = points(9)
    few = DPP(X, RBF(0.7), method="alpha", generator=generator(100)).fit()._few
    few.log_det -= 6.0
    with pytest.raises(RuntimeError, match="acceptance probability"):
        few.sample(1000, None, 10**6)


@pytest.mark.oracle
def test_the_chance_of_the_right_size_is_the_poisson_binomials():
    n, k, draws = 100, 6, 2000
    X, kernel = points(n), RBF(0.7)
    sampler = alpha(X, kernel, k)
    sampler.sample(draws)
    few = sampler._way.sampler
    eigvals = (few.alpha * torch.linalg.eigvalsh(kernel(X, X)).clamp(min=0)).numpy()
    law = np.array([1.0])
    for p in eigvals / (1 + eigvals):
        law = np.append(law * (1 - p), 0) + np.append(0, law * p)
    report = sampler.report()
    chance = few._found / report.accepted
    error = math.sqrt(law[k] * (1 - law[k]) / report.accepted)
    assert sampler._looked.complete and abs(chance - law[k]) < 5 * error
    assert stats.norm.sf(5) < P_LEAST


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expected_size": 0.0}, "expected_size"),
        ({"expected_size": 40.0}, "numerical rank"),
        ({"method": "direct"}, "method"),
        ({"r": -1.0}, "r must be"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DPP(points(20), RBF(0.7), generator=generator(100), **options).fit()


def test_a_dpp_of_almost_nothing_is_mostly_empty():
    samples = DPP(points(50), RBF(0.7), expected_size=1e-3, method="alpha", generator=generator(100)).sample(500)
    assert sum(map(len, samples)) < 10 and all(S.dtype == torch.int64 for S in samples)
