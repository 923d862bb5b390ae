"""The Triton kernels: on the CPU in Triton's interpreter, on CUDA compiled; and what CUDA gives against the CPU."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import triton
from test_projection import KINDS, back_project, project, whole_numbers

from selectlib.seeding import generator

HERE = Path(__file__).parent


def run_cases(**environment):
    """Run `triton_cases.py` in a process of its own and show what failed there."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "triton_cases.py"],
        cwd=HERE,
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_kernels_in_the_interpreter():
    run_cases(TRITON_INTERPRET="1")


@pytest.mark.cuda
def test_the_kernels_compiled():
    run_cases()


COMPILE = """
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from selectlib.kernels import _projection_triton as kernels

def compile(kernel, types, constants, warps):
    types |= {name: "constexpr" for name in constants}
    source = ASTSource(kernel, {name: types.get(name, "i32") for name in kernel.arg_names}, constexprs=constants)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps}).asm["ptx"]

for parts, kind in ((3, "*fp32"), (2, "*fp16"), (1, "*bf16")):
    constants = dict(stride_coordinate=1, TILE_BATCH=64, TILE_COLUMNS=128, PARTS=parts, OPERAND=tl.bfloat16)
    types = {"grads": kind, "partial": "*fp32", "seed": "u64", "first_counter": "i64"}
    compile(kernels.project_kernel, types, constants, 8)
# Triton makes constants of arguments that are 1.
ones = dict.fromkeys(["batch", "num_params", "proj_dim", "counters", "counters_each", "stride_batch"], 1)
compile(kernels.project_kernel, types | {"seed": "i32"}, constants | ones, 8)
compile(kernels.back_project_kernel, {"vectors": "*fp32", "out": "*fp32", "model_id": "i64"}, {"TILE_COLUMNS": 64}, 4)
ones = dict.fromkeys(["num_params", "proj_dim"], 1)
compile(kernels.back_project_kernel, {"vectors": "*fp32", "out": "*fp32"}, {"TILE_COLUMNS": 64} | ones, 4)
"""


def test_the_kernels_compile_for_a_device_that_is_not_here(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.cuda
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_cuda_gives_what_the_cpu_gives(kind, nnz, dtype):
    g, v = whole_numbers(5, 3000, seed=100, dtype=dtype), whole_numbers(70, 2, seed=101, dtype=dtype)
    stream = dict(seed=2**40 + 100, model_id=3, row_offset=77)
    there, back = project(kind, nnz, g.cuda(), 70, **stream), back_project(kind, nnz, v.cuda(), 3000, **stream)
    assert there.is_cuda and back.is_cuda
    # Sums of whole numbers are exact; the normal numbers are not whole.
    close = dict(rtol=1e-5, atol=1e-3) if kind == "gaussian" else dict(rtol=0, atol=0)
    torch.testing.assert_close(there.cpu(), project(kind, nnz, g, 70, **stream), **close)
    torch.testing.assert_close(back.cpu(), back_project(kind, nnz, v, 3000, **stream), **close)
    if kind == "gaussian":
        eye = torch.eye(70, dtype=dtype)
        expected = back_project(kind, nnz, eye, 300, **stream)
        assert torch.equal(back_project(kind, nnz, eye.cuda(), 300, **stream).cpu(), expected)


@pytest.mark.cuda
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_cuda_repeats_itself_bit_by_bit(kind, nnz):
    g = torch.randn(33, 200_000, generator=generator(100)).cuda()
    first = project(kind, nnz, g, 64, seed=100)
    assert all(torch.equal(project(kind, nnz, g, 64, seed=100), first) for _ in range(5))


@pytest.mark.parametrize("module", ["_projection_triton", "_topp_triton"])
def test_no_argument_has_a_name_that_the_launcher_uses_itself(module):
    """Triton writes the code that launches a kernel; its own variables hide arguments of the same names."""
    found = vars(import_module(f"selectlib.kernels.{module}")).values()
    kernels = [value for value in found if isinstance(value, triton.runtime.jit.JITCallable)]
    assert kernels
    for kernel in kernels:
        assert not {"params", "specialization", "options", "backend", "grid", "warmup"} & set(kernel.arg_names), kernel
