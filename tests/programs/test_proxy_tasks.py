"""Proxy tasks: the written-out gradient, runs against plain torch, splits, failures."""

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from selectlib.programs import ADAMW, CharTask, MLPTask, Program, TaskMean, TorchTask, two_task_proxy
from selectlib.programs._flat_mlp import FlatMLP
from selectlib.programs._runs import schedule
from selectlib.programs._task import FAILED

TUNED = ADAMW.with_constants([0.9, 0.999, 0.01, 0.01])
DESCENT = Program.parse("update = g * lr\nupdate = update * 0.5")
RUNAWAY = Program.parse("update = g * -1000.0")
NOT_A_NUMBER = Program.parse("update = arccosh(w)")  # NaN below 1


def _small(rng, sizes=(5, 4, 3), n=90, **settings):
    labels = rng.integers(sizes[-1], size=n)
    inputs = rng.normal(size=(n, sizes[0])) + np.eye(sizes[-1], sizes[0])[labels]
    return inputs, labels, MLPTask(inputs, labels, (50, 20, 20), sizes=sizes, steps=30, batch=8, **settings)


def _torch_loss(net, flat, inputs, labels):
    """Cross-entropy of the same network, from its leaves."""
    values = inputs
    layers = zip(itertools.pairwise(net.sizes), net.leaves[::2], net.leaves[1::2], strict=True)
    for (a, b), matrix, bias in layers:
        values = values @ flat[matrix].view(a, b) + flat[bias]
        values = values if bias is net.leaves[-1] else values.tanh()
    return cross_entropy(values, labels)


def _fill(net, inputs, labels):
    classes = np.eye(net.sizes[-1])[labels] / len(inputs)
    net.rows[:] = np.concatenate([inputs, np.ones((len(inputs), 1)), classes], axis=1)


@pytest.mark.oracle
@pytest.mark.parametrize("sizes", [(5, 3), (5, 4, 3), (5, 4, 6, 3)])
def test_the_gradient_is_autograds(sizes):
    rng = np.random.default_rng(100)
    net = FlatMLP(sizes, 7)
    net.start(rng)
    net.weights += 0.3 * rng.standard_normal(len(net.weights), np.float32)  # biases too
    inputs, labels = rng.normal(size=(7, 5)), rng.integers(3, size=7)
    _fill(net, inputs, labels)
    net.forward()
    loss = net.loss()
    net.backward()
    flat = torch.from_numpy(net.weights).double().requires_grad_()
    expected = _torch_loss(net, flat, torch.from_numpy(inputs), torch.from_numpy(labels))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(net.gradient, flat.grad, rtol=1e-4, atol=1e-6)


def test_leaves_cover_the_vector_once_and_biases_start_at_zero():
    net = FlatMLP((5, 4, 3), 2)
    net.start(np.random.default_rng(100))
    assert [leaf.stop - leaf.start for leaf in net.leaves] == [20, 4, 12, 3]
    assert [leaf.start for leaf in net.leaves] == [0, *(leaf.stop for leaf in net.leaves[:-1])]
    assert not net.weights[net.leaves[1]].any() and not net.weights[net.leaves[3]].any()
    assert net.weights[net.leaves[0]].all()


def test_large_logits_do_not_overflow():
    net = FlatMLP((1, 2), 1)
    net.weights[:2] = [500.0, -500.0]
    _fill(net, np.ones((1, 1)), np.array([1]))
    net.forward()
    assert net.loss() == pytest.approx(1000)
    net.backward()
    np.testing.assert_allclose(net.gradient, [1, -1, 1, -1])


@pytest.mark.oracle
def test_a_run_is_that_of_a_plain_loop():
    inputs, labels, task = _small(np.random.default_rng(100))
    rng = np.random.default_rng(7)
    net = FlatMLP(task.sizes, task.batch)
    net.start(rng)
    orders = rng.integers(50, size=(30, 8))
    flat = torch.from_numpy(net.weights).double().requires_grad_()
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    optimizer = torch.optim.SGD([flat], lr=1.0)
    for order, lr in zip(orders, schedule(30), strict=True):
        optimizer.param_groups[0]["lr"] = 0.5 * lr
        optimizer.zero_grad()
        _torch_loss(net, flat, x[order], y[order]).backward()
        optimizer.step()
    for split, part in {"train": slice(50), "validation": slice(50, 70), "test": slice(70, 90)}.items():
        expected = _torch_loss(net, flat, x[part], y[part]).item()
        assert task.losses(DESCENT, [7], split)[0] == pytest.approx(expected, rel=1e-4)


