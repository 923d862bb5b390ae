"""Weighted k-means: what scikit-learn finds from equal starts, and what weights must do."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from selectlib.kernels import kmeans
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def points(n=300, d=5, seed=100):
    draws = generator(seed)
    centers = 6 * torch.randn(7, d, generator=draws, dtype=torch.float64)
    return centers[torch.randint(7, (n,), generator=draws)] + torch.randn(n, d, generator=draws, dtype=torch.float64)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", [100, 101, 102])
def test_equal_starts_give_what_scikit_learn_gives(seed, weighted, device):
    X = points(seed=seed)
    weights = torch.rand(len(X), generator=generator(seed), dtype=torch.float64) if weighted else None
    start = X[:9].clone()
    peer = KMeans(9, init=start.numpy(), n_init=1, algorithm="lloyd", tol=1e-6)
    peer.fit(X.numpy(), sample_weight=None if weights is None else weights.numpy())
    given = None if weights is None else weights.to(device)
    found = kmeans(X.to(device), 9, weights=given, centers=start.to(device), tol=1e-6)
    assert found.labels.tolist() == peer.labels_.tolist()
    np.testing.assert_allclose(found.centers.cpu().numpy(), peer.cluster_centers_, atol=1e-9)
    assert float(found.inertia) == pytest.approx(peer.inertia_, rel=1e-9)


@pytest.mark.oracle
def test_points_without_weight_never_move_a_centre():
    X = points()
    weights = torch.ones(len(X), dtype=torch.float64)
    weights[200:] = 0
    start = X[:6].clone()
    found = kmeans(torch.cat([X[:200], X[200:] + 50]), 6, weights=weights, centers=start)
    alone = kmeans(X[:200], 6, centers=start)
    torch.testing.assert_close(found.centers, alone.centers)
    assert float(found.inertia) == pytest.approx(float(alone.inertia))


@pytest.mark.oracle
def test_a_weight_of_two_is_the_point_twice():
    X = points(60)
    weights = torch.ones(60, dtype=torch.float64)
    weights[:20] = 2
    start = X[:4].clone()
    found = kmeans(X, 4, weights=weights, centers=start)
    twice = kmeans(torch.cat([X, X[:20]]), 4, centers=start)
    torch.testing.assert_close(found.centers, twice.centers)


def test_more_restarts_are_never_worse_and_the_generator_decides():
    X = points(200, 3)
    one, many = (kmeans(X, 12, restarts=r, generator=generator(100)) for r in (1, 8))
    assert many.inertia <= one.inertia
    assert torch.equal(many.labels, kmeans(X, 12, restarts=8, generator=generator(100)).labels)


def test_the_arguments_are_left_alone():
    X, weights = points(80), torch.rand(80, generator=generator(1), dtype=torch.float64)
    start = X[:5].clone()
    before = [value.clone() for value in (X, weights, start)]
    kmeans(X, 5, weights=weights, centers=start)
    kmeans(X, 5, weights=weights, generator=generator(2))
    assert all(torch.equal(a, b) for a, b in zip(before, (X, weights, start), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k"),
        ({"k": 81}, "k"),
        ({"weights": -torch.ones(80, dtype=torch.float64)}, "weights"),
        ({"weights": torch.ones(79, dtype=torch.float64)}, "weights"),
        ({"restarts": 0}, "restarts"),
        ({"max_iter": 0}, "max_iter"),
    ],
)
def test_it_says_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        kmeans(points(80), **({"k": 5, "generator": generator(100)} | change))
