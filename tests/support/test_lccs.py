"""LCCS against a slow transcription of its steps, and at its edges."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from selectlib.nets import BatchNormConvNet
from selectlib.seeding import generator
from selectlib.support import LCCS, LCCSBatchNorm

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
CLASSES = 5


def make_model(seed=100, dtype=torch.float64):
    """A network with BatchNorm2d, and BatchNorm1d without scale and offset, that has seen some images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BatchNormConvNet((1, 8, 8), widths=(4, 6), hidden=8, classes=CLASSES).to(dtype)
    for _ in range(30):
        model(make_images(40, seed=seed, dtype=dtype))
    return model.eval()


def make_images(n, seed=100, dtype=torch.float64):
    return torch.rand(n, 1, 8, 8, generator=generator(seed), dtype=torch.float64).to(dtype)


def support(n=12, seed=7, dtype=torch.float64):
    """Images of a shifted look, and classes for them."""
    return 0.5 * make_images(n, seed, dtype) ** 2 + 0.4, torch.arange(n) % CLASSES


def noisy(images, *, generator):
    return images + 0.1 * torch.rand(images.shape, generator=generator, dtype=images.dtype)


def fit(lccs, n=12, seed=100):
    return lccs.fit(make_model(), *support(n), generator=generator(seed))


class Slow:
    """Steps 1 to 3 of the method for one alpha, layer after layer, with statistics in plain dictionaries."""

    def __init__(self, model, alpha, coef=None):
        self.model, self.alpha, self.coef, self.seen = model, alpha, coef, {}

    def __call__(self, x, *, observe=False):
        for i, layer in enumerate([*self.model.features, self.model.head]):
            x = self.normalise(i, layer, x, observe) if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) else layer(x)
        return x

    def normalise(self, i, bn, x, observe):
        over, shape = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
        if observe:
            new = x.mean(over), x.var(over, correction=0)
            old = self.seen.get(i)
            self.seen[i] = new if old is None else tuple(0.9 * a + 0.1 * b for a, b in zip(old, new, strict=True))
        mean, std = self.seen[i][0], (self.seen[i][1] + bn.eps).sqrt()
        mean = self.alpha * mean + (1 - self.alpha) * bn.running_mean
        std = self.alpha * std + (1 - self.alpha) * (bn.running_var + bn.eps).sqrt()
        out = (x - mean.view(shape)) / std.view(shape)
        return out if bn.weight is None else out * bn.weight.view(shape) + bn.bias.view(shape)


@pytest.mark.oracle
@pytest.mark.parametrize(("n", "augment"), [(12, None), (12, noisy), (23, None), (23, noisy)])
def test_the_losses_of_all_alphas_are_those_of_one_after_the_other(n, augment):
    X, y = support(n)
    lccs = fit(LCCS("linear", init_epochs=3, batch_size=12 if n == 12 else 5, augment=augment), n)
    slow = []
    for alpha in lccs.alphas:
        one, draws = Slow(make_model(), alpha), generator(100)
        for _ in range(3):
            order = torch.arange(n) if n == 12 else torch.randperm(n, generator=draws)
            for part in order.split(12 if n == 12 else 5)[: 1 if n == 12 else 4]:  # the rest of 3 is left out
                one(X[part] if augment is None else augment(X[part], generator=draws), observe=True)
        slow.append(F.cross_entropy(one(X), y))
    assert torch.allclose(lccs.losses_, torch.stack(slow), rtol=1e-10)
    assert lccs.alpha_ == lccs.alphas[int(lccs.losses_.argmin())]


@pytest.mark.oracle
@pytest.mark.parametrize("n", [12, 40])
def test_the_kept_alpha_is_measured_on_the_whole_support_set(n):
    X, _ = support(n)
    lccs = fit(LCCS("linear", alphas=[0.7], steps=0), n)
    assert torch.allclose(lccs.model_(X), Slow(make_model(), 0.7)(X, observe=True), rtol=1e-10, atol=1e-12)


