"""TENT: what changes, what does not, and which predictions come out."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from selectlib.nets import BatchNormConvNet
from selectlib.seeding import generator
from selectlib.support import Tent

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def source(device="cpu"):
    torch.manual_seed(100)
    net = BatchNormConvNet(widths=(4, 6), hidden=5, classes=3).to(device)
    net(torch.rand(16, 1, 8, 8, device=device))
    return net.eval()


def batch(seed=101, device="cpu"):
    return torch.rand(20, 1, 8, 8, generator=generator(seed)).to(device)


def entropy(logits):
    rows = logits.double().softmax(1).tolist()
    return -sum(p * math.log(p) for row in rows for p in row) / len(rows)


def values(model):
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_only_scales_and_offsets_change(device):
    model = source(device)
    tent = Tent(model)
    for seed in range(3):
        tent(batch(seed, device))
    before, after = dict(model.named_parameters()), dict(tent.model.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    affine = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(affine) == 2
    assert changed == {f"{name}.{kind}" for name in affine for kind in ("weight", "bias")}


@pytest.mark.oracle
def test_the_entropy_of_a_batch_falls():
    tent, x = Tent(source(), lr=1e-3), batch()
    entropies = [entropy(tent(x)) for _ in range(11)]
    assert all(later < earlier for earlier, later in itertools.pairwise(entropies))


@pytest.mark.oracle
def test_one_step_is_adam_on_the_mean_entropy():
    """The first step of Adam is lr g / (|g| + 1e-8) whatever its averages: against central differences of the loss."""
    model = source().double()
    tent, x = Tent(model, lr=0.01), batch().double()
    tent(x)
    by_batch = copy.deepcopy(model).train()
    name = "features.1.bias"
    weight, moved = by_batch.get_parameter(name), tent.model.get_parameter(name)
    for i in range(len(weight)):
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[i] += step
                ends.append(entropy(by_batch(x)))
                weight[i] -= step
        slope = (ends[0] - ends[1]) / 2e-6
        expected = weight[i].item() - 0.01 * slope / (abs(slope) + 1e-8)
        assert moved[i].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.oracle
def test_predictions_are_those_from_before_the_update():
    model, x = source(), batch()
    by_batch = copy.deepcopy(model).train()  # statistics of the batch, the source's scales and offsets
    tent = Tent(model)
    first, second = tent(x), tent(x)
    torch.testing.assert_close(first, by_batch(x).detach(), atol=1e-6, rtol=1e-6)
    assert not torch.equal(first, second)
    assert not first.requires_grad
    # Two steps in one call predict what one step a call predicts at the second.
    torch.testing.assert_close(Tent(model, steps=2)(x), second, atol=1e-6, rtol=1e-6)


def test_the_mode_does_not_matter():
    x = batch()
    torch.testing.assert_close(Tent(source()).eval()(x), Tent(source()).train()(x), atol=1e-6, rtol=1e-6)


@pytest.mark.oracle
def test_episodic_and_reset_start_again_bit_for_bit():
    model, x = source(), batch()
    start = values(model)
    online, episodic = Tent(model, lr=0.05), Tent(model, lr=0.05, episodic=True)
    fresh = online(x)
    online(batch(102))
    assert not torch.equal(online(x), fresh)
    online.reset()
    assert all(torch.equal(a, b) for a, b in zip(values(online.model), start, strict=True))
    assert torch.equal(online(x), fresh)
    after = values(online.model)
    for seed in (103, 104):
        episodic(batch(seed))
    assert torch.equal(episodic(x), fresh)
    # The optimiser's averages start again too: the step that follows is the same.
    assert all(torch.equal(a, b) for a, b in zip(values(episodic.model), after, strict=True))


def test_the_model_stays_as_it_is():
    model = source()
    state = copy.deepcopy(model.state_dict())
    Tent(model, lr=0.1)(batch())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters()) and not model.training


def test_it_works_without_a_graph_around_it():
    tent = Tent(source())
    before = values(tent.model)
    with torch.no_grad():
        tent(batch())
    assert any(not torch.equal(a, b) for a, b in zip(values(tent.model), before, strict=True))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": nn.Linear(3, 2)}, ValueError, "model must have batch normalisation"),
        ({"model": nn.BatchNorm1d(3, affine=False)}, ValueError, "model must have batch normalisation with scales"),
        ({"model": torch.relu}, TypeError, "model must be a torch.nn.Module"),
        ({"lr": 0.0}, ValueError, "lr must be a finite positive number"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"episodic": 1}, TypeError, "episodic must be a bool"),
    ],
)
def test_bad_input_is_named(change, error, message):
    settings = {"model": nn.BatchNorm1d(3), **change}
    with pytest.raises(error, match=message):
        Tent(settings.pop("model"), **settings)
