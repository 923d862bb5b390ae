"""k-means++: the law of the draws, against probabilities worked out from dense distances."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from selectlib.kernels import _kmeanspp, kmeanspp
from selectlib.kernels._points import OuterProducts, Rows
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
METHODS = ["rejection", "sequential"]
P_LEAST = 1e-3  # seeds are fixed


def dense(X, outer=None):
    """All the coordinates of the points, in float64."""
    X = np.asarray(X, dtype=np.float64)
    return X if outer is None else np.einsum("nc,nd->ncd", np.asarray(outer, dtype=np.float64), X).reshape(len(X), -1)


def squared(points, others):
    return np.square(points[:, None] - others).sum(2)


def joint_law(points, first, k, weights=None):
    """Probability of every ordered choice of k points that starts with `first`."""
    between = squared(points, points)
    law = {}
    for rest in itertools.permutations(set(range(len(points))) - {first}, k - 1):
        picks, p = [first], 1.0
        for pick in rest:
            mass = between[picks].min(0) * (1 if weights is None else weights)
            if not mass.any():
                mass = np.where(np.isin(np.arange(len(points)), picks), 0.0, 1.0)
            p *= mass[pick] / mass.sum()
            picks.append(pick)
        law[rest] = p
    return law


def check_law(law, draw, draws):
    outcomes = {rest: i for i, rest in enumerate(law)}
    counts = np.zeros(len(law))
    for _ in range(draws):
        counts[outcomes[tuple(draw()[1:].tolist())]] += 1
    assert chi_square_fit(counts, np.fromiter(law.values(), float)).p > P_LEAST


def small(kind, n=6):
    """A few points, and the factors of outer products or None."""
    X = torch.randn(n, 3, dtype=torch.float64, generator=generator(100))
    outer = torch.randn(n, 2, dtype=torch.float64, generator=generator(101))
    if kind == "rows":
        return X, None
    if kind == "tight":  # to float32 these are two points
        return torch.where(torch.arange(n)[:, None] % 2 == 0, 1e-4 * X, 1e3 + 1e-4 * X), None
    if kind == "tight products":
        return 1 + 1e-5 * X, 1 + 1e-5 * outer
    if kind == "twins":
        return X[torch.arange(n) // 2], outer[torch.arange(n) // 2]
    assert kind == "products"
    return X, outer


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["rows", "products", "tight", "tight products", "twins"])
def test_the_joint_law_of_the_draws(kind, method):
    X, outer = small(kind)
    draws = generator(100)
    check_law(
        joint_law(dense(X, outer), 1, 3),
        lambda: kmeanspp(X, 3, outer=outer, first=1, method=method, generator=draws),
        800,
    )


@pytest.mark.oracle
@pytest.mark.cuda
@pytest.mark.parametrize("source", ["cpu", "cuda"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["rows", "products"])
def test_the_joint_law_of_the_draws_on_cuda(kind, method, source):
    X, outer = (None if part is None else part.cuda() for part in small(kind))
    draws = generator(100, source)
    check_law(
        joint_law(dense(X.cpu(), None if outer is None else outer.cpu()), 1, 3),
        lambda: kmeanspp(X, 3, outer=outer, first=1, method=method, generator=draws),
        600,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_the_joint_law_with_weights(method):
    X, _ = small("rows")
    weights = torch.tensor([1.0, 0.0, 5.0, 0.2, 2.0, 1.0])
    draws = generator(100)
    check_law(
        joint_law(dense(X), 0, 3, weights.numpy()),
        lambda: kmeanspp(X, 3, weights=weights, first=0, method=method, generator=draws),
        800,
    )
    counts = np.bincount([int(kmeanspp(X, 1, weights=weights, generator=draws)) for _ in range(2000)], minlength=6)
    assert chi_square_fit(counts, weights.double().numpy() / 9.2).p > P_LEAST
    assert (
        int(kmeanspp(X, 6, weights=weights, method=method, generator=draws)[-1]) == 1
    )  # only when nothing else is left


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_the_second_of_thirty_and_the_third_given_the_second(method):
    X = torch.randn(30, 4, dtype=torch.float64, generator=generator(100))
    outer = torch.randn(30, 3, dtype=torch.float64, generator=generator(101))
    between = squared(dense(X, outer), dense(X, outer))
    first = int(between.diagonal().argmax())
    likely = int(between[first].argmax())
    draws = generator(102)
    picks = [kmeanspp(X, 3, outer=outer, first=first, method=method, generator=draws).tolist() for _ in range(1500)]
    second = np.bincount([pick[1] for pick in picks], minlength=30)
    assert chi_square_fit(second, between[first] / between[first].sum()).p > P_LEAST
    third = np.bincount([pick[2] for pick in picks if pick[1] == likely], minlength=30)
    mass = between[[first, likely]].min(0)
    assert chi_square_fit(third, mass / mass.sum()).p > P_LEAST


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_late_draws_by_rejection_follow_the_law_of_the_sequential_ones(monkeypatch, device):
    """With 40 picks of 200 points in clusters, bounds are renewed, go stale and meet clashes within a batch."""
    centers = torch.randn(8, 4, dtype=torch.float64, generator=generator(100)) * 5
    X = centers[torch.arange(200) % 8] + torch.randn(200, 4, dtype=torch.float64, generator=generator(101))
    renewed = []
    lower = _kmeanspp._lower
    monkeypatch.setattr(_kmeanspp, "_lower", lambda *args, **options: renewed.append(1) or lower(*args, **options))
    potential = {}
    for method in METHODS:
        draws = generator(102)
        runs = [kmeanspp(X.to(device), 40, method=method, generator=draws).cpu() for _ in range(150)]
        potential[method] = np.array([squared(X.numpy(), X[picks].numpy()).min(1).sum() for picks in runs])
        if method == "rejection":
            assert 2 * 150 <= len(renewed) <= 12 * 150
    assert ks_2samp(potential["rejection"], potential["sequential"]).pvalue > P_LEAST


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_a_cluster_near_the_origin_is_reached(method):
    """The origin is no centre: points near it are far from three other clusters, and one of them is drawn."""
    corners = torch.tensor([[10.0, 0.0], [0.0, 10.0], [-10.0, 0.0]])
    X = torch.cat([corners[torch.arange(10) % 3], torch.zeros(4, 2)]) + 0.1 * torch.randn(14, 2, generator=generator(1))
    draws = generator(100)
    for outer in (None, torch.ones(14, 1)):
        runs = [kmeanspp(X, 4, outer=outer, first="largest", method=method, generator=draws) for _ in range(100)]
        assert sum(bool((picks >= 10).any()) for picks in runs) >= 95


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("zero", ["rows", "factors"])
def test_points_that_are_all_zero_are_drawn_uniformly(zero, method):
    X, outer = torch.zeros(5, 3), None
    if zero == "factors":
        X, outer = torch.randn(5, 3, generator=generator(100)), torch.zeros(5, 2)
    draws = generator(101)
    law = {rest: 1 / 12 for rest in itertools.permutations(set(range(5)) - {2}, 2)}
    check_law(law, lambda: kmeanspp(X, 3, outer=outer, first=2, method=method, generator=draws), 1000)


@pytest.mark.oracle
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 3), st.booleans(), st.sampled_from(METHODS))
def test_no_index_is_drawn_twice_and_equal_points_come_last(seed, n, d, products, method):
    draws = generator(seed)
    X = torch.randint(2, (n, d), generator=draws).float()
    outer = torch.randint(-1, 2, (n, 2), generator=draws).float() if products else None
    picks = kmeanspp(X, n, outer=outer, method=method, generator=draws).tolist()
    assert sorted(picks) == list(range(n))
    points = dense(X, outer)
    distinct = len(np.unique(points, axis=0))
    assert len(np.unique(points[picks[:distinct]], axis=0)) == distinct


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_distances_of_outer_products_are_those_of_the_dense_ones(dtype, device):
    X = torch.randn(50, 7, generator=generator(100)).to(dtype)
    outer = torch.randn(50, 4, generator=generator(101)).to(dtype)
    points = OuterProducts(outer.to(device), X.to(device))
    unit = float(outer.abs().max().double() * X.abs().max().double()) ** 2
    found = points.squared_distances(slice(None), torch.arange(50, device=device)).cpu().numpy() * unit
    expected = squared(dense(X.double(), outer.double()), dense(X.double(), outer.double()))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    assert (found.diagonal() == 0).all()


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("products", [False, True])
def test_bounds_are_above_the_distances_and_near_them(products, spread, precision, device):
    draws = generator(100)
    places, widths = (torch.randn(9, d, dtype=torch.float64, generator=draws) for d in (40, 12))
    X, outer = (
        (place[torch.arange(500) % 9] + spread * torch.randn(500, place.shape[1], generator=draws)).float().to(device)
        for place in (places, widths)
    )
    points = OuterProducts(outer, X) if products else Rows(X + 100)
    others = torch.arange(0, 500, 50, device=device)
    distances = points.squared_distances(slice(None), others).amin(1)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        bounds = points.upper_bounds(slice(None), others).double()
    finally:
        torch.set_float32_matmul_precision(before)
    assert (bounds >= distances).all()
    largest = float(points.squared_distances(slice(None), others).max())
    assert float((bounds - distances).max()) < (1e-4 if precision == "highest" else 3e-2) * largest


@pytest.mark.parametrize("spread", [0.01, 1.0])
def test_all_points_are_measured_only_now_and_then(spread, monkeypatch):
    passes, tries = [], []
    lower, attempt = _kmeanspp._lower, _kmeanspp._try
    monkeypatch.setattr(_kmeanspp, "_lower", lambda *args, **options: passes.append(1) or lower(*args, **options))
    monkeypatch.setattr(_kmeanspp, "_try", lambda *args: tries.append(1) or attempt(*args))
    centers, X = torch.randn(50, 16, generator=generator(100)), torch.randn(5000, 16, generator=generator(101))
    kmeanspp(centers[torch.arange(5000) % 50] + spread * X, 500, generator=generator(102))
    assert len(passes) <= 20 and len(tries) <= 60


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_the_first_pick(device):
    X, outer = (part.to(device) for part in small("products"))
    norms = X.norm(dim=1), X.norm(dim=1) * outer.norm(dim=1)
    for factors, norm in zip((None, outer), norms, strict=True):
        pick = kmeanspp(X, 1, outer=factors, first="largest", generator=generator(100))
        assert pick.device.type == device and pick.tolist() == [int(norm.argmax())]
        assert kmeanspp(X, 1, outer=factors, first=4, generator=generator(100)).tolist() == [4]
    draws = generator(100)
    counts = np.bincount([int(kmeanspp(X, 1, generator=draws)) for _ in range(600)], minlength=6)
    assert chi_square_fit(counts, np.full(6, 1 / 6)).p > P_LEAST


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_picks_and_changes_nothing(method, device):
    X = torch.randn(300, 8, generator=generator(100)).to(device).requires_grad_()
    before = X.detach().clone()
    draw = [kmeanspp(X, 50, outer=X[:, :3], method=method, generator=generator(101, device)) for _ in range(2)]
    assert torch.equal(*draw) and draw[0].dtype == torch.int64 and draw[0].device.type == device
    assert torch.equal(X, before)
    strided = before.T.contiguous().T
    assert torch.equal(
        kmeanspp(strided, 50, outer=strided[:, :3], method=method, generator=generator(101, device)), draw[0]
    )


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_unit_does_not_matter(scale):
    X = torch.randn(300, 8, generator=generator(100))
    power = 2.0 ** round(np.log2(scale))
    picks = [kmeanspp(factor * X, 60, outer=X[:, :2], generator=generator(101)) for factor in (1.0, power)]
    assert torch.equal(*picks)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be from 1 to 4, got 0"),
        ({"k": 5}, ValueError, "k must be from 1 to 4, got 5"),
        ({"X": torch.ones(4)}, ValueError, "X must have 2 dimensions"),
        ({"X": torch.full((4, 1), torch.nan)}, ValueError, "X must be finite"),
        ({"outer": torch.ones(3, 2)}, ValueError, "outer must have the length and the device of X, 4"),
        ({"outer": torch.full((4, 1), torch.inf)}, ValueError, "outer must be finite"),
        ({"outer": torch.ones(4)}, ValueError, "outer must have 2 dimensions"),
        ({"weights": torch.ones(5)}, ValueError, "weights must have the length and the device of X, 4"),
        ({"weights": torch.tensor([1.0, -1.0, 0.0, 0.0])}, ValueError, "weights must be at least 0, got -1.0"),
        ({"first": "last"}, ValueError, 'first must be "uniform", "largest" or an index, got \'last\''),
        ({"first": 4}, ValueError, "first must be from 0 to 3, got 4"),
        ({"method": "exact"}, ValueError, 'method must be "rejection" or "sequential", got \'exact\''),
        ({"generator": 100}, TypeError, "generator must be a torch.Generator, got int"),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        kmeanspp(**{"X": torch.ones(4, 2), "k": 2, "generator": generator(100), **options})