@pytest.mark.oracle
def test_the_ends_are_the_source_and_batch_norm_in_training():
    (X, _), model = support(), make_model()
    at_source = fit(LCCS("linear", alphas=[0], steps=0)).model_(X)
    at_target = fit(LCCS("linear", alphas=[1], steps=0)).model_(X)
    assert torch.allclose(at_source, model(X), rtol=1e-12, atol=1e-12)
    assert torch.allclose(at_target, model.train()(X), rtol=1e-12, atol=1e-12)


@pytest.mark.oracle
def test_gradients_of_all_coefficients_are_central_differences():
    X, y = support()
    model = fit(LCCS("linear", steps=3, lr=0.01)).model_
    coef = [p for m in model.modules() if isinstance(m, LCCSBatchNorm) for p in m.parameters()]
    for one in coef:
        one.requires_grad_()
    F.cross_entropy(model(X), y).backward()
    found, wanted = torch.cat([one.grad.flatten() for one in coef]), []
    with torch.no_grad():
        for one in coef:
            for i in range(one.numel()):
                sides = []
                for step in (1e-6, -2e-6):
                    one.view(-1)[i] += step
                    sides.append(F.cross_entropy(model(X), y))
                one.view(-1)[i] += 1e-6
                wanted.append((sides[0] - sides[1]) / 2e-6)
    assert (found - torch.stack(wanted)).norm() < 1e-4 * found.norm()


@pytest.mark.oracle
@pytest.mark.parametrize(("n", "steps"), [(12, 1), (12, 4), (40, 4)])
def test_adam_moves_every_coefficient_once_a_step(n, steps):
    X, y = support(n)
    start, moved = (fit(LCCS("linear", alphas=[0.5], steps=count, lr=1e-3), n) for count in (0, steps))
    before, after = (torch.cat([one for pair in lccs.coef_.values() for one in pair]) for lccs in (start, moved))
    gaps = (after - before).abs()
    assert gaps.max() <= 1.05e-3 * steps  # a step of Adam is about lr at most
    if steps == 1:  # and its first is lr, whatever the gradient
        assert torch.allclose(gaps[gaps > 1e-5], gaps.new_tensor(1e-3), rtol=1e-2)
    assert F.cross_entropy(moved.model_(X), y) < F.cross_entropy(start.model_(X), y)


@pytest.mark.oracle
def test_ties_go_to_the_largest_alpha():
    model = make_model()
    with torch.no_grad():
        model.head.weight.zero_()
    assert LCCS("linear", steps=0).fit(model, *support(), generator=generator(100)).alpha_ == 1.0


@pytest.mark.oracle
def test_a_missing_class_is_never_predicted():
    X, y = support(16)
    present = y != 3
    lccs = LCCS("centroid").fit(make_model(), X[present], y[present], generator=generator(100))
    scores = lccs.model_(make_images(200, seed=3))
    assert scores[:, 3].isneginf().all()
    assert scores[:, [0, 1, 2, 4]].isfinite().all()
    assert 3 not in lccs.predict(make_images(200, seed=3))


@pytest.mark.oracle
def test_the_centroid_head_is_the_cosine_to_class_means():
    (X, y), others = support(), make_images(9, seed=3)
    lccs = fit(LCCS("centroid"))
    features = lccs.model_.features(X)
    means = torch.stack([features[y == c].mean(0) for c in range(CLASSES)])
    want = F.cosine_similarity(lccs.model_.features(others)[:, None], means[None], dim=2)
    assert torch.allclose(lccs.model_(others), want, rtol=1e-10)
    assert torch.equal(lccs.predict(others), want.argmax(1))


@pytest.mark.parametrize(("n", "linear"), [(1, True), (CLASSES, True), (CLASSES + 1, False)])
def test_auto_is_linear_up_to_one_image_a_class(n, linear):
    assert isinstance(fit(LCCS(), n).model_.head, nn.Linear) == linear


