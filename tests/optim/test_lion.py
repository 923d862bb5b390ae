"""Lion: the rule itself, in every form of a step."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.optim import Lion, _blocks, lion

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
FORMS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
devices = pytest.mark.parametrize("device", DEVICES)


def parameters(*tensors, device="cpu"):
    return [torch.nn.Parameter(tensor.to(device, copy=True)) for tensor in tensors]


def run(optimizer, *steps):
    """Take a step with each of the lists of gradients; the weights after it, and the optimiser."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for grads in steps:
        for p, grad in zip(params, grads, strict=True):
            p.grad = None if grad is None else torch.as_tensor(grad, dtype=p.dtype, device=p.device)
        optimizer.step()
    return [p.detach().cpu() for p in params]


def normal(*shape, seed=100, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def separately_rounded(p, grads, lr, beta1, beta2, weight_decay):
    """The rule in numpy, each product and each sum rounded by itself, and where no form need agree with it."""
    kind = p.dtype.type
    m, dead = np.zeros_like(p), np.zeros(p.shape, dtype=bool)
    for g in grads:
        c = kind(beta1) * m + kind(1 - beta1) * g
        dead |= np.abs(c) < 4 * np.finfo(p.dtype).eps * (np.abs(m) + np.abs(g))
        p = p * kind(1 - lr * weight_decay) - kind(lr) * np.sign(c)
        m = kind(beta2) * m + kind(1 - beta2) * g
    return p, m, dead


@pytest.mark.oracle
@devices
@forms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_a_separately_rounded_reference(dtype, form, device):
    start, steps = normal(4001, dtype=dtype), [normal(4001, seed=seed, dtype=dtype) for seed in range(1, 101)]
    settings = {"lr": 1e-2, "weight_decay": 0.3}
    optimizer = Lion(parameters(start, device=device), **settings, **form)
    (found,) = run(optimizer, *([grad] for grad in steps))
    expected, m, dead = separately_rounded(start.numpy(), [grad.numpy() for grad in steps], 1e-2, 0.9, 0.99, 0.3)
    assert dead.mean() < 1e-3
    np.testing.assert_array_equal(found.numpy()[~dead], expected[~dead])
    (state,) = optimizer.state.values()
    np.testing.assert_allclose(state["exp_avg"].cpu().numpy(), m, atol=20 * np.finfo(m.dtype).eps)


@pytest.mark.oracle
def test_forms_agree_bit_for_bit_in_float64(monkeypatch):
    monkeypatch.setattr(_blocks, "_CPU_BLOCK", 64)
    shapes = (7, 9), (300,), (), (64,), (0,), (5, 50)
    starts = [normal(*shape, seed=seed, dtype=torch.float64) for seed, shape in enumerate(shapes)]
    grads = [normal(50, *shape, seed=seed, dtype=torch.float64) for seed, shape in enumerate(shapes)]
    steps = [[grad[k] for grad in grads] for k in range(50)]
    loop, foreach = (Lion(parameters(*starts), 1e-2, weight_decay=0.1, foreach=foreach) for foreach in (False, True))
    assert all(map(torch.equal, run(loop, *steps), run(foreach, *steps)))
    momenta = zip(loop.state.values(), foreach.state.values(), strict=True)
    assert all(torch.equal(one["exp_avg"], other["exp_avg"]) for one, other in momenta)


@pytest.mark.oracle
@devices
@forms
def test_golden_trace(form, device):
    grads = [torch.full((10,), 0.01)] + [torch.linspace(0.1, 1, 10)] * 4
    optimizer = Lion(parameters(torch.ones(10), device=device), 1e-3, **form)
    for grad, expected in zip(grads, (0.999, 0.998, 0.997, 0.996, 0.995), strict=True):
        (found,) = run(optimizer, [grad])
        torch.testing.assert_close(found, torch.full((10,), expected))


@pytest.mark.oracle
@forms
@pytest.mark.parametrize("second, sign", [(-0.085, 1), (-0.5, -1)])
def test_the_update_uses_the_old_momentum_and_the_betas_in_order(second, sign, form):
    optimizer = Lion(parameters(torch.zeros(1)), 0.5, **form)
    first, then = run(optimizer, [[1.0]])[0].clone(), run(optimizer, [[second]])[0]
    assert (then - first).item() == -0.5 * sign


@pytest.mark.oracle
@forms
def test_decay_is_decoupled(form):
    optimizer = Lion(parameters(torch.tensor([2.0, -3.0])), 1e-3, weight_decay=10.0, **form)
    start, expected = torch.tensor([2.0, -3.0]), 1.0
    for lr in (1e-3, 5e-3, 2e-3):
        optimizer.param_groups[0]["lr"] = lr
        (found,) = run(optimizer, [[0.0, 0.0]])
        expected *= 1 - 10 * lr
        torch.testing.assert_close(found, start * expected, rtol=1e-6, atol=0)
    before = found.clone()
    (after,) = run(optimizer, [[-1e-9, 1e-9]])  # a decay in the gradient would turn both signs
    torch.testing.assert_close(after, before * (1 - 2e-2) - 2e-3 * torch.tensor([-1.0, 1.0]), rtol=1e-6, atol=0)


@pytest.mark.oracle
@forms
def test_equal_betas(form):
    start, steps = normal(64), [normal(64, seed=seed) for seed in range(1, 30)]
    (signs,) = run(Lion(parameters(start), 0.25, betas=(0.0, 0.0), **form), *([grad] for grad in steps))
    expected = start
    for grad in steps:
        expected = expected - 0.25 * grad.sign()
    assert torch.equal(signs, expected)
    (means,) = run(Lion(parameters(start), 0.25, betas=(0.5, 0.5), **form), *([grad] for grad in steps))
    expected, mean = start, torch.zeros(64)
    for grad in steps:
        mean = 0.5 * mean + 0.5 * grad
        expected = expected - 0.25 * mean.sign()
    assert torch.equal(means, expected)


@forms
def test_nothing_moves_without_gradient_and_momentum(form):
    (found,) = run(Lion(parameters(torch.tensor([1.0, 2.0])), 0.5, **form), [[0.0, 1.0]], [[0.0, 1.0]])
    assert found.tolist() == [1.0, 1.0]
    (found,) = run(Lion(parameters(torch.tensor([1.0, 2.0])), 0.0, weight_decay=0.5, **form), [[3.0, 1.0]])
    assert found.tolist() == [1.0, 2.0]


@pytest.mark.oracle
@settings(max_examples=20, deadline=None)
@given(st.integers(-20, 20), st.integers(0, 2**31 - 1))
def test_scale_sign_and_order_of_gradients(power, seed):
    start, steps = normal(33, seed=seed), [normal(33, seed=seed + k) for k in range(1, 12)]

    def end(start, steps):
        return run(Lion(parameters(start), 1e-2, weight_decay=0.1), *([grad] for grad in steps))[0]

    plain = end(start, steps)
    assert torch.equal(plain, end(start, [grad * 2.0**power for grad in steps]))
    assert torch.equal(plain, -end(-start, [-grad for grad in steps]))
    order = torch.randperm(33, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(plain[order], end(start[order], [grad[order] for grad in steps]))


@pytest.mark.oracle
@forms
def test_the_box_is_kept_and_approached(form):
    inside = (torch.rand(500, generator=torch.Generator().manual_seed(100)) - 0.5).clamp(-0.5, 0.5)
    steps = [[normal(500, seed=seed) + 0.5, torch.ones(1)] for seed in range(300)]
    optimizer = Lion(parameters(inside, torch.tensor([-9.0])), 0.1, weight_decay=2.0, **form)
    excess = 8.5
    for grads in steps[:20]:
        kept, outside = run(optimizer, grads)
        excess *= 0.8
        assert kept.abs().max() <= 0.5 + 1e-6
        assert abs(outside.item()) - 0.5 <= excess + 1e-5
    kept, _ = run(optimizer, *steps[20:])
    assert 0.49 < kept.abs().max() <= 0.5 + 1e-6


@devices
@forms
def test_maximize_is_descent_of_the_negative(form, device):
    start, steps = normal(40), [normal(40, seed=seed) for seed in range(1, 8)]
    up = Lion(parameters(start, device=device), 1e-2, weight_decay=0.1, maximize=True, **form)
    (found,) = run(up, *([grad] for grad in steps))
    assert torch.equal(up.param_groups[0]["params"][0].grad.cpu(), steps[-1])
    (down,) = run(Lion(parameters(start, device=device), 1e-2, weight_decay=0.1, **form), *([-g] for g in steps))
    assert torch.equal(found, down)


@devices
@forms
def test_any_layout_gives_the_same(form, device):
    tensors = {
        "scalar": normal(), "empty": normal(0, 3), "images": normal(2, 3, 5, 5).to(memory_format=torch.channels_last),
        "transposed": normal(6, 4).T, "every second": normal(20)[::2], "plain": normal(3, 3),
    }  # fmt: skip
    grads = {name: normal(*tensor.shape, seed=1) for name, tensor in tensors.items()}
    starts = [tensor.clone() for tensor in tensors.values()]
    params = [torch.nn.Parameter(tensor.to(device)) for tensor in tensors.values()]
    assert not all(p.is_contiguous() for p in params)
    optimizer = Lion([*params, torch.nn.Parameter(torch.ones(2))], 0.25, **form)
    found = run(optimizer, [*grads.values(), None], [*grads.values(), None])
    for weights, start, grad in zip(found, starts, grads.values(), strict=False):
        torch.testing.assert_close(weights, start - 0.5 * grad.sign(), rtol=0, atol=1e-6)
    assert found[-1].tolist() == [1.0, 1.0]
    assert len(optimizer.state) == len(tensors)


@forms
def test_complex_numbers_are_pairs(form):
    start, steps = normal(12, 2), [normal(12, 2, seed=seed) for seed in range(1, 6)]
    pairs = Lion(parameters(torch.view_as_complex(start)), 1e-2, weight_decay=0.1, **form)
    (found,) = run(pairs, *([torch.view_as_complex(grad)] for grad in steps))
    (expected,) = run(Lion(parameters(start), 1e-2, weight_decay=0.1, **form), *([grad] for grad in steps))
    assert torch.equal(torch.view_as_real(found), expected)


def test_cautious_moves_what_agrees_and_scales_it():
    optimizer = Lion(parameters(torch.zeros(4)), 0.25, cautious=True)
    run(optimizer, [[1.0, 1.0, 1.0, 1.0]])
    (found,) = run(optimizer, [[1.0, -0.01, 2.0, -0.02]])  # the old momentum outweighs two of the gradients
    expected = torch.tensor([1.0, 0.0, 1.0, 0.0]) * 0.25 * 4 / 3 + 0.25 * 4 / 5
    torch.testing.assert_close(found, -expected)
    loop = Lion(parameters(torch.zeros(4)), 0.25, cautious=True, foreach=False)
    assert torch.equal(run(loop, [[1.0, 1.0, 1.0, 1.0]], [[1.0, -0.01, 2.0, -0.02]])[0], found)


def test_groups_closure_and_named_parameters():
    a, b = parameters(torch.zeros(1), torch.zeros(1))
    optimizer = Lion([{"params": [("a", a)], "lr": 1.0}, {"params": [("b", b)], "weight_decay": 0.5}], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = a.sum() - 2 * b.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 0.0
    assert optimizer.step(closure).item() == -2.0
    assert (a.item(), b.item()) == (-2.0, 0.875)


def test_capturable_reads_a_tensor_on_the_device_only():
    start, steps = normal(30), [[normal(30, seed=seed)] for seed in range(1, 8)]
    lr = torch.tensor(1e-2)
    optimizer = Lion(parameters(start), lr, capturable=True)
    (found,) = run(optimizer, *steps)
    (expected,) = run(Lion(parameters(start), lr.item()), *steps)
    assert torch.equal(found, expected)
    lr.zero_()
    assert torch.equal(run(optimizer, steps[0])[0], expected)
    (decayed,) = run(Lion(parameters(start), torch.tensor(1e-2), weight_decay=0.1, capturable=True), *steps)
    torch.testing.assert_close(decayed, run(Lion(parameters(start), 1e-2, weight_decay=0.1), *steps)[0])


def test_copies_go_their_own_way():
    optimizer = Lion(parameters(torch.ones(3)), 0.25, nonfinite="raise")
    run(optimizer, [[1.0, 1.0, 1.0]])
    twin = copy.deepcopy(optimizer)
    assert torch.equal(run(optimizer, [[1.0, -9.0, 1.0]])[0], run(twin, [[1.0, -9.0, 1.0]])[0])
    with pytest.raises(ValueError, match="finite"):
        run(twin, [[math.nan, 0.0, 0.0]])


def test_functional_form_checks_its_lists():
    p, g, m = torch.ones(3), torch.ones(3), torch.zeros(3)
    rule = {"lr": 0.5, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}
    with pytest.raises(ValueError, match="one length, got 1, 2, 1"):
        lion([p], [g, g], [m], **rule)
    with pytest.raises(ValueError, match="compensations must be given"):
        lion([p], [g], [m], **rule, rounding="kahan")
    with pytest.raises(ValueError, match="rounding must be one of"):
        lion([p], [g], [m], **rule, rounding="up")
    assert p.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "wrong, error, match",
    [
        ({"lr": -1.0}, ValueError, "lr must be finite and at least 0, got -1.0"),
        ({"lr": math.nan}, ValueError, "lr must be finite"),
        ({"lr": "fast"}, TypeError, "lr must be a number, got str"),
        ({"lr": torch.ones(2)}, ValueError, r"lr must be a number or a tensor of one, got shape \(2,\)"),
        ({"betas": (0.9, 1.0)}, ValueError, "beta2 must be from 0 to below 1, got 1.0"),
        ({"betas": (0.9,)}, TypeError, "betas must be two numbers"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be finite and at least 0"),
        ({"momentum_dtype": torch.int64}, TypeError, "momentum_dtype must be a floating dtype"),
        ({"rounding": "up"}, ValueError, "rounding must be one of nearest, stochastic, kahan, got 'up'"),
        ({"nonfinite": "ignore"}, ValueError, "nonfinite must be one of"),
        ({"seed": -1}, ValueError, "seed must be from 0 to"),
        ({"foreach": True, "fused": True}, ValueError, "foreach and fused"),
        ({"cautious": True, "fused": True}, ValueError, "fused must not be True with cautious"),
        ({"capturable": True, "nonfinite": "raise"}, ValueError, "where capturable"),
        ({"capturable": True, "rounding": "stochastic"}, ValueError, "needs fused=True"),
    ],
)
def test_wrong_settings_are_named(wrong, error, match):
    with pytest.raises(error, match=match):
        Lion(parameters(torch.ones(2)), **wrong)
    optimizer = Lion(parameters(torch.ones(2)))
    with pytest.raises(error, match=match):
        optimizer.add_param_group({"params": parameters(torch.ones(2)), **wrong})
    assert len(optimizer.param_groups) == 1


def test_wrong_parameters_are_named():
    with pytest.raises(ValueError, match="not for float16"):
        Lion(parameters(torch.ones(2, dtype=torch.float16)), rounding="stochastic")
    with pytest.raises(ValueError, match="None for complex parameters"):
        Lion(parameters(torch.ones(2, dtype=torch.complex64)), momentum_dtype=torch.bfloat16)
    (p,) = parameters(torch.ones(2))
    p.grad = torch.ones(2).to_sparse()
    with pytest.raises(TypeError, match=r"gradients must be dense, got torch\.sparse_coo"):
        Lion([p]).step()
