"""One step of Lion in place: every path against a reference of single roundings, options, edges, errors."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from lion_tensors import lists
from own_process import run

from selectlib import _compiled
from selectlib.kernels import lion_step_

SETTINGS = dict(lr=0.03125, beta1=0.9, beta2=0.99, weight_decay=0.1)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
CASES = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "lion_triton_cases.py")


def by_hand(p, g, m, *, lr, beta1, beta2, weight_decay):
    """The step in numpy, operation by operation: in float32, or in float64 where one is."""
    wide = np.float64 if torch.float64 in (p.dtype, m.dtype) else np.float32
    weights, grad, old = (tensor.double().numpy().astype(wide) for tensor in (p, g, m))

    def average(beta):
        return grad - wide(beta) * (grad - old) if beta <= 0.5 else old + wide(1 - beta) * (grad - old)

    new = weights * wide(1 - lr * weight_decay) - wide(lr) * np.sign(average(beta1))
    assert new.dtype == wide
    return torch.from_numpy(new).to(p.dtype), torch.from_numpy(average(beta2)).to(m.dtype)


def same(found, expected):
    return all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(found, expected, strict=True))


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtypes", list(itertools.product((torch.float32, torch.bfloat16), repeat=3)))
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.0, 0.0), (0.5, 0.95), (0.95, 0.3)])
def test_every_bit_is_that_of_single_roundings(device, dtypes, betas):
    settings = SETTINGS | dict(beta1=betas[0], beta2=betas[1])
    params, grads, exp_avgs = lists(dtypes, (1, 7, 0, 33_000, 4097), device)
    for _ in range(5):
        lists_of_three = zip(params, grads, exp_avgs, strict=True)
        found = [by_hand(*(tensor.cpu() for tensor in three), **settings) for three in lists_of_three]
        lion_step_(params, grads, exp_avgs, **settings)
        assert same([*params, *exp_avgs], [pair[0] for pair in found] + [pair[1] for pair in found])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_dtypes(device, dtype):
    for dtypes in (
        (dtype, dtype, dtype),
        (torch.float32, dtype, torch.float32),
        (dtype, torch.float32, torch.bfloat16),
    ):
        params, grads, exp_avgs = lists(dtypes, (4097,), device)
        expected = by_hand(params[0].cpu(), grads[0].cpu(), exp_avgs[0].cpu(), **SETTINGS)
        lion_step_(params, grads, exp_avgs, **SETTINGS)
        assert same((params[0], exp_avgs[0]), expected)


def test_several_threads_give_the_same(monkeypatch):
    first, second = (lists([torch.float32] * 3, (70_001, 3, 50_000, 20_000)) for _ in range(2))
    lion_step_(*first, **SETTINGS)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    lion_step_(*second, **SETTINGS)
    assert same([*first[0], *first[2]], [*second[0], *second[2]])


@pytest.mark.parametrize("device", DEVICES)
def test_a_list_may_be_mixed(device):
    """Every tensor gets what it gets alone."""
    dtypes = list(itertools.product((torch.float32, torch.bfloat16, torch.float64), repeat=3))
    mixed = [[lists(three, (100,), device, seed=i)[k][0] for i, three in enumerate(dtypes)] for k in range(3)]
    alone = [[tensor.clone() for tensor in tensors] for tensors in mixed]
    lion_step_(*mixed, **SETTINGS)
    for p, g, m in zip(*alone, strict=True):
        lion_step_([p], [g], [m], **SETTINGS)
    assert same([*mixed[0], *mixed[2]], [*alone[0], *alone[2]])


@pytest.mark.parametrize("device", DEVICES)
def test_how_tensors_lie_in_memory_does_not_matter(device):
    def as_columns(tensor):
        return tensor.T.contiguous().T

    layouts = {
        "channels last": [lambda tensor: tensor.contiguous(memory_format=torch.channels_last)] * 3,
        "reversed": [lambda tensor: tensor.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)] * 3,
        "unlike": [lambda tensor: tensor, lambda tensor: tensor.contiguous(memory_format=torch.channels_last)] * 2,
        "with gaps": [lambda tensor: torch.stack([tensor, tensor], -1)[..., 0]] * 3,
        "alike with gaps": [lambda tensor: torch.cat([tensor, tensor], 1)[:, :3]] * 3,
    }
    for layout in layouts.values():
        flat = [lists([torch.float32] * 3, (120,), device)[k][0].view(2, 3, 4, 5) for k in range(3)]
        laid = [change(tensor.clone()) for change, tensor in zip(layout, flat, strict=False)]
        lion_step_(*([tensor] for tensor in laid), **SETTINGS)
        lion_step_(*([tensor] for tensor in flat), **SETTINGS)
        assert same(laid, flat)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_options(device, dtype):
    """A climb is a descent of the negated gradients, a scale is divided off, a rate may be a tensor."""

    def stepped(change=lambda g: g, **options):
        params, grads, exp_avgs = lists([dtype] * 3, (5000,), device)
        grads = [change(g) for g in grads]
        kept = [g.clone() for g in grads]
        lion_step_(params, grads, exp_avgs, **SETTINGS | options)
        assert same(grads, kept)
        return params[0], exp_avgs[0]

    plain = stepped()
    assert same(stepped(lambda g: -g, maximize=True), plain)
    assert same(stepped(lambda g: g * 1024, grad_scale=torch.tensor(1024.0, device=device)), plain)
    assert same(stepped(lambda g: g * -1024, grad_scale=torch.tensor([1024.0], device=device), maximize=True), plain)
    assert same(stepped(lr=torch.tensor(0.03125, device=device), weight_decay=0.5), stepped(weight_decay=0.5))
    assert same(stepped(found_inf=torch.tensor(0.0, device=device)), plain)
    untouched = lists([dtype] * 3, (5000,), device)
    assert same(stepped(found_inf=torch.tensor([1.0], device=device)), (untouched[0][0], untouched[2][0]))
    assert same(stepped(lr=0.0)[:1], untouched[0])
    assert same(stepped(seed=3), plain)  # of bfloat16 only


@pytest.mark.parametrize("device", DEVICES)
def test_entries_that_are_not_finite(device):
    """The sign of NaN is 0, as in torch; the momentum keeps what came."""
    p, m = torch.full((4,), 2.0, device=device), torch.zeros(4, device=device)
    g = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0], device=device)
    lion_step_([p], [g], [m], **SETTINGS | dict(weight_decay=0.0, lr=0.5))
    assert p.tolist() == [2.0, 1.5, 2.5, 1.5]
    assert m[0].isnan() and m[1:3].tolist() == [torch.inf, -torch.inf]
    half = torch.tensor([torch.nan, torch.inf, 3.3e38, 1.0], device=device).bfloat16()
    lion_step_([half], [g], [m], **SETTINGS)
    assert half[0].isnan() and half[1].isinf() and half[2:].isfinite().all()


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_rounding_at_random_is_right_on_average(device):
    """The mean of 10^5 rounded weights is the exact one, within 4 standard errors; nothing moves by rounding."""
    count, lr = 100_000, 1e-4
    for start in (0.1, -1.7, 3e-3):
        exact = torch.tensor(start).bfloat16().item() - lr
        p = torch.full((count,), start, dtype=torch.bfloat16, device=device)
        g, m = torch.ones(count, device=device), torch.zeros(count, device=device)
        lion_step_([p], [g], [m], **SETTINGS | dict(lr=lr, weight_decay=0.0, seed=2**63 + 1, step=7))
        rounded = p.double().cpu()
        assert 0 < rounded.std() and len(rounded.unique()) == 2
        assert abs(rounded.mean() - exact) < 4 * rounded.std() / count**0.5


@pytest.mark.parametrize("device", DEVICES)
def test_random_bits_depend_on_seed_step_and_place_alone(device):
    def rounded(places, seed=5, step=3):
        p, g, m = (lists([torch.float32] * 3, (1001,), device)[k][0].view(7, 143) for k in range(3))
        params = [p.bfloat16() for _ in range(places)]
        lion_step_(params, [g] * places, [m.clone() for _ in params], **SETTINGS, seed=seed, step=step)
        return params

    first, second = rounded(2)
    assert same(rounded(2), (first, second)) and same(rounded(1), (first,))
    assert same(rounded(1, step=torch.tensor(3, device=device)), (first,))
    others = [second, *rounded(1, seed=6), *rounded(1, step=4)]
    assert not any(torch.equal(first, other) for other in others)


@pytest.mark.cuda
def test_cuda_rounds_at_random_as_the_cpu_does():
    for dtypes in ((torch.bfloat16, torch.float32, torch.float32), (torch.bfloat16,) * 3):
        here, there = (lists(dtypes, (5000, 3), device) for device in ("cpu", "cuda"))
        for step in range(3):
            lion_step_(*here, **SETTINGS, seed=9, step=step)
            lion_step_(*there, **SETTINGS, seed=9, step=step)
        assert same([*here[0], *here[2]], [*there[0], *there[2]])


def test_without_a_compiler_plain_torch_does_the_same(monkeypatch):
    expected, found = (lists([torch.float32] * 3, (1000, 3)) for _ in range(2))
    lion_step_(*expected, **SETTINGS)
    monkeypatch.setenv("CXX", "no-such-compiler")
    _compiled.compiled.cache_clear()
    try:
        with pytest.warns(UserWarning, match="no compiled step of Lion.*no-such-compiler"):
            lion_step_(*found, **SETTINGS)
        with warnings.catch_warnings():  # only once
            warnings.simplefilter("error")
            lion_step_(*found, **SETTINGS | dict(lr=0.0, beta2=0.5))
    finally:
        _compiled.compiled.cache_clear()
    lion_step_(*expected, **SETTINGS | dict(lr=0.0, beta2=0.5))
    assert same([*expected[0], *expected[2]], [*found[0], *found[2]])


def test_nothing_to_do():
    lion_step_([], [], [], **SETTINGS)
    empty, number = torch.empty(0, 3), torch.tensor(1.0)
    lion_step_([empty, number], [empty, number.clone()], [empty.clone(), torch.tensor(0.0)], **SETTINGS)
    assert number == np.float32(1 - 0.003125) - np.float32(0.03125)


def test_parameters_that_require_gradients_are_changed():
    p = torch.nn.Parameter(torch.ones(3))
    lion_step_([p], [torch.ones(3)], [torch.zeros(3)], **SETTINGS)
    assert p.requires_grad and p.is_leaf and (p < 1).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(lr=-1.0), ValueError, "lr must be finite and at least 0, got -1.0"),
        (dict(lr=float("nan")), ValueError, "lr must be finite"),
        (dict(lr=torch.ones(2)), ValueError, "lr must be a float or a floating tensor of no dimension"),
        (dict(beta1=1.0), ValueError, "beta1 must be at least 0 and below 1, got 1.0"),
        (dict(beta2=-0.1), ValueError, "beta2 must be at least 0 and below 1"),
        (dict(weight_decay=float("inf")), ValueError, "weight_decay must be finite and at least 0, got inf"),
        (dict(seed=2**64), ValueError, "seed must be from 0 to"),
        (dict(seed=1, step=-1), ValueError, "step must be at least 0, got -1"),
        (dict(seed=1.5), TypeError, "seed must be an int, got float"),
        (dict(grads=[]), ValueError, "params, grads and exp_avgs must be of the same length, got 1, 0, 1"),
        (dict(grads=[torch.ones(3)]), ValueError, r"grads must have shape \(2,\) on cpu at 0, like params, got \(3,\)"),
        (dict(exp_avgs=[torch.ones(2, dtype=torch.int)]), TypeError, "exp_avgs must be dense tensors of real floats"),
        (dict(params=[torch.ones(2, dtype=torch.cfloat)]), TypeError, "params must be dense tensors of real floats"),
        (dict(grads=[torch.ones(2).to_sparse()]), TypeError, "grads must be dense tensors of real floats"),
        (dict(grads=[None]), TypeError, "grads must be dense tensors of real floats, got None at 0"),
    ],
)
def test_errors_name_the_argument(change, error, message):
    tensors = {name: [torch.ones(2)] for name in ("params", "grads", "exp_avgs")}
    with pytest.raises(error, match=message):
        lion_step_(**tensors | SETTINGS | change)


def test_the_kernels_in_the_interpreter():
    run(*CASES, TRITON_INTERPRET="1")


@pytest.mark.cuda
def test_the_kernels_compiled():
    run(*CASES)


COMPILE = """
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from selectlib.kernels import _lion_triton as kernels

