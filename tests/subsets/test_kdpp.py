"""KDPP and DPP through their one door: the law by every method, invariances, edge cases, looks and memory."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from selectlib.seeding import generator
from selectlib.stats import chi_square_fit
from selectlib.subsets import (
    DPP,
    KDPP,
    RBF,
    CallableKernel,
    Cosine,
    CountingSource,
    Linear,
    Precomputed,
    as_source,
    kdpp_marginals,
)
from selectlib.subsets._uniform import enumerate_kdpp

pytestmark = pytest.mark.filterwarnings("ignore:the first sample is expected")
P_LEAST = 1e-6  # some 80 p-values in this file
METHODS = ["direct", "alpha", "spectral"]


def points(n, d=2, seed=100):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed))


def p_value(samples, L, k):
    sets, p = enumerate_kdpp(L, k)
    n = len(L)
    code = torch.tensor([n ** (k - 1 - j) for j in range(k)])
    places = torch.searchsorted(sets @ code, samples @ code)
    return chi_square_fit(torch.bincount(places, minlength=len(sets)), p).p


def with_copies(n):
    X = points(n)
    X[n // 2 :] = X[: n - n // 2]
    return X


def blocks(n):
    L = RBF(0.5)(points(n), points(n))
    L[: n // 2, n // 2 :] = L[n // 2 :, : n // 2] = 0
    return L


CASES = {
    "rbf": (points(8), RBF(0.5), [1, 2, 3, 4, 5, 6, 7]),
    "linear, rank 4": (points(9, 4), Linear(), [1, 2, 3, 4]),
    "cosine": (points(8, 6), Cosine(), [3]),
    "blocks": (range(8), Precomputed(blocks(8)), [3]),
    "copies": (with_copies(8), RBF(0.5), [2, 4]),
    "rank 6 of 10": (points(10, 6, 101), Linear(), [3]),
    "bounded linear": (points(8, 3), Linear(30.0), [2]),
}
LAWS = [(name, k) for name, (_, _, sizes) in CASES.items() for k in sizes]


def dense(X, kernel):
    X = torch.arange(len(X))[:, None].double() if isinstance(X, range) else X.double()
    return kernel(X, X)


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "k"), LAWS)
def test_samples_have_the_enumerated_law(method, name, k):
    X, kernel, _ = CASES[name]
    samples = KDPP(X, kernel, k, method=method, generator=generator(101)).sample(2500)
    assert samples.shape == (2500, k) and samples.dtype == torch.int64
    assert bool((samples.diff(dim=-1) > 0).all())
    assert p_value(samples, dense(X, kernel), k) > P_LEAST


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_the_law_is_that_of_the_stored_features(method):
    """float32 features far from the origin: a kernel evaluated in float32 would be off by much more than chance."""
    X = (points(8) + 3000).float()
    samples = KDPP(X, RBF(0.5), 3, method=method, generator=generator(101)).sample(2500)
    assert p_value(samples, RBF(0.5)(X.double(), X.double()), 3) > P_LEAST


@pytest.mark.oracle
def test_mcmc_comes_close():
    X = points(8)
    samples = KDPP(X, RBF(0.5), 3, method="mcmc", n_steps=300, generator=generator(101)).sample(2500)
    assert p_value(samples, RBF(0.5)(X, X), 3) > P_LEAST


@pytest.mark.oracle
@pytest.mark.parametrize("method", ["direct", "alpha"])
def test_marginals_and_pairs_of_a_larger_kernel(method):
    n, k, draws = 300, 5, 4000
    X, kernel = points(n), RBF(1.0)
    L = kernel(X, X)
    sampler = KDPP(X, kernel, k, method=method, generator=generator(101))
    samples = sampler.sample(draws)
    seen = torch.bincount(samples.flatten(), minlength=n).double() / draws
    expected = kdpp_marginals(L, k)
    z = (seen - expected) / (expected * (1 - expected) / draws).sqrt()
    assert float(z.abs().max()) < 6
    assert abs(float((z.square().sum() - n) / math.sqrt(2 * n))) < 6
    # Mean similarity within a sample, against the exact sampler by eigendecomposition.
    exact = KDPP(X, kernel, k, method="spectral", generator=generator(102)).sample(draws)
    within = [L[S[:, :, None], S[:, None, :]].sum((1, 2)) for S in (samples, exact)]
    assert stats.ttest_ind(*(w.numpy() for w in within)).pvalue > P_LEAST


@pytest.mark.oracle
def test_successive_samples_are_independent():
    """Each pair of neighbours in the stream of samples has the product law, although Ĉ was refined in between."""
    X, kernel = points(5), RBF(0.5)
    sampler = KDPP(X, kernel, 1, method="direct", generator=generator(101))
    stream = torch.cat([sampler.sample(5) for _ in range(800)])[:, 0]
    counts = torch.bincount(stream[:-1:2] * 5 + stream[1::2], minlength=25)
    p = kernel(X, X).diagonal() / 5
    assert chi_square_fit(counts, torch.outer(p, p).flatten()).p > P_LEAST


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_scaling_the_kernel_changes_nothing(method):
    X = points(60)
    L = RBF(0.5)(X, X)
    first, second = (
        KDPP(range(60), Precomputed(c * L), 4, method=method, generator=generator(101)).sample(20)
        for c in (1.0, 2.0**20)
    )
    assert torch.equal(first, second)


@pytest.mark.oracle
@pytest.mark.parametrize("method", ["direct", "alpha"])
def test_every_kind_of_source_gives_the_same_samples(method, tmp_path):
    X = points(3000)
    np.save(tmp_path / "items.npy", X.numpy())
    sources = [X, X.numpy(), np.load(tmp_path / "items.npy", mmap_mode="r"), as_source(lambda idx: X[idx], n=3000)]
    samples = [KDPP(s, RBF(0.5), 3, method=method, generator=generator(101)).sample(4) for s in sources]
    assert all(torch.equal(samples[0], other) for other in samples[1:])


@pytest.mark.oracle
def test_permuted_items_have_the_permuted_law():
    X, kernel, k = points(8), RBF(0.5), 3
    order = torch.randperm(8, generator=generator(100))
    samples = KDPP(X[order], kernel, k, method="direct", generator=generator(101)).sample(2500)
    assert p_value(order[samples].sort(-1).values, kernel(X, X), k) > P_LEAST


@pytest.mark.oracle
@pytest.mark.parametrize(
    "make",
    [
        lambda s, g: KDPP(s, RBF(0.5), 4, method="direct", generator=g),
        lambda s, g: KDPP(s, RBF(0.5), 4, method="direct", cache=False, generator=g),
        lambda s, g: KDPP(s, RBF(0.5), 4, method="alpha", generator=g),
        lambda s, g: KDPP(s, RBF(0.5), 4, method="spectral", generator=g),
        lambda s, g: KDPP(s, RBF(0.5), 4, method="mcmc", n_steps=50, generator=g),
        lambda s, g: KDPP(s, Linear(), 2, method="direct", generator=g),
        lambda s, g: DPP(s, RBF(0.5), expected_size=4.0, method="alpha", generator=g),
    ],
)
def test_reported_looks_are_the_items_fetched(make):
    source = CountingSource(points(1500))
    sampler = make(source, generator(101))
    for n_samples in (1, 3):
        sampler.sample(n_samples)
        assert sampler.report().looks == source.n_looked


@pytest.mark.oracle
@pytest.mark.parametrize("method", ["direct", "alpha"])
def test_cached_items_are_fetched_once(method):
    source = CountingSource(points(5000))
    KDPP(source, RBF(0.5), 4, method=method, generator=generator(101)).sample(20)
    assert source.n_fetched == source.n_looked


@pytest.mark.oracle
def test_looks_follow_the_plan_and_not_n():
    def plane(n):
        return as_source(
            lambda idx: torch.stack([(idx.double() * 0.7548776662).frac(), (idx.double() * 0.5698402910).frac()], -1),
            n=n,
        )

    looks = {}
    for n in (10**5, 10**7):
        runs = [KDPP(plane(n), RBF(8.0), 8, method="direct", generator=generator(s)) for s in range(101, 133)]
        for run in runs:
            run.sample(1)
        looks[n] = np.mean([run.report().looks for run in runs])
        planned = np.mean([run.plan().expected_looks() for run in runs])
        assert planned / 2.5 < looks[n] < planned * 2.5
    assert 0.5 < looks[10**7] / looks[10**5] < 2


MEMORY = """
import resource, torch
from selectlib.seeding import generator
from selectlib.subsets import KDPP, RBF, as_source
def items(idx):
    assert len(idx) < 10**6
    return ((idx[:, None].double() + 1) * torch.tensor([0.618, 0.755, 0.570, 0.491]).double()).frac()