@pytest.mark.oracle
def test_it_undoes_a_change_of_contrast():
    model, clean = make_model(), make_images(300, seed=3)
    labels = model(clean).argmax(1)
    shifted = 0.3 * clean + 0.5
    source = (model(shifted).argmax(1) == labels).double().mean()
    lccs = LCCS("linear").fit(model, shifted[:60], labels[:60], generator=generator(100))
    assert lccs.alpha_ >= 0.5
    assert (lccs.predict(shifted[60:]) == labels[60:]).double().mean() > source + 0.1


def state_of(model):
    tensors = {name: tensor.clone() for name, tensor in model.state_dict(keep_vars=True).items()}
    flags = [(module.training, len(module._forward_hooks), type(module)) for module in model.modules()]
    return tensors, flags, [(p.requires_grad, p.grad is None) for p in model.parameters()]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = make_model().train(training)
    model.features[1].eval()  # a flag of its own
    model.features[0].register_forward_hook(lambda *_: None)
    model.head.bias.requires_grad_(False)
    before = state_of(model)
    adapted = LCCS().adapt(model, *support(), generator=generator(100))
    after = state_of(model)
    assert before[1:] == after[1:]
    assert all(torch.equal(tensor, after[0][name]) for name, tensor in before[0].items())
    assert not any(module.training for module in adapted.modules())
    assert not any(p.requires_grad for p in adapted.parameters())
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in adapted.parameters()}


@pytest.mark.parametrize("n", [12, 40])
def test_it_draws_from_the_generator_alone(n):
    torch_state, python_state, (_, words, *_) = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    first, second, other = (fit(LCCS(augment=noisy, batch_size=16), n, seed) for seed in (100, 100, 101))
    X, _ = support()
    assert torch.equal(first.model_(X), second.model_(X))
    assert not torch.equal(first.model_(X), other.model_(X))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert python_state == random.getstate()
    assert np.array_equal(words, np.random.get_state()[1])  # noqa: NPY002


def test_the_mode_of_the_model_does_not_matter():
    model = make_model()
    model.features.append(nn.Dropout(0.5))
    X, y = support()
    first, second = (LCCS().adapt(model.train(flag), X, y, generator=generator(100)) for flag in (True, False))
    assert torch.equal(first(X), second(X))


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n", [12, 40])
def test_float32_and_other_devices_agree_with_float64(n, device):
    X, y = support(n)
    want = fit(LCCS(), n)
    model = make_model().float().to(device)
    got = LCCS().fit(model, X.float().to(device), y.to(device), generator=generator(100))
    assert got.alpha_ == want.alpha_
    assert got.losses_.device.type == device
    assert torch.allclose(got.model_(X.float().to(device)).double().cpu(), want.model_(X), atol=2e-3)


@pytest.mark.parametrize("head", ["linear", "centroid"])
@pytest.mark.parametrize("n", [1, 2])
def test_very_few_images_will_do(n, head):
    X, y = support(n)
    lccs = LCCS(head).fit(make_model(), X, y, generator=generator(100))
    scores = lccs.model_(X)
    assert scores[:, y].isfinite().all()
    assert not scores.isnan().any()
    assert [len(mean) for mean, _ in lccs.coef_.values()] == [2 + n - 1] * 3


class Vectors(nn.Module):
    """A network of vectors: BatchNorm1d, with no places to average over."""

    def __init__(self, classes=CLASSES):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 9))
        self.head = nn.Linear(9, classes)

    def forward(self, x):
        return self.head(self.features(x))


class Pixels(Vectors):
    """Images of one pixel, and one layer used twice."""

    def __init__(self):
        super().__init__()
        norm = nn.BatchNorm2d(20)
        self.features = nn.Sequential(nn.Conv2d(6, 20, 1), norm, nn.ReLU(), norm, nn.Flatten(), nn.Linear(20, 9))


@pytest.mark.parametrize(("model", "shape"), [(Vectors(), (6,)), (Pixels(), (6, 1, 1))])
def test_one_place_a_channel_will_do(model, shape):
    X = torch.randn(12, *shape, generator=generator(100))
    lccs = LCCS("linear").fit(model, X, torch.arange(12) % CLASSES, generator=generator(100))
    assert lccs.model_(X).isfinite().all()
    ((mean, std),) = lccs.coef_.values()  # a shared layer counts once
    assert (len(mean), len(std)) == (2 + 11, 2)


