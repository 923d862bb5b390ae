"""The loss that aligns the free energies of two domains."""

import copy
import math

import pytest
import torch
from torch import nn

from selectlib.queries import FreeEnergyAlignment, free_energy
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
KINDS = ["hinge", "l1", "mse"]


def logits(*shape, seed=100, scale=3.0):
    return scale * torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def by_hand(kind, weight, bound, target):
    """The formula, with Python numbers."""
    distances = [-math.log(sum(math.exp(f) for f in row)) - bound for row in target.tolist()]
    of = {"hinge": lambda d: max(0.0, d), "l1": abs, "mse": lambda d: d * d}[kind]
    return weight * sum(map(of, distances)) / len(distances)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_formula(kind, device):
    align = FreeEnergyAlignment(0.3, kind=kind, momentum=0.75).to(device)
    bound = None
    for step in range(3):
        source, target = logits(5, 4, seed=step), logits(7, 4, seed=10 + step)
        mean = float(free_energy(source).mean())
        bound = mean if bound is None else 0.75 * bound + 0.25 * mean
        loss = align(source.to(device), target.to(device))
        assert float(align.bound) == pytest.approx(bound, abs=1e-12)
        assert float(loss) == pytest.approx(by_hand(kind, float(align.weight), bound, target), abs=1e-12)
        assert loss.device.type == align.bound.device.type == device


@pytest.mark.oracle
def test_the_gradient_of_the_hinge_is_the_posterior_above_the_bound():
    align = FreeEnergyAlignment(1.0, momentum=0.0)
    source, target = logits(6, 5), logits(40, 5, seed=101).requires_grad_()
    (gradient,) = torch.autograd.grad(align(source, target), target)
    above = free_energy(target.detach()) > align.bound
    assert 0 < int(above.sum()) < 40
    expected = -target.detach().softmax(-1) * above.unsqueeze(-1) / 40  # energies are the negative logits
    torch.testing.assert_close(gradient, expected, atol=1e-14, rtol=0)
    assert gradient[~above].count_nonzero() == 0


@pytest.mark.oracle
def test_no_gradient_reaches_the_source_or_the_bound():
    align = FreeEnergyAlignment(0.5, momentum=0.9)
    source, target = logits(6, 5).requires_grad_(), logits(6, 5, seed=101).requires_grad_()
    loss = align(source, target)
    assert torch.autograd.grad(loss, source, allow_unused=True, retain_graph=True) == (None,)
    assert not align.bound.requires_grad and align.bound.grad_fn is None
    align(source, target)  # the first step's graph is not part of the second's
    loss.backward()
    assert source.grad is None and target.grad is not None


@pytest.mark.oracle
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_loss(kind, center):
    align = FreeEnergyAlignment(0.7, kind=kind, momentum=0.5, T=1.7, center=center)
    source, target = logits(8, 4), logits(6, 4, seed=101)
    align(source, target)
    assert float((free_energy(target, T=1.7, center=center) - align.bound).abs().min()) > 1e-3  # away from the kink
    align.eval()
    assert torch.autograd.gradcheck(lambda f: align(source, f), target.requires_grad_())


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS)
def test_exactly_at_the_bound_the_gradient_is_zero(kind):
    align = FreeEnergyAlignment(1.0, kind=kind, momentum=0.0)
    source = logits(1, 4)
    target = source.clone().requires_grad_()
    align(source, target).backward()
    assert target.grad.count_nonzero() == 0


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS)
def test_centred_it_ignores_what_no_prediction_depends_on(kind):
    source, target = logits(8, 4), logits(6, 4, seed=101)
    offset = 10 * torch.rand(6, 1, generator=generator(102), dtype=torch.float64)
    raw, centred = (
        [FreeEnergyAlignment(1.0, kind, 0.9, center=c)(source, t) for t in (target, target + offset)]
        for c in (False, True)
    )
    torch.testing.assert_close(*centred, atol=1e-12, rtol=0)
    assert abs(float(raw[0] - raw[1])) > 0.1


@pytest.mark.oracle
def test_a_drawn_momentum_leaves_a_constant_source_alone():
    align = FreeEnergyAlignment(generator=generator(100))
    source = logits(3, 4)
    for _ in range(50):
        align(source, logits(2, 4))
        assert float(align.bound) == pytest.approx(float(free_energy(source).mean()), abs=1e-12)


@pytest.mark.oracle
def test_a_drawn_momentum_halves_the_variance_of_a_batch_mean():
    """Var Δ = E[λ²] Var Δ + E[(1 - λ)²] Var m has the solution Var m / 2, for λ uniform on [0, 1)."""
    chains, steps = 2000, 50  # 2,000 stacked models: 10^5 steps
    align = FreeEnergyAlignment(torch.zeros(chains, dtype=torch.float64), generator=generator(100))
    draws = generator(101)
    means, bounds = [], []
    for step in range(steps + 20):
        source = torch.randn(chains, 1, 1, generator=draws, dtype=torch.float64)  # one class: F = -f
        align(source, source)
        if step >= 20:
            means.append(-source.flatten())
            bounds.append(align.bound)
    ratio = torch.cat(bounds).var() / torch.cat(means).var()
    assert float(ratio) == pytest.approx(0.5, rel=0.03)


