"""Fine-tuning: what may change, and what may not."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from selectlib.nets import BatchNormConvNet
from selectlib.seeding import generator
from selectlib.support import finetune

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
WAYS = ["all", "bn", "classifier", "lp-ft"]


def source(device="cpu", dtype=torch.float32):
    torch.manual_seed(100)
    net = BatchNormConvNet(widths=(4, 6), hidden=5, classes=3).to(device, dtype)
    for _ in range(30):  # lets the running averages arrive
        net(torch.rand(16, 1, 8, 8, dtype=dtype, device=device))
    return net.eval()


def support(n=9, device="cpu", dtype=torch.float32):
    draws = generator(101)
    X, y = torch.rand(n, 1, 8, 8, generator=draws, dtype=dtype), torch.arange(n) % 3
    X[torch.arange(n), :, 2 * y] += 1  # a bright row says which class
    return X.to(device), y.to(device)


def changed(before, after):
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    return {name for name in old if not torch.equal(old[name], new[name])}


def buffers_changed(before, after):
    old, new = dict(before.named_buffers()), dict(after.named_buffers())
    return any(not torch.equal(old[name], new[name]) for name in old)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bn", ["eval", "train"])
@pytest.mark.parametrize("params", WAYS)
def test_it_changes_only_what_it_may(params, bn, device):
    model = source(device)
    names = {name for name, _ in model.named_parameters()}
    head = {"head.weight", "head.bias"}
    scales = {f"features.{i}.{kind}" for i in (1, 4) for kind in ("weight", "bias")}
    assert scales | head < names
    tuned = finetune(model, *support(device=device), params=params, steps=3, bn=bn, generator=generator(100))
    assert changed(model, tuned) == {"all": names, "bn": scales, "classifier": head, "lp-ft": names}[params]
    assert buffers_changed(model, tuned) == (bn == "train")
    assert not any(module.training for module in tuned.modules())


@pytest.mark.oracle
@pytest.mark.parametrize("params", WAYS)
def test_the_model_stays_as_it_is(params):
    model = source().train()
    model.features[1].eval()
    model.features[0].weight.requires_grad_(False)
    state, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    learnt = [p.requires_grad for p in model.parameters()]
    tuned = finetune(model, *support(), params=params, bn="train", steps=3, generator=generator(100))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in tuned.parameters()] == learnt
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.oracle
@pytest.mark.parametrize("params", ["all", "classifier"])
def test_whole_batches_are_plain_adam(params):
    """With one batch a pass the order does not matter, and a loop of five lines must agree."""
    model, (X, y) = source(dtype=torch.float64), support(dtype=torch.float64)
    by_hand = copy.deepcopy(model)
    optimizer = torch.optim.Adam((by_hand if params == "all" else by_hand.head).parameters(), lr=0.01)
    for _ in range(7):
        optimizer.zero_grad()
        cross_entropy(by_hand(X), y).backward()
        optimizer.step()
    tuned = finetune(model, X, y, params=params, steps=7, lr=0.01, generator=generator(100))
    for ours, theirs in zip(tuned.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


@pytest.mark.oracle
def test_lp_ft_is_the_head_first_and_then_everything():
    model, (X, y) = source(dtype=torch.float64), support(dtype=torch.float64)
    ways = partial(finetune, X=X, y=y, steps=4, lr=0.01, generator=generator(100))
    twice = ways(ways(model, params="classifier"), params="all")
    for ours, theirs in zip(ways(model, params="lp-ft").parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("params", WAYS)
def test_it_learns_the_support_set(params):
    model, (X, y) = source(), support()
    tuned = finetune(model, X, y, params=params, steps=100, lr=0.02, generator=generator(100))
    assert cross_entropy(tuned(X), y) < 0.7 * cross_entropy(model(X), y)


@pytest.mark.oracle
def test_the_generator_alone_decides():
    model = source()
    model.features = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 5))
    tuned = []
    for seed, global_seed in ((100, 1), (100, 2), (101, 1)):
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        tuned.append(finetune(model, *support(), batch_size=3, steps=4, generator=generator(seed)).head.weight)
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(tuned[0], tuned[1]) and not torch.equal(tuned[0], tuned[2])


@pytest.mark.parametrize(("n", "batches"), [(9, 1), (32, 1), (33, 2), (70, 3)])
def test_by_default_there_are_twenty_passes(monkeypatch, n, batches):
    steps = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (steps.append(1), step(self))[1])
    finetune(source(), *support(n), params="classifier", generator=generator(100))
    assert len(steps) == 20 * batches


def test_one_example_is_enough():
    X, y = support(1)
    assert finetune(source(), X, y, steps=2, generator=generator(100))(X).shape == (1, 3)


def without_scales():
    model = source()
    model.features = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5, affine=False))
    return model


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": torch.relu}, TypeError, "model must be a torch.nn.Module"),
        ({"model": nn.Linear(3, 2)}, ValueError, "model must have features and a head, but has no features"),
        ({"model": without_scales(), "params": "bn"}, ValueError, "model must have parameters that params='bn' can"),
        ({"X": torch.zeros(0, 1, 8, 8), "y": torch.zeros(0).long()}, ValueError, "X must hold at least 1"),
        ({"X": support(1)[0], "y": support(1)[1], "bn": "train"}, ValueError, "at least 2 inputs for bn='train'"),
        ({"y": torch.zeros(8).long()}, ValueError, r"y must have one label an input, shape \(9,\), got shape \(8,\)"),
        ({"y": torch.zeros(9)}, TypeError, "y must be a tensor of ints, got torch.float32"),
        ({"y": torch.full((9,), 3)}, ValueError, "y must hold labels from 0 to 2, got 3 to 3"),
        ({"y": torch.full((9,), -1)}, ValueError, "y must hold labels from 0 to 2, got -1 to -1"),
        ({"params": "some"}, ValueError, "params must be one of all, bn, classifier, lp-ft, got 'some'"),
        ({"bn": "on"}, ValueError, "bn must be one of eval, train"),
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"lr": -1.0}, ValueError, "lr must be a finite positive number"),
        ({"batch_size": 2}, ValueError, "batch_size must be at least 3, got 2"),
        ({"generator": 100}, TypeError, "generator must be a torch.Generator"),
    ],
)
def test_bad_input_is_named(change, error, message):
    X, y = support()
    settings = {"model": source(), "X": X, "y": y, "generator": generator(100), **change}
    with pytest.raises(error, match=message):
        finetune(settings.pop("model"), settings.pop("X"), settings.pop("y"), **settings)
