"""The Triton kernels of Lion's step against plain torch: on CUDA, or in the interpreter with TRITON_INTERPRET=1.

Run by `test_lion_step.py`, in a process of its own: the interpreter has to be chosen before Triton is imported.
"""

import itertools
import os

import pytest
import torch
from lion_tensors import lists, reference

from selectlib.kernels import _lion_triton
from selectlib.kernels._lion_reference import Batch, Rule, average_of

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
FLOATS = torch.float32, torch.bfloat16, torch.float16


def rule(**given):
    default = dict(lr=0.03125, weight_decay=0.1, update=average_of(0.9), momentum=average_of(0.99), scale=1.0)
    return Rule(**default | dict(found_inf=None, seed=None, step=0) | given).on(DEVICE)


def step(params, grads, exp_avgs, rule):
    _lion_triton.lion_step(Batch(params, grads, exp_avgs, list(range(len(params)))), rule)


def assert_equal(found, right):
    """Bit for bit; but the interpreter cuts off what does not fit into a bfloat16, where others round."""
    if found.dtype == torch.bfloat16 and DEVICE.type == "cpu":
        assert (found.view(torch.int16).int() - right.view(torch.int16).int()).abs().max() <= 1
    else:
        assert torch.equal(found, right)


def assert_equal_to_the_reference(dtypes, rule, sizes=(4096, 7, 4097)):
    params, grads, exp_avgs = lists(dtypes, sizes, DEVICE)
    expected = [tensor.clone() for tensor in params], grads, [tensor.clone() for tensor in exp_avgs]
    reference(*expected, rule)
    step(params, grads, exp_avgs, rule)
    for found, right in zip([*params, *exp_avgs], [*expected[0], *expected[2]], strict=True):
        assert_equal(found, right)
    assert not torch.equal(params[0], lists(dtypes, sizes, DEVICE)[0][0])


@pytest.mark.parametrize("dtypes", list(itertools.product(FLOATS, repeat=3)))
def test_every_dtype(dtypes):
    assert_equal_to_the_reference(dtypes, rule())


@pytest.mark.parametrize("betas", [(0.0, 0.0), (0.5, 0.5), (0.3, 0.9), (0.9, 0.3)])
def test_either_end_is_the_base_of_an_average(betas):
    assert_equal_to_the_reference([torch.float32] * 3, rule(update=average_of(betas[0]), momentum=average_of(betas[1])))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_on_the_device(dtype):
    numbers = rule(lr=torch.tensor(0.03), scale=torch.tensor(-0.001), found_inf=torch.tensor([0.0]))
    assert_equal_to_the_reference([dtype] * 3, numbers)


def test_rounding_at_random_draws_the_same_bits():
    for number in (torch.tensor(3), 2**31 + 5):
        numbers = rule(seed=2**40 + 7, step=number)
        found = lists((torch.bfloat16, torch.float32, torch.float32), (4096, 9), DEVICE)
        expected = [[tensor.clone() for tensor in tensors] for tensors in found]
        reference(*expected, numbers)
        step(*found, numbers)
        assert all(map(torch.equal, found[0], expected[0]))


def test_entries_that_are_not_finite():
    grad = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0], device=DEVICE)
    for dtype, seed in ((torch.float32, None), (torch.bfloat16, 3)):
        weights = torch.tensor([2.0, 2.0, torch.inf, torch.nan], dtype=dtype, device=DEVICE)
        momentum = torch.zeros(4, device=DEVICE)
        step([weights], [grad], [momentum], rule(lr=0.5, weight_decay=0.0, seed=seed))
        assert weights[:3].tolist() == [2.0, 1.5, torch.inf] and weights[3].isnan()
        assert momentum[0].isnan() and momentum[1:3].tolist() == [torch.inf, -torch.inf]


def test_nothing_is_written_where_gradients_are_not_finite():
    params, grads, exp_avgs = lists([torch.float32] * 3, (5000,), DEVICE)
    before = params[0].clone(), exp_avgs[0].clone()
    step(params, grads, exp_avgs, rule(found_inf=torch.tensor([1.0])))
    assert torch.equal(params[0], before[0]) and torch.equal(exp_avgs[0], before[1])


def test_addresses_that_are_no_multiples_of_sixteen():
    shifted = [[tensor[1:] for tensor in tensors] for tensors in lists([torch.float32] * 3, (5000,), DEVICE)]
    expected = [[tensor.clone() for tensor in tensors] for tensors in shifted]
    reference(*expected, rule())
    step(*shifted, rule())
    assert torch.equal(shifted[0][0], expected[0][0]) and torch.equal(shifted[2][0], expected[2][0])


def test_gradients_that_move_are_found():
    """The kept addresses are those of the tensors at hand."""
    params, grads, exp_avgs = lists([torch.float32] * 3, (500, 300), DEVICE)
    for seed in range(3):
        expected = [tensor.clone() for tensor in params], grads, [tensor.clone() for tensor in exp_avgs]
        reference(*expected, rule())
        step(params, grads, exp_avgs, rule())
        assert all(map(torch.equal, [*params, *exp_avgs], [*expected[0], *expected[2]]))
        grads = lists([torch.float32] * 3, (500, 300), DEVICE, seed)[1]


@pytest.mark.skipif(DEVICE.type == "cpu", reason="a graph is captured on CUDA")
def test_a_captured_step_is_replayed():
    numbers = rule(lr=torch.tensor(0.03), seed=5, step=torch.tensor(0))
    dtypes = torch.bfloat16, torch.float32, torch.float32
    params, grads, exp_avgs = lists(dtypes, (9000, 7), DEVICE)
    expected = [tensor.clone() for tensor in params], grads, [tensor.clone() for tensor in exp_avgs]
    warm = [[tensor.clone() for tensor in tensors] for tensors in (params, grads, exp_avgs)]
    with torch.cuda.stream(torch.cuda.Stream()):
        step(*warm, numbers)
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            step(params, grads, exp_avgs, numbers)
    for number in range(20):
        numbers.step.fill_(number)
        graph.replay()
        reference(*expected, rule(lr=torch.tensor(0.03), seed=5, step=number))
    assert all(map(torch.equal, [*params, *exp_avgs], [*expected[0], *expected[2]]))
