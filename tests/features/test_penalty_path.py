"""The path over penalties: what survives at each."""

import numpy as np
import pytest

from selectlib.features import FeatureGradientSelector


def table(n=200, d=12, seed=100):
    """Three columns of falling weight, the others noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, X[:, :3] @ [3.0, 2.0, 1.0] + rng.normal(size=n)


def selector(**options):
    options = {"penalty": 1.0, "device": "cpu", "dtype": "float64", "random_state": 100, "min_steps": 20} | options
    return FeatureGradientSelector(**options)


@pytest.mark.oracle
def test_the_path_holds_the_fit_at_each_penalty():
    X, y = table()
    path = selector(shuffle=False).penalty_path(X, y, [3.0, 0.1, 1.0])
    assert path.penalty.tolist() == [0.1, 1.0, 3.0]
    for penalty, count, value, support in zip(path.penalty, path.n_features, path.value, path.support, strict=True):
        fitted = selector(shuffle=False, penalty=float(penalty)).fit(X, y)
        np.testing.assert_array_equal(support, fitted.get_support())
        assert count == support.sum()
        assert value == pytest.approx(fitted.learnability_, rel=1e-9)


@pytest.mark.oracle
def test_columns_die_in_the_order_of_their_weights():
    X, y = table(n=300)
    path = selector().penalty_path(X, y, np.geomspace(0.03, 30, 10))
    assert path.ranking[:3].tolist() == [1, 2, 3] and sorted(path.ranking) == list(range(1, 13))
    assert path.last_penalty[0] > path.last_penalty[1] > path.last_penalty[2] > path.last_penalty[3:].max()
    assert (np.diff(path.n_features) <= 0).all() and path.n_features[-1] == 0
    for column in range(12):
        alive = path.penalty[path.support[:, column]]
        assert path.last_penalty[column] == (alive.max() if len(alive) else 0)


def test_the_estimator_does_not_change_and_defaults_span_three_decades():
    X, y = table(n=60, d=4)
    estimator = selector()
    before = dict(vars(estimator))
    path = estimator.penalty_path(X, y)
    assert vars(estimator) == before
    assert path.penalty[0] == pytest.approx(0.1) and path.penalty[-1] == pytest.approx(100) and len(path.penalty) == 7
    again = estimator.penalty_path(X, y)
    np.testing.assert_array_equal(path.value, again.value)


def test_bad_penalties_are_named():
    X, y = table(n=60, d=4)
    for penalties in ([1.0, -1.0], [float("inf")], ["auto"]):
        with pytest.raises(ValueError, match="penalties must be finite numbers of at least 0, got"):
            selector().penalty_path(X, y, penalties)
    with pytest.raises(ValueError, match="penalties must hold at least one number"):
        selector().penalty_path(X, y, [])
