"""Out of core: blocks of a stream, the same search as over all rows, resumable."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from selectlib.features import FeatureGradientSelector


def stream(blocks=4, n=60, d=9, seed=100):
    """Blocks with the same means, scales and singular values: the same rows in other orders."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = X[:, 0] - X[:, 1] + 0.5 * rng.normal(size=n)
    orders = [rng.permutation(n) for _ in range(blocks)]
    return [X[order] for order in orders], [y[order] for order in orders]


def selector(**options):
    options = {"penalty": 1.0, "device": "cpu", "dtype": "float64", "random_state": 100, "batch_size": 20} | options
    return FeatureGradientSelector(**options)


@pytest.mark.oracle
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_blocks_in_order_are_a_fit_without_shuffling(form):
    X, y = stream()
    whole = selector(shuffle=False, max_epochs=1, min_steps=0).fit(form(np.concatenate(X)), np.concatenate(y))
    parts = selector(shuffle=False)
    for block, targets in zip(X, y, strict=True):
        parts.partial_fit(form(block), targets)
    assert parts.n_iter_ == whole.n_iter_ == 12
    np.testing.assert_allclose(parts.logits_, whole.logits_, atol=1e-6)
    np.testing.assert_allclose(parts.history_, whole.history_, atol=1e-6)
    np.testing.assert_allclose(parts.gains_, whole.gains_, atol=1e-6)
    np.testing.assert_array_equal(parts.ranking_, whole.ranking_)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_pickle_between_blocks_goes_on_to_the_last_bit(dtype, shuffle):
    X, y = stream()
    straight, resumed = selector(dtype=dtype, shuffle=shuffle), selector(dtype=dtype, shuffle=shuffle)
    for block, targets in zip(X, y, strict=True):
        straight.partial_fit(block, targets > 0, classes=[False, True])
        resumed = pickle.loads(pickle.dumps(resumed)).partial_fit(block, targets > 0, classes=[False, True])
    for name in ("logits_", "gains_", "history_", "ranking_"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(straight, name))


def test_a_stream_finds_what_matters_and_starts_anew_with_fit():
    X, y = stream(blocks=10)
    parts = selector()
    for block, targets in zip(X, y, strict=True):
        parts.partial_fit(block, targets)
    assert parts.ranking_[:2].max() == 2 and parts.get_support(indices=True).tolist() == [0, 1]
    assert len(parts.history_) == parts.n_iter_ == 30
    np.testing.assert_array_equal(parts.fit(X[0], y[0]).logits_, selector().fit(X[0], y[0]).logits_)
    assert parts.partial_fit(X[1], y[1]).n_iter_ == selector().fit(X[0], y[0]).n_iter_ + 3


@pytest.mark.oracle
def test_statistics_are_those_of_the_first_block():
    X, y = stream(blocks=2)
    far = 5 * X[1] + 100
    parts = selector(shuffle=False).partial_fit(X[0], y[0])
    moved = pickle.loads(pickle.dumps(parts)).partial_fit(far, y[1])
    assert not np.allclose(moved.logits_, parts.partial_fit(X[1], y[1]).logits_)
    alike = [
        selector(shuffle=False).partial_fit(each[0], y[0]).partial_fit(each[1], y[1])
        for each in (X, [x * 3 for x in X])
    ]
    np.testing.assert_allclose(alike[0].logits_, alike[1].logits_, atol=1e-6)


def test_classes_are_those_named_or_of_the_first_block():
    X, y = stream()
    labels = np.digitize(y[0], [-1, 1])
    parts = selector().partial_fit(X[0][labels < 2], labels[labels < 2], classes=[0, 1, 2])
    assert parts.classes_.tolist() == [0, 1, 2]
    assert parts.partial_fit(X[0], labels).n_iter_ > 2
    with pytest.raises(ValueError, match=r"y must hold no other classes than \[0, 1\], got \[2\]"):
        selector().partial_fit(X[0][labels < 2], labels[labels < 2]).partial_fit(X[0], labels)
    with pytest.raises(ValueError, match=r"y must hold no other classes than \[0, 1\], got \[2\]"):
        selector().partial_fit(X[0], labels, classes=[0, 1])
    with pytest.raises(ValueError, match="expecting 9 features"):
        parts.partial_fit(X[0][:, :4], labels)
    with pytest.raises(ValueError, match="X must have at least 5 rows"):
        parts.partial_fit(X[0][:4], labels[:4])