def test_the_generator_alone_decides_the_drawn_momentum():
    def bound(seed):
        align = FreeEnergyAlignment(generator=generator(seed))
        for step in range(3):
            align(logits(5, 4, seed=step), logits(5, 4))
        return float(align.bound)

    torch.manual_seed(1)
    first = bound(100)
    torch.manual_seed(2)
    assert bound(100) == first != bound(101)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_stacked_models_are_separate_modules(kind, device):
    weights = torch.tensor([0.0, 0.01, 1.0], dtype=torch.float64, device=device)
    stacked = FreeEnergyAlignment(weights, kind)
    single = [FreeEnergyAlignment(weight, kind) for weight in weights]
    for step in range(4):
        source, target = logits(3, 5, 4, seed=step).to(device), logits(3, 7, 4, seed=10 + step).to(device)
        mix = torch.rand(3, generator=generator(20 + step), dtype=torch.float64).to(device)
        target.requires_grad_()
        losses = stacked(source, target, mix=mix)
        (gradients,) = torch.autograd.grad(losses.sum(), target)
        for i, module in enumerate(single):
            own = target[i].detach().requires_grad_()
            loss = module(source[i], own, mix=mix[i])
            loss.backward()
            torch.testing.assert_close(loss, losses[i], atol=1e-12, rtol=0)
            torch.testing.assert_close(own.grad, gradients[i], atol=1e-12, rtol=0)
            torch.testing.assert_close(module.bound, stacked.bound[i], atol=1e-12, rtol=0)


def test_the_bound_is_a_state_and_the_weight_is_a_setting():
    align = FreeEnergyAlignment(0.3, momentum=0.9)
    assert math.isnan(align.bound)
    align(logits(5, 4).float(), logits(5, 4).float())
    model = nn.Sequential(align)
    assert list(model.state_dict()) == ["0.bound"]
    resumed = nn.Sequential(FreeEnergyAlignment(0.5, momentum=0.9))
    resumed.load_state_dict(model.state_dict())
    assert torch.equal(resumed[0].bound, align.bound) and float(resumed[0].weight) == 0.5
    copied = copy.deepcopy(align)
    align(10 * logits(5, 4).float(), logits(5, 4).float())
    assert float(copied.bound) == float(resumed[0].bound) != float(align.bound)


def test_in_eval_mode_the_bound_stays():
    align = FreeEnergyAlignment(1.0, momentum=0.9)
    assert math.isnan(align.eval()(logits(5, 4), logits(5, 4)))
    align.train()(logits(5, 4), logits(5, 4))
    before = float(align.bound)
    align.eval()(logits(5, 4, seed=101), logits(5, 4))
    assert float(align.bound) == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    align = FreeEnergyAlignment(1.0, momentum=0.9)
    source, target = (100 * logits(5, 4)).to(dtype), (100 * logits(5, 4, seed=101)).to(dtype)
    loss = align(source, target)
    single = FreeEnergyAlignment(1.0, momentum=0.9)(source.float(), target.float())
    assert loss.dtype == torch.float32 and torch.equal(loss, single)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"weight": -0.1}, ValueError, "weight must be finite and at least 0, got -0.1"),
        ({"weight": math.inf}, ValueError, "weight must be finite"),
        ({"weight": torch.ones(2, 2)}, ValueError, "a number or a vector of numbers, got shape"),
        ({"weight": torch.ones(0)}, ValueError, "a number or a vector of numbers"),
        ({"weight": torch.ones(2, dtype=torch.int64)}, TypeError, "weight must hold floats, got torch.int64"),
        ({"kind": "l2"}, ValueError, "kind must be one of hinge, l1, mse, got 'l2'"),
        ({"momentum": "ema"}, ValueError, r"momentum must be 'uniform' or a number in \[0, 1\), got 'ema'"),
        ({"momentum": 1.0}, ValueError, "momentum must be 'uniform' or a number"),
        ({"T": 0.0}, ValueError, "T must be a finite positive number, got 0.0"),
        ({"generator": 100}, TypeError, "generator must be a torch.Generator, got int"),
    ],
)
def test_bad_settings_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        FreeEnergyAlignment(**given)


@pytest.mark.parametrize(
    ("weight", "source", "target", "message"),
    [
        (0.1, (5, 4), (5, 3), "the same classes, got 4 and 3"),
        (0.1, (5, 4), (0, 4), r"logits_target must have shape \(b, c\), none 0, got \(0, 4\)"),
        (0.1, (2, 5, 4), (2, 5, 4), r"logits_source must have shape \(b, c\)"),
        (torch.ones(2), (5, 4), (5, 4), r"logits_source must have shape \(2, b, c\)"),
        (torch.ones(2), (2, 5, 4), (3, 5, 4), r"logits_target must have shape \(2, b, c\)"),
        (0.1, (5, 4), (5, 4), "generator is needed to draw the momentum"),
    ],
)
def test_bad_logits_are_refused(weight, source, target, message):
    with pytest.raises(ValueError, match=message):
        FreeEnergyAlignment(weight)(torch.ones(source), torch.ones(target))


def test_a_mix_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mix must have the shape of weight, \(2,\), got \(\)"):
        FreeEnergyAlignment(torch.ones(2))(torch.ones(2, 5, 4), torch.ones(2, 5, 4), mix=torch.tensor(0.5))
