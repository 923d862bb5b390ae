"""BYOL: the loss, who learns, the moving average, and what comes out."""

import copy
import math

import pytest
import torch
from torch import nn

from selectlib.nets import BatchNormConvNet
from selectlib.seeding import generator
from selectlib.support import BYOL, affine_views, embed

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def source(device="cpu", dtype=torch.float32):
    torch.manual_seed(100)
    return BatchNormConvNet(widths=(4, 6), hidden=5, classes=3).to(device, dtype).eval()


def small(device="cpu", dtype=torch.float32, **settings):
    torch.manual_seed(101)
    return BYOL(source(device, dtype), **{"projection": 6, "hidden": 8, **settings})


def images(n=20, device="cpu", dtype=torch.float32, seed=102):
    return torch.rand(n, 1, 8, 8, generator=generator(seed), dtype=dtype).to(device)


def parameters(*modules):
    return [p.detach().clone() for module in modules for p in module.parameters()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_the_loss_is_the_formula(device):
    byol = small(device, torch.float64)
    v, w = (images(device=device, dtype=torch.float64, seed=seed) for seed in (1, 2))
    losses = byol.loss(v, w)
    target = copy.deepcopy(byol.target)
    expected = []
    with torch.no_grad():
        q = [byol.predictor(byol.online(view)).tolist() for view in (v, w)]
        z = [target(view).tolist() for view in (v, w)]
    for i in range(len(v)):
        cosines = [
            sum(a * b for a, b in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)
            for x, y in ((q[0][i], z[1][i]), (q[1][i], z[0][i]))
        ]
        expected.append(4 - 2 * sum(cosines))
    assert losses.tolist() == pytest.approx(expected, abs=1e-12)
    assert all(0 <= loss <= 8 for loss in losses.tolist())
    assert losses.device.type == device


@pytest.mark.oracle
def test_the_loss_is_0_and_8_at_its_ends():
    byol = small()
    byol.loss(images(), images())
    byol.predictor = nn.Identity()  # the target still equals the online network
    assert torch.equal(byol.loss(images(), images()), torch.zeros(20))
    byol.predictor = Negative()
    torch.testing.assert_close(byol.loss(images(), images()), torch.full((20,), 8.0))


class Negative(nn.Module):
    def forward(self, inputs):
        return -inputs


@pytest.mark.oracle
def test_each_view_is_a_batch_of_its_own():
    v, w = images(), 5 * images(seed=3)
    together = small(dtype=torch.float32)
    losses = together.loss(v, w)
    mean = together.online.backbone.features[1].running_mean.clone()
    again = small()
    torch.testing.assert_close(again.loss(w, v), losses)  # symmetric, and no statistics of the union
    first = copy.deepcopy(source()).train()
    first.features(v)
    first.features(w)
    torch.testing.assert_close(first.features[1].running_mean, mean)


@pytest.mark.oracle
def test_the_target_gets_no_gradient_and_the_head_neither():
    byol = small()
    byol.loss(images(), images(seed=3)).mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in byol.target.parameters())
    learners = [*byol.online.backbone.features.parameters(), *byol.online.projector.parameters()]
    assert all(p.grad is not None for p in [*learners, *byol.predictor.parameters()])
    assert all(p.grad is None for p in byol.online.backbone.head.parameters())


@pytest.mark.oracle
@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
def test_the_moving_average_is_of_parameters_only(momentum):
    byol = small(dtype=torch.float64, momentum=momentum)
    byol.loss(images(dtype=torch.float64), images(dtype=torch.float64))
    old = parameters(byol.target)
    with torch.no_grad():
        for parameter in byol.online.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator(3), dtype=torch.float64))
        for buffer in byol.online.buffers():
            buffer.add_(1)
    new, buffers = parameters(byol.online), [buffer.clone() for buffer in byol.target.buffers()]
    byol.update_target()
    for after, ξ, θ in zip(byol.target.parameters(), old, new, strict=True):
        torch.testing.assert_close(after, momentum * ξ + (1 - momentum) * θ, atol=1e-15, rtol=1e-15)
    assert equal(byol.target.buffers(), buffers)
    assert equal(byol.online.parameters(), new)


