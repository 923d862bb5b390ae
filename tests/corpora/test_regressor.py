"""The regression datamodel solves the problem that it states, and is an estimator of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from selectlib.corpora._lds import draw_subsets, linear_datamodeling_score
from selectlib.corpora._regressor import DatamodelRegressor
from selectlib.seeding import generator


def _problem(s=40, n=12, m=3, noise=0.5):
    rng = np.random.default_rng(100)
    masks = rng.random((s, n)) < 0.5
    effects = rng.normal(size=(n, m))
    return masks, masks @ effects + 2.0 + noise * rng.normal(size=(s, m)), effects


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_scikit_learn_s_checks(l1_ratio):
    check_estimator(DatamodelRegressor(alpha=0.01, l1_ratio=l1_ratio))


@pytest.mark.oracle
@pytest.mark.parametrize("s", [40, 8])  # more subsets than examples, and fewer
def test_ridge_is_the_closed_form(s):
    masks, outputs, _ = _problem(s)
    found = DatamodelRegressor(alpha=0.3).fit(masks, outputs)
    X, Y = masks - masks.mean(0), outputs - outputs.mean(0)
    expected = np.linalg.solve(X.T @ X + 0.3 * s * np.eye(12), X.T @ Y)
    assert np.allclose(found.coef_.T, expected, atol=1e-10)
    assert np.allclose(found.predict(masks), X @ expected + outputs.mean(0), atol=1e-10)


@pytest.mark.oracle
@pytest.mark.parametrize("alpha", [0.01, 0.1])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.3, 1.0])
def test_no_step_away_lowers_the_stated_objective(l1_ratio, alpha):
    masks, outputs, _ = _problem()
    found = DatamodelRegressor(alpha=alpha, l1_ratio=l1_ratio).fit(masks, outputs)
    if l1_ratio == 1:
        assert (found.coef_ == 0).any()

    def objective(coef, intercept):
        errors = outputs - masks @ coef.T - intercept
        penalty = l1_ratio * np.abs(coef).sum(1) + (1 - l1_ratio) * (coef**2).sum(1) / 2
        return (errors**2).sum(0) / (2 * len(masks)) + alpha * penalty

    best, rng = objective(found.coef_, found.intercept_), np.random.default_rng(101)
    for size in (1e-2, 1e-1):
        for _ in range(50):
            moved = objective(
                found.coef_ + size * rng.normal(size=found.coef_.shape), found.intercept_ + size * rng.normal(size=3)
            )
            assert (moved > best).all()


@pytest.mark.oracle
def test_ridge_and_elastic_net_meet():
    masks, outputs, _ = _problem()
    ridge = DatamodelRegressor(alpha=0.2, l1_ratio=0.0).fit(masks, outputs)
    nearly = DatamodelRegressor(alpha=0.2, l1_ratio=1e-7).fit(masks, outputs)
    assert np.allclose(ridge.coef_, nearly.coef_, atol=1e-3)


@pytest.mark.oracle
def test_tensors_in_and_scores_for_the_datamodeling_score_out():
    draws = generator(100)
    effects = torch.randn(30, 4, generator=draws)
    masks = draw_subsets(30, 200, generator=draws)
    outputs = masks.float() @ effects + 0.1 * torch.randn(200, 4, generator=draws)
    found = DatamodelRegressor(alpha=1e-3).fit(masks[:150], outputs[:150])
    scores = torch.as_tensor(found.coef_.T)
    assert scores.shape == (30, 4) and found.predict(masks[150:]).shape == (50, 4)
    assert linear_datamodeling_score(scores, masks[150:], outputs[150:], generator=draws).mean > 0.98


def test_one_target_and_one_column_keep_their_shapes():
    masks, outputs, _ = _problem()
    for l1_ratio in (0.0, 0.5):
        flat = DatamodelRegressor(alpha=0.1, l1_ratio=l1_ratio).fit(masks, outputs[:, 0])
        assert flat.coef_.shape == (12,) and flat.predict(masks).shape == (40,)
        column = DatamodelRegressor(alpha=0.1, l1_ratio=l1_ratio).fit(masks, outputs[:, :1])
        assert column.coef_.shape == (1, 12) and column.predict(masks).shape == (40, 1)
        assert np.allclose(flat.predict(masks), column.predict(masks)[:, 0])


def test_the_penalty_can_be_searched():
    masks, outputs, _ = _problem()
    search = GridSearchCV(DatamodelRegressor(), {"alpha": [1e-3, 1e3]}, cv=4).fit(masks, outputs)
    assert search.best_params_ == {"alpha": 1e-3}


@pytest.mark.parametrize("name, wrong", [("alpha", -1.0), ("alpha", float("nan")), ("l1_ratio", 1.5)])
def test_wrong_parameters_are_refused(name, wrong):
    masks, outputs, _ = _problem()
    with pytest.raises(ValueError, match=f"{name} must .* got {wrong}"):
        DatamodelRegressor(**{name: wrong}).fit(masks, outputs)
