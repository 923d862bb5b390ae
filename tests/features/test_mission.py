"""MISSION: the count-sketch and the heap, against a plain model of both, and the scikit-learn contract."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from selectlib.features import Mission


@pytest.fixture(scope="module")
def rows():
    """Sparse rows whose class depends on the columns 5, 40 and 77 of 100."""
    rng = np.random.default_rng(100)
    X = rng.standard_normal((1_500, 100)) * (rng.random((1_500, 100)) < 0.3)
    logits = 2 * X[:, 5] - 2 * X[:, 40] + 2 * X[:, 77]
    return sparse.csr_array(X), np.where(logits + 0.3 * rng.standard_normal(1_500) > 0, 1, -1)


@parametrize_with_checks([Mission(random_state=0)])
def test_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.oracle
@pytest.mark.parametrize("size", [3, 20])
def test_a_wide_sketch_is_plain_descent_with_a_heap(rows, size):
    X, y = rows
    X, y = X[:300], y[:300]
    mission = Mission(size, sketch_width=2**22, learning_rate=0.1, random_state=0).fit(X, y)
    weights, heap = np.zeros(100), {}
    for row, target in zip(X.toarray(), y == 1, strict=True):
        logit = sum(heap.get(j, 0.0) * row[j] for j in row.nonzero()[0])
        weights += 0.1 * (target - 1 / (1 + np.exp(-logit))) * row
        active = row.nonzero()[0]
        heap.update({j: weights[j] for j in active if j in heap})
        for j in active:
            if j in heap:
                continue
            lightest = min(heap, key=lambda i: abs(heap[i]), default=None)
            if len(heap) == size and abs(weights[j]) > 1.05 * abs(heap[lightest]):
                del heap[lightest]
            if len(heap) < size:
                heap[j] = weights[j]
    assert mission.get_support(indices=True).tolist() == sorted(heap)
    np.testing.assert_allclose(mission.coef_[sorted(heap)], [heap[j] for j in sorted(heap)], rtol=1e-12)
    np.testing.assert_array_equal(mission.scores_, np.abs(mission.coef_))
    np.testing.assert_allclose(mission.decision_function(X), X @ mission.coef_)


@pytest.mark.parametrize("n_hashes", [1, 2, 3, 4])
def test_the_informative_columns_are_found(rows, n_hashes):
    X, y = rows
    mission = Mission(3, n_hashes=n_hashes, learning_rate=0.05, random_state=0).fit(X, y)
    assert mission.get_support(indices=True).tolist() == [5, 40, 77]
    assert np.sign(mission.coef_[[5, 40, 77]]).tolist() == [1, -1, 1]
    assert mission.score(X, y) > 0.8
    assert mission.transform(X).shape == (1_500, 3)


def test_a_narrow_sketch_spoils_the_model(rows):
    X, y = rows
    narrow, wide = (Mission(2**14 - 1, width, random_state=0).fit(X, y) for width in (3, 2**18 - 1))
    assert narrow.get_support().sum() == wide.get_support().sum() == 100
    assert narrow.score(X, y) < wide.score(X, y) - 0.1


@pytest.mark.oracle
def test_blocks_and_pickles_go_on_where_they_stopped(rows):
    X, y = rows
    whole = Mission(10, 50, random_state=0).fit(X, y)
    parts = Mission(10, 50, random_state=0)
    for start, end in [(0, 1), (1, 700), (700, 1_500)]:
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X[start:end], y[start:end], classes=[-1, 1])))
    np.testing.assert_array_equal(parts.coef_, whole.coef_)
    np.testing.assert_array_equal(whole.fit(X.toarray(), y).coef_, parts.coef_)


def test_the_order_of_rows_and_the_hash_functions_matter(rows):
    X, y = rows
    first = Mission(10, 20, random_state=0).fit(X, y).coef_
    assert not np.array_equal(first, Mission(10, 20, random_state=0).fit(X[::-1], y[::-1]).coef_)
    assert not np.array_equal(first, Mission(10, 20, random_state=1).fit(X, y).coef_)


def test_empty_rows_change_nothing(rows):
    X, y = rows
    empty = sparse.csr_array((5, 100))
    mission = Mission(10, random_state=0).fit(X, y)
    before = mission.coef_.copy()
    mission.partial_fit(empty, np.ones(5, dtype=int))
    np.testing.assert_array_equal(mission.coef_, before)


def test_extreme_values_do_not_overflow():
    X = np.array([[1e100], [-1e100]] * 3)
    mission = Mission().fit(X, [1, 0] * 3)
    assert np.isfinite(mission.coef_).all() and mission.score(X, [1, 0] * 3) == 1


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_features": 0}, ValueError, "n_features must be at least 1, got 0"),
        ({"sketch_width": 0}, ValueError, "sketch_width must be at least 1, got 0"),
        ({"n_hashes": 1.5}, TypeError, "n_hashes must be an int, got float"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be a finite positive number, got 0.0"),
    ],
)
def test_bad_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        Mission(**parameters).fit([[0.0], [1.0]], [0, 1])


def test_labels_must_be_two_classes():
    X = [[0.0], [1.0], [2.0]]
    with pytest.raises(ValueError, match="two classes, got 3 classes"):
        Mission().fit(X, [0, 1, 2])
    with pytest.raises(ValueError, match="two classes, got 1 class"):
        Mission().partial_fit(X, [0, 0, 0])
    mission = Mission().partial_fit(X, [0, 1, 0])
    with pytest.raises(ValueError, match=r"classes \[0, 1\], got \[2\] too"):
        mission.partial_fit(X, [0, 1, 2])