@pytest.mark.oracle
def test_an_epoch_is_a_step_of_adam_and_of_the_average_a_batch():
    X, first = images(10, dtype=torch.float64), small(dtype=torch.float64, momentum=0.5)
    second = copy.deepcopy(first)
    for byol in (first, second):
        torch.manual_seed(5)
        byol.loss(X[:1].repeat(2, 1, 1, 1), X[:2])  # makes the layers
    first.fit(X, epochs=2, augment=same, lr=0.01, generator=generator(100))
    optimizer = torch.optim.Adam([*second.online.parameters(), *second.predictor.parameters()], lr=0.01)
    for _ in range(2):  # one batch an epoch
        optimizer.zero_grad()
        second.loss(X, X).mean().backward()
        optimizer.step()
        second.update_target()
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-7)


def same(images, *, generator):
    return images


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_no_epochs_give_the_backbone_back(device):
    model = source(device)
    backbone, projector = BYOL(model).fit(images(device=device), epochs=0, augment=same, generator=generator(100))
    assert backbone is not model and equal(backbone.parameters(), model.parameters())
    assert equal(backbone.buffers(), model.buffers())
    assert isinstance(projector, nn.Identity)
    X = images(device=device)
    torch.testing.assert_close(embed(backbone, X, projector), embed(model, X))


@pytest.mark.parametrize("device", DEVICES)
def test_it_returns_copies_in_evaluation_mode_and_leaves_the_model(device):
    model = source(device)
    state = copy.deepcopy(model.state_dict())
    byol = BYOL(model, projection=6, hidden=8)
    backbone, projector = byol.fit(images(device=device), epochs=1, augment=affine_views, generator=generator(100))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not model.training and not backbone.training and not projector.training
    assert not equal(backbone.features.parameters(), model.features.parameters())
    assert equal(backbone.head.parameters(), model.head.parameters())
    Z = embed(backbone, images(device=device), projector)
    assert Z.shape == (20, 6) and Z.device.type == device
    byol.fit(images(device=device), epochs=1, augment=affine_views, generator=generator(101))
    assert torch.equal(embed(backbone, images(device=device), projector), Z)  # copies: training on changes byol alone


@pytest.mark.oracle
def test_the_generator_alone_decides():
    rows = []
    for seed, global_seed in ((100, 1), (100, 2), (101, 1)):
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Dropout())
        with torch.no_grad():
            model[1].weight.copy_(torch.linspace(-1, 1, 320).view(5, 64))
            model[1].bias.zero_()
        torch.set_rng_state(state)
        backbone, projector = BYOL(model, projection=6, hidden=8).fit(
            images(), epochs=2, batch_size=8, augment=affine_views, generator=generator(seed)
        )
        assert torch.equal(torch.get_rng_state(), state)
        rows.append(embed(backbone, images(), projector))
    assert torch.equal(rows[0], rows[1]) and not torch.allclose(rows[0], rows[2])