KDPP(as_source(items, n=10**5), RBF(4.0), 10, method="direct", generator=generator(100)).sample(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sampler = KDPP(as_source(items, n=10**8), RBF(4.0), 10, method="direct", generator=generator(101))
sampler.sample(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, sampler.report().looks)
"""


@pytest.mark.oracle
def test_a_hundred_million_items_take_little_memory():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    kilobytes, looks = map(int, done.stdout.split())
    assert kilobytes < 200_000 and looks < 10**5


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_log_prob_is_the_logarithm_of_the_law(method):
    X, kernel, k = points(8), RBF(0.5), 3
    sampler = KDPP(X, kernel, k, method=method, generator=generator(101)).fit()
    sets, p = enumerate_kdpp(kernel(X, X), k)
    tolerance = 1e-10 if method == "spectral" else 0.1
    assert float((sampler.log_prob(sets) - p.log()).abs().max()) < tolerance
    assert torch.allclose(sampler.log_prob(sets.flip(-1)), sampler.log_prob(sets), rtol=1e-12)
    assert sampler.log_prob(torch.tensor([1, 1, 2])) == -math.inf
    assert sampler.log_prob(sets[:6].view(2, 3, 3)).shape == (2, 3)


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_marginals(method):
    X, kernel, k = points(40), RBF(0.5), 3
    sampler = KDPP(X, kernel, k, method=method, generator=generator(101)).fit()
    expected, tolerance = kdpp_marginals(kernel(X, X), k), 1e-10 if method == "spectral" else 0.05
    assert float((sampler.marginals() - expected).abs().max()) < tolerance
    some = torch.tensor([7, 0])
    assert torch.allclose(sampler.marginals(some), sampler.marginals()[some])
    dpp = DPP(X, kernel, method="spectral").fit()
    L = kernel(X, X)
    assert torch.allclose(dpp.marginals(), torch.linalg.solve(L + torch.eye(40).double(), L).diagonal())


def test_auto_chooses_by_size_and_looks():
    assert KDPP(points(500), RBF(0.5), 3).fit().method_ == "spectral"
    assert KDPP(points(20_000), RBF(0.5), 3).fit().method_ == "direct"
    assert KDPP(points(2_010, 20), RBF(0.001), 15).fit().method_ == "spectral"  # flat: every item would be looked at
    assert DPP(points(500), RBF(0.5)).fit().method_ == "spectral"


def test_a_flat_kernel_is_warned_of():
    with pytest.warns(UserWarning, match="expected to look at"):
        KDPP(points(500, 20), RBF(0.001), 8, method="direct").fit()


@pytest.mark.parametrize("method", [*METHODS, "mcmc", "auto"])
def test_no_items_and_all_items(method):
    X = points(6)
    assert KDPP(X, RBF(0.5), 0, method=method).sample(3).shape == (3, 0)
    assert KDPP(X, RBF(0.5), 6, method=method, n_steps=5).sample(2).tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert KDPP(X, RBF(0.5), 2, method=method, n_steps=5).sample(0).shape == (0, 2)


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_k_above_the_rank_names_the_rank(method):
    with pytest.raises(ValueError, match=r"rank of the kernel, 3"):
        KDPP(points(40, 3), Linear(), 4, method=method).fit()


@pytest.mark.parametrize("method", METHODS)
def test_an_item_that_is_not_finite_is_named(method):
    X = points(40)
    X[17, 1] = float("nan")
    with pytest.raises(ValueError, match="item 17"):
        KDPP(X, RBF(0.5), 3, method=method).sample(200)


@pytest.mark.parametrize("method", METHODS)
def test_a_bound_that_does_not_bind_is_refused(method):
    loose = CallableKernel(lambda X, Y: 2 * RBF(0.5)(X, Y), diag_bound=1.5)
    with pytest.raises(ValueError, match=r"diag_bound is 1\.5"):
        KDPP(points(40), loose, 3, method=method).fit()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: KDPP(points(5), RBF(0.5), 6), ValueError, "k must be from 0 to 5"),
        (lambda: KDPP(points(5), RBF(0.5), -1), ValueError, "k must be"),
        (lambda: KDPP(points(5), RBF(0.5), 2.0), TypeError, "k must be an int"),
        (lambda: KDPP(points(5), RBF, 2), TypeError, "kernel must be"),
        (lambda: KDPP(points(5), lambda X, Y: X @ Y.T, 2), TypeError, "CallableKernel"),
        (lambda: KDPP(points(5), RBF(0.5), 2, method="vfx"), ValueError, "method must be"),
        (lambda: KDPP(points(5), RBF(0.5), 2, t=1), ValueError, "t must be"),
        (lambda: KDPP(points(5), RBF(0.5), 2, r=0.0), ValueError, "r must be"),
        (lambda: KDPP(points(5), RBF(0.5), 2, oversample=0), ValueError, "oversample"),
        (lambda: KDPP(points(5), RBF(0.5), 2, generator=3), TypeError, "generator"),
        (lambda: KDPP(points(5), RBF(0.5), 2).sample(-1), ValueError, "n_samples"),
        (lambda: KDPP(points(5), RBF(0.5), 2).sample(1, batch=0), ValueError, "batch"),
        (lambda: KDPP(points(5), RBF(0.5), 2).log_prob(torch.tensor([1, 5])), ValueError, "from 0 to 4"),
        (lambda: KDPP(points(5), RBF(0.5), 2).log_prob(torch.tensor([1, 2, 3])), ValueError, "shape"),
        (lambda: KDPP(points(5), RBF(0.5), 2).log_prob(torch.tensor([1.0, 2.0])), TypeError, "integers"),
        (lambda: KDPP(points(5), RBF(0.5), 2).marginals(torch.tensor([5])), ValueError, "from 0 to 4"),
        (lambda: KDPP(points(5), RBF(0.5), 2, method="mcmc").marginals(), TypeError, "mcmc"),
        (lambda: KDPP(torch.zeros(5, 2), Linear(), 1).fit(), ValueError, "zero everywhere"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_report_is_a_copy_and_adds_up():
    sampler = KDPP(points(5000), RBF(0.5), 3, method="direct", generator=generator(101))
    sampler.sample(2)
    first = sampler.report()
    sampler.sample(5)
    second = sampler.report()
    assert (first.samples, second.samples) == (2, 7) and first.proposals < second.proposals
    assert second.accepted == 7 and first.dictionary_looks <= first.looks <= second.looks <= second.n == 5000
    assert set(second.seconds) == {"dictionary", "looking", "deciding", "drawing"}


@pytest.mark.cuda
@pytest.mark.parametrize("method", METHODS)
def test_the_law_is_the_same_on_cuda(method):
    X, kernel = points(8).cuda(), RBF(0.5)
    samples = KDPP(X, kernel, 3, method=method, generator=generator(101, "cuda")).sample(2500)
    assert samples.is_cuda and p_value(samples.cpu(), kernel(X.cpu(), X.cpu()), 3) > P_LEAST


@pytest.mark.oracle
@pytest.mark.parametrize("method", ["alpha", "spectral"])
def test_public_cases_of_singletons(method):
    """Inclusion of each item, for a linear kernel on 100 x 6 numbers and min(x, y) on 100 numbers."""
    minimum = CallableKernel(lambda X, Y: torch.minimum(X, Y.T), diag_bound=1.0)
    uniform = torch.rand(100, 1, dtype=torch.float64, generator=generator(100))
    for X, kernel in ((points(100, 6), Linear()), (uniform, minimum)):
        L, draws = kernel(X, X), 4000
        samples = DPP(X, kernel, method=method, generator=generator(101)).sample(draws)
        seen = torch.bincount(torch.cat(samples), minlength=100).double() / draws
        expected = torch.linalg.solve(L + torch.eye(100).double(), L).diagonal()
        assert float(((seen - expected) / (expected * (1 - expected) / draws).sqrt()).abs().max()) < 6
        k = int(expected.sum()) // 2
        sets = KDPP(X, kernel, k, method="direct" if method == "alpha" else method, generator=generator(102)).sample(
            draws
        )
        seen, expected = torch.bincount(sets.flatten(), minlength=100).double() / draws, kdpp_marginals(L, k)
        assert float(((seen - expected) / (expected * (1 - expected) / draws).sqrt()).abs().max()) < 6
