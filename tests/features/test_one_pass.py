import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from selectlib.features import one_pass_logistic_auc


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(100)
    X = rng.standard_normal((500, 12)) * (rng.random((500, 12)) < 0.5)
    return X, np.where(X[:, 2] + X[:, 9] + 0.5 * rng.standard_normal(500) > 0, 1, -1)


@pytest.mark.oracle
def test_it_is_one_pass_of_plain_descent(data):
    X, y = data
    support = [9, 2, 4]
    weights = np.zeros(3)
    for row, label in zip(X[:300][:, support], y[:300], strict=True):
        weights += 0.5 * ((label + 1) / 2 - 1 / (1 + np.exp(-row @ weights))) * row
    expected = roc_auc_score(y[300:], X[300:][:, support] @ weights)
    assert one_pass_logistic_auc(X[:300], y[:300], X[300:], y[300:], support) == pytest.approx(expected, abs=1e-12)


def test_sparse_rows_string_labels_and_masks_are_the_same(data):
    X, y = data
    mask = np.isin(np.arange(12), [2, 4])
    plain = one_pass_logistic_auc(X[:300], y[:300], X[300:], y[300:], [2, 4])
    S, names = sparse.csr_array(X), np.where(y > 0, "yes", "no")
    assert one_pass_logistic_auc(S[:300], names[:300], S[300:], names[300:], mask) == pytest.approx(plain, abs=1e-12)
    assert 0.6 < plain < one_pass_logistic_auc(X[:300], y[:300], X[300:], y[300:], [2, 9])


def test_no_column_is_chance(data):
    X, y = data
    assert one_pass_logistic_auc(X, y, X, y, []) == 0.5
    assert one_pass_logistic_auc(X, y, X, y, np.zeros(12, dtype=bool)) == 0.5


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"support": [12]}, ValueError, "support must be from 0 to 11, got 12 to 12"),
        ({"support": [1, 1]}, ValueError, "support must name each column once"),
        ({"support": [0.5]}, ValueError, "support must be a list of ints or a mask, got float64"),
        ({"support": np.ones(3, dtype=bool)}, ValueError, r"support must have shape \(12,\) if it is a mask"),
        ({"X_test": np.ones((500, 3))}, ValueError, "X_test must have the 12 columns of X, got 3"),
        ({"y_test": np.ones(3)}, ValueError, r"y_test must have shape \(500,\)"),
        ({"y_test": np.ones(500)}, ValueError, "y and y_test must hold the same two classes"),
        ({"learning_rate": -1}, ValueError, "learning_rate must be a finite positive number, got -1"),
    ],
)
def test_bad_arguments_are_named(data, changes, error, message):
    X, y = data
    arguments = {"X": X, "y": y, "X_test": X, "y_test": y, "support": [0]} | changes
    with pytest.raises(error, match=message):
        one_pass_logistic_auc(**arguments)
