"""The parts of the search against independent ones: autograd with torch's Adam, and dense statistics."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from selectlib.features._polynomial import polynomial_coefficients
from selectlib.features._rows import batches
from selectlib.features._search import Problem, Search
from selectlib.features._statistics import column_moments, spectral_norm
from selectlib.features._targets import targets_of
from selectlib.seeding import generator


def problem_of(d, weights, group=None, classification=False, clip_gradient="leaky", order=4):
    return Problem(
        coeffs=polynomial_coefficients(order).tolist(),
        mean=torch.zeros(d, dtype=torch.float64),
        scale=torch.full((d,), 3.0, dtype=torch.float64),
        group=torch.arange(d) if group is None else torch.tensor(group),
        weights=weights,
        classification=classification,
        degree=1,
        clip_gradient=clip_gradient,
        backend="chunk",
    )


@pytest.mark.oracle
@pytest.mark.parametrize("classification", [False, True])
@pytest.mark.parametrize("group", [[0, 1, 2, 3, 4], [1, 0, 1, 2, 0]])
def test_steps_are_those_of_autograd_and_of_torchs_adam(classification, group):
    draws = generator(100)
    X = torch.randn(40, 5, dtype=torch.float64, generator=draws)
    y = torch.stack([X[:, 0], X[:, 1] - X[:, 2]]) + 0.3 * torch.randn(2, 40, dtype=torch.float64, generator=draws)
    y = (y - y.mean(1, keepdim=True)) / y.std(1, keepdim=True, correction=0)
    problem = problem_of(5, [0.7, 0.3], group, classification)
    penalty, share, G = 2.0, 2 / 3, max(group) + 1
    search = Search.start(G, 0.1, problem.scale)
    logits = torch.full((G,), 0.1, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.1)
    for _ in range(12):
        masks = torch.sigmoid(2 * logits)[problem.group]
        K = ((X / 3 * masks) @ (X / 3).T).triu(1)
        error = 0
        for weight, target in zip(problem.weights, y, strict=True):
            z, chain, pairs = 0, target, 40.0
            for k, a in enumerate(problem.coeffs, 1):
                chain, pairs = K @ chain, pairs * (40 - k) / (k + 1)
                z = z + a * (target @ chain) / pairs
            assert 0 < z < 1
            error = error + weight * ((1 - z.sqrt()) / 2 if classification else 1 - z)
        loss = (1 - share) * error + share * masks.mean()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([logits], 1.0)
        ours, _ = search.step(problem, X, y, penalty, 0.1)
        adam.step()
        assert float(ours) == pytest.approx(float(loss.detach()), rel=1e-9)
        torch.testing.assert_close(search.logits, logits.detach(), rtol=1e-5, atol=1e-7)


@pytest.mark.oracle
def test_the_error_of_a_classification_has_its_conventions_outside_0_and_1():
    z = torch.tensor([-0.5, 0.0, 0.25, 1.0, 2.0], dtype=torch.float64)
    leaky, official = (problem_of(1, [1.0], classification=True, clip_gradient=name) for name in ("leaky", "official"))
    error, slope = leaky._error(z)
    torch.testing.assert_close(error, torch.tensor([0.5, 0.5, 0.25, 0.0, 0.0], dtype=torch.float64))
    assert slope[0] == slope[4] == -0.01 and slope[1] < -1e6
    torch.testing.assert_close(slope[2:4], torch.tensor([-0.5, -0.25], dtype=torch.float64))
    assert official._error(z)[1][0] == 0.01 and official._error(z)[1][4] == -0.01


@pytest.mark.oracle
@pytest.mark.parametrize("flips", [0.05, 0.2, 0.35])
def test_the_error_of_a_flipped_label_is_the_share_of_flips(flips):
    rng = np.random.default_rng(100)
    found = []
    for _ in range(30):
        x = rng.choice([-1.0, 1.0], size=1000)
        y = x * np.where(rng.random(1000) < flips, -1, 1)
        targets = targets_of(y, "auto", None, None)
        problem = problem_of(1, [1.0], classification=True, order=1)
        one = Problem(**vars(problem) | {"coeffs": [1.0], "scale": torch.ones(1, dtype=torch.float64)})
        columns = torch.tensor(targets.columns(targets.encode(y)))
        found.append(float(one.evaluate(torch.ones(1, dtype=torch.float64), torch.tensor(x)[:, None], columns)[1]))
    assert abs(np.mean(found) - flips) < 3 * np.std(found, ddof=1) / np.sqrt(30)


@pytest.mark.oracle
@pytest.mark.parametrize("n, d", [(7, 1), (50, 8), (20, 60), (300, 2), (25_000, 3)])
def test_statistics_are_those_of_numpy(n, d):
    rng = np.random.default_rng(100)
    X = rng.poisson(0.5, size=(n, d)) * rng.gamma(1.0, size=(n, d)) + (0.0 if d == 8 else 5.0)
    X[:, 0] = 7.3
    mean, sd = X.mean(0), X.std(0)
    sd[0] = 1
    for form in (X, sp.csr_array(X), sp.csr_matrix(X)):
        found = column_moments(form)
        np.testing.assert_allclose(found[0], mean, rtol=1e-12)
        np.testing.assert_allclose(found[1], sd, rtol=1e-10)
        some = X[:: -(-n // 10_000)]
        exact = np.linalg.svd((some - mean) / sd, compute_uv=False)[0] / np.sqrt(len(some))
        norm = spectral_norm(form, mean, sd, rng.standard_normal(d))
        assert norm == (pytest.approx(exact, rel=2e-3) if exact > 1e-9 else 1.0)


def test_a_last_batch_is_kept_from_half_a_batch_on():
    sizes = lambda n, size, least: [len(batch) for batch in batches(np.arange(n), size, least)]  # noqa: E731
    assert sizes(25, 10, 2) == [10, 10, 5]
    assert sizes(24, 10, 2) == [10, 10]
    assert sizes(16, 10, 7) == [10]
    assert sizes(6, 10, 2) == [6]
    assert sizes(2, 10, 2) == [2]


def test_targets_have_mean_0_and_variance_1_unless_they_are_constant():
    for y, t in (([0.5, 1.5, 4.0], 1), (["a", "b", "b"], 1), ([0, 1, 2, 2], 3)):
        targets = targets_of(np.array(y), "auto", None, None)
        columns = targets.columns(targets.encode(np.array(y)))
        assert columns.shape == (t, len(y)) and targets.weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(columns.mean(1), 0, atol=1e-12)
        np.testing.assert_allclose(columns.var(1), 1, rtol=1e-12)
    constant = targets_of(np.full(4, 0.1), "regression", None, None)
    assert not constant.weights.any() and not constant.columns(constant.encode(np.full(4, 0.1))).any()
