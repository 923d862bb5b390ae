"""Energies: the definitions written out, the identities, and the directions in which nothing may change."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.queries import energy_nll, free_energy, mvsm
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def draw(*shape, scale=3.0, seed=100, device="cpu"):
    return (scale * torch.randn(*shape, dtype=torch.float64, generator=generator(seed))).to(device)


def labels(n, classes, seed=101):
    return torch.randint(classes, (n,), generator=generator(seed))


def free_energies_by_hand(logits, T=1.0):
    return [-T * math.log(math.fsum(math.exp(f / T) for f in row)) for row in logits.tolist()]


# Free energy.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("T", [0.5, 1, 1.0, 7.0])
def test_the_free_energy_is_what_its_formula_says(T, device):
    logits = draw(20, 5)
    expected = torch.tensor(free_energies_by_hand(logits, T), dtype=torch.float64)
    torch.testing.assert_close(free_energy(logits.to(device), T=T).cpu(), expected, rtol=1e-14, atol=1e-13)


@pytest.mark.oracle
@settings(max_examples=50, deadline=None)
@given(classes=st.integers(1, 9), T=st.floats(0.01, 100), scale=st.floats(0, 1e4), seed=st.integers(0, 999))
def test_the_free_energy_lies_between_its_bounds(classes, T, scale, seed):
    logits = draw(30, classes, scale=scale, seed=seed)
    lowest, found = -logits.amax(1), free_energy(logits, T=T)
    rounding = 1e-12 * (1 + scale)
    assert (found <= lowest + rounding).all()
    assert (found >= lowest - T * math.log(classes) - rounding).all()


@pytest.mark.oracle
def test_the_free_energy_tends_to_the_lowest_energy_as_it_gets_cold():
    logits = draw(30, 6)
    gaps = [(free_energy(logits, T=T) + logits.amax(1)).abs().max() for T in (1.0, 0.3, 0.1, 0.03, 0.01)]
    assert all(colder < warmer for warmer, colder in itertools.pairwise(gaps))
    assert gaps[-1] < 1e-2 * math.log(6)
    torch.testing.assert_close(free_energy(logits, T=1e-300), -logits.amax(1), rtol=1e-15, atol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("T", [0.5, 1.0])
def test_an_offset_moves_the_free_energy_alone_and_centring_takes_it_out(T):
    logits, offset = draw(40, 6), draw(40, 1, scale=50, seed=101)
    target = labels(40, 6)
    moved = free_energy(logits + offset, T=T)
    torch.testing.assert_close(moved, free_energy(logits, T=T) - offset[:, 0], rtol=0, atol=1e-12)
    for unmoved in (
        lambda f: free_energy(f, T=T, center=True),
        mvsm,
        lambda f: energy_nll(f, target, beta=1 / T, reduction="none"),
    ):
        torch.testing.assert_close(unmoved(logits + offset), unmoved(logits), rtol=0, atol=1e-12)
    centred = free_energy(logits, T=T, center=True)
    torch.testing.assert_close(centred, free_energy(logits, T=T) + logits.mean(1), rtol=0, atol=1e-13)


@pytest.mark.oracle
def test_the_gradient_of_the_free_energy_is_the_probability_of_each_class():
    logits = draw(7, 4).requires_grad_()
    (slope,) = torch.autograd.grad(free_energy(logits).sum(), logits)
    torch.testing.assert_close(slope, -logits.softmax(1))
    assert torch.autograd.gradcheck(lambda f: free_energy(f, T=2.0, center=True), logits)


# The loss.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_loss_is_the_energy_above_the_free_energy_and_the_cross_entropy(beta, device):
    logits, target = draw(64, 7), labels(64, 7)
    energies, free = (-logits).tolist(), free_energies_by_hand(logits, 1 / beta)
    by_hand = torch.tensor([energies[i][y] - free[i] for i, y in enumerate(target.tolist())], dtype=torch.float64)
    logits, target = logits.to(device).requires_grad_(), target.to(device)
    found = energy_nll(logits, target, beta=beta, reduction="none")
    torch.testing.assert_close(found.detach().cpu(), by_hand, rtol=0, atol=1e-12)
    torch.testing.assert_close(energy_nll(logits, target, beta=beta, reduction="sum"), found.sum())

    loss = energy_nll(logits, target, beta=beta)
    cross_entropy = torch.nn.functional.cross_entropy(beta * logits, target) / beta
    assert abs(loss - cross_entropy) <= 1e-12
    (slope,) = torch.autograd.grad(loss, logits)
    (expected,) = torch.autograd.grad(cross_entropy, logits)
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-14)
    one_hot = torch.nn.functional.one_hot(target, 7)
    torch.testing.assert_close(slope, ((beta * logits).softmax(1) - one_hot) / 64, rtol=0, atol=1e-15)
    assert slope.sum(1).abs().max() <= 1e-16


# Min versus second min.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_mvsm_is_the_difference_of_the_two_lowest_energies(device):
    logits = draw(50, 6).round()  # whole numbers: many ties
    lowest = [sorted((-row).tolist()) for row in logits]
    assert any(first == second for first, second, *_ in lowest)
    assert mvsm(logits.to(device)).tolist() == [first - second for first, second, *_ in lowest]


@pytest.mark.oracle
def test_mvsm_is_the_log_ratio_of_the_two_highest_probabilities():
    logits = draw(50, 6)
    best = logits.softmax(1).sort(descending=True).values
    torch.testing.assert_close(mvsm(logits), (best[:, 1] / best[:, 0]).log(), rtol=0, atol=1e-12)
    assert (mvsm(logits) < 0).all()


# Shapes, types, errors.


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)])
def test_the_classes_are_last_and_all_else_comes_out(shape):
    logits, target = draw(*shape), torch.zeros(shape[:-1], dtype=torch.int64)
    rows = logits.reshape(-1, 5)
    for function in (free_energy, mvsm):
        found = function(logits)
        assert found.shape == shape[:-1]
        torch.testing.assert_close(found.reshape(-1), function(rows))
    assert energy_nll(logits, target, reduction="none").shape == shape[:-1]


def test_they_run_under_vmap():
    logits, target = draw(4, 6, 3), labels(6, 3)
    for function in (free_energy, mvsm, lambda f: energy_nll(f, target)):
        each = torch.stack([function(rows) for rows in logits])
        torch.testing.assert_close(torch.func.vmap(function)(logits), each)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precisions_are_computed_in_single(dtype):
    logits, target = draw(9, 4, scale=2e4).to(dtype), labels(9, 4)
    wide = logits if dtype == torch.float64 else logits.float()
    for function in (free_energy, mvsm, lambda f: energy_nll(f, target)):
        assert torch.equal(function(logits), function(wide))
        assert function(logits).dtype == wide.dtype
        assert function(logits).isfinite().all()


LOGITS, TARGET = torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: free_energy([[0.0]]), TypeError, "logits must be a tensor of floats, got list"),
        (lambda: free_energy(TARGET), TypeError, "logits must be a tensor of floats, got torch.int64"),
        (lambda: free_energy(LOGITS[:, :0]), ValueError, r"logits must have at least 1 class .* shape \(3, 0\)"),
        (lambda: free_energy(torch.tensor(1.0)), ValueError, r"logits must have at least 1 class .* shape \(\)"),
        (lambda: free_energy(LOGITS, T=0), ValueError, "T must be a finite positive number, got 0"),
        (lambda: free_energy(LOGITS, T=math.inf), ValueError, "T must be a finite positive number, got inf"),
        (lambda: free_energy(LOGITS, T="1"), TypeError, "T must be a number, got str"),
        (lambda: mvsm(LOGITS[:, :1]), ValueError, r"logits must have at least 2 classes .* shape \(3, 1\)"),
        (lambda: energy_nll(LOGITS, TARGET, beta=-1.0), ValueError, "beta must be a finite positive number, got -1.0"),
        (lambda: energy_nll(LOGITS, TARGET, reduction="max"), ValueError, "reduction must be one of mean, sum, none"),
        (lambda: energy_nll(LOGITS, TARGET.int()), TypeError, "target must be a tensor of int64, got torch.int32"),
        (lambda: energy_nll(LOGITS, [0, 0, 0]), TypeError, "target must be a tensor of int64, got list"),
        (lambda: energy_nll(LOGITS, TARGET[:2]), ValueError, r"target must have shape \(3,\).* got \(2,\)"),
    ],
)
def test_what_is_wrong_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
