"""How much of a target the masked columns explain, and how that changes with each mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.features._backends import find_backend


def value_and_grad(
    s: Float[Tensor, "d"],
    X: Any,
    y: Float[Tensor, "n"],
    coeffs: Sequence[float] | Float[np.ndarray, "k"] | Float[Tensor, "k"],
    *,
    degree: int = 1,
    backend: str = "auto",
    chunk: int | None = None,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "d"]]:
    """Estimate the variance of a target that masked columns explain linearly, and its gradient by the masks.

    ``z(s) = Σ_k coeffs[k-1] m_k(s)``, k = 1..K, with the moments ``m_k`` of `gram_moments`. The gradient is a closed
    form: no graph is kept, and nothing is differentiated by torch unless `backend` is ``"scan"``.

    Parameters
    ----------
    s : Tensor of floats, shape (d,)
        Masks, at least 0; 0 leaves a column out, 1 takes it whole.
    X : Tensor of floats, shape (n, d), or CSR matrix
        The rows, in an order that says nothing about them, at least K + 1. CSR: of torch or scipy.
    y : Tensor of floats, shape (n,)
        The target, as a rule of mean 0 and variance 1. `s`, `X`, `y`, `mean` and `scale` share type and device.
    coeffs : sequence of float, shape (K,)
        Those of a polynomial, as from `polynomial_coefficients`. A tensor on a GPU makes the caller wait for it.
    degree : {1, 2, 3}, default 1
        1: columns. 2, 3: also products of up to so many distinct columns, each with the product of their masks (ours).
        These are centred, and their kernel is n x n; at least 4 rows.
    backend : {"auto", "chunk", "gram", "scan", "sparse"}, default "auto"
        ``"chunk"``: blocks of rows. ``"gram"``: the n x n matrix; the only one of degrees above 1. ``"scan"``: the
        authors' order of arithmetic, with autograd, as a reference. ``"sparse"``: for CSR, never made dense.
        ``"auto"``: sparse for CSR; gram for degrees above 1; else chunk.
    chunk : int, optional
        Rows of a block, for chunk and sparse. Default: what suits the width.
    mean, scale : Tensor of floats, shape (d,), optional
        The rows are taken as ``(x - mean) / scale``; scale above 0. Default: 0 and 1.

    Returns
    -------
    tuple of Tensor
        The value, a scalar, and the gradient, shape (d,).

    Raises
    ------
    TypeError
        If a tensor does not hold floats of the common type, or X is of another kind.
    ValueError
        If a shape, a device or a number is not allowed, there are too few rows, or the backend does not do the degree
        or this kind of X.

    Notes
    -----
    Numbers are not looked at, so that nothing waits for a GPU: a NaN comes out as NaN.

    Time O(n d (chunk + K)) and memory O((n + d) (chunk + K)) by chunk, O(n² d) and O(n² + n d) by gram,
    O(n nnz) and O(n² + nnz) by sparse. Moments are kept of the size of one chain, so that float32 is enough.

    Source: Sheth and Fusi, Differentiable Feature Selection by Discrete Relaxation (AISTATS 2020), and their code; the
    closed form, its blocks and degrees above 1 are ours.

    Examples
    --------
    >>> X = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    >>> z, grad = value_and_grad(torch.ones(2), X, X[:, 0], [1.0])
    >>> z, grad  # the pairs' mean: a first column that is the target, and a second that is not
    (tensor(0.6667), tensor([ 1.0000, -0.3333]))
    """
    numbers = [float(a) for a in coeffs]
    if not numbers:
        raise ValueError("coeffs must hold at least one number, got none")
    options = {"chunk": chunk, "mean": mean, "scale": scale}
    found = find_backend(X, y, s, len(numbers), degree, backend, options)
    with torch.inference_mode():  # fewer costs a call, and there are many small ones
        z, grad = found.value_and_grad(s, X, y, numbers, **options)
    return z.clone(), grad.clone()


class MaskedLearnability(torch.autograd.Function):
    """`value_and_grad` as an operation of torch: ``MaskedLearnability.apply(s, X, y, coeffs)`` is z, a scalar.

    The gradient goes to `s` alone and cannot be differentiated again. `apply` takes, without names, what
    `value_and_grad` takes: ``s, X, y, coeffs, degree, backend, chunk, mean, scale``.

    Examples
    --------
    >>> logits = torch.zeros(2, requires_grad=True)
    >>> X = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    >>> MaskedLearnability.apply(torch.sigmoid(2 * logits), X, X[:, 0], [1.0]).backward()
    >>> logits.grad
    tensor([ 0.5000, -0.1667])
    """

    @staticmethod
    def forward(
        ctx: Any,
        s: Tensor,
        X: Any,
        y: Tensor,
        coeffs: Any,
        degree: int = 1,
        backend: str = "auto",
        chunk: int | None = None,
        mean: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Return z, and keep its gradient."""
        z, grad = value_and_grad(s, X, y, coeffs, degree=degree, backend=backend, chunk=chunk, mean=mean, scale=scale)
        ctx.save_for_backward(s, grad)
        return z

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient by `s`, and none by the rest."""
        return _Product.apply(grad_output, *ctx.saved_tensors), *[None] * 8


class _Product(torch.autograd.Function):
    """A known gradient times what comes from above; depends on `s` in a way that is not differentiated."""

    @staticmethod
    def forward(ctx: Any, grad_output: Tensor, s: Tensor, grad: Tensor) -> Tensor:
        return grad_output * grad

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> None:
        raise RuntimeError("MaskedLearnability can be differentiated once, not twice")
