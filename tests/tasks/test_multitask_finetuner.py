"""Multitask finetuning: the step that it takes, what it leaves alone, and what it keeps."""

import copy

import pytest
import torch
from torch import nn

from selectlib.seeding import generator
from selectlib.tasks import EpisodeSampler, LinearAdapter, MultitaskFinetuner, episode_loss, nearest_centroid_logits

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
LABELS = torch.arange(96) % 8


def inputs():
    """Classes that differ along 4 of 12 axes, and noise on all."""
    means = torch.randn(8, 4, generator=generator(100))
    return torch.cat([means, torch.zeros(8, 8)], 1)[LABELS] + torch.randn(96, 12, generator=generator(101))


def episodes(n_tasks=6, seed=0):
    return EpisodeSampler(LABELS, 3, 2, 2, n_tasks, seed=seed).tasks()


class Net(nn.Module):
    """A network with batch normalisation and dropout."""

    def __init__(self, width=5):
        super().__init__()
        torch.manual_seed(100)
        self.first = nn.Linear(12, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(width, 4)

    def forward(self, x):
        return self.last(self.drop(self.norm(self.first(x)).tanh()))


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one.cpu(), other.cpu()) for one, other in pairs)


def tuner(**options):
    return MultitaskFinetuner(**{"lr": 0.1, "device": "cpu", "max_steps": 3, **options})


@pytest.mark.oracle
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_rate_zero_returns_the_encoder_bit_for_bit(optimizer):
    net = Net()
    found = tuner(lr=0, optimizer=optimizer, weight_decay=0.1).fit(net, inputs(), episodes(), n_shot=2)
    assert same(found.encoder_, net)
    assert found.temperature_ == 10.0


