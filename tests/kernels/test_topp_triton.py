"""The Triton kernels of the top-p mask: interpreted on the CPU, compiled on CUDA; and CUDA against the CPU."""

import math

import pytest
import torch
from own_process import run
from topp_rows import same_up_to_rounding, sink_rows

from selectlib.kernels import topp_mask

CASES = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "topp_triton_cases.py")


def test_the_kernels_in_the_interpreter():
    run(*CASES, TRITON_INTERPRET="1")


@pytest.mark.cuda
def test_the_kernels_compiled():
    run(*CASES)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from selectlib.kernels import _topp_triton as kernels

def compile(kernel, kind, constants, warps):
    types = {"weights": kind, "mask": "*i1", "threshold": "*fp32", "p": "fp32", "drop": "fp32"}
    types |= {name: "constexpr" for name in constants}
    source = ASTSource(kernel, {name: types.get(name, "i32") for name in kernel.arg_names}, constexprs=constants)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps}).asm["ptx"]

for kind in ("*fp32", "*fp16", "*bf16"):
    compile(kernels.short_rows_kernel, kind, dict(stride_column=1, BLOCK=8192), 16)
    compile(kernels.long_rows_kernel, kind, dict(stride_column=1, BLOCK=4096), 8)
compile(kernels.short_rows_kernel, "*fp32", dict(BLOCK=256), 1)
# Triton makes constants of arguments that are 1.
compile(kernels.short_rows_kernel, "*fp32", dict(length=1, stride_row=1, stride_column=1, steps=1, BLOCK=1), 1)
compile(kernels.long_rows_kernel, "*fp32", dict(stride_row=1, steps=1, BLOCK=4096), 8)
"""


def test_the_kernels_compile_for_a_device_that_is_not_here(tmp_path):
    run("-c", COMPILE, TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.cuda
@pytest.mark.parametrize("length", [1, 7, 256, 1000, 2048, 8192, 20_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_cuda_gives_what_the_cpu_gives(length, dtype):
    rows = torch.cat([sink_rows(4, length), sink_rows(4, length, sink=0.0)]).to(dtype).view(2, 4, length)
    for p in (0.0, 0.5, 0.95, 1.0):
        for method in ("bits", "radix", "sort", "linear"):
            for min_keep in (1, 9):
                found = topp_mask(rows.cuda(), p, method=method, min_keep=min_keep)
                assert found.is_cuda
                expected = topp_mask(rows, p, method=method, min_keep=min_keep)
                assert same_up_to_rounding(found.cpu(), expected, rows)


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["bits", "sort", "linear"])
def test_cuda_does_not_wait_and_keeps_nothing_of_rows_that_are_no_weights(method):
    rows = sink_rows(4, 700).cuda()
    for i, bad in enumerate((-0.1, math.nan, math.inf)):
        rows[i, 5] = bad
    topp_mask(rows, 0.9, method=method)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        mask, threshold = topp_mask(rows, 0.9, method=method, return_threshold=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not mask[:3].any() and threshold[:3].isinf().all() and mask[3].any()
