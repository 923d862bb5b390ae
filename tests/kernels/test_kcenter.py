"""k-center, against a dense greedy traversal in float64 that measures every pair."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.kernels import _kcenter, _scaled_rows, kcenter_greedy
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def by_hand(X, k, centers=(), first=None):
    """The picks in order: farthest first, lower index among equals, never one twice."""
    X = np.asarray(X, dtype=np.float64)
    between = np.sqrt(np.square(X[:, None] - X).sum(2))
    if len(centers):
        nearest, picks = np.sqrt(np.square(X[:, None] - np.asarray(centers, dtype=np.float64)).sum(2)).min(1), []
    else:
        first = np.square(X - X.mean(0)).sum(1).argmin() if first is None else first
        nearest, picks = between[first], [int(first)]
    while len(picks) < k:
        left = np.where(np.isin(np.arange(len(X)), picks), -1, nearest)
        picks.append(int(left.argmax()))
        nearest = np.minimum(nearest, between[picks[-1]])
    return picks


def points(kind, n=300, d=8, dtype=torch.float64):
    X = torch.randn(n, d, dtype=torch.float64, generator=generator(100))
    if kind == "far off":
        X += 1e4
    elif kind == "tight clusters":  # float32 cannot tell the rows of a cluster apart
        X = 1e-6 * X + 1e3 * X[torch.arange(n) % 5]
    elif kind == "minute":
        X *= 1e-25
    elif kind == "huge":
        X *= 1e25
    return X.to(dtype)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_scaled_rows, "_NUMBERS", dict.fromkeys(("cpu", "cuda"), 3000))


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["plain", "far off", "tight clusters", "minute", "huge"])
def test_picks_are_those_of_the_dense_reference(kind, dtype, device):
    X = points(kind, dtype=dtype)
    expected = by_hand(X.double(), 100, first=3)
    for options in ({"method": "plain"}, {"block": 1}, {"block": 7}, {"block": 64}, {"block": 300}):
        picks = kcenter_greedy(X.to(device), 100, first=3, **options)
        assert picks.dtype == torch.int64 and picks.device.type == device
        assert picks.tolist() == expected, options


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_less_precise_products_do_not_change_the_picks(precision, device):
    X = points("plain", n=1000, d=64, dtype=torch.float32).to(device)
    expected = kcenter_greedy(X, 150, method="plain").tolist()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert kcenter_greedy(X, 150).tolist() == expected
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.oracle
@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 3), st.integers(1, 4), st.data())
def test_ties_go_to_the_lower_index_and_nothing_is_picked_twice(seed, n, d, values, data):
    X = torch.randint(values, (n, d), generator=generator(seed)).float()  # many equal rows and distances
    centers = torch.randint(values, (data.draw(st.integers(0, 3)), d), generator=generator(seed)).float()
    k, block, few = (data.draw(st.integers(1, n)) for _ in range(3))
    first = None if len(centers) else data.draw(st.integers(0, n - 1))
    expected = by_hand(X, k, centers, first)
    assert len(set(expected)) == k
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kcenter, "_FEW", few)
        assert kcenter_greedy(X, k, centers=centers, first=first, block=block).tolist() == expected
    assert kcenter_greedy(X, k, centers=centers, first=first, method="plain").tolist() == expected


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("few", [1, 7, 48])
def test_many_ties(few, device, monkeypatch):
    monkeypatch.setattr(_kcenter, "_FEW", few)
    X = torch.randint(3, (400, 4), generator=generator(100)).float()
    expected = by_hand(X, 400, first=0)
    for options in ({"method": "plain"}, {"block": 16}, {"block": 400}):
        assert kcenter_greedy(X.to(device), 400, first=0, **options).tolist() == expected


def test_a_row_that_falls_to_the_bound_waits_for_rows_of_lower_index_outside():
    far, between = np.array([5.0, 3.0, 4.0]), np.full((3, 3), 9.0)
    between[0, 2] = 3.0  # after the first pick, the last row is as far as the bound, and behind the row that set it
    assert _kcenter._pick_few(between, far, 3) == [0, 1]
    items, near = torch.tensor([[0.0, 0.0], [9.0, 9.0], [3.0, 0.0]], dtype=torch.float64), torch.from_numpy(far)
    ahead = torch.tensor([True, True, False])
    assert _kcenter._pick_among(items, near, near.min(), ahead, 3) == [0, 1]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["lazy", "plain"])
def test_many_centers_are_covered_already(method, device):
    X = points("plain", dtype=torch.float32)
    centers = torch.randn(600, 8, generator=generator(101)) * 0.8
    picks = kcenter_greedy(X.to(device), 50, centers=centers.to(device), method=method, block=64)
    assert picks.tolist() == by_hand(X, 50, centers)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_rows_and_centers_may_be_where_float32_overflows(device):
    X, centers = points("plain", dtype=torch.float32), torch.full((2, 8), 1e30)
    assert kcenter_greedy(X.to(device), 20, centers=centers.to(device)).tolist() == by_hand(X, 20, centers)
    X = X / X.abs().max() * 3e38
    assert kcenter_greedy(X.to(device), 20, first=0).tolist() == by_hand(X, 20, first=0)


def almost_alike(kind, dtype):
    """Rows whose order float32 products cannot tell, and how many picks to make of them."""
    draw = generator(100)
    around = torch.nn.functional.normalize(torch.randn(400, 8, dtype=torch.float64, generator=draw), dim=1)
    if kind == "radii":  # from the first row, the others are as far but for the tenth digit, in random order
        X = around * (1 + 1e-10 * torch.randperm(400, generator=draw).double()).unsqueeze(1)
        X[0] = 0.0
    elif kind == "pairs":  # two of each, the second as good as the first
        X = torch.cat([around[:200], around[:200] * (1 + 1e-9)])
    else:  # more picks than there are different rows
        X = around[torch.randint(30, (400,), generator=draw)]
    return (X + 1e3 if kind == "radii" else X).to(dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("kind", ["radii", "pairs", "copies"])
def test_where_float32_cannot_tell_rows_are_measured(kind, dtype, held, device, monkeypatch):
    monkeypatch.setattr(_scaled_rows, "_HELD", 2**23 if held else 0)
    monkeypatch.setattr(_kcenter, "_FEW", 5)
    X = almost_alike(kind, dtype)
    expected = by_hand(X.double(), 60, first=0)
    measured = []
    measure = _kcenter._Reach.measure
    monkeypatch.setattr(_kcenter._Reach, "measure", lambda *args: measured.append(len(args[1])) or measure(*args))
    assert kcenter_greedy(X.to(device), 60, first=0, block=16).tolist() == expected
    if kind == "radii" and dtype == torch.float64:
        assert max(measured) > 300  # the bounds could not decide
    for options in ({"block": 1}, {"block": 400}, {"method": "plain"}):
        assert kcenter_greedy(X.to(device), 60, first=0, **options).tolist() == expected, options


@pytest.mark.oracle
def test_rows_so_near_that_their_squares_underflow():
    X = torch.tensor([[1.0], [-1.0], [0.0], [1e-23], [-1e-22], [3e-21], [2e-23]])
    assert kcenter_greedy(X, 7, first=2, block=1).tolist() == by_hand(X, 7, first=2)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bounds_are_above_the_distances_and_exact_where_measured(dtype):
    X, points_ = points("far off", dtype=dtype), points("far off", n=40, dtype=dtype).flip(0) + 0.5
    reach = _kcenter._Reach(X, X.double().mean(0), torch.tensor([7]))
    true = torch.cdist(X.double(), points_.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for start in (0, 10, 25):
        reach.cover(points_[start : start + 15])
        near = true[:, : start + 15].amin(1)
        assert (reach.most >= near)[torch.arange(300) != 7].all() and reach.most[7] == -1
        assert (reach.most[8:] <= near[8:] + 1e-2).all()
        which = torch.arange(20 + start, 60 + 3 * start)  # some of them a second time
        assert torch.equal(reach.measure(which), near[which]) and torch.equal(reach.most[which], near[which])


def test_without_a_first_pick_it_is_the_row_nearest_the_mean():
    X = points("plain") + 1e3
    assert kcenter_greedy(X, 5).tolist() == kcenter_greedy(X, 5, method="plain").tolist() == by_hand(X, 5)
    assert kcenter_greedy(X, 5, centers=X[:0]).tolist() == by_hand(X, 5)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(100, 110))
def test_the_radius_is_at_most_twice_the_best(seed):
    X = torch.randn(14, 2, dtype=torch.float64, generator=generator(seed))
    between = torch.cdist(X, X)
    best = min(float(between[:, list(chosen)].amin(1).max()) for chosen in itertools.combinations(range(14), 4))
    assert best <= float(between[:, kcenter_greedy(X, 4)].amin(1).max()) <= 2 * best


def test_all_rows_are_read_only_now_and_then(monkeypatch):
    monkeypatch.setattr(_scaled_rows, "_NUMBERS", {"cpu": 2**18})
    passes = []
    cover = _kcenter._Reach.cover
    monkeypatch.setattr(_kcenter._Reach, "cover", lambda *args: passes.append(1) or cover(*args))
    kcenter_greedy(points("plain", n=20_000, d=32), 200)
    assert len(passes) <= 20


@pytest.mark.parametrize("device", DEVICES)
def test_rows_may_be_strided_and_in_a_graph_and_stay_as_they_were(device):
    X = points("plain").to(device)
    expected = kcenter_greedy(X, 20).tolist()
    wide = torch.stack([X, -X], dim=2).requires_grad_()
    assert kcenter_greedy(wide[:, :, 0], 20).tolist() == expected
    assert kcenter_greedy(X.T.contiguous().T, 20).tolist() == expected
    assert torch.equal(X.cpu(), points("plain"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be from 1 to 4, got 0"),
        ({"k": 5}, ValueError, "k must be from 1 to 4, got 5"),
        ({"k": 2.0}, TypeError, "k must be an int"),
        ({"X": torch.ones(4)}, ValueError, "X must have 2 dimensions"),
        ({"X": torch.ones(4, 2, dtype=torch.int64)}, TypeError, "X must be a floating tensor"),
        ({"X": torch.tensor([[0.0], [torch.nan], [1.0], [2.0]])}, ValueError, "X must be finite"),
        ({"centers": torch.tensor([[torch.inf, 0.0]])}, ValueError, "centers must be finite"),
        ({"centers": torch.ones(2, 3)}, ValueError, "centers must have the width and the device of X"),
        ({"centers": torch.ones(2)}, ValueError, "centers must have 2 dimensions"),
        ({"centers": torch.ones(1, 2), "first": 0}, ValueError, "first must be None beside centers"),
        ({"first": 4}, ValueError, "first must be from 0 to 3, got 4"),
        ({"first": True}, TypeError, "first must be an int"),
        ({"block": 0}, ValueError, "block must be from 1"),
        ({"method": "fast"}, ValueError, 'method must be "lazy" or "plain", got \'fast\''),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        kcenter_greedy(**{"X": torch.ones(4, 2), "k": 2, **options})
