"""The estimator against explicit matrices, exact retraining, and its own other ways to the same number."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer
from small_models import F64, Dense, Prediction, classifier, count, explicit, language, relative_error
from torch import nn

from selectlib.corpora._estimator import DatamodelEstimator
from selectlib.corpora._outputs import CorrectClassMargin, NegativeLoss
from selectlib.corpora._projector import JLProjector
from selectlib.seeding import generator

# Oracle 1: three ways to one number.


@pytest.mark.oracle
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("make", [classifier, language])
@pytest.mark.parametrize("reweight", ["mean", "token", None])
def test_forward_mode_equals_features_and_targets_one_by_one(make, dtype, bound, reweight):
    model, output, states, pool, targets = make(dtype=dtype)
    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 32), reweight=reweight, chunk_size=13)
    estimator.fit(states, pool)
    forward = estimator.score_mean(pool, targets)
    project = estimator.score_mean(pool, targets, mode="project")
    assert forward.scores.dtype == dtype and forward.per_model.shape == (len(pool[0]), 2)
    assert relative_error(forward.scores, project.scores) < bound
    assert relative_error(forward.per_model, project.per_model) < bound
    assert relative_error(estimator.score(targets).mean(1), project.scores) < bound


@pytest.mark.oracle
def test_forward_mode_at_a_net_of_ten_thousand_parameters():
    for dtype, bound in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        model, output, states, pool, targets = classifier(models=1, dtype=dtype, widths=(64, 120, 20, 10))
        assert count(model) > 10_000
        estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 32)).fit(states, pool)
        project = estimator.score_mean(pool, targets, mode="project").scores
        assert relative_error(estimator.score_mean(pool, targets).scores, project) < bound


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), [("rademacher", 1), ("gaussian", 1), ("sjlt", 1), ("sjlt", 3)])
def test_forward_mode_with_projections_that_are_never_built(kind, nnz):
    for dtype, bound in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        model, output, states, pool, targets = language(dtype=dtype)
        projector = JLProjector(32, kind=kind, nnz=nnz, seed=100)
        estimator = DatamodelEstimator(model, output, projector=projector, chunk_size=17).fit(states, pool)
        project = estimator.score_mean(pool, targets, mode="project").scores
        assert relative_error(estimator.score_mean(pool, targets).scores, project) < bound
        assert relative_error(estimator.score(targets).mean(1), project) < bound
        chunks = DatamodelEstimator(model, output, projector=projector, chunk_size=40).fit(states, pool)
        assert relative_error(chunks.score_mean(pool, targets).scores, project) < bound


# Oracles 2 and 3: the formula from explicit matrices.


@pytest.mark.oracle
@pytest.mark.parametrize("make", [classifier, language])
@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("fisher", [False, True])
def test_scores_are_those_of_explicit_matrices(make, projected, fisher):
    model, output, states, pool, targets = make()
    projector = Dense(count(model), 25) if projected else None
    estimator = DatamodelEstimator(model, output, projector=projector, damping=0.2, fisher=fisher).fit(states, pool)
    taus, weights = [], []
    for m, state in enumerate(states):
        X, q = explicit(model, output, state, pool)
        x, _ = explicit(model, output, state, targets)
        if projected:
            X, x = X @ projector.R[m], x @ projector.R[m]
        K = X.T @ ((q * (1 - q)).unsqueeze(1) * X if fisher else X)
        lam = 0.2 * K.diagonal().mean()
        taus.append(X @ torch.linalg.solve(K + lam * torch.eye(len(K), dtype=F64), x.T))
        weights.append(q)
    want = torch.stack(weights).mean(0).unsqueeze(1) * torch.stack(taus).mean(0)
    assert relative_error(estimator.score(targets), want) < 1e-9
    assert relative_error(estimator.score_mean(pool, targets).scores, want.mean(1)) < 1e-9
    columns = torch.stack(weights).mean(0).unsqueeze(1) * torch.stack(taus, 2).mean(1)
    assert relative_error(estimator.score_mean(pool, targets).per_model, columns) < 1e-9


@pytest.mark.oracle
def test_push_through_where_features_outnumber_rows():
    model, output, states, pool, targets = classifier(n=30, models=1)
    projector = Dense(count(model), 50)
    estimator = DatamodelEstimator(model, output, projector=projector, reweight=None).fit(states, pool)
    phi = explicit(model, output, states[0], pool)[0] @ projector.R[0]
    x = explicit(model, output, states[0], targets)[0] @ projector.R[0]
    lam = 0.1 * (phi.T @ phi).diagonal().mean()
    want = torch.linalg.solve(phi @ phi.T + lam * torch.eye(30, dtype=F64), phi @ x.T)
    assert relative_error(estimator.score(targets), want) < 1e-9
    with pytest.raises(ValueError, match=r"features \(50\) outnumber kernel rows \(30\)"):
        DatamodelEstimator(model, output, projector=projector, damping=0).fit(states, pool)


# Oracle 4: exact leave-one-out of a convex model.


class Logistic(nn.Module):
    """Two classes, one weight vector: the margin of class 1 is ``x w``."""

    def __init__(self, width):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(width, dtype=F64))

    def forward(self, inputs):
        margins = inputs @ self.w
        return torch.stack([torch.zeros_like(margins), margins], -1)


def train_logistic(X, y, l2):
    """Newton's method to the minimum of the summed loss plus ``l2 / 2 |w|^2``."""
    w, signs = torch.zeros(X.shape[1], dtype=F64), 2 * y.to(F64) - 1
    for _ in range(30):
        p = torch.sigmoid(X @ w * signs)
        gradient = l2 * w - X.T @ ((1 - p) * signs)
        H = X.T @ ((p * (1 - p)).unsqueeze(1) * X) + l2 * torch.eye(len(w), dtype=F64)
        w = w - torch.linalg.solve(H, gradient)
    assert float(gradient.abs().max()) < 1e-8
    return w, H - l2 * torch.eye(len(w), dtype=F64)


