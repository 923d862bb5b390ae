"""The vision transformer against one spelled out token by token."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from selectlib.data import load_digits
from selectlib.nets import VisionTransformer, batch_orders, classification_loss, evaluate, train
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def filled(*sizes):
    """A network in double precision without a zero in it: at the start its head hides everything."""
    net = VisionTransformer(*sizes).double()
    draws = generator(100)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws) / 2)
    return net


def spelled_out(p, image, patch, heads, layers):
    """The features of one image, shape (channels, side, side): every patch, head and token on its own."""
    side = image.shape[1]
    corners = [(i, j) for i in range(0, side, patch) for j in range(0, side, patch)]
    tokens = [image[:, i : i + patch, j : j + patch].flatten() for i, j in corners]
    tokens = [p["0.embed.weight"] @ x + p["0.embed.bias"] + p["0.positions"][t] for t, x in enumerate(tokens)]
    width = len(tokens[0])
    each = width // heads

    def norm(x, name):
        return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]

    for layer in range(1, layers + 1):
        q, k, v = (
            [part @ norm(x, f"{layer}.attention_norm") for x in tokens]
            for part in p[f"{layer}.attention.read.weight"].split(width)
        )
        mixed = []
        for query in q:
            heads_of = []
            for h in range(heads):
                own = slice(h * each, (h + 1) * each)
                weights = torch.stack([query[own] @ key[own] for key in k]).div(each**0.5).softmax(0)
                heads_of.append(sum(w * value[own] for w, value in zip(weights, v, strict=True)))
            mixed.append(torch.cat(heads_of))
        tokens = [x + p[f"{layer}.attention.back.weight"] @ m for x, m in zip(tokens, mixed, strict=True)]
        for t, x in enumerate(tokens):
            wide = p[f"{layer}.widen.weight"] @ norm(x, f"{layer}.norm") + p[f"{layer}.widen.bias"]
            wide = wide * (1 + torch.erf(wide / 2**0.5)) / 2
            tokens[t] = x + p[f"{layer}.back.weight"] @ wide + p[f"{layer}.back.bias"]
    return torch.stack([norm(x, str(layers + 1)) for x in tokens]).mean(0)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sizes", [(8, 2, 1, 8, 2, 2, 3), (6, 3, 3, 6, 1, 1, 2), (4, 4, 2, 4, 4, 1, 5)])
def test_the_network_spelled_out(device, sizes):
    size, patch, channels, _, heads, layers, classes = sizes
    net = filled(*sizes).to(device)
    images = torch.randn(3, channels, size, size, generator=generator(101)).double().to(device)
    p = {name.removeprefix("features."): value.detach() for name, value in net.named_parameters()}
    features = torch.stack([spelled_out(p, image, patch, heads, layers) for image in images])
    torch.testing.assert_close(net.features(images), features, rtol=1e-9, atol=1e-9)
    logits = F.linear(features, p["head.weight"], p["head.bias"])
    torch.testing.assert_close(net(images), logits, rtol=1e-9, atol=1e-9)
    assert net(images).shape == (3, classes)


@pytest.mark.oracle
def test_only_the_positions_tell_patches_apart():
    net = filled(4, 2, 1, 8, 2, 1, 3)
    image = torch.randn(1, 1, 4, 4, generator=generator(100)).double()
    swapped = torch.cat([image[:, :, 2:], image[:, :, :2]], dim=2)  # the upper two patches below the lower two
    assert not torch.allclose(net(image), net(swapped))
    with torch.no_grad():
        net.features[0].positions.zero_()
    torch.testing.assert_close(net(image), net(swapped))


def test_it_starts_undecided_and_learns_digits_with_replicas_side_by_side():
    def make():
        return VisionTransformer(patch=4, width=16, heads=2, layers=1)

    digits = load_digits()
    images = (digits.images.unsqueeze(1) - 0.3) / 0.37  # about standardised
    examples = images[:600], digits.labels[:600]
    assert torch.equal(make()(images[:2]), torch.zeros(2, 10))
    orders = batch_orders([torch.arange(600)] * 2, epochs=10, batch=60, seeds=[100, 101])
    settings = {"lr": 2e-2, "schedule": "cosine", "warmup": 10}
    states = train(make, examples, orders, loss=classification_loss, seeds=[100, 101], **settings)
    held_out = images[1500:], digits.labels[1500:]
    assert float(evaluate(make(), states, held_out, classification_loss).mean(1).max()) < 0.8


def test_sizes_of_the_published_small_model():
    with torch.device("meta"):
        net = VisionTransformer(224, 16, 3, 384, 6, 12, 1000)
    assert net(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 1000)
    biases = sum(4 * 384 for _ in range(12))  # those of attention are left out, and so is the class token
    assert sum(p.numel() for p in net.parameters()) == 22_050_664 - biases - 2 * 384
    assert not any(isinstance(module, nn.Dropout) for module in net.modules())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image_size": 9}, ValueError, "image_size must be a multiple of patch, got image_size=9 and patch=2"),
        ({"width": 30}, ValueError, "width must be a multiple of heads, got width=30 and heads=4"),
        ({"layers": 0}, ValueError, "layers must be at least 1"),
        ({"classes": 10.0}, TypeError, "classes must be an int, got float"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        VisionTransformer(**arguments)


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 3, 8, 8), (5, 1, 8, 10), (5, 1, 4, 16)])
def test_other_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must have shape \(b, 1, 8, 8\), got"):
        VisionTransformer()(torch.zeros(shape))
