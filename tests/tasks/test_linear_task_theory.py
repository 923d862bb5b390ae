"""The linear case: closed forms against numerical optima, and the tasks that they speak of."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from selectlib.data import make_linear_tasks
from selectlib.seeding import generator
from selectlib.tasks import fit_linear_encoder, linear_task_accuracy, linear_task_loss, linear_task_theory

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def all_pairs(k, d):
    """Differences of the two classes of every finetuning task of the first k features."""
    i, j = torch.triu_indices(k, k, 1)
    axes = torch.eye(d, dtype=torch.float64)
    return 2 * (axes[i] - axes[j])


def singles(r, d):
    return 2 * torch.eye(d, dtype=torch.float64)[:r]


def optimum(k, d, seed=100):
    start = torch.randn(d, d, dtype=torch.float64, generator=generator(seed))
    return fit_linear_encoder(all_pairs(k, d), steps=600, start=start)


@pytest.mark.oracle
@pytest.mark.parametrize("k", [2, 3, 4, 8, 16])
def test_descent_reaches_the_closed_form(k):
    theory, encoder = linear_task_theory(k, k + 2), optimum(k, k + 2)
    assert abs(linear_task_loss(encoder, all_pairs(k, k + 2)).mean().item() - theory.average_loss) < 1e-8
    torch.testing.assert_close(encoder.mT @ encoder, theory.gram, rtol=0, atol=1e-6)
    assert abs(theory.gram.trace().item() - 1) < 1e-12


@pytest.mark.oracle
@pytest.mark.parametrize("r", [1, 2, 4, 8])
def test_kappa_is_the_excess_over_the_best_encoder_for_the_target(r):
    k, d = 8, 12
    theory, encoder = linear_task_theory(k, d), optimum(8, 12)
    best = fit_linear_encoder(singles(r, d))
    least = linear_task_loss(best, singles(r, d)).max().item()
    assert abs(least + 1 / math.sqrt(r)) < 1e-12
    for loss, kappa in (
        (linear_task_loss(encoder, singles(r, d)).max(), theory.kappa(r)),
        (linear_task_loss(encoder, 2 * torch.eye(d, dtype=torch.float64)[-r:]).max(), theory.kappa_uncovered(r)),
        (linear_task_loss(torch.eye(d) / math.sqrt(d), singles(r, d).float()).max(), theory.kappa_untuned(r)),
    ):
        assert abs(loss.item() - least - kappa) < 1e-6
    assert linear_task_theory(k, d).kappa(k) == 0


@pytest.mark.oracle
@settings(max_examples=40, deadline=None)
@given(k=st.integers(2, 12), g=st.floats(0, 1))
def test_the_gap_is_never_negative_and_vanishes_at_the_optimum_alone(k, g):
    theory = linear_task_theory(k, k)
    gap = theory.average_gap(g)
    assert gap >= 0
    assert theory.average_gap(1 / k) < 1e-12
    if abs(g - 1 / k) > 0.01:
        assert gap > 0


@pytest.mark.oracle
@pytest.mark.parametrize(("k", "g"), [(2, 0.2), (3, 0.1), (5, 0.02), (5, 0.6)])
def test_the_gap_is_that_of_the_best_encoder_with_that_weight(k, g):
    """Against a search over all encoders, not only symmetric ones, at a fixed weight on the first feature."""
    pairs = all_pairs(k, k)

    def loss(flat):
        leaf = torch.tensor(flat, requires_grad=True)
        first, rest = leaf.reshape(k, k).split([1, k - 1], dim=1)
        encoder = torch.cat([math.sqrt(g) * first / first.norm(), math.sqrt(1 - g) * rest / rest.norm()], dim=1)
        value = linear_task_loss(encoder, pairs).mean()
        value.backward()
        return value.item(), leaf.grad.numpy()

    start = np.random.default_rng(100).normal(size=k * k)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-15}).fun
    theory = linear_task_theory(k, k)
    assert abs(found - theory.average_loss - theory.average_gap(g)) < 1e-6


@pytest.mark.oracle
def test_the_frontier_starts_at_kappa_and_rises():
    theory = linear_task_theory(8, 8)
    found = [theory.frontier(share / 7) for share in (1e-9, 0.02, 0.05, 0.10, 0.15, 0.20)]
    np.testing.assert_allclose(found, [0.6464, 0.6509, 0.6577, 0.6700, 0.6839, 0.7543], atol=5e-5)
    roots = np.linspace(0, 0.5, 101)
    gaps = np.array([theory.average_gap(root * root) for root in roots])
    for share in (0.05, 0.15):
        assert 0 <= theory.frontier(share / 7) - (1 - roots - gaps * 7 / share).max() < 1e-4


@pytest.mark.parametrize("device", DEVICES)
def test_replicates_side_by_side_are_as_alone_and_the_loss_falls(device):
    tasks = torch.randn(3, 5, 4, generator=generator(100), dtype=torch.float64).to(device)
    together = fit_linear_encoder(tasks, steps=7)
    for one, encoder in zip(tasks, together, strict=True):
        torch.testing.assert_close(fit_linear_encoder(one, steps=7), encoder)
    losses = [linear_task_loss(fit_linear_encoder(tasks, steps=n), tasks).mean(-1) for n in (0, 1, 2, 5, 50)]
    for before, after in itertools.pairwise(losses):
        assert (after <= before + 1e-12).all()
    torch.testing.assert_close(torch.linalg.matrix_norm(together), torch.ones(3, dtype=torch.float64, device=device))


def test_classes_differ_as_the_contrast_says():
    features = [1, 4, 5, 7]
    pair = make_linear_tasks(300, 3, d=9, features=features, noise=0.0, generator=generator(100))
    single = make_linear_tasks(8, 3, d=9, features=features, contrast="single", generator=generator(100))
    rest = [i for i in range(9) if i not in features]
    for tasks, flips in ((pair, 2), (single, 1)):
        assert not tasks.latents[:, :, rest].any()
        assert (tasks.latents[:, :, features].abs() == 1).all()
        assert ((tasks.latents[:, 0] != tasks.latents[:, 1]).sum(1) == flips).all()
    assert (pair.samples == pair.latents[:, :, None]).all()
    torch.testing.assert_close(pair.differences, pair.latents[:, 0] - pair.latents[:, 1])
    counts = (pair.latents[:, 0, features] < 0).sum(0)
    assert counts.sum() == 300
    assert (counts - 75).square().sum().item() / 75 < 16.3  # chi-square with 3 degrees, p = 0.001
    assert (single.latents[:, 1] < 0).nonzero()[:, 1].tolist() == features * 2
    noise = make_linear_tasks(50, 40, d=9, features=features, noise=2.0, generator=generator(101))
    assert abs((noise.samples - noise.latents[:, :, None]).std().item() - 2) < 0.05


def test_accuracy_is_that_of_the_nearer_mean():
    tasks = make_linear_tasks(20, 9, d=6, features=[0, 1, 2], contrast="single", generator=generator(100))
    encoder = torch.randn(4, 6, generator=generator(101), dtype=torch.float64)
    for shots in (1, 3):
        features = tasks.samples @ encoder.mT
        distances = torch.cdist(features[:, :, shots:].flatten(1, 2), features[:, :, :shots].mean(2))
        truth = torch.arange(2).repeat_interleave(9 - shots)
        expected = (distances.argmin(-1) == truth).double().mean(1)
        torch.testing.assert_close(linear_task_accuracy(encoder, tasks.samples, n_shot=shots), expected)


def test_errors_name_the_argument():
    for arguments, words in (((1, 4), "k must be at least 2"), ((5, 4), "d must be at least 5")):
        with pytest.raises(ValueError, match=words):
            linear_task_theory(*arguments)
    theory = linear_task_theory(3, 5)
    with pytest.raises(ValueError, match="r must be from 1 to 3, got 4"):
        theory.kappa(4)
    with pytest.raises(ValueError, match="g must be from 0 to 1"):
        theory.average_gap(1.1)
    with pytest.raises(ValueError, match="nu must be a finite positive number"):
        theory.frontier(0.0)
    with pytest.raises(ValueError, match="differences must be floats of shape"):
        fit_linear_encoder(torch.ones(3))
    with pytest.raises(ValueError, match=r"start must have shape \(2, 'D', 3\)"):
        fit_linear_encoder(torch.ones(2, 4, 3), start=torch.ones(3, 3))
    with pytest.raises(ValueError, match="differences must be finite"):
        fit_linear_encoder(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"samples must have shape \(M, 2, m, d\)"):
        linear_task_accuracy(torch.eye(2), torch.ones(3, 3, 4, 2))
    with pytest.raises(ValueError, match="n_shot must be from 1 to 3, got 4"):
        linear_task_accuracy(torch.eye(2), torch.ones(3, 2, 4, 2), n_shot=4)
    draws = generator(100)
    for options, words in (
        ({"features": [0]}, "features must be at least 2 distinct ints from 0 to 3"),
        ({"features": [0, 4]}, "features must be at least 2 distinct ints from 0 to 3"),
        ({"noise": -1.0}, "noise must be finite and at least 0, got -1"),
        ({"contrast": "triple"}, "contrast must be one of pair, single"),
    ):
        with pytest.raises(ValueError, match=words):
            make_linear_tasks(2, 2, **({"d": 4, "features": [0, 1], "generator": draws} | options))
