"""Networks that are split into features and a head."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from selectlib.nets import BatchNormConvNet, Bottleneck
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def images(*shape, seed=100):
    return torch.rand(*shape, generator=generator(seed), dtype=torch.float64)


def new(make):
    """A network whose start is the same in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(100)
        return make().double()


def normed(x, p, name, dims):
    mean, variance = x.mean(dims, keepdim=True), x.var(dims, keepdim=True, unbiased=False)
    x = (x - mean) / (variance + 1e-5).sqrt()
    scale, offset = (p.get(f"{name}.{part}") for part in ("weight", "bias"))
    return x if scale is None else x * scale.view(-1, 1, 1) + offset.view(-1, 1, 1)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_the_convnet_spelled_out(device):
    net = BatchNormConvNet((2, 7, 9), (3, 4, 5), 6, 4).double().to(device)
    p = {name: value + 0.1 for name, value in net.named_parameters()}
    x = images(11, 2, 7, 9).to(device)
    got = functional_call(net, p, x)
    for i, stride in enumerate((1, 2, 2)):
        x = F.conv2d(x, p[f"features.{3 * i}.weight"], stride=stride, padding=1)
        x = normed(x, p, f"features.{3 * i + 1}", (0, 2, 3)).relu()
    assert x.shape == (11, 5, 2, 3)
    features = normed(x.flatten(1) @ p["features.10.weight"].T, p, "features.11", 0)
    torch.testing.assert_close(got, features @ p["head.weight"].T + p["head.bias"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        net.head(net.features(images(11, 2, 7, 9).to(device))), net(images(11, 2, 7, 9).to(device))
    )


@pytest.mark.oracle
@pytest.mark.parametrize("make", [BatchNormConvNet, lambda: Bottleneck(nn.Flatten(), 64, classes=10)])
def test_features_are_normalised_and_the_averages_follow(make):
    net, x = new(make), images(50, 1, 8, 8)
    features = net.features(x)
    torch.testing.assert_close(features.mean(0), torch.zeros_like(features[0]), atol=1e-9, rtol=0)
    assert (features.var(0, unbiased=False) - 1).abs().max() < 0.2
    before = net.eval()(x)
    assert not torch.allclose(before, net.head(features))
    net.train()
    for _ in range(300):
        net(x)
    together = net.eval().features(x)
    torch.testing.assert_close(together, features * (49 / 50) ** 0.5, rtol=0, atol=0.01)
    torch.testing.assert_close(net.features(x[:1]), together[:1])


@pytest.mark.parametrize("make", [BatchNormConvNet, lambda: Bottleneck(nn.Flatten(), 64, classes=10)])
def test_stacked_copies_equal_single_ones(make):
    nets = [make().double() for _ in range(3)]
    x = images(3, 20, 1, 8, 8)
    parameters, buffers = stack_module_state(nets)
    stacked = vmap(lambda p, b, part: functional_call(nets[0], (p, b), (part,)))(parameters, buffers, x)
    for net, logits, part in zip(nets, stacked, x, strict=True):
        torch.testing.assert_close(logits, net(part))


def test_nothing_is_trained_that_the_normalisation_cancels():
    names = {name for name, _ in BatchNormConvNet().named_parameters()}
    assert names == {
        *(f"features.{i}.weight" for i in (0, 1, 3, 4, 7)),
        *("features.1.bias", "features.4.bias", "head.weight", "head.bias"),
    }
    assert {name for name, _ in Bottleneck(nn.Flatten(), 64, 10).named_parameters()} == {
        *("bottleneck.0.weight", "head.weight", "head.bias")
    }


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_a_bottleneck_round_a_resnet_of_transformers(device):
    import transformers

    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    backbone = transformers.ResNetModel(config)
    net = Bottleneck(backbone, 16, classes=5, hidden=7).double().to(device).eval()
    x = images(4, 3, 32, 32).to(device)
    pooled = backbone(x).pooler_output
    assert pooled.shape == (4, 16, 1, 1)
    features = pooled.flatten(1) @ net.bottleneck[0].weight.T / (1 + 1e-5) ** 0.5  # averages still 0 and 1
    torch.testing.assert_close(net.features(x), features)
    torch.testing.assert_close(net(x), features @ net.head.weight.T + net.head.bias)
    loss = net.train()(x).square().mean()
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_without_a_bottleneck_the_features_are_the_backbones(device):
    import transformers

    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    backbone = transformers.ResNetModel(config)
    net = Bottleneck(backbone, 16, classes=5, hidden=None).double().to(device).eval()
    x = images(4, 3, 32, 32).to(device)
    features = backbone(x).pooler_output.flatten(1)
    torch.testing.assert_close(net.features(x), features)
    torch.testing.assert_close(net(x), features @ net.head.weight.T + net.head.bias)
    assert {name for name, _ in net.named_parameters() if "backbone" not in name} == {"head.weight", "head.bias"}
    with pytest.raises(ValueError, match="width must be that of the backbone's output, 16, got 15"):
        Bottleneck(backbone, 15, classes=5, hidden=None).double().to(device)(x)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BatchNormConvNet(widths=()), ValueError, "widths must name at least one block"),
        (lambda: BatchNormConvNet(widths=(8, 0)), ValueError, r"widths\[1\] must be at least 1, got 0"),
        (lambda: BatchNormConvNet(hidden=1.5), TypeError, "hidden must be an int, got float"),
        (lambda: BatchNormConvNet((0, 8, 8)), ValueError, "channels must be at least 1"),
        (lambda: Bottleneck("resnet", 3, 4), TypeError, "backbone must be a torch.nn.Module, got str"),
        (lambda: Bottleneck(nn.Flatten(), 3, 0), ValueError, "classes must be at least 1"),
        (
            lambda: Bottleneck(nn.Flatten(), 63, 4)(torch.zeros(2, 1, 8, 8)),
            ValueError,
            "width must be that of the backbone's output, 64, got 63",
        ),
    ],
)
def test_wrong_sizes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