def compile(kernel, types, constants):
    types = {name: "constexpr" if name in constants else types.get(name, "fp32") for name in kernel.arg_names}
    source = ASTSource(kernel, types, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=kernels._OPTIONS).asm["ptx"]

types = dict(table="*i64", blocks="*i32", count="i32", position="i32", param="*bf16", grad="*fp16", momentum="*fp32")
pointers = types | dict(lr="*fp32", scale="*fp32", found_inf="*fp32", seed="i64", step="*i64")
constants = dict(FROM_OLD=True, MOMENTUM_FROM_OLD=False, BLOCK=4096)
plain = constants | dict(LR=False, SCALE=False, STEP=False, found_inf=None, seed=None, step=0)
device = constants | dict(LR=True, SCALE=True, STEP=True)
many = dict(PARAM=tl.float32, GRAD=tl.float32, MOMENTUM=tl.float32, ALIGNED=True)
compiled = [
    compile(kernels.many_kernel, types, plain | many),
    compile(kernels.many_kernel, pointers, device | many | dict(PARAM=tl.bfloat16)),
    compile(kernels.one_kernel, pointers, device),
]
assert "ld.global.v4" in compiled[0]
assert not any("fma.rn.f32" in text for text in compiled)
"""


def test_the_kernels_compile_for_a_device_that_is_not_here(tmp_path):
    run("-c", COMPILE, TRITON_CACHE_DIR=str(tmp_path))
