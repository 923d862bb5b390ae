"""Moments and their gradient from the whole Gram matrix of a batch: best on a GPU at about a thousand rows."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.features._recursion import chain_weights, growth, on_device


def gram_value_and_grad(
    s: Float[Tensor, "d"],
    X: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    coeffs: Sequence[float],
    *,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "d"]]:
    """Value and gradient; two products of 2 n² d operations, memory O(n² + n d)."""
    X = standardise(X, mean, scale)
    n, order = len(y), len(coeffs)
    G = ((X * s) @ X.T).triu_(1)
    R = chains(G, y, order)
    z = R[1:] @ y @ on_device(coeffs, y) / n
    L = chains(G.T, y, order - 1)
    A = (L.T @ (chain_weights(coeffs, n, y) @ R[:order])).triu_(1)
    return z, (A @ X).mul_(X).sum(0)


def dense_moments(
    s: Float[Tensor, "d"],
    X: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    order: int,
    *,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> Float[Tensor, "k"]:
    """The moments."""
    X = standardise(X, mean, scale)
    return chains(((X * s) @ X.T).triu_(1), y, order)[1:] @ y / len(y)


def standardise(
    X: Float[Tensor, "n d"], mean: Float[Tensor, "d"] | None, scale: Float[Tensor, "d"] | None
) -> Float[Tensor, "n d"]:
    """Rows ``(x - mean) / scale``; X itself without either."""
    X = X if mean is None else X - mean
    return X if scale is None else X / scale


def chains(G: Float[Tensor, "n n"], y: Float[Tensor, "n"], order: int) -> Float[Tensor, "m n"]:
    """``R_0, ..., R_order``: y, and what the strict triangle G makes of it, kept of the size of one term."""
    ends = [y]
    for factor in growth(order, len(y)):
        ends.append((G @ ends[-1]).mul_(factor))
    return torch.stack(ends)
