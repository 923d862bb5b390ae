"""SemDeDup: pairs compared one by one, planted copies, and the law of the choice."""

import numpy as np
import pytest
import torch

from selectlib.corpora import _semdedup
from selectlib.corpora._semdedup import SemDeDupSelector, _likeness
from selectlib.pool import Pool
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def directions(n, d=8, seed=100):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed))


def copies(groups=20, each=5, noise=1e-3):
    """Near-copies of a few random directions, group after group."""
    originals = directions(groups).repeat_interleave(each, 0)
    return originals + noise * directions(len(originals), seed=101)


def likeness_by_pairs(X, centroids):
    """Each item's largest cosine with one of its cluster that is farther from the centroid."""
    X, centroids = X / np.linalg.norm(X, axis=1, keepdims=True), centroids.copy()
    cosine = X @ centroids.T
    cluster = cosine.argmax(1)
    found = np.full(len(X), -1.0)
    for i in range(len(X)):
        for j in range(len(X)):
            if cluster[i] == cluster[j] and cosine[j, cluster[j]] < cosine[i, cluster[i]]:
                found[i] = max(found[i], X[i] @ X[j])
    return found


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("block", [2**22, 700, 1])
@pytest.mark.parametrize("clusters", [1, 4])
def test_the_likeness_compares_all_pairs_of_a_cluster(monkeypatch, clusters, block, device):
    monkeypatch.setattr(_semdedup, "_BLOCK", block)
    X, centroids = directions(90), torch.nn.functional.normalize(directions(clusters, seed=102))
    found = _likeness(X.to(device), centroids.to(device)).cpu()
    torch.testing.assert_close(found, torch.from_numpy(likeness_by_pairs(X.numpy(), centroids.numpy())))


@pytest.mark.oracle
@pytest.mark.parametrize("clusters", [None, 1, 7])
def test_one_of_each_group_of_copies_is_left(clusters):
    X = copies()
    selector = SemDeDupSelector(keep=0.2, clusters=clusters)
    chosen = selector.select(Pool(X), 20, generator=generator(100))
    assert sorted((chosen // 5).tolist()) == list(range(20))
    assert selector.threshold_ < 0.99


@pytest.mark.oracle
def test_of_two_copies_the_one_farther_from_the_centroid_is_left():
    angles = torch.tensor([0.0, 0.2, 1.5, 1.4], dtype=torch.float64)  # the centroid is between the pairs
    X = torch.stack([angles.cos(), angles.sin()], 1)
    chosen = SemDeDupSelector(keep=0.5, clusters=1).select(Pool(X), 2, generator=generator(100))
    assert sorted(chosen.tolist()) == [0, 2]


@pytest.mark.oracle
@pytest.mark.parametrize("keep", [0.05, 0.2, 0.37, 1.0])
def test_the_share_is_kept_to_the_item(keep):
    selector, pool = SemDeDupSelector(keep=keep), Pool(copies())
    kept = round(100 * keep)
    assert len(set(selector.select(pool, kept, generator=generator(100)).tolist())) == kept
    if keep < 1:
        with pytest.raises(ValueError, match=rf"k must be at most the {kept} items that keep={keep} leaves of 100"):
            selector.select(pool, kept + 1, generator=generator(100))


@pytest.mark.oracle
def test_the_kept_are_drawn_uniformly(monkeypatch):
    X, draws = copies(groups=6, each=2), generator(100)
    monkeypatch.setattr(_semdedup, "_centroids", lambda *_: torch.nn.functional.normalize(X.mean(0, keepdim=True)))
    chosen = [SemDeDupSelector(keep=0.5).select(Pool(X), 2, generator=draws) for _ in range(1500)]
    groups = torch.stack(chosen) // 2  # one of each pair is left, whichever that is
    counts = torch.bincount(groups[:, 0] * 6 + groups[:, 1], minlength=36).reshape(6, 6)
    assert counts.diagonal().sum() == 0
    assert chi_square_fit(counts[~torch.eye(6, dtype=torch.bool)], [1 / 30] * 30).p > 1e-5


@pytest.mark.oracle
def test_lengths_of_the_embeddings_do_not_matter():
    X = copies()
    scales = 2.0 ** torch.randint(-3, 4, (100, 1), generator=generator(100))
    chosen = [SemDeDupSelector().select(Pool(rows), 15, generator=generator(100)) for rows in (X, scales * X)]
    assert torch.equal(*chosen)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_items_that_are_all_the_same_or_zero():
    for X in (torch.ones(30, 3), torch.zeros(30, 3)):
        chosen = SemDeDupSelector(keep=0.5).select(Pool(X), 15, generator=generator(100))
        assert len(set(chosen.tolist())) == 15


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_lower_precisions_are_compared_in_single_precision(dtype):
    chosen = SemDeDupSelector().select(Pool(copies(noise=0.05).to(dtype)), 20, generator=generator(100))
    assert sorted((chosen // 5).tolist()) == list(range(20))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keep": 0.0}, ValueError, "keep must be above 0 and at most 1, got 0"),
        ({"keep": 1.1}, ValueError, "keep must be above 0 and at most 1, got 1.1"),
        ({"keep": float("nan")}, ValueError, "keep must be .* got nan"),
        ({"keep": "all"}, TypeError, "keep must be a number, got str"),
        ({"clusters": 0}, ValueError, "clusters must be at least 1, got 0"),
        ({"clusters": 2.0}, TypeError, "clusters must be an int or None, got float"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        SemDeDupSelector(**options)


def test_more_clusters_than_items_are_refused():
    with pytest.raises(ValueError, match="clusters must be at most the pool's 5 items, got 6"):
        SemDeDupSelector(keep=1.0, clusters=6).select(Pool(directions(5)), 1, generator=generator(100))
