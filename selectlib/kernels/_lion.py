"""One step of Lion over many tensors, in place and in one pass over memory."""

import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from selectlib._checks import check_int
from selectlib.kernels import _lion_cpu
from selectlib.kernels._lion_reference import Batch, Rule, average_of, lion_step_reference

_TRITON_DTYPES = torch.float32, torch.bfloat16, torch.float16
_HAS_TRITON = importlib.util.find_spec("triton") is not None


@torch.no_grad()
def lion_step_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    *,
    lr: float | Tensor,
    beta1: float,
    beta2: float,
    weight_decay: float,
    maximize: bool = False,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    seed: int | None = None,
    step: int | Tensor = 0,
) -> None:
    """Change weights and momenta by one step of Lion.

    Parameters
    ----------
    params : sequence of Tensor
        Weights, real and floating, of any shapes, dtypes and devices; changed in place.
    grads : sequence of Tensor
        Their gradients: same shapes and devices, any floating dtypes. They stay as they are.
    exp_avgs : sequence of Tensor
        Their momenta: same shapes and devices, any floating dtypes; changed in place.
    lr : float or Tensor
        Length of the step of every weight, at least 0; a tensor of no dimension is read on its device.
    beta1, beta2 : float
        What the old momentum weighs in the update and in the new momentum, from 0 up to but not 1.
    weight_decay : float
        Share of a weight, times `lr`, that is taken off; at least 0.
    maximize : bool, default False
        Climb instead of descend.
    grad_scale : Tensor, optional
        Divide the gradients by this number, a tensor of one element, as the scaler of mixed precision hands it over.
    found_inf : Tensor, optional
        Change nothing if this number, a tensor of one element, is not 0.
    seed : int, optional
        Round bfloat16 weights at random, so that they are right on average; a key from 0 to 2**64 - 1. Default: all
        tensors are rounded to the nearest number of their dtype.
    step : int or Tensor, default 0
        Number of the step, for `seed` only. With the same seed, step and place in the list a weight meets the same
        random bits on every device.

    Raises
    ------
    TypeError
        If a tensor is not real and floating, or an argument has the wrong type.
    ValueError
        If lists or shapes do not match, or a number is out of range.

    Notes
    -----
    With momentum m and gradient g, in float32 (float64 where weights or momenta are)::

        c = beta1 m + (1 - beta1) g
        p = p (1 - lr weight_decay) - lr sign(c)
        m = beta2 m + (1 - beta2) g

    where both averages are computed as ``m + (1 - beta) (g - m)``, or, for a beta up to one half, as
    ``g - beta (g - m)``. Every product and every sum is rounded by itself, so that all paths give the same bits. The
    sign of NaN is 0.

    O(n) time. float32 weights, gradients and momenta move 20 bytes each, bfloat16 ones 10. On CUDA one Triton kernel
    serves all tensors of the same dtypes, in one launch, or in one launch each where a graph is being captured. On the
    CPU float32 and bfloat16 are served by a C++ function on as many threads as torch has. It is compiled at the first
    call, in a second or two, and kept in the user's cache folder; that needs a compiler with OpenMP, ``c++`` or what
    the environment's ``CXX`` names. Other dtypes, tensors of a list that do not lie alike in memory, and, on the CPU,
    rounding at random take plain torch.

    Source: X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023, through its authors' code:
    the paper itself was not read. Rounding at random is ours.

    Examples
    --------
    >>> import torch
    >>> weights, momentum = torch.ones(3), torch.zeros(3)
    >>> grads = torch.tensor([0.5, -2.0, 0.0])
    >>> lion_step_([weights], [grads], [momentum], lr=0.25, beta1=0.9, beta2=0.99, weight_decay=0.0)
    >>> weights, momentum
    (tensor([0.7500, 1.2500, 1.0000]), tensor([ 0.0050, -0.0200,  0.0000]))
    """
    _check_numbers(lr, beta1, beta2, weight_decay, seed, step)
    scale: float | Tensor = -1.0 if maximize else 1.0
    if grad_scale is not None:
        scale = grad_scale.float().reciprocal() * scale
    rule = Rule(
        lr if isinstance(lr, Tensor) else float(lr),
        float(weight_decay),
        average_of(beta1),
        average_of(beta2),
        scale,
        found_inf,
        seed,
        step,
    )
    batches: dict[tuple, Batch] = {}
    for position, tensors in enumerate(_matched(params, grads, exp_avgs)):
        if tensors[0].numel():
            batches.setdefault(_path(*tensors, seed), Batch([], [], [], [])).add(*tensors, position)
    for (path, device, *_), batch in batches.items():
        rule_there = rule.on(device)
        if path == "triton":
            from selectlib.kernels import _lion_triton

            _lion_triton.lion_step(batch, rule_there)
        elif path == "compiled" and (function := _lion_cpu.compiled_step()):
            _lion_cpu.lion_step(function, batch, rule_there)
        else:
            for p, g, m, position in zip(*batch, strict=True):
                lion_step_reference(p, g, m, position, rule_there)


