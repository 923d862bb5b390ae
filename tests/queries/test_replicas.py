"""Replicas: stacked nets are what separate nets would be, also after a fork."""

import copy
from functools import partial

import pytest
import torch
from small_nets import CLASSES, make_net
from torch import nn
from torch.nn.functional import cross_entropy

from selectlib.queries import Replicas
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
ADADELTA = partial(torch.optim.Adadelta, lr=1.0)
R, B = 3, 6


def nets_of(seed, count=R, device="cpu"):
    torch.manual_seed(seed)
    return [make_net().to(device) for _ in range(count)]


def batches(seed, device="cpu", count=R):
    """Images and labels, a batch for each replica."""
    draws = generator(seed)
    images = torch.randn(count, B, 1, 4, 4, generator=draws, dtype=torch.float64)
    return images.to(device), torch.randint(CLASSES, (count, B), generator=draws).to(device)


def step(replicas, images, labels):
    """One step with three passes, the second of which no gradient follows."""
    first = replicas.train_pass(images)
    with torch.no_grad():
        replicas.train_pass(images + 1)
    third = replicas.train_pass(images.square())
    losses = [cross_entropy(a, y) + cross_entropy(b, y) for a, b, y in zip(first, third, labels, strict=True)]
    replicas.step(torch.stack(losses))


def step_alone(net, optimizer, images, labels):
    """The same of one net, with nothing stacked."""
    net.train()
    first = net(images)
    with torch.no_grad():
        net(images + 1)
    loss = cross_entropy(first, labels) + cross_entropy(net(images.square()), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def assert_equal(replicas, nets, tolerance=1e-10):
    for state, net in zip(replicas.state_dicts(), nets, strict=True):
        assert state.keys() == net.state_dict().keys()
        for name, value in net.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=tolerance, msg=name)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", [ADADELTA, partial(torch.optim.Adam, lr=0.01)])
def test_replicas_are_separate_nets_before_and_after_a_fork(device, optimizer):
    alone = nets_of(100, device=device)
    replicas = Replicas(alone, optimizer)
    own = [optimizer(net.parameters()) for net in alone]
    for seed in range(100, 120):
        images, labels = batches(seed, device)
        step(replicas, images, labels)
        for i in range(R):
            step_alone(alone[i], own[i], images[i], labels[i])
    assert_equal(replicas, alone)
    parents = [2, 0, 2, 2]
    replicas.fork(torch.tensor(parents))
    children = [copy.deepcopy((alone[i], own[i])) for i in parents]  # deepcopy keeps an optimiser with its net
    for seed in range(120, 130):
        images, labels = batches(seed, device, count=len(parents))
        step(replicas, images, labels)
        for i, (net, its) in enumerate(children):
            step_alone(net, its, images[i], labels[i])
    assert_equal(replicas, [net for net, _ in children])


def test_a_fork_copies_parameters_averages_and_optimiser_state():
    replicas = Replicas(nets_of(100), ADADELTA)
    for seed in range(100, 103):
        step(replicas, *batches(seed))
    before = copy.deepcopy(replicas.checkpoint())
    replicas.fork(torch.tensor([1, 1, 0, 2]))
    after = replicas.checkpoint()
    for name, value in before["values"].items():
        assert torch.equal(after["values"][name], value[[1, 1, 0, 2]]), name
    for key, state in before["optimizer"]["state"].items():
        assert state.keys() == {"step", "square_avg", "acc_delta"}
        for name in ("square_avg", "acc_delta"):
            assert torch.equal(after["optimizer"]["state"][key][name], state[name][[1, 1, 0, 2]])
            assert state[name].abs().sum() > 0
        assert after["optimizer"]["state"][key]["step"] == state["step"] == 3


def test_children_share_no_memory():
    replicas = Replicas(nets_of(100), ADADELTA)
    step(replicas, *batches(100))
    replicas.fork(torch.tensor([0, 0]))
    images, labels = batches(101, count=2)
    step(replicas, images, labels)
    first, second = replicas.state_dicts()
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_the_models_given_are_left_alone():
    nets = [net.eval() for net in nets_of(100)]
    before = copy.deepcopy([net.state_dict() for net in nets])
    step(Replicas(nets, ADADELTA), *batches(100))
    for net, state in zip(nets, before, strict=True):
        assert not net.training
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("count", [1, R])
def test_an_untracked_pass_leaves_the_averages(count):
    replicas = Replicas(nets_of(100, count), ADADELTA)
    images, _ = batches(100, count=count)
    step(replicas, *batches(101, count=count))
    before = replicas.state_dicts()
    untracked = replicas.train_pass(images, track=False)
    assert all(
        torch.equal(new[name], old[name])
        for new, old in zip(replicas.state_dicts(), before, strict=True)
        for name in old
    )
    assert torch.equal(replicas.train_pass(images), untracked)
    name = "features.1.running_mean"
    assert not torch.equal(replicas.state_dicts()[0][name], before[0][name])


