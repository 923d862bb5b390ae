"""CoreSet: the greedy rule over all distances, and what is covered before the first choice."""

import numpy as np
import pytest
import torch
from fetched import Fetched

from selectlib.pool import Pool
from selectlib.queries import CoreSet
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
METHODS = ["lazy", "plain"]


def draw(n, d=8, seed=100):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed))


def select(strategy, k, features, **fields):
    return strategy.select(Pool(features, **fields), k, generator=generator(100))


def by_all_distances(X, k, covered):
    """Farthest first, every distance computed anew."""
    X, covered, chosen = X.numpy(), list(covered.numpy()), []
    if not covered:
        chosen.append(int(np.linalg.norm(X - X.mean(0), axis=1).argmin()))
        covered.append(X[chosen[0]])
    while len(chosen) < k:
        nearest = np.min([np.linalg.norm(X - c, axis=1) for c in covered], axis=0)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
        covered.append(X[chosen[-1]])
    return chosen


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labeled", [None, 0, 1, 20])
def test_it_is_farthest_first_from_the_labelled(labeled, method, device):
    X = draw(300)
    covered = draw(labeled or 0, seed=101)
    expected = by_all_distances(X, 30, covered)
    fields = {} if labeled is None else {"labeled_features": covered.to(device)}
    assert select(CoreSet(method=method, block=16), 30, X.to(device), **fields).tolist() == expected


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labeled", [0, 20])
def test_the_source_is_covered_where_that_is_asked_for(labeled, method):
    X, labels, source = draw(300), draw(labeled, seed=101), draw(50, seed=102)
    fields = {"labeled_features": labels, "source_features": source}
    with_source = select(CoreSet("labeled+source", method), 30, X, **fields).tolist()
    assert with_source == by_all_distances(X, 30, torch.cat([labels, source]))
    without = select(CoreSet(method=method), 30, X, **fields).tolist()
    assert without == by_all_distances(X, 30, labels) != with_source


@pytest.mark.oracle
@pytest.mark.parametrize("block", [1, 7, 64, 300, 4096])
def test_neither_the_block_nor_a_source_of_items_changes_the_choice(block):
    X, labels = draw(300), draw(5, seed=101)
    expected = select(CoreSet(method="plain"), 100, X, labeled_features=labels)
    for features in (X, Fetched(X)):
        assert torch.equal(select(CoreSet(block=block), 100, features, labeled_features=labels), expected)


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_duplicates_are_taken_once_and_last(method):
    X = draw(10).repeat(3, 1)
    chosen = select(CoreSet(method=method), 30, X).tolist()
    assert {i % 10 for i in chosen[:10]} == set(range(10)) and sorted(chosen) == list(range(30))


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("labels_dtype", [torch.bfloat16, torch.float64])
def test_lower_precisions_choose_as_the_same_numbers_in_double(dtype, labels_dtype):
    X, labels = draw(200).to(dtype), draw(5, seed=101).to(labels_dtype)
    chosen = select(CoreSet(), 40, X, labeled_features=labels).tolist()
    assert chosen == by_all_distances(X.double(), 40, labels.double())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"init": "source"}, ValueError, "init must be one of labeled, labeled\\+source, got 'source'"),
        ({"method": "exact"}, ValueError, "method must be one of lazy, plain, got 'exact'"),
        ({"block": 0}, ValueError, "block must be at least 1, got 0"),
        ({"block": 2.0}, TypeError, "block must be an int, got float"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        CoreSet(**options)


def test_a_source_of_another_width_is_named():
    with pytest.raises(ValueError, match="labeled_features must have the width of features, 8, got 3"):
        select(CoreSet(), 2, Fetched(draw(5)), labeled_features=draw(2, 3))


def test_items_of_a_source_are_checked():
    X = draw(5)
    X[3, 1] = torch.nan
    with pytest.raises(ValueError, match="features must be finite, but item 3 is not"):
        select(CoreSet(), 2, Fetched(X))
    with pytest.raises(ValueError, match=r"features must be fetched as floats of shape \(b, d\), got torch.int64"):
        select(CoreSet(), 2, Fetched(torch.zeros(5, 2, dtype=torch.int64)))
