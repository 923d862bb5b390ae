"""LCCSBatchNorm against batch normalisation, and its bases against their definition."""

import pytest
import torch
from torch import nn

from selectlib.seeding import generator
from selectlib.support import LCCSBatchNorm

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
PLACES = {(): nn.BatchNorm1d, (7,): nn.BatchNorm1d, (3, 5): nn.BatchNorm2d, (1, 1): nn.BatchNorm2d}


def normal(*shape, seed=100, dtype=torch.float64):
    return torch.randn(shape, generator=generator(seed), dtype=dtype)


def source_norm(channels, places=(3, 5), *, affine=True, dtype=torch.float64):
    """A batch normalisation that has been through some training."""
    source = PLACES[places](channels, affine=affine, dtype=dtype)
    source.running_mean.copy_(normal(channels, seed=1))
    source.running_var.copy_(normal(channels, seed=2).square() + 0.1)
    if affine:
        source.weight.data.copy_(normal(channels, seed=3))
        source.bias.data.copy_(normal(channels, seed=4))
    return source


def images(n, channels, places=(3, 5), *, dtype=torch.float64, seed=100):
    """Images whose channels and whose own means and spreads differ."""
    blank = (1,) * len(places)
    noise = normal(n, channels, *places, seed=seed) * normal(n, channels, *blank, seed=seed + 1).abs()
    return (noise + normal(n, channels, *blank, seed=seed + 2)).to(dtype)


def seen(n=12, channels=16, places=(3, 5), *, alpha=1.0, dtype=torch.float64):
    """A layer of one run that has observed a batch, and the batch."""
    layer, batch = LCCSBatchNorm(source_norm(channels, places, dtype=dtype)), images(n, channels, places, dtype=dtype)
    layer.blend(torch.tensor([alpha]))
    layer.train()(batch)
    return layer.eval(), batch


@pytest.mark.oracle
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_the_ends_are_the_sources_batch_norm_and_that_of_the_batch(places, affine, dtype, tolerance):
    source, batch = source_norm(4, places, affine=affine, dtype=dtype), images(6, 4, places, dtype=dtype)
    layer = LCCSBatchNorm(source)
    for alpha, want in ((0.0, source.eval()(batch)), (1.0, source.train()(batch))):
        layer.blend(torch.tensor([alpha]))
        assert torch.allclose(layer.train()(batch), want, rtol=tolerance, atol=tolerance)
        assert torch.allclose(layer.eval()(batch), want, rtol=tolerance, atol=tolerance)


@pytest.mark.oracle
def test_statistics_far_from_zero_keep_their_digits_in_float32():
    layer, batch = LCCSBatchNorm(source_norm(4, dtype=torch.float32)), images(6, 4) + 1000
    layer.train()(batch.float())
    want = batch.var((0, 2, 3), correction=0).add(1e-5).sqrt()
    assert torch.allclose(layer.std[0].double(), want, rtol=1e-3)


@pytest.mark.oracle
def test_statistics_are_mixed_and_not_variances():
    source, batch = source_norm(4), images(6, 4)
    layer = LCCSBatchNorm(source)
    layer.blend(torch.tensor([0.3]))
    out = layer.train()(batch)
    mean = 0.3 * batch.mean((0, 2, 3)) + 0.7 * source.running_mean
    target_std = (batch.var((0, 2, 3), correction=0) + source.eps).sqrt()
    std = 0.3 * target_std + 0.7 * (source.running_var + source.eps).sqrt()
    shape = (1, 4, 1, 1)
    want = (batch - mean.view(shape)) / std.view(shape) * source.weight.view(shape) + source.bias.view(shape)
    assert torch.allclose(out, want, rtol=1e-6, atol=1e-7)  # 0.3 was a float32


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("places", PLACES)
def test_runs_never_meet(places, device):
    source, alphas = source_norm(4, places).to(device), torch.tensor([0.0, 0.25, 1.0])
    folded = [torch.cat([images(5, 4, places, seed=10 * i + batch) for i in range(3)]).to(device) for batch in (0, 50)]
    together = LCCSBatchNorm(source)
    together.blend(alphas)
    outs = [together.train()(batch) for batch in folded]
    for i, alpha in enumerate(alphas):
        alone = LCCSBatchNorm(source)
        alone.blend(alpha[None])
        for batch, out in zip(folded, outs, strict=True):
            assert torch.allclose(alone.train()(batch.chunk(3)[i]), out.chunk(3)[i], rtol=1e-12, atol=1e-12)


@pytest.mark.oracle
def test_later_batches_move_mean_and_variance_by_a_tenth():
    layer, batches = LCCSBatchNorm(source_norm(4)), [images(5, 4, seed=seed) for seed in (1, 11, 21)]
    mean, var = batches[0].mean((0, 2, 3)), batches[0].var((0, 2, 3), correction=0)
    for batch in batches[1:]:
        mean = 0.9 * mean + 0.1 * batch.mean((0, 2, 3))
        var = 0.9 * var + 0.1 * batch.var((0, 2, 3), correction=0)
    for batch in batches:
        layer.train()(batch)
    assert torch.allclose(layer.mean[0], mean, rtol=1e-12)
    assert torch.allclose(layer.std[0], (var + 1e-5).sqrt(), rtol=1e-12)
    before = layer.mean
    layer.eval()(images(5, 4, seed=31))
    assert torch.equal(layer.mean, before)