@pytest.mark.parametrize("device", DEVICES)
def test_evaluation_in_blocks_is_that_of_the_nets_in_evaluation_mode(device):
    nets = nets_of(100, device=device)
    images, _ = batches(100, device)
    features, logits = Replicas(nets, ADADELTA).evaluate(images.split([1, 3, 2], dim=1))
    for i, net in enumerate(nets):
        net.eval()
        torch.testing.assert_close(features[i], net.features(images[i]), rtol=0, atol=1e-12)
        torch.testing.assert_close(logits[i], net(images[i]), rtol=0, atol=1e-12)


def test_evaluation_and_training_alternate():
    replicas = Replicas(nets_of(100), ADADELTA)
    images, _ = batches(100)
    trained = replicas.train_pass(images, track=False)
    evaluated = replicas.evaluate([images])[1]
    assert not torch.allclose(trained, evaluated)
    assert torch.equal(replicas.train_pass(images, track=False), trained)


def test_estimated_averages_are_means_over_the_blocks_weighted_by_size():
    (net,) = nets_of(100, 1)
    replicas = Replicas([net, net], ADADELTA)
    step(replicas, *batches(100, count=2))  # there are averages to forget
    images = torch.randn(2, 7, 1, 4, 4, dtype=torch.float64, generator=generator(101))
    blocks = images.split([2, 5], dim=1)
    replicas.estimate_averages(blocks)
    for state, own in zip(replicas.state_dicts(), zip(*blocks, strict=True), strict=True):
        net.load_state_dict(state)
        out = [net.features[0](block) for block in own]
        means = [block.mean((0, 2, 3)) for block in out]
        variances = [block.transpose(0, 1).flatten(1).var(1) for block in out]
        for name, (two, five) in (("running_mean", means), ("running_var", variances)):
            torch.testing.assert_close(state[f"features.1.{name}"], (2 * two + 5 * five) / 7, rtol=0, atol=1e-12)
    net.load_state_dict(replicas.state_dicts()[0])
    before, (more, _) = net.features[1].running_mean.clone(), batches(102, count=2)
    replicas.train_pass(more)
    moved = 0.9 * before + 0.1 * net.features[0](more[0]).mean((0, 2, 3))  # the momentum is the module's own again
    net.load_state_dict(replicas.state_dicts()[0])
    torch.testing.assert_close(net.features[1].running_mean, moved.detach(), rtol=0, atol=1e-12)


def test_one_replica_takes_what_vmap_refuses():
    def net():
        model = make_net()
        model.head = nn.Sequential(nn.Dropout(0.5), model.head)
        return model

    images, _ = batches(100)
    with pytest.raises(RuntimeError, match="randomness"):
        Replicas([net(), net()], ADADELTA).train_pass(images[:2])
    assert Replicas([net()], ADADELTA).train_pass(images[:1]).shape == (1, B, CLASSES)


def test_frozen_parameters_stay():
    nets = nets_of(100)
    for net in nets:
        net.features[0].weight.requires_grad_(False)
    replicas = Replicas(nets, ADADELTA)
    step(replicas, *batches(100))
    replicas.fork(torch.tensor([1]))
    step(replicas, *batches(101, count=1))
    (state,) = replicas.state_dicts()
    assert torch.equal(state["features.0.weight"], nets[1].features[0].weight)
    assert not torch.equal(state["head.weight"], nets[1].head.weight)


def test_what_was_saved_goes_on_as_if_it_had_not_stopped():
    replicas = Replicas(nets_of(100), ADADELTA)
    step(replicas, *batches(100))
    saved = copy.deepcopy(replicas.checkpoint())
    step(replicas, *batches(101))
    other = Replicas(nets_of(101), ADADELTA)
    other.restore(saved)
    step(other, *batches(101))
    for a, b in zip(replicas.state_dicts(), other.state_dicts(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("models", "error", "words"),
    [
        ([], ValueError, "models must hold at least one model, got none"),
        ([3], TypeError, "a model must be a torch.nn.Module, got int"),
        ([nn.Linear(2, 2)], TypeError, "Linear has no `features`"),
    ],
)
def test_models_are_checked(models, error, words):
    with pytest.raises(error, match=words):
        Replicas(models, ADADELTA)
