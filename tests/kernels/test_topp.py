"""Top-p masks against enumeration and sorting, with sinks, ties, zeros, halves and any shape."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from topp_rows import sink_rows, smallest_sets

from selectlib.kernels import topp_mask
from selectlib.seeding import generator

EXACT = ["bits", "radix", "sort"]
METHODS = [*EXACT, "linear"]
SHARES = [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999, 1.0]


def small_rows(count):
    """Rows of at most 12 entries: ties, zeros, one entry, a sink, halves of halves (whose sums are exact), noise."""
    g = generator(100)

    def draw(low, high):
        return int(torch.randint(low, high + 1, (), generator=g))

    for i in range(count):
        length = draw(1, 12)
        row = [
            lambda n: torch.randint(0, 4, (n,), generator=g).float(),
            lambda n: torch.eye(n)[draw(0, n - 1)],
            lambda n: torch.cat([torch.rand(n - 1, generator=g) * 0.001, torch.tensor([0.999])]),
            lambda n: 2.0 ** -torch.randint(0, 6, (n,), generator=g),
            lambda n: torch.randn(n, generator=g).mul(3).exp(),
            lambda n: torch.full((n,), 0.3),
        ][i % 6](length)
        yield row[torch.randperm(length, generator=g)]


@pytest.mark.oracle
@pytest.mark.parametrize("method", EXACT)
def test_exact_methods_find_the_smallest_sufficient_set(method):
    """The kept set is a smallest one and whatever ties with its least entry."""
    for i, row in enumerate(small_rows(500)):
        p = SHARES[i // 6 % len(SHARES)]
        mask = topp_mask(row, p, method=method)
        sets = smallest_sets(row, p)
        kept = set(mask.nonzero()[:, 0].tolist())
        if not row.any():
            assert not kept
            continue
        if p == 1:  # all positive entries, though fewer may be enough in floating point
            assert kept == set(row.nonzero()[:, 0].tolist())
            continue
        least = min(float(row[j]) for j in kept)
        above = {j for j in kept if row[j] > least}
        # Each smallest set that holds the most is what lies above the least entry, and some that tie with it.
        best = [s for s in sets if above <= set(s) <= kept]
        assert best and len(best[0]) > len(above)
        assert kept == {j for j in range(len(row)) if row[j] >= least}


@pytest.mark.oracle
@pytest.mark.parametrize("length", [1, 2, 7, 256, 1000, 2048, 8192])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_exact_methods_agree_and_keep_no_entry_too_many(length, dtype):
    rows = torch.cat([sink_rows(3, length), sink_rows(3, length, sink=0.999, seed=101), sink_rows(2, length, sink=0.0)])
    rows = rows.to(dtype)
    wide = rows.double()
    total = wide.sum(-1)
    for p in SHARES:
        found = {method: topp_mask(rows, p, method=method, return_threshold=True) for method in EXACT}
        mask, threshold = found["sort"]
        assert all(torch.equal(other, mask) and torch.equal(t, threshold) for other, t in found.values())
        assert threshold.dtype == torch.float32
        assert bool(((wide * mask).sum(-1) >= p * total * (1 - 1e-12)).all())
        if p < 1:
            fewer = wide > threshold[:, None]
            assert bool(((wide * fewer).sum(-1) < p * total * (1 + 1e-12)).all())
        assert torch.equal(mask, (wide >= threshold[:, None]) & (wide > 0))


@pytest.mark.oracle
@pytest.mark.parametrize("method", EXACT)
def test_equal_rows_and_rows_within_one_digit(method):
    """Rows on which a histogram decides nothing, and rows that only their last digits tell apart."""
    assert topp_mask(torch.full((2, 3000), 0.25), 0.5, method=method).all()
    noise = torch.rand(400, generator=generator(101))
    tied = torch.cat([0.2 * noise, torch.full((700,), 0.7), 0.8 + noise[:50]])  # its last bit is set
    mask, threshold = topp_mask(tied, 0.6, method=method, return_threshold=True)
    assert torch.equal(mask, tied >= 0.7) and threshold == tied[400]
    near = torch.arange(0x3F000000, 0x3F000000 + 3000, dtype=torch.int32).view(torch.float32)
    near = near[torch.randperm(3000, generator=generator(100))]
    ordered = near.double().sort(descending=True).values
    for p in (0.25, 0.9):
        size = int((ordered.cumsum(0) < p * ordered.sum()).sum()) + 1
        assert torch.equal(topp_mask(near, p, method=method), near >= ordered[size - 1])


@pytest.mark.oracle
@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize(("vocabulary", "batch"), [(111, 1), (111, 99), (500, 99), (32_000, 3), (128_256, 2)])
def test_filtering_of_probabilities_as_in_samplers(method, vocabulary, batch):
    """The usual check of a sampler: drop in ascending order while the running sum is at most 1 - p."""
    probabilities = torch.rand(batch, vocabulary, generator=generator(100))
    probabilities /= probabilities.sum(-1, keepdim=True)
    for p in (0.1, 0.5, 0.9, 1.0):
        ordered, index = probabilities.double().sort(-1)
        keep = torch.zeros_like(probabilities, dtype=torch.bool)
        keep.scatter_(1, index, ordered.cumsum(-1) > (1 - p) * ordered.sum(-1, keepdim=True))
        mask = topp_mask(probabilities, p, method=method)
        expected, found = probabilities * keep, probabilities * mask
        for part in (expected, found):
            part /= part.sum(-1, keepdim=True)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(mask, keep) or (p == 1 and mask.all())


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_two_rows_on_which_kernels_have_failed(method):
    assert topp_mask(torch.tensor([1 - 20e-9] + [1e-9] * 20), 1.0, method=method).sum() == 21
    mask = topp_mask(torch.tensor([0.4, 0.3, 0.3, 0.0]), 0.7, method=method)
    assert mask.tolist() == [True, True, True, False]


@pytest.mark.oracle
def test_the_published_rule_has_its_weakness():
    rows = sink_rows(32, 2048)
    exact = topp_mask(rows, 0.95, method="sort").sum()
    kept = {bound: topp_mask(rows, 0.95, method="linear", bound=bound) for bound in ("lower", "mid", "upper")}
    mass = {bound: (rows * mask).sum(-1) for bound, mask in kept.items()}
    assert kept["lower"].sum() >= 3 * exact and bool((mass["lower"] >= 0.95).all())
    assert bool((mass["upper"] < 0.95).all())
    # The sink sets the resolution: the last cut, and with it the set, is the same for all larger shares.
    for bound in ("mid", "upper"):
        a, b = (topp_mask(rows, p, method="linear", bound=bound) for p in (0.97, 0.99))
        assert torch.equal(a, b)
    assert topp_mask(rows, 0.95, method="bits", iterations=10).sum() < 1.02 * exact


@pytest.mark.oracle
def test_the_published_rule_step_by_step():
    """The interval of values, halved ten times with plain numbers."""
    for row in sink_rows(20, 50, sink=0.3, spread=1.0):
        values = row.double().tolist()
        lower, upper = 0.0, max(values)
        for _ in range(10):
            mid = (lower + upper) / 2
            if sum(v for v in values if v >= mid) >= 0.9 * sum(values):
                lower = mid
            else:
                upper = mid
        for bound, cut in (("lower", lower), ("mid", mid), ("upper", upper)):
            _, threshold = topp_mask(row, 0.9, method="linear", bound=bound, return_threshold=True)
            assert float(threshold) == pytest.approx(cut, rel=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("length", [512, 2048, 8192])
def test_few_steps_on_bit_patterns_are_close_and_on_the_safe_side(length):
    for sink in (0.0, 0.5, 0.9):
        rows = sink_rows(32, length, sink=sink)
        for p in (0.9, 0.95, 0.97, 0.99):
            exact = topp_mask(rows, p, method="sort")
            kept = topp_mask(rows, p, method="bits", iterations=12)
            assert not (exact & ~kept).any()
            assert float(kept.sum() / exact.sum()) - 1 < 0.006
            every = topp_mask(rows, p, method="bits", iterations=31)
            assert torch.equal(every, exact)


SMALL = st.lists(
    st.one_of(st.just(0.0), st.integers(1, 2**20).map(float), st.floats(2**-10, 2**10, width=16)),
    min_size=1,
    max_size=40,
)


@pytest.mark.oracle
@settings(deadline=None, max_examples=60, derandomize=True)
@given(values=SMALL, p=st.floats(0, 1), exponent=st.integers(-60, 60), seed=st.integers(100, 10_000))
@pytest.mark.parametrize("method", METHODS)
def test_order_and_scale_do_not_matter(method, values, p, exponent, seed):
    row = torch.tensor(values)
    mask, threshold = topp_mask(row, p, method=method, return_threshold=True)
    order = torch.randperm(len(row), generator=generator(seed))
    assert torch.equal(topp_mask(row[order], p, method=method), mask[order])
    scaled, other = topp_mask(row * 2.0**exponent, p, method=method, return_threshold=True)
    assert torch.equal(scaled, mask)
    # A threshold that has run down to the smallest float does not scale.
    assert threshold <= 2.0**-149 or torch.equal(other, threshold * 2.0**exponent)


@pytest.mark.oracle
@settings(deadline=None, max_examples=60, derandomize=True)
@given(values=SMALL, shares=st.lists(st.floats(-0.5, 1.5), min_size=2, max_size=2), keep=st.integers(1, 5))
@pytest.mark.parametrize("method", METHODS)
def test_more_mass_keeps_more(method, values, shares, keep):
    row = torch.tensor(values)
    fewer, more = (topp_mask(row, p, method=method, min_keep=keep) for p in sorted(shares))
    assert not (fewer & ~more).any()
    assert fewer.sum() >= min(keep, int((row > 0).sum()))
    assert not (more & (row == 0)).any()


@pytest.mark.parametrize("method", METHODS)
def test_edges(method):
    row = torch.tensor([0.1, 0.6, 0.0, 0.3, 0.6])

    def kept(p, **options):
        return topp_mask(row, p, method=method, **options).nonzero()[:, 0].tolist()

    assert kept(1) == kept(1.5) == kept(math.inf) == [0, 1, 3, 4]
    assert kept(0) == kept(-1.0) == kept(-math.inf) == kept(1e-30) == [1, 4]
    assert kept(0.0, min_keep=2) == [1, 4] and kept(0.0, min_keep=3) == [1, 3, 4]
    assert kept(0.0, min_keep=99) == [0, 1, 3, 4]
    rows = torch.stack([row, torch.zeros(5), -torch.zeros(5), row * 2.0**-120])
    mask, threshold = topp_mask(rows, 0.5, method=method, return_threshold=True)
    assert torch.equal(mask[0], mask[3]) and mask[0].tolist() == [False, True, False, False, True]
    assert not mask[1:3].any() and threshold[1:3].isinf().all()
    assert not topp_mask(rows[1:3], 1.0, method=method, min_keep=3).any()
    assert topp_mask(torch.tensor([2.0]), 0.5, method=method).tolist() == [True]
    subnormal = torch.tensor([1.0, 2.0, 3.0, 0.0]) * 2.0**-149
    if method != "linear":  # halves of the smallest float round
        assert topp_mask(subnormal, 0.5, method=method).tolist() == [False, False, True, False]
    assert topp_mask(subnormal, 1.0, method=method).tolist() == [True, True, True, False]


@pytest.mark.parametrize("method", METHODS)
def test_shapes_strides_and_dtypes(method):
    weights = sink_rows(12, 300).view(2, 3, 2, 300)
    expected = topp_mask(weights, 0.9, method=method)
    assert expected.shape == weights.shape and expected.dtype == torch.bool
    for at in ((0, 0, 0), (1, 2, 1)):
        assert torch.equal(topp_mask(weights[at], 0.9, method=method), expected[at])
    spread = torch.zeros(300, 2, 2, 2, 6)
    spread[..., ::2] = weights.permute(3, 2, 0, 1)[:, :, :, None]
    view = spread[:, :, :, 0, ::2].permute(2, 3, 1, 0)
    mask, threshold = topp_mask(view.requires_grad_(), 0.9, method=method, return_threshold=True)
    assert torch.equal(mask, expected) and threshold.shape == (2, 3, 2) and not threshold.requires_grad
    repeated = topp_mask(weights[:1].expand(4, 3, 2, 300), 0.9, method=method)
    assert all(torch.equal(part, expected[0]) for part in repeated)
    assert torch.equal(topp_mask(weights.double(), 0.9, method=method), expected)
    half = weights.bfloat16()
    assert torch.equal(topp_mask(half, 0.9, method=method), topp_mask(half.float(), 0.9, method=method))
    for shape in ((0,), (3, 0), (0, 4), (0, 0), (2, 0, 5)):
        mask, threshold = topp_mask(torch.zeros(shape), 0.9, method=method, return_threshold=True)
        assert mask.shape == shape and threshold.shape == shape[:-1] and threshold.isinf().all()


@pytest.mark.parametrize("method", METHODS)
def test_a_row_does_not_depend_on_its_neighbours(method):
    """Many rows, cut into blocks, with sums of very different sizes."""
    rows = sink_rows(300, 700) * 2.0 ** torch.arange(-60, 60, 0.4)[:, None]
    whole = topp_mask(rows, 0.93, method=method)
    for i in (0, 1, 93, 94, 299):
        assert torch.equal(topp_mask(rows[i], 0.93, method=method), whole[i])


def test_the_default_on_the_cpu_is_exact():
    rows = sink_rows(4, 500)
    assert torch.equal(topp_mask(rows, 0.95), topp_mask(rows, 0.95, method="sort"))


def test_what_is_no_weight_is_refused():
    for bad in (-0.1, math.nan, math.inf, -math.inf):
        weights = torch.full((2, 3), 0.5)
        weights[1, 1] = bad
        for dtype in (torch.float32, torch.float16, torch.float64):
            with pytest.raises(ValueError, match="weights must be finite and at least 0, got entries from"):
                topp_mask(weights.to(dtype), 0.9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(weights=[0.5]), TypeError, "weights must be a floating tensor, got list"),
        (
            dict(weights=torch.ones(3, dtype=torch.int64)),
            TypeError,
            "weights must be a floating tensor, got torch.int64",
        ),
        (dict(weights=torch.tensor(1.0)), ValueError, "weights must have at least one dimension"),
        (dict(p="0.9"), TypeError, "p must be a float, got str"),
        (dict(p=True), TypeError, "p must be a float, got bool"),
        (dict(p=math.nan), ValueError, "p must be a number, got nan"),
        (dict(method="quick"), ValueError, "method must be one of auto, bits, radix, linear, sort, got 'quick'"),
        (dict(bound="middle"), ValueError, "bound must be one of lower, mid, upper, got 'middle'"),
        (dict(method="bits", bound="mid"), ValueError, 'bound belongs to method "linear"'),
        (dict(iterations=5), ValueError, 'iterations must be None with method "radix", got 5'),
        (dict(method="sort", iterations=5), ValueError, 'iterations must be None with method "sort"'),
        (dict(method="bits", iterations=0), ValueError, "iterations must be from 1"),
        (dict(method="linear", iterations=2.0), TypeError, "iterations must be an int, got float"),
        (dict(min_keep=0), ValueError, "min_keep must be from 1"),
        (dict(min_keep=1.0), TypeError, "min_keep must be an int, got float"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        topp_mask(**(dict(weights=torch.ones(3), p=0.9) | options))
