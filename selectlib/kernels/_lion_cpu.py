"""One step of Lion on the CPU, compiled when it is first asked for."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from selectlib._compiled import compiled
from selectlib.kernels._lion_reference import Batch, Rule

DTYPES = torch.float32, torch.bfloat16


def compiled_step() -> Callable | None:
    """The function of the C++ source; None, with a warning, where it cannot be compiled."""
    # Products and sums are rounded one by one, as in the reference.
    library = compiled(Path(__file__).with_name("_lion_cpu.cpp"), "step of Lion", "-ffp-contract=off")
    if library is None:
        return None
    function = library.lion_step
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