@pytest.mark.oracle
def test_newton_weights_rank_like_exact_leave_one_out():
    data, labels = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(100).permutation(len(data))
    X = torch.from_numpy(np.c_[(data - data[order[:400]].mean(0)) / data[order[:400]].std(0), np.ones(len(data))])
    y = torch.from_numpy(labels)
    train, test = torch.from_numpy(order[:400]), torch.from_numpy(order[400:])
    l2 = 1.0
    w, K = train_logistic(X[train], y[train], l2)
    damping = l2 / float(K.diagonal().mean())
    signs = 2 * y[test].to(F64) - 1
    removed = torch.arange(40)  # of a random order
    drops = []
    for i in removed.tolist():
        rest = torch.cat([train[:i], train[i + 1 :]])
        drops.append((X[test] @ (w - train_logistic(X[rest], y[rest], l2)[0])) * signs)
    drops = torch.stack(drops)

    def agreement(fisher):
        estimator = DatamodelEstimator(
            Logistic(31), CorrectClassMargin(), projector=None, damping=damping, fisher=fisher
        ).fit([{"w": w}], (X[train], y[train]))
        scores = estimator.score((X[test], y[test]))[removed]
        return np.mean([spearmanr(scores[:, t], drops[:, t]).statistic for t in range(len(test))])

    assert agreement(fisher=True) > 0.98
    assert agreement(fisher=False) < 0.9


# Oracle 5: token weights are the loss's gradient.