def test_the_schedule_rises_and_falls():
    rates = schedule(100)
    assert rates[0] == pytest.approx(0.2) and rates.index(max(rates)) == 4 and max(rates) <= 1
    assert rates[-1] < 1e-3 and rates[50] == pytest.approx(0.5)


def test_runs_depend_on_their_seed_alone_and_survive_a_pickle():
    *_, task = _small(np.random.default_rng(100))
    losses = task.losses(TUNED, [1, 2, 3])
    assert len(set(losses)) == 3
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(task)).losses(TUNED, [3, 1]), losses[[2, 0]])
    assert task.evaluate(TUNED, [1, 2, 3]) == pytest.approx(-losses.mean())


def test_splits_do_not_leak():
    rng = np.random.default_rng(100)
    inputs, labels, task = _small(rng)
    poisoned = inputs.copy()
    poisoned[70:] = 100.0
    other = MLPTask(poisoned, labels, (50, 20, 20), sizes=(5, 4, 3), steps=30, batch=8)
    assert other.evaluate(TUNED, [1]) == task.evaluate(TUNED, [1])
    assert other.evaluate(TUNED, [1], "test") != task.evaluate(TUNED, [1], "test")


@pytest.mark.parametrize("program", [RUNAWAY, NOT_A_NUMBER])
def test_a_failed_run_gets_the_worst_fitness(program):
    *_, task = _small(np.random.default_rng(100))
    assert task.losses(program, [1, 2]).tolist() == [math.inf, math.inf]
    assert task.evaluate(program, [1, 2]) == FAILED


def test_the_mean_spares_later_tasks():
    class Counted:
        def __init__(self, loss):
            self.loss, self.calls = loss, 0

        def evaluate(self, program, seeds, split="validation"):
            self.calls += 1
            return -self.loss

        def losses(self, program, seeds, split="validation"):
            return np.full(len(seeds), self.loss)

    second = Counted(0.5)
    assert TaskMean([Counted(1.6), second]).evaluate(ADAMW, [1]) == -1.6 and second.calls == 0
    assert TaskMean([Counted(1.5), second]).evaluate(ADAMW, [1]) == -1.0 and second.calls == 1
    assert TaskMean([Counted(0.1), Counted(10.0)]).evaluate(ADAMW, [1]) == FAILED
    np.testing.assert_allclose(TaskMean([Counted(1.6), second]).losses(ADAMW, [1, 2]), [1.05, 1.05])


def test_the_proxy_tells_a_tuned_rate_from_an_untuned_one():
    proxy = two_task_proxy()
    assert proxy.evaluate(TUNED, [1]) > -0.3 > proxy.evaluate(ADAMW, [1])
    other = two_task_proxy(permutation_seed=1)
    assert other.evaluate(TUNED, [1]) != proxy.evaluate(TUNED, [1])


def test_digits_share_their_held_out_splits():
    large, small = MLPTask.digits(), MLPTask.digits(n_train=500)
    np.testing.assert_array_equal(large._rows[1000:], small._rows[500:])
    assert large.splits == (1000, 400, 397)


def test_signs_flip_the_training_labels_asked_for():
    clean, noisy = (MLPTask.signs(20, 50, teacher_seed=3, flips=flips)._rows for flips in (0.0, 0.2))
    np.testing.assert_array_equal(clean[:, :20], noisy[:, :20])
    changed = (clean != noisy).any(axis=1)
    assert changed[:50].sum() == 10 and not changed[50:].any()


def test_a_character_task_reads_what_stands_before():
    text = "abcd" * 500
    task = CharTask(text, context=3, alphabet=4, hidden=8, counts=(200, 50, 50), steps=100, batch=16)
    codes = task._rows[:, :12].reshape(-1, 3, 4).argmax(axis=2)
    following = task._rows[:, 13:].argmax(axis=1)
    after = dict(zip("abcd", "bcda", strict=True))
    letters = {code: letter for code, letter in enumerate("abcd")}
    assert all(after[letters[int(a)]] == letters[int(b)] for row in codes for a, b in itertools.pairwise(row))
    assert all(after[letters[int(row[-1])]] == letters[int(b)] for row, b in zip(codes, following, strict=True))
    assert task.evaluate(ADAMW.with_constants([0.9, 0.999, 0.01, 0.1]), [1]) > -0.05


