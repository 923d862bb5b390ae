"""The greedy pool selector: the contract is tested with all selectors; here what it chooses."""

import pytest
import torch

from selectlib.pool import Pool, PoolSelector
from selectlib.seeding import generator
from selectlib.subsets import RBF, GreedyMAPSelector, Linear, as_source


def points(n, d=2, seed=100):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed))


@pytest.mark.oracle
@pytest.mark.parametrize("as_items", [lambda X: X, as_source], ids=["tensor", "source"])
def test_each_item_adds_the_most_to_the_determinant(as_items):
    X = points(12, 3)
    selector = GreedyMAPSelector(RBF(0.3))
    assert isinstance(selector, PoolSelector) and selector.needs == {"features"}
    L, expected = RBF(0.3)(X, X), []
    for _ in range(6):  # by brute force: the determinant of every set that is one item larger
        larger = [[*expected, i] for i in range(12) if i not in expected]
        expected = max(larger, key=lambda S: (round(float(L[S][:, S].det()), 12), -S[-1]))
    assert selector.select(Pool(as_items(X)), 6, generator=generator(101)).tolist() == expected


@pytest.mark.oracle
def test_the_default_kernel_is_that_of_the_typical_distance():
    X = points(60)
    mean_squared_distance = float((X[:, None] - X).square().sum(-1).mean())
    asked = GreedyMAPSelector(RBF(1 / mean_squared_distance)).select(Pool(X), 8, generator=generator(101))
    assert torch.equal(GreedyMAPSelector().select(Pool(X), 8, generator=generator(102)), asked)


@pytest.mark.oracle
def test_the_default_kernel_follows_the_scale_of_the_features():
    X = points(600)  # more than the sample that sets the scale
    near, far = (GreedyMAPSelector().select(Pool(c * X), 5, generator=generator(101)) for c in (1.0, 1024.0))
    assert torch.equal(near, far)


@pytest.mark.oracle
def test_a_choice_begins_with_every_smaller_one():
    X = points(600)
    many, few = (GreedyMAPSelector(RBF(0.3)).select(Pool(X), k, generator=generator(101)) for k in (20, 7))
    assert torch.equal(many[:7], few)


def test_k_above_the_rank_is_refused():
    X = points(20, 3)
    assert len(GreedyMAPSelector(Linear()).select(Pool(X), 3, generator=generator(101))) == 3
    with pytest.raises(ValueError, match="k must be at most the numerical rank, got 4"):
        GreedyMAPSelector(Linear()).select(Pool(X), 4, generator=generator(101))


def test_items_that_are_all_the_same_leave_one_choice():
    X = torch.ones(10, 2)
    assert GreedyMAPSelector().select(Pool(X), 1, generator=generator(101)).tolist() == [0]
    with pytest.raises(ValueError, match="rank"):
        GreedyMAPSelector().select(Pool(X), 2, generator=generator(101))
