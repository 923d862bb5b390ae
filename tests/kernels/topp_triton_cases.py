"""The Triton kernels of the top-p mask against the reference: on CUDA, or in the interpreter with TRITON_INTERPRET=1.

Run by `test_topp_triton.py`, in a process of its own: the interpreter has to be chosen before Triton is imported.
"""

import math
import os

import pytest
import torch
from topp_rows import same_up_to_rounding, sink_rows

from selectlib.kernels import _topp_triton, topp_mask

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


def topp(rows, p, steps=31):
    """What the kernel finds, on the CPU."""
    mask, threshold = _topp_triton.topp(rows.to(DEVICE), p, steps)
    assert mask.device.type == DEVICE and mask.dtype == torch.bool and threshold.dtype == torch.float32
    return mask.cpu(), threshold.cpu()


FLOATS = [(torch.float32, length) for length in (1, 2, 7, 256, 1000, 2048, 8192, 8193)]
HALVES = [(torch.float16, 1000), (torch.bfloat16, 1), (torch.bfloat16, 1000), (torch.bfloat16, 9000)]


@pytest.mark.parametrize(("dtype", "length"), FLOATS + HALVES)
def test_the_kernel_finds_what_the_reference_finds(dtype, length):
    rows = torch.cat([sink_rows(1, length, sink=sink) for sink in (0.0, 0.5, 0.999)])
    rows = rows.to(dtype)
    for p in (0.01, 0.95) if length > 8192 else (0.01, 0.5, 0.95, 0.99):
        mask, threshold = topp(rows, p)
        assert same_up_to_rounding(mask, topp_mask(rows, p, method="sort"), rows)
        assert torch.equal(mask, rows.float() >= threshold)


def test_sums_without_rounding_give_the_very_same_sets():
    """Multiples of 2**-8: every order of summation gives the same."""
    rows = (sink_rows(4, 500, sink=0.0) * 2**16).round().clamp_(max=2**12) * 2.0**-8
    assert bool((rows.sum(-1) > 0).all())
    for p in (0.25, 0.5, 0.875):
        mask, threshold = topp(rows, p)
        expected, cut = topp_mask(rows, p, method="sort", return_threshold=True)
        assert torch.equal(mask, expected) and torch.equal(threshold[:, 0], cut)


@pytest.mark.parametrize("length", [2048, 8193])
def test_few_steps_keep_enough_and_little_more(length):
    rows = sink_rows(4, length)
    mask, _ = topp(rows, 0.95, steps=12)
    exact = topp_mask(rows, 0.95, method="sort")
    assert bool((mask.sum(-1) <= 1.02 * exact.sum(-1)).all())
    assert bool(((rows * mask).double().sum(-1) >= 0.95 * (1 - 1e-6)).all())
    one_step, _ = topp(rows, 0.95, steps=1)
    assert one_step.sum() > mask.sum()


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # the interpreter's, on a row that overflows
@pytest.mark.parametrize("length", [5, 9001])
def test_edges(length):
    row = torch.zeros(length)
    row[:5] = torch.tensor([0.1, 0.6, 0.0, 0.3, 0.6])
    rows = torch.stack([row, torch.zeros(length), -torch.zeros(length), row * 2.0**-120, row, row, row, row])
    for i, bad in enumerate((-0.1, math.nan, math.inf, 3e38)):
        rows[4 + i, 3 if bad != 3e38 else slice(0, 4)] = bad
    mask, threshold = topp(rows, 0.5)
    assert mask[0].nonzero()[:, 0].tolist() == mask[3].nonzero()[:, 0].tolist() == [1, 4]
    assert not mask[1:3].any() and not mask[4:].any()
    assert threshold[1:3].isinf().all() and threshold[4:].isinf().all()
    assert topp(rows[:1], 0.0)[0][0].nonzero()[:, 0].tolist() == [1, 4]
    subnormal = torch.zeros(1, length)
    subnormal[0, :4] = torch.tensor([1.0, 2.0, 3.0, 0.0]) * 2.0**-149
    assert topp(subnormal, 0.5)[0][0, :4].tolist() == [False, False, True, False]


def test_strides_do_not_matter():
    rows = sink_rows(6, 900)
    expected = topp(rows, 0.9)[0]
    spread = torch.zeros(900, 3, 12)
    spread[:, 1, ::2] = rows.T
    assert torch.equal(topp(spread[:, 1, ::2].T, 0.9)[0], expected)
    assert torch.equal(topp(rows[:1].expand(3, 900), 0.9)[0], expected[:1].expand(3, 900))
