"""The authors' arithmetic with its tables stored by columns: what a change of layout alone brings on a CPU."""

import torch
from _feature_gradients_rows import Step
from torch import Tensor


def columns_first(step: Step) -> Step:
    """The same numbers; those of a column lie side by side, as the cumulative sums walk."""
    return step._replace(X=step.X.T.contiguous())


def scan_of_columns(step: Step) -> tuple[Tensor, Tensor]:
    """Value and gradient by cumulative sums along the columns, and autograd behind them."""
    s, columns, y, coeffs = step
    n = len(y)
    leaf = s.clone().requires_grad_()
    left, right, z = y, y, torch.zeros((), dtype=y.dtype, device=y.device)
    for k, a in enumerate(coeffs, 1):
        factor = (k + 1) / (n - k)
        if k % 2:
            parts = columns * right
            right = factor * (leaf @ (columns * (parts.sum(1, keepdim=True) - parts.cumsum(1))))
        else:
            parts = columns * left
            left = factor * (leaf @ (columns * (parts.cumsum(1) - parts)))
        z = z + a * (left @ right) / n
    (grad,) = torch.autograd.grad(z, leaf)
    return z.detach(), grad
