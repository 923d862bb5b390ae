"""Standard finetuning: the probe, the step, and that it sees just what multitask finetuning sees."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from selectlib.seeding import generator
from selectlib.tasks import EpisodeSampler, LinearAdapter, StandardFinetuner

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
LABELS = torch.tensor([7, 3, 5, 9, 1, 8]).repeat(12)


def inputs():
    means = torch.randn(10, 6, generator=generator(100))
    return means[LABELS] + 0.5 * torch.randn(72, 6, generator=generator(101))


def episodes(n_tasks=6, classes=(3, 5, 7, 9)):
    return EpisodeSampler(LABELS, 3, 1, 3, n_tasks, classes=classes).tasks()


def encoder():
    torch.manual_seed(100)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4))


class Seen(nn.Module):
    """Keeps the rows that it is trained on; the first column of the inputs is their number."""

    def __init__(self):
        super().__init__()
        self.net = encoder()
        self.rows = []

    def __deepcopy__(self, memo):
        twin = Seen()
        twin.rows = self.rows  # shared with the copy
        return twin

    def forward(self, x):
        if torch.is_grad_enabled():
            self.rows.append(x[:, 0].long().tolist())
        return self.net(x[:, 1:])


def tuner(**options):
    return StandardFinetuner(**{"lr": 0.05, "device": "cpu", "max_steps": 3, **options})


def fit(finetuner, net=None, **changes):
    given = {"inputs": inputs(), "labels": LABELS, "tasks": episodes(), "generator": generator(1), **changes}
    return finetuner.fit(net or encoder(), **given)


@pytest.mark.oracle
def test_each_pass_holds_the_samples_of_the_tasks_once_in_batches_of_whole_tasks():
    net, tasks = Seen(), episodes(5)
    numbered = torch.cat([torch.arange(72.0)[:, None], inputs()], 1)
    fit(tuner(max_steps=None, epochs=2, tasks_per_batch=2), net, inputs=numbered, tasks=tasks)
    assert [len(rows) for rows in net.rows] == [24] * 6  # 2 epochs of 3 steps, 2 tasks of 3 x 4 samples each
    stream, wanted = [row for rows in net.rows for row in rows], sorted(tasks.flatten().tolist())
    assert sorted(stream[:60]) == wanted and sorted(stream[60:120]) == wanted
    assert stream[:60] != stream[60:120] and stream[:60] != tasks.flatten().tolist()


@pytest.mark.oracle
def test_the_head_is_probed_to_the_optimum_before_the_encoder_moves():
    # With a rate of 0 the losses are those of the probe: near the least cross-entropy of a linear head.
    X, tasks = inputs(), episodes(20)
    found = fit(tuner(lr=0, max_steps=20, tasks_per_batch=20), LinearAdapter(6), tasks=tasks)
    assert torch.equal(found.encoder_.weight, torch.eye(6))
    assert found.classes_.tolist() == [3, 5, 7, 9]
    samples = tasks.flatten()
    answers = (LABELS[samples][:, None] == found.classes_).int().argmax(1)
    weight, bias = torch.zeros(4, 6, requires_grad=True), torch.zeros(4, requires_grad=True)
    newton = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        newton.zero_grad()
        loss = cross_entropy(linear(X[samples], weight, bias), answers)
        loss.backward()
        return loss

    newton.step(closure)
    least = closure().item()
    assert least - 1e-5 <= found.history_["loss"].mean().item() < least + 0.03


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_the_probe_does_not_depend_on_the_scale_of_the_features(device):
    one, thousand = (
        fit(tuner(lr=0, device=device, amp=False), LinearAdapter(6), inputs=inputs() * scale).history_["loss"]
        for scale in (1.0, 1000.0)
    )
    torch.testing.assert_close(one, thousand, rtol=0.02, atol=0.02)  # the offsets are not scaled, and learn slower


@pytest.mark.oracle
def test_one_step_of_all_samples_follows_the_gradient():
    X, tasks, rate = inputs().double(), episodes(1), 0.05
    net = LinearAdapter(6).double()
    found = fit(tuner(lr=rate, max_steps=1), net, inputs=X, tasks=tasks)
    samples = tasks.flatten()
    answers = (LABELS[samples][:, None] == found.classes_).int().argmax(1)
    weight, bias = torch.zeros(3, 6).double(), torch.zeros(3).double()
    lr, pushed = 4 / X[samples].square().sum(1).mean(), (0.0, 0.0)
    for _ in range(300):  # the probe, by hand: all samples, momentum 0.9
        error = (linear(X[samples], weight, bias).softmax(1) - torch.eye(3).double()[answers]) / len(samples)
        pushed = 0.9 * pushed[0] + error.T @ X[samples], 0.9 * pushed[1] + error.sum(0)
        weight, bias = weight - lr * pushed[0], bias - lr * pushed[1]
    error = (linear(X[samples], weight, bias).softmax(1) - torch.eye(3).double()[answers]) / len(samples)
    expected = torch.eye(6).double() - rate * weight.T @ error.T @ X[samples]
    torch.testing.assert_close(found.encoder_.weight.detach(), expected, rtol=0, atol=1e-9)


@pytest.mark.oracle
def test_rate_zero_returns_the_encoder_bit_for_bit():
    net = encoder()
    tuned = fit(tuner(lr=0), net).encoder_
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), tuned.state_dict().values(), strict=True))


def test_frozen_batch_normalisation_and_the_encoder_given_stay():
    net = encoder()
    before = copy.deepcopy(net.state_dict())
    tuned = fit(tuner(trainable=("3",)), net).encoder_
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    moved = {name for name, value in tuned.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"3.weight", "3.bias"}
    assert all(parameter.requires_grad for parameter in tuned.parameters())


def test_the_best_epoch_on_validation_is_kept():
    held_out = inputs(), EpisodeSampler(LABELS, 2, 1, 3, 30, classes=[1, 8]).tasks()
    found = fit(tuner(lr=0.5, max_steps=None, epochs=5), validation=held_out)
    best = int(found.history_["accuracy"].argmax())
    assert found.history_["accuracy"].shape == (5,) and found.history_["loss"].shape == (30,)
    again = fit(tuner(lr=0.5, max_steps=None, epochs=5), validation=held_out)
    assert torch.equal(again.encoder_[3].weight, found.encoder_[3].weight)
    last = fit(tuner(lr=0.5, max_steps=None, epochs=5))
    assert torch.equal(last.encoder_[3].weight, found.encoder_[3].weight) == (best == 4)


def test_labels_that_no_task_holds_are_not_read():
    other = torch.where(torch.isin(LABELS, torch.tensor([1, 8])), -1, LABELS)
    first, second = fit(tuner()), fit(tuner(), labels=other)
    assert torch.equal(first.history_["loss"], second.history_["loss"])


def test_augmentation_draws_from_the_generator():
    def jitter(batch, *, generator):
        return batch + torch.randn(batch.shape, generator=generator)

    plain, changed, again = (fit(tuner(), augment=augment).history_["loss"] for augment in (None, jitter, jitter))
    assert torch.equal(changed, again) and not torch.equal(plain, changed)


@pytest.mark.cuda
def test_on_cuda_the_loop_waits_for_nothing():
    near = fit(tuner()).history_["loss"]
    far = fit(tuner(device="cuda", amp=False))
    assert far.encoder_[0].weight.is_cuda
    torch.testing.assert_close(far.history_["loss"], near, rtol=1e-2, atol=1e-3)

    def strict(steps):
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from steps
        finally:
            torch.cuda.set_sync_debug_mode("default")

    fit(tuner(device="cuda"), inputs=inputs().cuda(), tasks=episodes().cuda(), progress=strict)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": LABELS[:5]}, r"labels must have one label an input, shape \(72,\), got shape \(5,\)"),
        ({"labels": LABELS.float()}, "labels must be a tensor of int64"),
        ({"labels": LABELS.tolist()}, "labels must be a tensor of int64"),
        ({"tasks": episodes() + 60}, "tasks must index the 72 inputs"),
        ({"generator": 3}, "generator must be a torch.Generator"),
        ({"n_shot": 0}, "n_shot must be at least 1"),
        ({"augment": 3}, "augment must be callable"),
        ({"validation": (inputs(), episodes()), "n_shot": 4}, "validation tasks must have shape"),
    ],
)
def test_bad_arguments(changes, match):
    with pytest.raises((ValueError, TypeError), match=match):
        fit(tuner(), **changes)