@pytest.mark.oracle
def test_one_step_follows_the_gradient_worked_out_by_hand():
    # One task, two classes, one shot and one query each, and a linear map: the gradient of the loss by W is worked out
    # from the derivative of a cosine, without autograd.
    X = torch.randn(4, 3, generator=generator(102), dtype=torch.float64)
    tasks, rate, t = torch.tensor([[[0, 1], [2, 3]]]), 0.3, 2.0
    encoder = LinearAdapter(3).double()
    found = tuner(lr=rate, max_steps=1, temperature=t).fit(encoder, X, tasks, n_shot=1)

    weight = torch.eye(3, dtype=torch.float64)
    shots, queries = X[[0, 2]], X[[1, 3]]
    c, q = shots @ weight.T, queries @ weight.T
    c_norm, q_norm = c.norm(dim=1, keepdim=True), q.norm(dim=1, keepdim=True)
    cosines = (q / q_norm) @ (c / c_norm).T
    share = (t * cosines).softmax(1)
    error = (share - torch.eye(2, dtype=torch.float64)) / 2  # by the logits; the mean over two queries
    gradient, by_t = torch.zeros(3, 3, dtype=torch.float64), (error * cosines).sum()
    for j in range(2):
        for k in range(2):
            by_q = (c[k] / c_norm[k] - cosines[j, k] * q[j] / q_norm[j]) / q_norm[j]
            by_c = (q[j] / q_norm[j] - cosines[j, k] * c[k] / c_norm[k]) / c_norm[k]
            gradient += t * error[j, k] * (torch.outer(by_q, queries[j]) + torch.outer(by_c, shots[k]))
    torch.testing.assert_close(found.encoder_.weight.detach(), weight - rate * gradient, rtol=0, atol=1e-7)
    assert found.temperature_ == pytest.approx(t - rate * float(by_t), abs=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_tasks_are_replayed_in_order_and_go_round(device):
    # 5 tasks, 2 a step: the third step takes the last and the first again. A loop of plain SGD gives the same.
    X, tasks, net = inputs(), episodes(5), Net().eval()
    found = tuner(lr=0.05, max_steps=None, epochs=2, tasks_per_batch=2, device=device, amp=False)
    found.fit(net, X.to(device), tasks.to(device), n_shot=2)
    plain, temperature = copy.deepcopy(net), torch.tensor(10.0, requires_grad=True)
    sgd = torch.optim.SGD([*plain.parameters(), temperature], lr=0.05, momentum=0.9)
    losses = []
    for step in range(6):
        chosen = tasks[[(2 * step) % 5, (2 * step + 1) % 5]]
        sgd.zero_grad()
        loss = episode_loss(plain(X[chosen.flatten()]).view(2, 3, 4, -1), 2, temperature)
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    torch.testing.assert_close(found.history_["loss"], torch.tensor(losses), rtol=1e-4, atol=1e-5)
    for (name, mine), theirs in zip(found.encoder_.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.detach().cpu(), theirs.detach(), rtol=1e-3, atol=1e-4, msg=name)
    assert found.temperature_ == pytest.approx(temperature.item(), abs=1e-4)


@pytest.mark.oracle
def test_frozen_batch_normalisation_keeps_its_statistics_and_else_moves_them():
    net = Net()
    frozen = tuner().fit(net, inputs(), episodes(), n_shot=2).encoder_
    assert torch.equal(frozen.norm.running_mean, net.norm.running_mean)
    assert torch.equal(frozen.norm.running_var, net.norm.running_var)
    assert not torch.equal(frozen.norm.weight, net.norm.weight)  # scales are trained
    moved = tuner(freeze_batchnorm=False).fit(net, inputs(), episodes(), n_shot=2).encoder_
    assert not torch.equal(moved.norm.running_mean, net.norm.running_mean)
    assert not any(module.training for module in moved.modules())


@pytest.mark.oracle
def test_it_learns_the_features_of_new_classes_but_not_from_shuffled_labels():
    # Classes 0-29 train, 30-39 test; all differ along the same 4 of 12 axes, so that what is learnt carries over.
    labels = torch.arange(600) % 40
    means = torch.cat([torch.randn(40, 4, generator=generator(100)), torch.zeros(40, 8)], 1)
    X = means[labels] + torch.randn(600, 12, generator=generator(101)) * torch.tensor([0.5] * 4 + [1.0] * 8)
    train = EpisodeSampler(labels, 5, 2, 4, 100, classes=range(30)).tasks()
    test = EpisodeSampler(labels, 5, 2, 4, 100, classes=range(30, 40)).tasks()
    mixed = torch.stack([t.flatten()[torch.randperm(30, generator=generator(i))] for i, t in enumerate(train)])

    def accuracy(encoder):
        with torch.no_grad():
            features = encoder(X)[test]
        answers = nearest_centroid_logits(features[:, :, :2], features[:, :, 2:].flatten(1, 2)).argmax(-1)
        return (answers.view(-1, 5, 4) == torch.arange(5)[:, None]).double().mean().item()

    before = accuracy(LinearAdapter(12))
    learnt = tuner(lr=0.03, max_steps=100).fit(LinearAdapter(12), X, train, n_shot=2)
    fooled = tuner(lr=0.03, max_steps=100).fit(LinearAdapter(12), X, mixed.view_as(train), n_shot=2)
    assert accuracy(learnt.encoder_) > before + 0.1
    assert accuracy(fooled.encoder_) < before


def test_the_best_epoch_on_validation_is_kept():
    # The rate is so large that accuracy goes up and down: the encoder that is kept must be that of the best epoch.
    X, tasks, held_out = inputs(), episodes(3), episodes(20, seed=9)
    options = {"lr": 3.0, "epochs": 6, "max_steps": None}
    found = tuner(**options).fit(Net(), X, tasks, n_shot=2, validation=(X, held_out))
    accuracy = found.history_["accuracy"]
    assert accuracy.shape == (6,) and found.history_["loss"].shape == (18,)
    best = int(accuracy.argmax())
    assert best < 5
    stopped = tuner(lr=3.0, max_steps=3 * (best + 1)).fit(Net(), X, tasks, n_shot=2)
    assert same(found.encoder_, stopped.encoder_)
    assert found.temperature_ == stopped.temperature_
    with torch.no_grad():
        features = found.encoder_(X)[held_out]
    answers = nearest_centroid_logits(features[:, :, :2], features[:, :, 2:].flatten(1, 2)).argmax(-1).view(-1, 3, 2)
    assert (answers == torch.arange(3)[:, None]).double().mean().item() == pytest.approx(accuracy[best].item())


@pytest.mark.parametrize("trainable", [("last", "norm"), lambda name: name.split(".")[0] in ("last", "norm")])
def test_only_what_is_trainable_moves(trainable):
    net = Net()
    tuned = tuner(trainable=trainable).fit(net, inputs(), episodes(), n_shot=2).encoder_
    assert torch.equal(tuned.first.weight, net.first.weight)
    assert not torch.equal(tuned.last.weight, net.last.weight)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in tuned.parameters())


def test_the_encoder_given_stays_as_it_is():
    net = Net().train()
    before = copy.deepcopy(net)
    net.first.requires_grad_(False)
    tuned = tuner().fit(net, inputs(), episodes(), n_shot=2).encoder_
    assert same(net, before) and net.training and net.first.weight.grad is None
    assert torch.equal(tuned.first.weight, net.first.weight)  # asks for no gradient: is not trained
    assert not tuned.first.weight.requires_grad and tuned.last.weight.requires_grad