def _matched(*lists: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The tensors that belong together, or an error."""
    names = "params", "grads", "exp_avgs"
    sizes = [len(tensors) for tensors in lists]
    if len(set(sizes)) > 1:
        raise ValueError(f"params, grads and exp_avgs must be of the same length, got {', '.join(map(str, sizes))}")
    matched = list(zip(*lists, strict=True))
    for i, tensors in enumerate(matched):
        for name, tensor in zip(names, tensors, strict=True):
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.layout != torch.strided:
                raise TypeError(f"{name} must be dense tensors of real floats, got {tensor!r:.80} at {i}")
            if tensor.shape != tensors[0].shape or tensor.device != tensors[0].device:
                expected = f"shape {tuple(tensors[0].shape)} on {tensors[0].device} at {i}, like params"
                raise ValueError(f"{name} must have {expected}, got {tuple(tensor.shape)} on {tensor.device}")
    return matched


def _path(p: Tensor, g: Tensor, m: Tensor, seed: int | None) -> tuple:
    """Which code serves three tensors, and what tensors have to share to be served together."""
    device, dtypes = p.device, (p.dtype, g.dtype, m.dtype)
    if _lie_alike(p, g, m):
        if device.type == "cuda" and _HAS_TRITON and all(dtype in _TRITON_DTYPES for dtype in dtypes):
            return "triton", device, dtypes
        at_random = seed is not None and p.dtype == torch.bfloat16
        if device.type == "cpu" and not at_random and all(dtype in _lion_cpu.DTYPES for dtype in dtypes):
            return "compiled", device
    return "torch", device


def _lie_alike(p: Tensor, g: Tensor, m: Tensor) -> bool:
    """Whether the same offset in memory is the same entry in all three, and there is nothing between entries."""
    if p.is_contiguous() and g.is_contiguous() and m.is_contiguous():
        return True
    if not p.stride() == g.stride() == m.stride():
        return False
    return p.permute(sorted(range(p.ndim), key=p.stride, reverse=True)).is_contiguous()


def _check_numbers(lr: Any, beta1: Any, beta2: Any, weight_decay: Any, seed: Any, step: Any) -> None:
    if isinstance(lr, Tensor):
        if lr.ndim or not lr.is_floating_point():
            raise ValueError(f"lr must be a float or a floating tensor of no dimension, got shape {tuple(lr.shape)}")
    elif not 0 <= lr < math.inf:
        raise ValueError(f"lr must be finite and at least 0, got {lr}")
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= beta < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {beta}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be finite and at least 0, got {weight_decay}")
    if seed is not None:
        check_int("seed", seed, 0, 2**64 - 1)
    if not isinstance(step, Tensor):
        check_int("step", step, 0)
