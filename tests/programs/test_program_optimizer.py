"""Programs as torch optimisers, against rules written by hand and against `Lion`."""

import copy
import pickle

import pytest
import torch

from selectlib.optim import Lion
from selectlib.programs import ADAMW, DISCOVERED, LION, Program, ProgramError, ProgramOptimizer


def parameters(dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4), (5,), ())
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=dtype).to(device)) for s in shapes]


def gradients(steps, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return [[torch.randn(p.shape, generator=generator, dtype=dtype) for p in parameters()] for _ in range(steps)]


def run(optimizer, params, steps, schedule=None):
    for step, grads in enumerate(steps):
        for p, g in zip(params, grads, strict=True):
            p.grad = g.to(p.device, p.dtype)
        if schedule is not None:
            for group in optimizer.param_groups:
                group["lr"] = schedule(step)
        optimizer.step()
    return params


def close(ours, theirs, rtol=1e-6):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.detach().cpu(), b.detach().cpu(), rtol=rtol, atol=1e-7)


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_adamw_is_adamw_without_bias_correction(device):
    ours, theirs = parameters(device=device), parameters()
    run(ProgramOptimizer(ours, ADAMW), ours, gradients(100), schedule=lambda step: 1 - step / 100)
    m, v = ([torch.zeros_like(p) for p in theirs] for _ in range(2))
    for step, grads in enumerate(gradients(100)):
        for p, g, a, b in zip(theirs, grads, m, v, strict=True):
            a.mul_(0.9).add_(0.1 * g)
            b.mul_(0.999).add_((1 - 0.999) * g * g)
            p.data -= 0.001 * (1 - step / 100) * (a / (b.sqrt() + 1e-8) + 0.01 * p.data)
    close(ours, theirs)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_lion_is_lion(device):
    ours, theirs = (parameters(torch.float64, device) for _ in range(2))
    run(ProgramOptimizer(ours, LION), ours, gradients(100))
    run(Lion(theirs, lr=1e-4, betas=(0.9, 0.99), weight_decay=1.0), theirs, gradients(100))
    close(ours, theirs)


@pytest.mark.oracle
def test_torch_and_numpy_compute_the_same():
    params = parameters()
    flat = torch.cat([p.detach().flatten() for p in params]).numpy()
    step = DISCOVERED.compile()
    m = v = 0 * flat
    steps = gradients(20)
    for grads in steps:
        update, m, v = step(flat, torch.cat([g.flatten() for g in grads]).numpy(), m, v, 0.5)
        flat = flat - update
    run(ProgramOptimizer(params, DISCOVERED, lr=0.5), params, steps)
    torch.testing.assert_close(torch.cat([p.detach().flatten() for p in params]), torch.from_numpy(flat))


@pytest.mark.parametrize(("program", "slots"), [(ADAMW, ["m", "v"]), (LION, ["m"]), (DISCOVERED, ["v"])])
def test_only_slots_that_count_are_stored(program, slots):
    params = parameters()
    optimizer = ProgramOptimizer(params, program)
    run(optimizer, params, gradients(1))
    assert all(list(optimizer.state[p]) == slots for p in params)


@pytest.mark.parametrize("program", [ADAMW, DISCOVERED])
def test_half_now_half_later_is_all_at_once(program):
    steps = gradients(20)
    straight = parameters()
    run(ProgramOptimizer(straight, program), straight, steps)
    params = parameters()
    optimizer = ProgramOptimizer(params, program)
    run(optimizer, params, steps[:10])
    again = [torch.nn.Parameter(p.detach().clone()) for p in params]
    other = ProgramOptimizer(again, program)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(other, again, steps[10:])
    assert all(torch.equal(a, b) for a, b in zip(straight, again, strict=True))
    by_pickle = pickle.loads(pickle.dumps(optimizer))
    loaded = by_pickle.param_groups[0]["params"]
    run(by_pickle, loaded, steps[10:])
    assert all(torch.equal(a, b) for a, b in zip(straight, loaded, strict=True))


def test_groups_are_trees_with_rates_of_their_own():
    program = Program.parse("n = global_norm(g)\nupdate = g / n\nupdate = update * lr")
    a, b, idle = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    optimizer = ProgramOptimizer([{"params": [a, idle]}, {"params": [b], "lr": 0.5}], program)
    a.grad, b.grad = torch.tensor([3.0, 4.0]), torch.tensor([30.0, 40.0])
    optimizer.step()
    torch.testing.assert_close(a.detach(), torch.tensor([-0.6, -0.8]))
    torch.testing.assert_close(b.detach(), torch.tensor([-0.3, -0.4]))
    assert not idle.any() and not optimizer.state


def test_closure_and_schedule():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = ProgramOptimizer([p], Program.parse("update = g * lr"), lr=torch.tensor(0.5))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum() / 2
        loss.backward()
        return loss

    assert optimizer.step(closure) == 1.0
    scheduler.step()
    optimizer.step(closure)
    torch.testing.assert_close(p.detach(), torch.full((2,), 0.5 * 0.75))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_slots_have_the_parameters_dtype(dtype):
    params = parameters(dtype)
    optimizer = ProgramOptimizer(params, ADAMW)
    run(optimizer, params, gradients(2, dtype))
    assert all(optimizer.state[p]["m"].dtype == p.dtype == dtype and torch.isfinite(p).all() for p in params)


def test_wrong_arguments():
    p = torch.nn.Parameter(torch.ones(3, 2))
    with pytest.raises(TypeError, match="program"):
        ProgramOptimizer([p], "update = g * lr")
    with pytest.raises(ProgramError, match="statement 0"):
        ProgramOptimizer([p], Program.parse("update = clip(g, g)"))
    with pytest.raises(ValueError, match="lr"):
        ProgramOptimizer([p], LION, lr=-1.0)
    p.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(TypeError, match="dense"):
        ProgramOptimizer([p], LION).step()