def test_inputs_by_name_and_a_fixed_temperature():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, x, scale):
            return self.net(x * scale)

    parts = {"x": inputs() / 2, "scale": torch.full((96, 1), 2.0)}
    named = tuner(learn_temperature=False).fit(Named(), parts, episodes(), n_shot=2)
    plain = tuner(learn_temperature=False).fit(Net(), inputs(), episodes(), n_shot=2)
    assert same(named.encoder_.net, plain.encoder_)
    assert plain.temperature_ == 10.0


def test_augmentation_draws_from_the_generator():
    def jitter(batch, *, generator):
        return batch + 0.1 * torch.randn(batch.shape, generator=generator)

    seeds = 5, 5, 6
    losses = [
        tuner().fit(Net(), inputs(), episodes(), n_shot=2, augment=jitter, generator=generator(s)).history_["loss"]
        for s in seeds
    ]
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])
    with pytest.raises(ValueError, match="generator must be given"):
        tuner().fit(Net(), inputs(), episodes(), n_shot=2, augment=jitter)


def test_progress_wraps_the_steps():
    seen = []

    def progress(steps):
        for step in steps:
            seen.append(step)
            yield step

    tuner().fit(Net(), inputs(), episodes(), n_shot=2, progress=progress)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("amp", [True, False])
def test_the_head_has_float32_under_autocast(amp):
    seen = []

    class Watched(Net):
        def forward(self, x):
            features = super().forward(x)
            seen.append(features.dtype)
            return features

    found = tuner(amp=amp).fit(Watched(), inputs(), episodes(), n_shot=2)
    assert set(seen) == {torch.bfloat16 if amp else torch.float32}
    assert found.history_["loss"].dtype == torch.float32
    assert found.encoder_.last.weight.dtype == torch.float32


@pytest.mark.cuda
def test_on_cuda_the_loop_waits_for_nothing_and_inputs_may_stay_on_the_cpu():
    X, tasks = inputs(), episodes()
    far = tuner(device="cuda", amp=False).fit(Net(), X, tasks, n_shot=2)
    near = tuner(device="cpu").fit(Net(), X, tasks, n_shot=2)
    assert far.encoder_.last.weight.is_cuda
    torch.testing.assert_close(far.history_["loss"], near.history_["loss"], rtol=1e-3, atol=1e-4)
    half = tuner(device="cuda").fit(Net(), X, tasks, n_shot=2)
    torch.testing.assert_close(half.history_["loss"], near.history_["loss"], rtol=0.1, atol=0.1)

    def strict(steps):
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from steps
        finally:
            torch.cuda.set_sync_debug_mode("default")

    tuner(device="cuda").fit(Net(), X.cuda(), tasks.cuda(), n_shot=2, progress=strict)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"optimizer": "adam"}, "optimizer must be one of sgd, adamw"),
        ({"lr": -1}, "lr must be a finite number of at least 0"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ({"weight_decay": float("inf")}, "weight_decay must be a finite number"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"tasks_per_batch": 0}, "tasks_per_batch must be at least 1"),
        ({"temperature": 0}, "temperature must be a finite positive number"),
        ({"trainable": "last"}, "trainable must be None, a callable or prefixes"),
        ({"amp": "bf16"}, "amp must be 'auto', True or False"),
    ],
)
def test_settings_out_of_range(options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        tuner(**options)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tasks": episodes().int()}, "tasks must be a tensor of int64"),
        ({"tasks": episodes()[0]}, r"tasks must have shape \(M, Y, S \+ Q\)"),
        ({"n_shot": 4}, "a query after n_shot=4"),
        ({"n_shot": 0}, "n_shot must be at least 1"),
        ({"tasks": episodes() + 90}, "tasks must index the 96 inputs, from 0 to 95"),
        ({"inputs": [1, 2]}, "inputs must be a Tensor or a dict of Tensors"),
        ({"inputs": {"a": torch.ones(3), "b": torch.ones(2)}}, "inputs must have the same rows"),
        ({"encoder": torch.sin}, "encoder must be a torch.nn.Module"),
        ({"encoder": nn.Flatten()}, "encoder must have a parameter that is trained"),
        ({"encoder": nn.Sequential(nn.Linear(12, 4), nn.Unflatten(1, (2, 2)))}, r"features of shape \(b, D\)"),
        ({"validation": 3}, "validation must be a pair"),
        ({"validation": (inputs()[:5], episodes())}, "validation tasks must index the 5 inputs"),
    ],
)
def test_bad_arguments(changes, match):
    given = {"encoder": Net(), "inputs": inputs(), "tasks": episodes(), "n_shot": 2, **changes}
    with pytest.raises((ValueError, TypeError), match=match):
        tuner().fit(**given)