@pytest.mark.oracle
@pytest.mark.parametrize("mode", ["jvp", "project"])
def test_token_weights_make_the_pool_side_the_gradient_of_the_loss(mode):
    model, output, states, pool, targets = language(models=1)
    projector = Dense(count(model), 30)
    estimator = DatamodelEstimator(model, output, projector=projector, reweight="token").fit(states, pool)
    phi = explicit(model, output, states[0], pool)[0] @ projector.R[0]
    of_loss = explicit(model, NegativeLoss(output), states[0], pool)[0] @ projector.R[0]
    x = explicit(model, output, states[0], targets)[0].mean(0) @ projector.R[0]
    K = phi.T @ phi
    want = of_loss @ torch.linalg.solve(K + 0.1 * K.diagonal().mean() * torch.eye(30, dtype=F64), x)
    assert relative_error(estimator.score_mean(pool, targets, mode=mode).scores, want) < 1e-9
    assert relative_error(estimator.score(targets).mean(1), want) < 1e-9


@pytest.mark.oracle
def test_for_one_symbol_and_one_model_token_weights_are_example_weights():
    model, output, states, pool, targets = classifier(models=1)
    found = [
        DatamodelEstimator(model, output, projector=None, reweight=reweight).fit(states, pool).score(targets)
        for reweight in ("mean", "token")
    ]
    assert relative_error(*found) < 1e-10


# Oracle 8: duplicates, order, constants, scale.


@pytest.mark.oracle
def test_duplicates_and_order():
    model, output, states, pool, targets = classifier()
    order = torch.randperm(64, generator=generator(205))
    doubled = tuple(torch.cat([field, field[:10]]) for field in pool)
    shuffled = tuple(field[order] for field in pool)
    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 32), chunk_size=9)
    for mode in ("jvp", "project"):
        twice = estimator.fit(states, doubled).score_mean(doubled, targets, mode=mode).scores
        torch.testing.assert_close(twice[64:], twice[:10], rtol=1e-12, atol=0)
        straight = estimator.fit(states, pool).score_mean(pool, targets, mode=mode).scores
        there = estimator.fit(states, shuffled).score_mean(shuffled, targets, mode=mode).scores
        torch.testing.assert_close(there, straight[order], rtol=1e-9, atol=1e-12)


class Shifted(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(inputs) + 17


class Scaled(CorrectClassMargin):
    """The margin times a constant; its weight is that of the margin."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, forward, *batch):
        return self.factor * super().__call__(forward, *batch)

    def with_weight(self, forward, *batch):
        outputs, weights = super().with_weight(forward, *batch)
        return self.factor * outputs, weights


@pytest.mark.oracle
def test_constants_in_the_logits_and_the_scale_of_gradients_cancel():
    model, output, states, pool, targets = classifier()
    want = DatamodelEstimator(model, output, projector=None).fit(states, pool).score(targets)
    shifted = [{f"model.{name}": tensor for name, tensor in state.items()} for state in states]
    found = DatamodelEstimator(Shifted(model), output, projector=None).fit(shifted, pool).score(targets)
    torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-12)
    scaled = DatamodelEstimator(model, Scaled(8.0), projector=None).fit(states, pool)
    torch.testing.assert_close(scaled.score(targets), want, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(scaled.score_mean(pool, targets).scores, want.mean(1), rtol=1e-9, atol=1e-12)


# Oracle 9: a datamodel known in closed form.


@pytest.mark.oracle
def test_least_squares_with_a_feature_an_example():
    n, l2 = 25, 0.5
    draws = generator(206)
    X, y = 2 * torch.eye(n, dtype=F64), torch.randn(n, dtype=F64, generator=draws)
    t = torch.randn(1, n, dtype=F64, generator=draws)
    truth = (t * 2 * y / (4 + l2)).squeeze(0)  # what each example adds to the prediction, whatever the others
    state = {"weight": (2 * y / (4 + l2)).unsqueeze(0)}
    model = nn.Linear(n, 1, bias=False).double()
    estimator = DatamodelEstimator(model, Prediction(), projector=None, damping=l2 / 4).fit([state], (X, y))
    scores = estimator.score_mean((X, y), (t, torch.zeros(1, dtype=F64))).scores
    assert scores.argsort().tolist() == truth.argsort().tolist()
    torch.testing.assert_close(scores / (l2 / (4 + l2)), truth)  # the leverage, which TRAK drops, is the same for all
