"""The members nearest the centres of a k-means over the whole pool, beside scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from selectlib.pool import Pool
from selectlib.seeding import generator
from selectlib.support import KMeansRepresentatives, _global_kmeans

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("block", [2**22, 10])
def test_of_each_cluster_the_member_nearest_its_centre(monkeypatch, block, device):
    X, k = torch.randn(200, 3, dtype=torch.float64, generator=generator(100)), 8
    plain = _global_kmeans.kmeans
    monkeypatch.setattr(_global_kmeans, "_BLOCK", block)
    monkeypatch.setattr(_global_kmeans, "kmeans", lambda X, k, **rest: plain(X, k, centers=X[:k]))
    chosen = KMeansRepresentatives().select(Pool(X.to(device)), k, generator=generator(100, device))
    fitted = KMeans(k, init=X[:k].numpy(), n_init=1).fit(X.numpy())
    distances = np.linalg.norm(X.numpy() - fitted.cluster_centers_[fitted.labels_], axis=1)
    wanted = [int(np.where(fitted.labels_ == c, distances, np.inf).argmin()) for c in range(k)]
    assert chosen.tolist() == wanted


@pytest.mark.oracle
def test_clusters_without_members_are_replaced_by_the_farthest_items(monkeypatch):
    X = torch.tensor([[0.0], [1.0], [9.0], [10.0], [14.0]])
    centers = torch.tensor([[0.2], [10.0], [99.0], [99.0]])
    given = (centers, torch.tensor([0, 0, 1, 1, 1]), torch.tensor(0.0))
    monkeypatch.setattr(_global_kmeans, "kmeans", lambda *args, **rest: given)
    assert KMeansRepresentatives().select(Pool(X), 4, generator=generator(100)).tolist() == [0, 3, 4, 2]


def test_the_best_of_several_starts_is_taken():
    X = torch.cat([10.0 * i + torch.rand(5, 2, generator=generator(100 + i)) for i in range(12)])
    chosen = KMeansRepresentatives(restarts=20).select(Pool(X), 12, generator=generator(100))
    assert sorted(i // 5 for i in chosen.tolist()) == list(range(12))


@pytest.mark.parametrize(("given", "error"), [(0, ValueError), (1.0, TypeError)])
def test_restarts_that_are_not_allowed_are_named(given, error):
    with pytest.raises(error, match="restarts must be"):
        KMeansRepresentatives(given)
