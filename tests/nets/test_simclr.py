"""Contrastive pretraining, and the encoder that it is used on."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from selectlib.data import digit_pair_views, make_digit_pairs
from selectlib.nets import ConvEncoder, simclr
from selectlib.nets import _simclr as module
from selectlib.nets._initial import initial_model
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def same(images, *, generator):
    return images


def encoder():
    return initial_model(ConvEncoder, 100)


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_the_loss_spelled_out(device):
    outputs = torch.randn(10, 4, generator=generator(100)).double()
    units = [row / row.norm() for row in outputs]
    total = 0.0
    for i in range(10):
        to = {k: math.exp(float(units[i] @ units[k]) / 0.3) for k in range(10) if k != i}
        total -= math.log(to[(i + 5) % 10] / sum(to.values()))
    assert module.contrastive_loss(outputs.to(device), 0.3).item() == pytest.approx(total / 10, rel=1e-12)
    assert torch.autograd.gradcheck(
        lambda x: module.contrastive_loss(x, 0.3), outputs[:4].clone().requires_grad_(), check_batched_grad=False
    )


@pytest.mark.oracle
def test_one_step_is_a_step_of_adam_on_encoder_and_head():
    images = torch.rand(4, 1, 8, 16, generator=generator(100))
    trained = simclr(encoder(), images, views=same, steps=1, batch_size=4, lr=0.01, generator=generator(101))
    draws = generator(101)
    seed = int(torch.randint(2**32, (), generator=draws))
    head = initial_model(lambda: nn.Sequential(nn.ReLU(), nn.Linear(64, 32)), seed)
    plain = encoder()
    batch = images[torch.randperm(4, generator=draws)]
    module.contrastive_loss(head(plain(torch.cat([batch, batch]))), 0.2).backward()
    with torch.no_grad():
        for weight, moved in zip(plain.parameters(), trained.parameters(), strict=True):
            expected = weight - 0.01 * weight.grad / (weight.grad.abs() + 1e-8)  # the averages of a first step
            torch.testing.assert_close(moved, expected, atol=2e-4, rtol=0)


def test_what_is_given_is_left_and_the_seed_chooses_everything():
    given = encoder().train()
    before = copy.deepcopy(given)
    images = make_digit_pairs(seed=100, per_class=1).images
    runs = [
        simclr(given, images, views=digit_pair_views, steps=2, batch_size=8, generator=generator(seed))
        for seed in (100, 100, 101)
    ]
    assert equal(given, before) and given.training and not runs[0].training
    assert equal(runs[0], runs[1]) and not equal(runs[0], runs[2]) and not equal(runs[0], given)
    untouched = simclr(given, images, views=digit_pair_views, steps=0, generator=generator(100))
    assert equal(untouched, given) and untouched is not given and not untouched.training


def test_an_epoch_sees_each_image_once_and_frozen_weights_stay():
    images = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 1, 8, 16).clone()
    seen, steps = [], []

    def views(images, *, generator):
        seen.append(images[:, 0, 0, 0].tolist())
        return images

    def progress(numbers):
        for number in numbers:
            steps.append(number)
            yield number

    given = encoder()
    given[0].weight.requires_grad_(False)
    trained = simclr(given, images, views=views, steps=6, batch_size=3, generator=generator(100), progress=progress)
    assert steps == list(range(6))
    batches = seen[::2]
    assert batches == seen[1::2]  # both views are of the same images
    for epoch in (batches[:3], batches[3:]):
        assert len({number for batch in epoch for number in batch}) == 9
    assert batches[:3] != batches[3:]
    assert torch.equal(trained[0].weight, given[0].weight) and not torch.equal(trained[3].weight, given[3].weight)


@pytest.mark.parametrize("device", DEVICES)
def test_views_of_new_images_come_nearer(device):
    made = make_digit_pairs(seed=100, per_class=10)
    train, other = made.images[made.train_rows], made.images[~made.train_rows][::10]
    trained = simclr(
        encoder(), train, views=digit_pair_views, steps=40, batch_size=64, generator=generator(100), device=device
    )

    def found(net):
        net, draws = net.cpu(), generator(102)
        with torch.no_grad():
            one, two = (F.normalize(net(digit_pair_views(other, generator=draws)), dim=1) for _ in range(2))
        return ((one @ two.T).argmax(1) == torch.arange(len(other))).float().mean()

    assert found(trained) > found(encoder()) + 0.1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"encoder": "net"}, TypeError, "encoder must be a torch.nn.Module, got str"),
        ({"images": [1.0]}, TypeError, "images must be a tensor of floats, got list"),
        ({"images": torch.ones(4, 1, 8, 16).long()}, TypeError, "images must be a tensor of floats, got torch.int64"),
        ({"images": torch.ones(1, 1, 8, 16)}, ValueError, "images must have shape .* n at least 2, got"),
        ({"views": None}, TypeError, "views must be callable, got NoneType"),
        ({"steps": -1}, ValueError, "steps must be at least 0, got -1"),
        ({"batch_size": 5}, ValueError, "batch_size must be from 2 to 4, got 5"),
        ({"lr": 0.0}, ValueError, "lr must be a finite positive number"),
        ({"temperature": -1.0}, ValueError, "temperature must be a finite positive number"),
        ({"projection": 0}, ValueError, "projection must be at least 1"),
        ({"generator": 100}, TypeError, "generator must be a torch.Generator, got int"),
        ({"device": "abacus"}, ValueError, "device must be"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    given = {"encoder": encoder(), "images": torch.ones(4, 1, 8, 16), "views": same, "batch_size": 2}
    given |= {"generator": generator(100), **arguments}
    with pytest.raises(error, match=message):
        simclr(given.pop("encoder"), given.pop("images"), **given)


@pytest.mark.oracle
@pytest.mark.parametrize(("size", "widths"), [((8, 16), (3, 4, 5)), ((9, 7), (3, 4)), ((2, 3), (6,))])
def test_the_encoder_spelled_out(size, widths):
    net = ConvEncoder((2, *size), widths, 6)
    p = dict(net.named_parameters())
    images = torch.rand(7, 2, *size, generator=generator(100))
    convolutions = [i for i, layer in enumerate(net) if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == len(widths)
    x = images
    for b, i in enumerate(convolutions):
        x = F.conv2d(x, p[f"{i}.weight"], p[f"{i}.bias"], padding=1).relu()
        x = F.max_pool2d(x, 2) if b in (0, len(widths) - 1) else x
    features = x.flatten(1) @ p[f"{len(net) - 1}.weight"].T + p[f"{len(net) - 1}.bias"]
    torch.testing.assert_close(functional_call(net, p, images), features)
    torch.testing.assert_close(net(images[:1]), net(images)[:1])  # nothing depends on the others of the batch


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"widths": ()}, ValueError, "widths must name at least one block, got none"),
        ({"widths": (16, 0)}, ValueError, r"widths\[1\] must be at least 1, got 0"),
        ({"image": (1, 3, 16)}, ValueError, "image must be at least 4 x 4 pixels, got 3 x 16"),
        ({"features": 2.0}, TypeError, "features must be an int, got float"),
    ],
)
def test_wrong_sizes_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        ConvEncoder(**arguments)
