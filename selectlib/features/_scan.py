"""The moments in their authors' order of arithmetic, with the gradient by autograd: the reference.

Cumulative sums run down the rows of whole batches, as in their code, and every link keeps a few tables of the size of
the batch for the gradient. On a CPU, tables stored column by column would make it three to five times faster.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.features._gram import standardise
from selectlib.features._recursion import growth, on_device


def scan_value_and_grad(
    s: Float[Tensor, "d"],
    X: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    coeffs: Sequence[float],
    *,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "d"]]:
    """Value and gradient; memory O(K n d)."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = s.detach().clone().requires_grad_()
        z = scan_moments(leaf, X, y, len(coeffs), mean=mean, scale=scale) @ on_device(coeffs, y)
        (grad,) = torch.autograd.grad(z, leaf)
    return z.detach(), grad


def scan_moments(
    s: Float[Tensor, "d"],
    X: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    order: int,
    *,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> Float[Tensor, "k"]:
    """The moments: odd ones make the chain longer to the right, even ones to the left."""
    X = standardise(X, mean, scale)
    left, right, moments = y, y, []
    for k, factor in enumerate(growth(order, len(y)), 1):
        if k % 2:
            parts = X * right.unsqueeze(1)
            right = factor * (X * (parts.sum(0) - parts.cumsum(0))) @ s
        else:
            parts = X * left.unsqueeze(1)
            left = factor * (X * (parts.cumsum(0) - parts)) @ s
        moments.append(left @ right / len(y))
    return torch.stack(moments)
