"""CLUE: its weights in plain Python, scikit-learn's k-means beside it, and the items nearest the centroids."""

import functools
import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from selectlib.pool import Pool
from selectlib.queries import CLUE, _clue
from selectlib.queries._clue import _nearest_not_taken
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def draw(*shape, scale=1.0, seed=100):
    return scale * torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def entropies_by_hand(logits, T):
    found = []
    for row in logits.tolist():
        weights = [math.exp((f - max(row)) / T) for f in row]
        p = [w / sum(weights) + 1e-8 for w in weights]
        found.append(-sum(q * math.log(q) for q in p))
    return np.array(found)


def nearest_by_hand(X, centers):
    chosen = []
    for center in centers:
        order = np.linalg.norm(X - center, axis=1).argsort(kind="stable").tolist()
        chosen.append(next(i for i in order if i not in chosen))
    return chosen


@pytest.fixture
def starts(monkeypatch):
    """Have the k-means start from given centres."""

    def start(centers):
        fixed = functools.partial(_clue.kmeans, centers=centers)
        monkeypatch.setattr(_clue, "kmeans", lambda *args, restarts, generator, **rest: fixed(*args, **rest))

    return start


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("T", [0.1, 1.0, 1e9])
def test_it_is_a_weighted_kmeans_and_the_items_nearest_its_centroids(starts, T, device):
    X, logits, k = draw(200, 3), draw(200, 5, seed=101), 8
    starts(X[:k].to(device))
    chosen = CLUE(T=T).select(Pool(X.to(device), logits=logits.to(device)), k, generator=generator(100, device))
    weights = entropies_by_hand(logits, T)
    fitted = KMeans(k, init=X[:k].numpy(), n_init=1).fit(X.numpy(), sample_weight=weights)
    assert chosen.tolist() == nearest_by_hand(X.numpy(), fitted.cluster_centers_)
    unweighted = KMeans(k, init=X[:k].numpy(), n_init=1).fit(X.numpy())
    same = chosen.tolist() == nearest_by_hand(X.numpy(), unweighted.cluster_centers_)
    assert same == (T == 1e9)  # ever hotter, ever more equal the weights


@pytest.mark.oracle
def test_equal_weights_are_none(starts):
    X, k = draw(150, 3), 6
    starts(X[:k])
    chosen = CLUE().select(Pool(X, logits=torch.zeros(150, 4)), k, generator=generator(100))
    fitted = KMeans(k, init=X[:k].numpy(), n_init=1).fit(X.numpy())
    assert chosen.tolist() == nearest_by_hand(X.numpy(), fitted.cluster_centers_)


@pytest.mark.oracle
def test_the_items_in_doubt_draw_the_centroids():
    pairs = torch.arange(10.0).repeat_interleave(2).unsqueeze(1) * 100
    X = pairs + torch.tensor([0.0, 1.0]).repeat(10).unsqueeze(1)
    logits = torch.tensor([[0.0, 0.1], [9.0, 0.0]]).repeat(10, 1)  # of each pair the first is in doubt
    chosen = CLUE(restarts=10).select(Pool(X, logits=logits), 10, generator=generator(100))
    assert sorted(chosen.tolist()) == list(range(0, 20, 2))


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("block", [1, 90, 2**25])
def test_an_item_is_taken_once_by_the_first_of_its_centroids(monkeypatch, block, device):
    monkeypatch.setattr(_clue, "_BLOCK", block)
    X, centers = draw(40, 2), draw(30, 2, scale=0.1, seed=101)  # crowded: most centroids find theirs taken
    chosen = _nearest_not_taken(X.to(device), centers.to(device)).tolist()
    assert chosen == nearest_by_hand(X.numpy(), centers.numpy())
    assert len(set(np.linalg.norm(X[:, None] - centers, axis=2).argmin(0).tolist())) < 15


@pytest.mark.oracle
def test_ties_go_to_the_lower_index():
    X = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert _nearest_not_taken(X, torch.zeros(4, 1)).tolist() == [0, 1, 2, 3]


@pytest.mark.oracle
def test_far_from_the_origin_the_nearest_is_still_found():
    X = draw(60, 2).float()
    centers = X[:20] + 1e-3
    near, far = (_nearest_not_taken(X + shift, centers + shift).tolist() for shift in (0.0, 4096.0))
    assert near == far == list(range(20))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_copies_and_the_whole_pool(dtype):
    for X in (draw(20, 3), draw(4, 3).repeat(5, 1), torch.zeros(20, 3)):
        pool = Pool(X.to(dtype), logits=draw(20, 4, scale=1e3).to(dtype))
        for k in (1, 7, 20):
            assert len(set(CLUE().select(pool, k, generator=generator(100)).tolist())) == k


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"T": 0.0}, ValueError, "T must be a finite positive number, got 0.0"),
        ({"T": None}, TypeError, "T must be a number, got NoneType"),
        ({"restarts": 0}, ValueError, "restarts must be at least 1, got 0"),
        ({"restarts": 1.0}, TypeError, "restarts must be an int, got float"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        CLUE(**options)


def test_one_class_leaves_no_doubt():
    with pytest.raises(ValueError, match=r"logits must have at least 2 classes .* shape \(4, 1\)"):
        CLUE().select(Pool(draw(4, 2), logits=draw(4, 1)), 2, generator=generator(100))
