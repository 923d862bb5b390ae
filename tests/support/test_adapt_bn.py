"""AdaBN: the statistics of a new domain, exactly as one batch of all of it would give them."""

import copy

import pytest
import torch
from torch import nn

from selectlib.nets import BatchNormConvNet
from selectlib.seeding import generator
from selectlib.support import adapt_bn

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
N = 37


def trained(dtype=torch.float64, device="cpu"):
    """A network with normalisation over images and over vectors, none of whose statistics are at their start."""
    torch.manual_seed(100)
    net = BatchNormConvNet(widths=(4, 6), hidden=5, classes=3).to(device, dtype)
    for _ in range(3):
        net(torch.rand(16, 1, 8, 8, dtype=dtype, device=device))
    return net.eval()


def images(dtype=torch.float64, device="cpu"):
    return (0.3 + 2 * torch.rand(N, 1, 8, 8, generator=generator(101), dtype=dtype)).to(device)


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def averages(model):
    return torch.cat([statistic for norm in norms(model) for statistic in (norm.running_mean, norm.running_var)])


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_size", [5, N, 512])
def test_it_is_one_pass_of_everything_in_training_mode(batch_size, device):
    model, X = trained(device=device), images(device=device)
    whole = copy.deepcopy(model).train()
    for norm in norms(whole):
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average, of one batch
    counts = []
    for norm in norms(whole):
        norm.register_forward_pre_hook(lambda norm, inputs: counts.append(inputs[0].numel() // norm.num_features))
    logits = whole(X)
    adapted = adapt_bn(model, X, batch_size=batch_size)
    assert len(counts) == 3
    for ours, theirs, count in zip(norms(adapted), norms(whole), counts, strict=True):
        torch.testing.assert_close(ours.running_mean, theirs.running_mean, atol=1e-12, rtol=1e-12)
        # torch keeps the unbiased variance, but normalises a batch by the biased one
        unbiased = ours.running_var * count / (count - 1)
        torch.testing.assert_close(unbiased, theirs.running_var, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(adapted(X), logits, atol=1e-11, rtol=1e-11)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_and_batches_do_not_matter(dtype):
    model, X = trained(dtype), images(dtype)
    close = 1e-5 if dtype == torch.float32 else 1e-12
    whole = averages(adapt_bn(model, X))
    assert (whole - averages(model)).abs().max() > 0.1
    for batch_size in (1, 8, 36):
        shuffled = X[torch.randperm(N, generator=generator(batch_size))]
        other = averages(adapt_bn(model, shuffled, batch_size=batch_size))
        torch.testing.assert_close(other, whole, atol=close, rtol=close)


def test_half_precision_is_pooled_in_single():
    layer = nn.Sequential(nn.BatchNorm1d(1)).half()
    X = torch.tensor([300.0, 302.0] * 500).half().unsqueeze(1)  # the sum of squares is out of half's range
    adapted = adapt_bn(layer, X, batch_size=2)
    assert (adapted[0].running_mean.item(), adapted[0].running_var.item()) == (301.0, 1.0)


def test_the_model_stays_as_it_is():
    model = trained().train()
    model.features[0].eval()
    state = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    adapted = adapt_bn(model, images())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert not any(module.training for module in adapted.modules())
    assert not any(module._forward_pre_hooks for module in [*adapted.modules(), *model.modules()])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), adapted.parameters(), strict=True))


class Partly(nn.Module):
    def __init__(self):
        super().__init__()
        self.batchwise, self.norm, self.spare = (
            nn.BatchNorm1d(2, track_running_stats=False),
            nn.BatchNorm1d(2),
            nn.BatchNorm1d(2),
        )
        nn.init.ones_(self.batchwise.bias)

    def forward(self, inputs):
        return self.norm(self.batchwise(inputs))


def test_layers_that_take_no_part_or_keep_no_averages_are_left_alone():
    adapted = adapt_bn(Partly(), torch.tensor([[0.0, 1.0], [2.0, 5.0], [1.0, 3.0]]), batch_size=3)
    assert adapted.batchwise.running_mean is None
    assert torch.equal(adapted.spare.running_var, torch.ones(2)) and torch.equal(
        adapted.spare.running_mean, torch.zeros(2)
    )
    torch.testing.assert_close(adapted.norm.running_mean, torch.ones(2), atol=1e-6, rtol=0)


def twice():
    norm = nn.BatchNorm1d(3)
    return nn.Sequential(norm, nn.ReLU(), norm)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": nn.Sequential(nn.Linear(3, 2))}, ValueError, "model must use batch normalisation with running"),
        ({"model": twice()}, ValueError, "model must use each layer .* once"),
        ({"model": torch.relu}, TypeError, "model must be a torch.nn.Module"),
        ({"X": torch.zeros(0, 3)}, ValueError, r"X must hold at least 1 .*\(0, 3\)"),
        ({"X": torch.zeros(4, 3, dtype=torch.int64)}, TypeError, "X must be a tensor of floats, got torch.int64"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an int"),
    ],
)
def test_bad_input_is_named(change, error, message):
    settings = {"model": nn.Sequential(nn.BatchNorm1d(3)), "X": torch.rand(4, 3), "batch_size": 2, **change}
    with pytest.raises(error, match=message):
        adapt_bn(settings["model"], settings["X"], batch_size=settings["batch_size"])