def test_rare_characters_share_a_code_and_the_end_of_the_text_is_held_out():
    text = "ab" * 400 + "xy" * 50 + "zw" * 50
    task = CharTask(text, context=1, alphabet=3, hidden=2, counts=(100, 50, 50), steps=1)
    codes = task._rows[:, :3].argmax(axis=1)
    assert set(codes[:100]) == {0, 1} and set(codes[150:]) == {2}


@pytest.mark.oracle
def test_a_torch_task_is_a_plain_loop():
    generator = torch.Generator().manual_seed(100)
    inputs = torch.randn(40, 3, generator=generator)
    labels = (inputs[:, 0] > 0).long()
    examples = dict.fromkeys(("train", "validation"), (inputs, labels)) | {"test": (inputs[:10], labels[:10])}
    task = TorchTask(lambda: nn.Linear(3, 2), examples, steps=20, batch=8, score_batch=16)
    torch.manual_seed(5)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for order, lr in zip(np.random.default_rng(5).integers(40, size=(20, 8)), schedule(20), strict=True):
        optimizer.param_groups[0]["lr"] = 0.5 * lr
        optimizer.zero_grad()
        cross_entropy(model(inputs[order]), labels[order]).backward()
        optimizer.step()
    for split, count in {"validation": 40, "test": 10}.items():
        expected = cross_entropy(model(inputs[:count]), labels[:count]).item()
        assert task.losses(DESCENT, [5], split)[0] == pytest.approx(expected, rel=1e-5)
    assert task.evaluate(Program.parse("update = g * -1000.0"), [5]) == FAILED


@pytest.mark.cuda
def test_a_torch_task_on_cuda_agrees_with_the_cpu():
    inputs = torch.randn(64, 3, generator=torch.Generator().manual_seed(100))
    examples = dict.fromkeys(("train", "validation", "test"), (inputs, (inputs[:, 0] > 0).long()))
    on = {
        d: TorchTask(lambda: nn.Linear(3, 2), examples, steps=20, device=d).losses(TUNED, [1]) for d in ("cpu", "cuda")
    }
    np.testing.assert_allclose(on["cuda"], on["cpu"], rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sizes": (4, 3)}, "sizes must start with 5"),
        ({"sizes": (5,)}, "sizes must start with 5"),
        ({"splits": (50, 20, 30)}, "sum of at most 90"),
        ({"splits": (50, 20)}, "three counts"),
        ({"splits": (50, 0, 20)}, "splits must be at least 1"),
        ({"sizes": (5, 2)}, "labels must lie from 0 to 1"),
        ({"labels": np.zeros(90)}, "labels must be 90 ints"),
        ({"inputs": np.full((90, 5), np.nan)}, "inputs must be finite"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    given = {"inputs": np.zeros((90, 5)), "labels": np.arange(90) % 3, "splits": (50, 20, 20), "sizes": (5, 3)}
    given |= settings
    with pytest.raises(ValueError, match=message):
        MLPTask(given.pop("inputs"), given.pop("labels"), given.pop("splits"), **given)


def test_other_mistakes_are_named():
    *_, task = _small(np.random.default_rng(100))
    with pytest.raises(ValueError, match="split must be one of train, validation, test"):
        task.losses(TUNED, [1], "dev")
    with pytest.raises(ValueError, match="at least one seed"):
        task.evaluate(TUNED, [])
    with pytest.raises(ValueError, match="at least one task"):
        TaskMean([])
    with pytest.raises(ValueError, match="flips must be from 0 to 1"):
        MLPTask.signs(flips=2.0)
    with pytest.raises(ValueError, match="100 contexts for validation, text has 8"):
        CharTask("ab" * 60, counts=(10, 100, 2))
    with pytest.raises(ValueError, match="length, at least 1, for test"):
        TorchTask(lambda: nn.Linear(1, 2), dict.fromkeys(("train", "validation"), (torch.zeros(2, 1), torch.zeros(2))))