@pytest.mark.oracle
@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_bases_are_what_their_definition_says(alpha):
    layer, batch = seen(alpha=alpha)
    layer.span(11)
    own_mean, own_std = batch.mean((2, 3)), (batch.var((2, 3), correction=1) + 1e-5).sqrt()
    for basis, own in ((layer.mean_basis, own_mean), (layer.std_basis, own_std)):
        target, columns = basis[0, 0], basis[0, 2:]
        unit = target / target.norm()
        rest = own - (own @ unit)[:, None] * unit
        left, values, _ = torch.linalg.svd(rest.T, full_matrices=False)
        assert columns.shape == (11, 16)
        assert (columns @ unit).abs().max() < 1e-12
        assert torch.allclose(columns.norm(dim=1), values[:11], rtol=1e-9)  # its own singular values
        along = (columns * (left * values).T[:11]).sum(1).abs()
        assert torch.allclose(along, values[:11] ** 2, rtol=1e-9)  # up to signs


@pytest.mark.oracle
def test_the_images_means_fill_what_the_basis_spans():
    layer, batch = seen()
    layer.span(11)
    span = layer.mean_basis[0, [0, *range(2, 13)]].T
    own = batch.mean((2, 3)).T
    found = torch.linalg.lstsq(span, own).solution
    assert (span @ found - own).norm() < 1e-10 * own.norm()
    assert torch.linalg.matrix_rank(layer.mean_basis[0, 2:]) == 11


@pytest.mark.parametrize(
    ("n", "channels", "rank", "columns"), [(12, 16, 11, 11), (12, 16, 3, 3), (12, 5, 11, 4), (1, 5, 0, 0)]
)
def test_coefficients_are_four_and_two_a_column(n, channels, rank, columns):
    layer, batch = seen(n, channels, alpha=0.5)
    before = layer(batch)
    layer.span(rank)
    assert sum(p.numel() for p in layer.parameters()) == 4 + 2 * columns
    assert torch.equal(layer.mean_coef[0, :2], layer.mean_coef.new_tensor([0.5, 0.5]))
    assert not layer.mean_coef[0, 2:].any()
    assert torch.allclose(layer(batch), before, rtol=1e-12)


@pytest.mark.parametrize("places", [(), (1, 1)])
def test_one_place_has_no_spread_of_its_own(places):
    layer, batch = seen(6, 9, places)
    layer.span(5)
    assert (layer.mean_coef.shape, layer.std_coef.shape) == ((1, 7), (1, 2))
    assert layer(batch).isfinite().all()


@pytest.mark.oracle
@pytest.mark.parametrize("places", PLACES)
def test_gradients_are_the_central_differences(places):
    layer, batch = seen(6, 5, places, alpha=0.6)
    layer.span(5)
    weights = normal(*batch.shape, seed=7)
    with torch.no_grad():  # away from where they start
        for coef in layer.parameters():
            coef.add_(0.02 * normal(*coef.shape, seed=8))
    (layer(batch) * weights).sum().backward()
    for coef in layer.parameters():
        for i in range(coef.numel()):
            sides = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    coef.view(-1)[i] += step
                    sides.append((layer(batch) * weights).sum())
                    coef.view(-1)[i] -= step
            assert coef.grad.view(-1)[i] == pytest.approx(float(sides[0] - sides[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_a_standard_deviation_is_held_above_zero_and_counted():
    layer, batch = seen(channels=3)
    layer.span(0)
    assert int(layer.clamped) == 0
    with torch.no_grad():
        layer.std_coef.copy_(torch.tensor([[0.0, -1.0]]))
    assert int(layer.clamped) == 3
    assert torch.allclose(layer.std, 1e-3 * layer.std_basis[:, 1])
    out = layer(batch)
    out.sum().backward()
    assert out.isfinite().all()
    assert not layer.std_coef.grad.any()


def test_it_is_the_source_until_it_has_seen_a_batch():
    source, batch = source_norm(4).eval(), images(6, 4)
    layer = LCCSBatchNorm(source)
    assert not layer.training
    assert torch.allclose(layer(batch), source(batch), rtol=1e-12, atol=1e-12)


def test_it_keeps_copies():
    source, batch = source_norm(4), images(6, 4)
    layer = LCCSBatchNorm(source.eval())
    before = layer(batch)
    with torch.no_grad():
        for tensor in (source.weight, source.bias, source.running_mean, source.running_var):
            tensor.add_(1)
    assert torch.equal(layer(batch), before)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (nn.GroupNorm(1, 4), TypeError, "source must be a BatchNorm1d or a BatchNorm2d, got GroupNorm"),
        (nn.BatchNorm2d(4, track_running_stats=False), ValueError, "source must keep running statistics"),
        (nn.BatchNorm2d(4).half(), TypeError, "source must be in float32 or float64, got torch.float16"),
    ],
)
def test_a_source_that_will_not_do_is_refused(source, error, message):
    with pytest.raises(error, match=message):
        LCCSBatchNorm(source)


@pytest.mark.parametrize("alphas", [[], [-0.1], [0.5, 1.1], [float("nan")]])
def test_alphas_out_of_range_are_refused(alphas):
    with pytest.raises(ValueError, match="alphas must be one or more numbers from 0 to 1"):
        LCCSBatchNorm(source_norm(4)).blend(torch.tensor(alphas))


def test_a_batch_that_the_runs_do_not_divide_is_refused():
    layer = LCCSBatchNorm(source_norm(4))
    layer.blend(torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="equally many images for each of 2 runs, got 5"):
        layer(images(5, 4))


@pytest.mark.parametrize("alphas", [[1.0], [0.0, 1.0]])
def test_span_needs_one_run_and_a_batch(alphas):
    layer = LCCSBatchNorm(source_norm(4))
    layer.blend(torch.tensor(alphas))
    if len(alphas) > 1:
        layer.train()(images(4, 4))
    with pytest.raises(RuntimeError, match="span needs one run, and a batch"):
        layer.span(3)
