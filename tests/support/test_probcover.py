"""ProbCover against greedy cover and its radius in plain Python, and against the best cover there is."""

import itertools
import math

import pytest
import torch
from scipy import stats

from selectlib.kernels import kmeans
from selectlib.pool import Pool
from selectlib.seeding import generator
from selectlib.support import ProbCover, _probcover

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def draw(*shape, seed=100):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def balls_by_hand(X, delta):
    points = X.tolist()
    return [{j for j, y in enumerate(points) if j == i or math.dist(x, y) < delta} for i, x in enumerate(points)]


def cover_by_hand(X, delta, k):
    balls, covered, chosen = balls_by_hand(X, delta), set(), []
    while len(chosen) < k and len(covered) < len(X):
        gains = [len(ball - covered) for ball in balls]
        chosen.append(gains.index(max(gains)))
        covered |= balls[chosen[-1]]
    return chosen


def radius_by_hand(X, labels, purity):
    def share(delta):
        return sum(len({labels[j] for j in ball}) == 1 for ball in balls_by_hand(X, delta)) / len(X)

    distances = [math.dist(x, y) for x, y in itertools.combinations(X.tolist(), 2)]
    return max(delta for delta in distances if share(delta) >= purity)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("block", [2**22, 100])
@pytest.mark.parametrize("delta", [0.1, 0.5, 1.5])
def test_it_covers_greedily(monkeypatch, delta, block, device):
    monkeypatch.setattr(_probcover, "_BLOCK", block)
    X, k = draw(60, 2), 20
    wanted = cover_by_hand(X, delta, k)
    chosen = ProbCover(delta).select(Pool(X.to(device)), k, generator=generator(100, device)).tolist()
    assert chosen[: len(wanted)] == wanted
    assert (len(wanted) < k) == (delta == 1.5)  # the large balls cover all, and the rest is drawn


@pytest.mark.oracle
def test_it_covers_at_least_its_share_of_the_best():
    for seed in range(100, 110):
        X = draw(14, 2, seed=seed)
        balls = balls_by_hand(X, 0.6)
        best = max(len(set().union(*some)) for some in itertools.combinations(balls, 3))
        chosen = ProbCover(0.6).select(Pool(X), 3, generator=generator(100))
        assert len(set().union(*(balls[i] for i in chosen.tolist()))) >= (1 - 1 / math.e) * best


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("purity", [0.7, 0.95, 1.0])
def test_the_radius_is_the_largest_with_so_many_pure_balls(monkeypatch, purity, device):
    monkeypatch.setattr(_probcover, "_BLOCK", 100)
    X = draw(24, 2)
    labels = kmeans(X - X.mean(0), 3, restarts=10, generator=generator(100)).labels.tolist()
    selector = ProbCover(n_classes=3, purity=purity)
    given = X.to(device) - X.to(device).mean(0)
    assert selector._radius(given, generator(100)) == pytest.approx(radius_by_hand(X, labels, purity), rel=1e-9)
    fixed = ProbCover(radius_by_hand(X, labels, purity) * (1 - 1e-9))
    choices = [s.select(Pool(X.to(device)), 4, generator=generator(100)) for s in (selector, fixed)]
    assert torch.equal(*choices)


@pytest.mark.oracle
def test_when_all_is_covered_the_rest_is_drawn_uniformly():
    pool, draws = Pool(torch.zeros(6, 1)), generator(100)
    chosen = torch.stack([ProbCover(1.0).select(pool, 3, generator=draws) for _ in range(600)])
    assert (chosen[:, 0] == 0).all()
    pairs = torch.bincount(6 * chosen[:, 1] + chosen[:, 2])
    pairs = pairs[pairs > 0]
    assert len(pairs) == 5 * 4
    assert stats.chisquare(pairs.numpy()).pvalue > 1e-3


@pytest.mark.oracle
def test_moving_turning_and_scaling_change_nothing():
    X, turn = draw(50, 4), torch.linalg.qr(draw(4, 4, seed=101)).Q
    choices = [
        ProbCover(scale * 0.9).select(Pool(scale * (X @ turn) + shift), 12, generator=generator(100)).tolist()
        for scale, shift in [(1.0, 0.0), (7.0, 0.0), (1.0, 1e4)]
    ]
    assert choices[0] == choices[1] == choices[2] == cover_by_hand(X, 0.9, 12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "one of delta and n_classes, got delta=None and n_classes=None"),
        ({"delta": 1.0, "n_classes": 2}, ValueError, "one of delta and n_classes, got delta=1.0 and n_classes=2"),
        ({"delta": 0}, ValueError, "delta must be a finite positive number, got 0"),
        ({"delta": "1"}, TypeError, "delta must be a number, got str"),
        ({"n_classes": 1}, ValueError, "n_classes must be at least 2, got 1"),
        ({"n_classes": 2, "purity": 1.5}, ValueError, "purity must be at most 1, got 1.5"),
        ({"n_classes": 2, "purity": 0}, ValueError, "purity must be a finite positive number, got 0"),
    ],
)
def test_arguments_that_are_not_allowed_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        ProbCover(**arguments)


def test_more_classes_than_items_are_refused():
    with pytest.raises(ValueError, match="n_classes must be from 2 to 4, got 5"):
        ProbCover(n_classes=5).select(Pool(draw(4, 2)), 2, generator=generator(100))
