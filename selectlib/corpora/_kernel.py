"""The kernel of the estimator: the Gram matrix of projected gradients, damped and factorised."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_ROWS = 1024  # rows of one float32 product; the sum of the products is float64


def gram(features: Float[Tensor, "n k"], weights: Float[Tensor, "n"] | None = None) -> Float[Tensor, "k k"]:
    """Return ``sum_i w_i phi_i phi_i^T`` in float64, from products of blocks of rows in the features' dtype.

    Parameters
    ----------
    features : Tensor of floats, shape (n, k)
        One row an example.
    weights : Tensor of floats, shape (n,), optional
        Non-negative; ones by default.

    Returns
    -------
    Tensor of float64, shape (k, k)
        The Gram matrix, on the features' device.

    Notes
    -----
    O(n k^2) operations and O(k^2) memory beside the features.

    Examples
    --------
    >>> import torch
    >>> gram(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([1.0, 3.0]))
    tensor([[1., 2.],
            [2., 7.]], dtype=torch.float64)
    """
    k = features.shape[1]
    total = torch.zeros(k, k, dtype=torch.float64, device=features.device)
    for start in range(0, len(features), _ROWS):
        block = features[start : start + _ROWS]
        weighted = block if weights is None else block * weights[start : start + _ROWS].unsqueeze(1)
        total += block.T @ weighted
    return total


@dataclass(frozen=True, eq=False)
class DampedKernel:
    """A Cholesky factor of ``K + damping I``.

    Parameters
    ----------
    factor : Tensor of float64, shape (k, k)
        Lower triangular.
    damping : float
        What was added to the diagonal.
    """

    factor: Float[Tensor, "k k"]
    damping: float

    def solve(self, rhs: Float[Tensor, "k m"]) -> Float[Tensor, "k m"]:
        """Return ``(K + damping I)^{-1} rhs`` in float64."""
        return torch.cholesky_solve(rhs.to(torch.float64), self.factor)


def damped(K: Float[Tensor, "k k"], damping: float, *, rows: int, eps: float) -> DampedKernel:
    """Add ``damping`` times the mean of the diagonal, and factorise.

    Parameters
    ----------
    K : Tensor of float64, shape (k, k)
        A Gram matrix.
    damping : float
        Relative; at least 0.
    rows : int
        How many examples K is made of.
    eps : float
        Relative rounding error of the features.

    Returns
    -------
    DampedKernel
        Solves systems with the damped matrix.

    Raises
    ------
    ValueError
        If K is not finite, is zero, or is singular while `damping` is 0.

    Notes
    -----
    k^3 / 3 operations.

    Examples
    --------
    >>> import torch
    >>> kernel = damped(2 * torch.eye(3, dtype=torch.float64), 0.5, rows=9, eps=1e-7)
    >>> kernel.damping, kernel.solve(torch.ones(3, 1)).squeeze(1)
    (1.0, tensor([0.3333, 0.3333, 0.3333], dtype=torch.float64))
    """
    k = len(K)
    scale = float(K.diagonal().mean())
    if not bool(K.isfinite().all()):
        raise ValueError("the kernel is not finite: a checkpoint gives gradients that hold NaN or infinity")
    if scale == 0:
        raise ValueError("the kernel is zero: no example has a gradient that is not zero, or all weights are 0")
    if damping == 0 and rows < k:
        raise ValueError(
            f"damping must be positive where there are fewer examples ({rows}) than features ({k}): K is singular"
        )
    factor, info = torch.linalg.cholesky_ex(K + damping * scale * torch.eye(k, dtype=K.dtype, device=K.device))
    pivots = factor.diagonal().square()
    if int(info) or (damping == 0 and bool(pivots.min() <= k * eps * pivots.max())):
        raise ValueError(f"the kernel is singular at damping {damping}: choose a larger damping")
    return DampedKernel(factor, damping * scale)
