"""Replicas trained side by side against plain runs, one after the other, and what the loop promises beside."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from selectlib.data import load_digits
from selectlib.nets import (
    GPT,
    MLP,
    ConvNet,
    ResNet9,
    batch_orders,
    causal_lm_loss,
    classification_loss,
    evaluate,
    train,
)
from selectlib.seeding import generator

SEEDS = [100, 101, 107]


def images(n=40, side=8, channels=3):
    return torch.rand(n, channels, side, side, generator=generator(100)), torch.arange(n) % 4


def sentences(n=40, length=10):
    return torch.randint(11, (n, length), generator=generator(101)), torch.rand(
        n, length, generator=generator(102)
    ) < 0.5


def plain_run(make_model, examples, order, plain_loss, seed, *, lr, weight_decay, schedule, warmup, clip):
    """What a reader of the documentation would write for one replica."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = make_model()
    torch.set_rng_state(state)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    total = len(order)

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        left = 1 - (step - warmup) / (total - warmup)
        return {"linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2, "constant": 1.0}[schedule]

    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for rows in order:
        optimizer.zero_grad()
        plain_loss(model, *(tensor[rows] for tensor in examples)).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        rate.step()
    return model.state_dict()


def plain_classification(model, inputs, labels):
    return F.cross_entropy(model(inputs), labels)


def plain_language(model, tokens, mask):
    losses = F.cross_entropy(model(tokens[:, :-1]).transpose(1, 2), tokens[:, 1:], reduction="none")
    return torch.stack([row[keep].mean() for row, keep in zip(losses, mask[:, 1:], strict=True)]).mean()


CASES = {
    "mlp": (lambda: MLP([192, 16, 4]), images(), classification_loss, plain_classification),
    "convnet": (lambda: ConvNet((3, 8, 8), (4, 5), 8, 4), images(), classification_loss, plain_classification),
    "resnet": (lambda: ResNet9(2, classes=4), images(side=16), classification_loss, plain_classification),
    "gpt": (lambda: GPT(11, 10, 16, 2, 2), sentences(), causal_lm_loss, plain_language),
}
# The schedule shrinks what epsilon and rounding leave of Adam's first steps, where signs decide.
SETTINGS = {"lr": 3e-3, "weight_decay": 0.1, "schedule": "cosine", "warmup": 3, "clip": 0.5}


@pytest.mark.oracle
@pytest.mark.parametrize("case", CASES)
def test_side_by_side_equals_one_after_the_other(case):
    make_model, examples, loss, plain_loss = CASES[case]
    make = lambda: make_model().double()  # noqa: E731
    examples = tuple(t.double() if t.is_floating_point() else t for t in examples)
    orders = batch_orders([torch.arange(40)] * 3, epochs=2, batch=8, seeds=SEEDS)
    states = train(make, examples, orders, loss=loss, seeds=SEEDS, **SETTINGS)
    for order, seed, state in zip(orders, SEEDS, states, strict=True):
        expected = plain_run(make, examples, order, plain_loss, seed, **SETTINGS)
        assert state.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(state[name], value, rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.oracle
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("warmup", "clip"), [(0, None), (4, 0.1)])
def test_every_schedule_in_single_precision(schedule, warmup, clip):
    settings = SETTINGS | {"schedule": schedule, "warmup": warmup, "clip": clip}
    make, examples, loss, plain_loss = CASES["gpt"]
    orders = batch_orders([torch.arange(40), torch.arange(39, -1, -1)], epochs=2, batch=8, seeds=SEEDS[:2])
    states = train(make, examples, orders, loss=loss, seeds=SEEDS[:2], **settings)
    for order, seed, state in zip(orders, SEEDS, states, strict=False):
        expected = plain_run(make, examples, order, plain_loss, seed, **settings)
        for name, value in expected.items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bounds", [{"at_once": 1}, {"at_once": 2}, {"micro_batch": 3}])
def test_bounds_on_memory_change_nothing(bounds):
    make, examples, loss, _ = CASES["gpt"]
    make64 = lambda: make().double()  # noqa: E731
    orders = batch_orders([torch.arange(40)] * 3, epochs=1, batch=8, seeds=SEEDS)
    whole = train(make64, examples, orders, loss=loss, seeds=SEEDS, lr=1e-2)
    parts = train(make64, examples, orders, loss=loss, seeds=SEEDS, lr=1e-2, **bounds)
    for one, other in zip(whole, parts, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-9, atol=1e-9)


def test_full_batches_equal_a_spelled_out_order():
    make, examples, loss, _ = CASES["mlp"]
    subsets = [torch.arange(0, 40, 2), torch.arange(1, 40, 2)]
    orders = batch_orders(subsets, epochs=5, batch=20, seeds=SEEDS[:2])
    assert orders.shape == (2, 5, 20) and orders.stride(1) == 0
    shared = train(make, examples, orders, loss=loss, seeds=SEEDS[:2], lr=1e-2)
    spelled = train(make, examples, orders.contiguous(), loss=loss, seeds=SEEDS[:2], lr=1e-2)
    for one, other in zip(shared, spelled, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_replicas_share_no_memory_and_start_apart():
    make, examples, loss, _ = CASES["mlp"]
    orders = batch_orders([torch.arange(40)] * 3, epochs=1, batch=40, seeds=SEEDS)
    first, second, third = train(make, examples, orders, loss=loss, seeds=[100, 101, 100], lr=1e-2)
    assert all(torch.equal(first[name], third[name]) for name in first)
    assert not torch.equal(first["1.weight"], second["1.weight"])
    assert first["1.weight"].untyped_storage().nbytes() == first["1.weight"].nbytes
    first["1.weight"].zero_()
    assert bool(third["1.weight"].any())


def test_the_global_generator_is_left_alone():
    make, examples, loss, _ = CASES["mlp"]
    before = torch.get_rng_state()
    orders = batch_orders([torch.arange(40)] * 3, epochs=1, batch=10, seeds=SEEDS)
    train(make, examples, orders, loss=loss, seeds=SEEDS, lr=1e-2)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_passes_stay_near():
    make, examples, loss, _ = CASES["gpt"]
    orders = batch_orders([torch.arange(40)] * 3, epochs=2, batch=8, seeds=SEEDS)
    losses = {}
    for dtype in (None, torch.bfloat16):
        states = train(make, examples, orders, loss=loss, seeds=SEEDS, lr=1e-2, autocast=dtype)
        assert all(value.dtype == torch.float32 for value in states[0].values())
        losses[dtype] = evaluate(make(), states, examples, loss).mean(1)
    assert float((losses[None] - losses[torch.bfloat16]).abs().max()) < 0.02
    assert not torch.equal(losses[None], losses[torch.bfloat16])


def test_digits_are_learnt():
    digits = load_digits()
    examples = digits.images.float() / digits.images.max(), digits.labels
    orders = batch_orders([torch.arange(1000)] * 2, epochs=30, batch=100, seeds=[100, 101])
    states = train(lambda: MLP([64, 32, 10]), examples, orders, loss=classification_loss, seeds=[100, 101], lr=0.01)
    held_out = tuple(tensor[1000:] for tensor in examples)
    assert float(evaluate(MLP([64, 32, 10]), states, held_out, classification_loss).mean(1).max()) < 0.5


def test_progress_wraps_the_steps():
    make, examples, loss, _ = CASES["mlp"]
    seen = []

    def progress(steps):
        for step in steps:
            seen.append(step)
            yield step

    orders = batch_orders([torch.arange(40)] * 3, epochs=1, batch=10, seeds=SEEDS)
    train(make, examples, orders, loss=loss, seeds=SEEDS, lr=1e-2, at_once=2, progress=progress)
    assert seen == [0, 1, 2, 3, 0, 1, 2, 3]


ORDERS = torch.zeros(2, 3, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"orders": ORDERS.float()}, TypeError, "orders must hold int64"),
        ({"orders": ORDERS[0]}, ValueError, "orders must have shape"),
        ({"orders": ORDERS + 40}, ValueError, "indices of the 40 examples, got 40 to 40"),
        ({"seeds": [1]}, ValueError, "seeds must name one seed a replica, got 1 for 2"),
        ({"lr": 0.0}, ValueError, "lr must be above 0"),
        ({"lr": float("nan")}, ValueError, "lr must be above 0"),
        ({"schedule": "step"}, ValueError, "schedule must be"),
        ({"warmup": 4}, ValueError, "warmup must be from 0 to the 3 steps"),
        ({"at_once": 0}, ValueError, "at_once must be at least 1"),
        ({"micro_batch": 0}, ValueError, "micro_batch must be at least 1"),
        ({"clip": 0.0}, ValueError, "clip must be above 0"),
        ({"examples": (torch.zeros(40, 2), torch.zeros(39))}, ValueError, r"got lengths \[40, 39\]"),
        ({"device": "abacus"}, ValueError, "device must be"),
    ],
)
def test_bad_arguments_are_named_before_work(change, error, message):
    def never():
        raise AssertionError("work has started")

    given = {"examples": images(), "orders": ORDERS, "seeds": [1, 2], "lr": 0.1} | change
    with pytest.raises(error, match=message):
        train(never, given.pop("examples"), given.pop("orders"), loss=classification_loss, **given)


@pytest.mark.cuda
def test_training_on_cuda_equals_the_cpu_and_never_waits():
    make, examples, loss, _ = CASES["gpt"]
    orders = batch_orders([torch.arange(40)] * 3, epochs=1, batch=8, seeds=SEEDS)
    make64 = lambda: make().double()  # noqa: E731
    expected = train(make64, examples, orders, loss=loss, seeds=SEEDS, lr=1e-2)
    on_device = tuple(tensor.cuda() for tensor in examples)

    def watched(steps):
        torch.cuda.set_sync_debug_mode("error")
        yield from steps
        torch.cuda.set_sync_debug_mode("default")

    states = train(make64, on_device, orders, loss=loss, seeds=SEEDS, lr=1e-2, device="cuda", progress=watched)
    for one, other in zip(expected, states, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name].cpu(), rtol=1e-6, atol=1e-8)