@pytest.mark.parametrize(("svd_dim", "columns"), [("full", [3, 5, 7]), (4, [3, 3, 3]), (1, [0, 0, 0]), (99, [3, 5, 7])])
def test_svd_dim_bounds_the_columns(svd_dim, columns):
    coef = fit(LCCS(svd_dim=svd_dim)).coef_  # 12 images; 4, 6 and 8 channels
    assert list(coef) == ["features.1", "features.4", "features.8"]
    assert [len(mean) - 2 for mean, _ in coef.values()] == columns


def test_it_counts_what_it_holds_up():
    assert fit(LCCS(lr=1e-3)).clamped_ == 0
    assert fit(LCCS(lr=10.0)).clamped_ > 0


def bad(what):
    images, labels = support()
    if what in ("nan", "inf"):
        images[5, 0, 2, 3] = float(what)
    return images, labels


NO_STATISTICS = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten())
X, Y = support()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"X": bad("nan")[0]}, ValueError, "X must be finite, but image 5 is not"),
        ({"X": bad("inf")[0]}, ValueError, "X must be finite, but image 5 is not"),
        ({"X": X[:0], "y": Y[:0]}, ValueError, "X must hold at least one image"),
        ({"X": X.numpy()}, TypeError, "X must be a tensor, got ndarray"),
        ({"X": X.long()}, TypeError, "X must hold floats, got torch.int64"),
        ({"X": X.float()}, TypeError, "X must be of the network's type, torch.float64, got torch.float32"),
        ({"y": Y.int()}, TypeError, "y must hold int64, got torch.int32"),
        ({"y": Y[:5]}, ValueError, r"y must hold one class an image, shape \(12,\), got \(5,\)"),
        ({"y": Y + 1}, ValueError, "y must be from 0 to 4, the classes of the model, got 1 to 5"),
        ({"y": Y - 1}, ValueError, "y must be from 0 to 4, .* got -1 to 3"),
        ({"generator": 100}, TypeError, "generator must be a torch.Generator, got int"),
        ({"model": Vectors(1), "X": torch.rand(12, 6)}, ValueError, "model must score at least 2 classes"),
        ({"model": nn.Linear(3, 2)}, TypeError, r"model must have features\(...\), but Linear has not"),
    ],
)
def test_what_will_not_do_is_named(changes, error, message):
    given = {"model": make_model(), "X": X, "y": Y, "generator": generator(100)} | changes
    with pytest.raises(error, match=message):
        LCCS().fit(**given)


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        (nn.Flatten(), ValueError, "model must have a BatchNorm1d or BatchNorm2d layer"),
        (NO_STATISTICS, ValueError, "model's layer features.1: source must keep running statistics"),
        (
            copy.deepcopy(make_model().features).half(),
            TypeError,
            "layer features.1: source must be in float32 or float64",
        ),
    ],
)
def test_a_network_without_the_right_layers_is_refused(features, error, message):
    model = make_model()
    model.features = features
    with pytest.raises(error, match=message):
        LCCS().fit(model, X, Y, generator=generator(100))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"head": "cosine"}, ValueError, "head must be one of auto, centroid, linear"),
        ({"svd_dim": 0}, ValueError, "svd_dim must be at least 1"),
        ({"svd_dim": "all"}, ValueError, "svd_dim must be one of full"),
        ({"svd_dim": 2.0}, TypeError, "svd_dim must be an int"),
        ({"lr": 0}, ValueError, "lr must be a finite positive number"),
        ({"steps": -1}, ValueError, "steps must be at least 0"),
        ({"init_epochs": 0}, ValueError, "init_epochs must be at least 1"),
        ({"alphas": []}, ValueError, "alphas must be one or more numbers from 0 to 1"),
        ({"alphas": [0.5, 1.5]}, ValueError, "alphas must be one or more numbers from 0 to 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        LCCS(**settings)


def test_predict_needs_fit():
    with pytest.raises(RuntimeError, match="call fit before predict"):
        LCCS().predict(X)