def test_it_learns_to_tell_images_apart_whatever_the_view():
    torch.manual_seed(100)
    X = images(64)
    byol = BYOL(BatchNormConvNet(widths=(4, 6), hidden=8), projection=8, hidden=16)
    byol.fit(X, epochs=1, augment=affine_views, generator=generator(100))
    views = [affine_views(X, generator=generator(seed)) for seed in (1, 2)]
    before = byol.loss(*views).mean().item()
    byol.fit(X, epochs=30, lr=3e-3, augment=affine_views, generator=generator(101))
    assert byol.loss(*views).mean().item() < 0.7 * before


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"), [(20, 20, [20]), (20, 8, [7, 7, 6]), (2, 128, [2]), (7, 3, [3, 2, 2])]
)
def test_batches_are_of_equal_size_and_none_is_single(n, batch_size, sizes):
    seen = []

    def counted(images, *, generator):
        seen.append(images.flatten(1).sum(1))
        return images

    epochs = []
    small().fit(
        images(n),
        epochs=2,
        batch_size=batch_size,
        augment=counted,
        generator=generator(100),
        progress=lambda steps: epochs.append(steps) or steps,
    )
    assert [len(batch) for batch in seen[::2]] == sizes * 2  # two views a batch
    first, second = torch.cat(seen[: 2 * len(sizes) : 2]), torch.cat(seen[2 * len(sizes) :: 2])
    assert torch.equal(first.sort().values, second.sort().values) and (n == 2 or not torch.equal(first, second))
    assert list(epochs[0]) == [0, 1]


def test_autocast_reaches_the_network_and_not_the_loss():
    byol, types = small(), []
    byol.online.backbone.features[0].register_forward_hook(lambda _, inputs, output: types.append(output.dtype))
    loss = byol.loss
    byol.loss = lambda v, w: (lambda rows: (types.append(rows.dtype), rows)[1])(loss(v, w))
    byol.fit(images(), epochs=1, augment=affine_views, autocast=torch.bfloat16, generator=generator(100))
    assert types[-3:] == [torch.bfloat16, torch.bfloat16, torch.float32]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"backbone": torch.relu}, TypeError, "backbone must be a torch.nn.Module"),
        ({"backbone": nn.Conv2d(1, 2, 3)}, ValueError, r"backbone must map inputs to features of shape \(b, d\)"),
        ({"projection": 0}, ValueError, "projection must be at least 1"),
        ({"hidden": 2.0}, TypeError, "hidden must be an int"),
        ({"momentum": 1.0}, ValueError, "momentum must be from 0 to below 1, got 1.0"),
        ({"momentum": "fast"}, TypeError, "momentum must be a number"),
        ({"X": images(1)}, ValueError, "X must hold at least 2"),
        ({"X": [1.0]}, TypeError, "X must be a tensor of floats, got list"),
        ({"epochs": -1}, ValueError, "epochs must be at least 0, got -1"),
        ({"batch_size": 2}, ValueError, "batch_size must be at least 3"),
        ({"lr": 0}, ValueError, "lr must be a finite positive number"),
        ({"augment": None}, TypeError, "augment must be callable"),
        ({"generator": None}, TypeError, "generator must be a torch.Generator"),
    ],
)
def test_bad_input_is_named(change, error, message):
    settings = {"backbone": source(), "X": images(), "augment": same, "generator": generator(100), **change}
    made = {name: settings.pop(name) for name in ("projection", "hidden", "momentum") if name in settings}
    with pytest.raises(error, match=message):
        BYOL(settings.pop("backbone"), **made).fit(settings.pop("X"), **settings)


# Embedding.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_features_do_not_depend_on_the_batches(device):
    model, projector = source(device).train(), nn.Linear(5, 4).to(device).eval()
    X = images(device=device)
    whole = embed(model, X, projector)
    assert torch.allclose(embed(model, X, projector, batch_size=3), whole, atol=1e-5)
    assert torch.allclose(projector(copy.deepcopy(model).eval().features(X)), whole, atol=1e-5)
    assert model.training and not projector.training and not whole.requires_grad
    assert embed(model.features, X).shape == (20, 5)  # a module that is all features


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": images()[:0]}, ValueError, "X must hold at least 1"),
        ({"backbone": nn.Conv2d(1, 2, 3)}, ValueError, "backbone must map inputs to features"),
        ({"projector": torch.relu}, TypeError, "projector must be a torch.nn.Module"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ],
)
def test_embed_names_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        embed(**{"backbone": source(), "X": images(), **change})
