"""Moments of the masked Gram matrix: what a linear rule could explain, without a rule."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_generator, check_int
from selectlib.features._backends import find_backend, is_sparse
from selectlib.kernels._scaled_rows import check_finite


def gram_moments(
    X: Any,
    y: Float[Tensor, "n"],
    s: Float[Tensor, "d"] | None = None,
    *,
    order: int = 4,
    degree: int = 1,
    backend: str = "auto",
    chunk: int | None = None,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
    n_permutations: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "k"]:
    """Estimate ``bᵀ S (Σ S)^(k-1) b``, k = 1..K, without bias, for ``b = E[x y]``, ``Σ = E[x xᵀ]`` and masks S.

    ``m_k = yᵀ G^k y / C(n, k+1)``, with G the strict upper triangle of ``X diag(s) Xᵀ``, is the mean over all chains of
    k + 1 rows in ascending order of ``y_i (x_iᵀ S x_j) ... (x_lᵀ S x_m) y_m``.

    Parameters
    ----------
    X : Tensor of floats, shape (n, d), or CSR matrix
        The rows, finite, at least `order` + 1. CSR: of torch or scipy.
    y : Tensor of floats, shape (n,)
        The target, finite. `X`, `y`, `s`, `mean` and `scale` share type and device.
    s : Tensor of floats, shape (d,), optional
        Masks, at least 0. Default: 1.
    order : int, default 4
        The highest moment, K.
    degree, backend, chunk, mean, scale
        As for `value_and_grad`.
    n_permutations : int, default 1
        Over how many orders of the rows to average, which takes noise from moments above the first.
    generator : torch.Generator, optional
        Source of random orders; needed for more than one. Without it the rows are taken in the order given, which must
        then say nothing about them: sorted targets give nonsense.

    Returns
    -------
    Tensor of floats, shape (K,)
        ``m_1, ..., m_K``.

    Raises
    ------
    TypeError, ValueError
        As `value_and_grad`; also if a number in X or y is not finite, or `generator` is missing.

    Notes
    -----
    One pass over X an order of the rows: time O(n d (chunk + K)) and memory O(d (chunk + K) + n K) by chunk; random
    orders copy X. Differentiable by none of its arguments.

    Source: Kong and Valiant, Estimating Learnability in the Sublinear Data Regime (NeurIPS 2018).

    Examples
    --------
    >>> draws = torch.Generator().manual_seed(100)
    >>> X = torch.randn(9000, 3, generator=draws, dtype=torch.float64)
    >>> y = X[:, 0] + torch.randn(9000, generator=draws, dtype=torch.float64)
    >>> gram_moments(X, y, order=2).round(decimals=1)  # of an identity Σ and b = (1, 0, 0)
    tensor([1., 1.], dtype=torch.float64)
    """
    check_int("order", order, 1)
    check_int("n_permutations", n_permutations, 1)
    if generator is not None or n_permutations > 1:
        check_generator(generator)
    options = {"chunk": chunk, "mean": mean, "scale": scale}
    found = find_backend(X, y, s, order, degree, backend, options)
    check_finite("X", torch.as_tensor(X.data if not isinstance(X, Tensor) else X.values() if is_sparse(X) else X))
    check_finite("y", y)
    s = y.new_ones(X.shape[1]) if s is None else s
    total = y.new_zeros(order)
    with torch.inference_mode():
        for _ in range(n_permutations):
            rows, target = X, y
            if generator is not None:
                turn = torch.randperm(len(y), generator=generator, device=generator.device).to(y.device)
                rows, target = _take(X, turn), y[turn]
            total += found.moments(s, rows, target, order, **options)
    return total / n_permutations


def _take(X: Any, turn: Tensor) -> Any:
    """The rows in another order."""
    if isinstance(X, Tensor) and is_sparse(X):
        return X.to_sparse_coo().index_select(0, turn).to_sparse_csr()
    return X[turn if isinstance(X, Tensor) else turn.numpy()]
