"""The network whose features are averages over a grid."""

import copy

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from selectlib.nets import PooledConvNet
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def cells(length, pool):
    """Where the cells of an adaptive average begin and end."""
    return [(i * length // pool, -(-(i + 1) * length // pool)) for i in range(pool)]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("size", "pool"), [((16, 16), 2), ((9, 13), 3), ((3, 5), 1)])
def test_the_network_spelled_out(device, size, pool):
    net = PooledConvNet(2, (3, 4, 5), pool, 6).double().to(device).eval()
    draws = generator(100)
    p = {name: torch.rand(t.shape, generator=draws).double().to(device) for name, t in net.named_parameters()}
    images = torch.rand(7, 2, *size, generator=draws).double().to(device)
    x = images
    for i, stride in enumerate((1, 2, 2)):
        x = F.conv2d(x, p[f"features.{3 * i}.weight"], stride=stride, padding=1)
        scale, offset = (p[f"features.{3 * i + 1}.{part}"].view(-1, 1, 1) for part in ("weight", "bias"))
        x = (x / (1 + 1e-5) ** 0.5 * scale + offset).relu()  # the running averages are 0 and 1 still
    grid = [x[..., a:b, c:d].mean((2, 3)) for a, b in cells(x.shape[2], pool) for c, d in cells(x.shape[3], pool)]
    features = torch.stack(grid, dim=2).flatten(1)
    assert features.shape == (7, 5 * pool**2)
    logits = features @ p["head.weight"].T + p["head.bias"]
    torch.testing.assert_close(functional_call(net, p, images), logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(net(images), net.head(net.features(images)))
    assert net(images[:1]).shape == (1, 6)


def test_activations_lie_channels_last_through_copies():
    net = copy.deepcopy(PooledConvNet(3))
    activations = net.features[:6](torch.rand(4, 3, 8, 8))
    assert activations.is_contiguous(memory_format=torch.channels_last) and not activations.is_contiguous()


def test_what_is_trained_and_what_is_kept():
    net = PooledConvNet()
    assert {name for name, _ in net.named_parameters()} == {
        *(f"features.{i}.weight" for i in (0, 1, 3, 4, 6, 7)),
        *(f"features.{i}.bias" for i in (1, 4, 7)),
        *("head.weight", "head.bias"),
    }
    before = net.features[1].running_mean.clone()
    net(torch.rand(4, 1, 16, 16, generator=generator(100)))
    assert not torch.equal(net.features[1].running_mean, before)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"widths": ()}, ValueError, "widths must name at least one block, got none"),
        ({"widths": (16, 0)}, ValueError, r"widths\[1\] must be at least 1, got 0"),
        ({"channels": 0}, ValueError, "channels must be at least 1"),
        ({"pool": 2.0}, TypeError, "pool must be an int, got float"),
        ({"classes": True}, TypeError, "classes must be an int, got bool"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        PooledConvNet(**arguments)
