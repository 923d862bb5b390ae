"""One step of Lion on the CPU, compiled when it is first asked for."""

import ctypes
import functools
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from selectlib.kernels._lion_reference import Batch, Rule

DTYPES = torch.float32, torch.bfloat16
_SOURCE = Path(__file__).with_name("_lion_cpu.cpp")
# Products and sums are rounded one by one, as in the reference.
_FLAGS = "-O3", "-march=native", "-ffp-contract=off", "-fopenmp", "-std=c++17", "-fPIC", "-shared"


@functools.cache
def compiled() -> Callable | None:
    """The function of the C++ source, compiled once a process (2 s); None, with a warning, where that fails."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "lion.so")
        command = [os.environ.get("CXX", "c++"), *_FLAGS, str(_SOURCE), "-o", str(library)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
            function = ctypes.CDLL(str(library)).lion_step
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            warnings.warn(f"no compiled step of Lion, plain torch is used instead: {reason}", stacklevel=2)
            return None
    function.argtypes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_void_p
    function.restype = None
    return function


def lion_step(function: Callable, batch: Batch, rule: Rule) -> None:
    """Change weights and momenta of tensors that lie alike; bfloat16 is rounded to the nearest."""
    if rule.found_inf is not None and rule.found_inf.item():
        return
    rows = [_row(*tensors) for tensors in zip(batch.params, batch.grads, batch.exp_avgs, strict=True)]
    table = torch.tensor(rows, dtype=torch.int64)
    numbers = rule.lr, 1 - rule.lr * rule.weight_decay, rule.scale, *rule.update, *rule.momentum
    step = torch.tensor([float(number) for number in numbers], dtype=torch.float32)
    function(table.data_ptr(), len(table), torch.get_num_threads(), step.data_ptr())


def _row(p: Tensor, g: Tensor, m: Tensor) -> list[int]:
    kind = sum((tensor.dtype == torch.bfloat16) << bit for bit, tensor in enumerate((p, g, m)))
    return [p.data_ptr(), g.data_ptr(), m.data_ptr(), p.numel(), kind]
