"""The Triton kernels against the reference: on a CUDA device, or in Triton's interpreter where TRITON_INTERPRET is 1.

Run by `test_triton.py`, in a process of its own: the interpreter has to be chosen before Triton is imported.
"""

import os

import pytest
import torch

from selectlib.kernels import _projection_triton, projection_signs
from selectlib.kernels._dense_laws import RADEMACHER
from selectlib.kernels._philox import Stream
from selectlib.kernels._projection_dense import back_project_dense, project_dense
from selectlib.seeding import generator

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
SIZES = [  # b, p, k, row_offset, dtype: one tile and several, one part of the coordinates and several, all uneven
    (1, 1, 1, 0, torch.float32),
    (65, 300, 130, 128, torch.float32),
    (2, 4200, 3, 2**33 + 1, torch.float32),
    (3, 129, 5, 77, torch.float16),
    (3, 129, 5, 77, torch.bfloat16),
]
STREAMS = [(0, 0), (1, 1), (2**64 - 1, 2**32 - 1), (2**40 + 7, 2**31)]


def whole_numbers(*shape, seed):
    return torch.randint(-8, 9, shape, generator=generator(seed)).float()


@pytest.mark.parametrize(("b", "p", "k", "row_offset", "dtype"), SIZES)
def test_projection_of_whole_numbers_is_exact(b, p, k, row_offset, dtype):
    g = whole_numbers(b, p, seed=100)
    stream = Stream(100, 3)
    found = _projection_triton.project(g.to(DEVICE, dtype), k, stream, row_offset)
    assert found.dtype == torch.float32 and found.device.type == DEVICE
    assert torch.equal(found.cpu(), project_dense(RADEMACHER, g, k, stream, row_offset))


@pytest.mark.parametrize(("b", "p", "k", "row_offset", "dtype"), SIZES)
def test_back_projection_of_whole_numbers_is_exact(b, p, k, row_offset, dtype):
    v = whole_numbers(k, b % 4, seed=101)
    stream = Stream(100, 3)
    found = _projection_triton.back_project(v.to(DEVICE, dtype), p, stream, row_offset)
    assert found.dtype == torch.float32 and found.device.type == DEVICE and found.shape == (p, b % 4)
    assert torch.equal(found.cpu(), back_project_dense(RADEMACHER, v, p, stream, row_offset))


@pytest.mark.parametrize(("seed", "model_id"), STREAMS)
def test_the_signs_of_every_stream(seed, model_id):
    p, k, row_offset = 60, 66, 100
    signs = projection_signs(
        "rademacher", torch.arange(p) + row_offset, torch.arange(k), k, seed=seed, model_id=model_id
    )
    stream = Stream(seed, model_id)
    there = _projection_triton.project(torch.eye(p, device=DEVICE), k, stream, row_offset)
    assert torch.equal(there.cpu().sign().to(torch.int8), signs)
    v = torch.randn(k, generator=generator(100))
    back = _projection_triton.back_project(v.to(DEVICE), p, stream, row_offset).cpu()
    torch.testing.assert_close(back, signs.float() @ v / k**0.5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.float32, 1.0), (torch.float32, 2.0**-100), (torch.float16, 2.0**-14), (torch.bfloat16, 2.0**100)],
)
def test_no_digit_and_no_small_number_is_lost(dtype, scale):
    g = (torch.randn(5, 300, generator=generator(100)) * scale).to(dtype)
    v = (torch.randn(70, generator=generator(101)) * scale).to(dtype)
    stream = Stream(100, 0)
    for found, exact in (
        (
            _projection_triton.project(g.to(DEVICE), 70, stream, 5),
            project_dense(RADEMACHER, g.double(), 70, stream, 5),
        ),
        (
            _projection_triton.back_project(v.to(DEVICE), 300, stream, 5),
            back_project_dense(RADEMACHER, v.double(), 300, stream, 5),
        ),
    ):
        assert float((found.cpu() - exact).norm() / exact.norm()) < 1e-6


def test_strides_do_not_matter():
    g = whole_numbers(600, 10, seed=100)
    for view in (g[:200, ::2].T, g.T[:, 100:500:3], g[:1, :1].expand(3, 200)):
        found = _projection_triton.project(view.to(DEVICE), 20, Stream(100, 0), 9)
        expected = project_dense(RADEMACHER, view.contiguous(), 20, Stream(100, 0), 9)
        assert torch.equal(found.cpu(), expected)
    v = whole_numbers(40, 6, seed=101).to(DEVICE)
    found = _projection_triton.back_project(v[::2, ::3], 300, Stream(100, 0), 9)
    assert torch.equal(found.cpu(), back_project_dense(RADEMACHER, v[::2, ::3].cpu(), 300, Stream(100, 0), 9))


def test_a_row_does_not_depend_on_its_batch():
    g = torch.randn(260, 200, generator=generator(100)).to(DEVICE)
    whole = _projection_triton.project(g, 40, Stream(100, 0), 0)
    for rows in (slice(0, 260), slice(66, 67), slice(200, 260)):
        assert torch.equal(_projection_triton.project(g[rows], 40, Stream(100, 0), 0), whole[rows])


def test_nothing_to_project():
    assert _projection_triton.project(torch.zeros(0, 3, device=DEVICE), 5, Stream(100, 0), 0).shape == (0, 5)
    empty = _projection_triton.project(torch.zeros(2, 0, device=DEVICE), 5, Stream(100, 0), 0)
    assert torch.equal(empty.cpu(), torch.zeros(2, 5))
    assert _projection_triton.back_project(torch.zeros(5, device=DEVICE), 0, Stream(100, 0), 0).shape == (0,)
