"""TypiClust against the published procedure in plain Python."""

import math

import pytest
import torch

from selectlib.kernels import kmeans
from selectlib.pool import Pool
from selectlib.seeding import generator
from selectlib.support import TypiClust, _typiclust

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def blobs(sizes, seed=100):
    """Well separated clusters of these sizes, one after the other."""
    draws = generator(seed)
    return torch.cat([40.0 * i + torch.randn(m, 3, dtype=torch.float64, generator=draws) for i, m in enumerate(sizes)])


def typiclust_by_hand(X, labels, k, min_size=6, neighbors=20):
    X, clusters = X.tolist(), [[i for i, own in enumerate(labels.tolist()) if own == c] for c in range(max(labels) + 1)]
    clusters = sorted([c for c in clusters if c], key=lambda c: -len(c))
    large = [c for c in clusters if len(c) >= min_size]
    small = [c for c in clusters if len(c) < min_size]
    chosen = []
    while len(chosen) < k:
        for cluster in [c for c in large if c] or [c for c in small if c]:
            best, nearest = None, math.inf
            for i in cluster:
                others = sorted(math.dist(X[i], X[j]) for j in cluster if j != i)
                others = others[: min(neighbors, max(1, len(cluster) // 2))] or [0.0]
                if sum(others) / len(others) < nearest:
                    best, nearest = i, sum(others) / len(others)
            cluster.remove(best)
            chosen.append(best)
            if len(chosen) == k:
                break
    return chosen


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("k", [1, 5, 12, 40, 70])
@pytest.mark.parametrize("block", [2**22, 50])
def test_it_chooses_what_the_published_procedure_chooses(monkeypatch, block, k, device):
    monkeypatch.setattr(_typiclust, "_BLOCK", block)
    X = blobs([30, 20, 12, 5, 3])[torch.randperm(70, generator=generator(101))].to(device)
    labels = kmeans(X, min(k, 9), generator=generator(100, device)).labels
    chosen = TypiClust(max_clusters=9).select(Pool(X), k, generator=generator(100, device))
    assert chosen.tolist() == typiclust_by_hand(X, labels, k)


@pytest.mark.oracle
def test_the_largest_clusters_come_first_and_small_ones_last():
    sizes = [8, 30, 3, 20]
    X = blobs(sizes)
    cluster = torch.arange(4).repeat_interleave(torch.tensor(sizes))
    selector = TypiClust(max_clusters=4, restarts=10)
    chosen = selector.select(Pool(X), 61, generator=generator(100))
    assert cluster[chosen[:6]].tolist() == [1, 3, 0, 1, 3, 0]
    assert (cluster[chosen[:58]] != 2).all() and (cluster[chosen[58:]] == 2).all()


def test_small_clusters_count_where_all_are_small():
    X = blobs([5, 4, 3])
    chosen = TypiClust(restarts=10).select(Pool(X), 3, generator=generator(100))
    assert sorted((chosen >= 5).int() + (chosen >= 9).int()) == [0, 1, 2]


@pytest.mark.oracle
def test_it_prefers_the_dense_place_to_the_middle():
    ring = torch.stack([torch.tensor([math.cos(a), math.sin(a)]) for a in torch.arange(12) * math.pi / 6])
    clump = torch.tensor([1.0, 0.0]) + 0.01 * torch.randn(6, 2, generator=generator(100))
    chosen = TypiClust(neighbors=5).select(Pool(torch.cat([ring, clump])), 1, generator=generator(100))
    assert chosen.item() == 0 or chosen.item() >= 12


@pytest.mark.parametrize("name", ["max_clusters", "min_size", "neighbors", "restarts"])
def test_arguments_that_are_not_allowed_are_named(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        TypiClust(**{name: 0})
    with pytest.raises(TypeError, match=f"{name} must be an int, got float"):
        TypiClust(**{name: 2.0})
