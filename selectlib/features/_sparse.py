"""Moments and their gradient for sparse rows, standardised without being made dense: linear in rows and nonzeros."""

from collections.abc import Sequence

import scipy.sparse as sp
from jaxtyping import Float
from torch import Tensor

from selectlib.features._chunk import lengthen
from selectlib.features._recursion import chain_weights, growth, on_device
from selectlib.features._sparse_rows import SparseRows


def sparse_value_and_grad(
    s: Float[Tensor, "d"],
    X: sp.spmatrix | sp.sparray | Tensor,
    y: Float[Tensor, "n"],
    coeffs: Sequence[float],
    *,
    chunk: int | None = None,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "d"]]:
    """Explained variance of masked sparse columns and its gradient in the masks.

    Parameters
    ----------
    s : Tensor of floats, shape (d,)
        Mask of each column, at least 0.
    X : scipy.sparse matrix or array, or sparse CSR tensor, shape (n, d)
        The rows, taken in the dtype and on the device of `y`.
    y : Tensor of floats, shape (n,)
        The target, centred.
    coeffs : sequence of float, length K
        Weights of the moments of order 1 to K; K is at most n - 1.
    chunk : int, optional
        Rows of a block. Default: 32, on CUDA 128.
    mean, scale : Tensor of floats, shape (d,), optional
        The columns are ``(X - mean) / scale``. Default: as they are.

    Returns
    -------
    z : Tensor, scalar
        The weighted sum of the moments.
    gradient : Tensor, shape (d,)
        ``∂z/∂s``.

    Raises
    ------
    TypeError
        If `X` is neither of scipy.sparse nor a CSR tensor.

    Notes
    -----
    The two passes of the dense backend, over blocks of rows that have only the columns of their own nonzeros. With
    ``t = s / scale²`` and ``q = X (t ⊙ mean)`` the Gram matrix is ``X T Xᵀ - q 1ᵀ - 1 qᵀ + (meanᵀ T mean) 1 1ᵀ``: the
    centred one from sparse products. If A is its cotangent, a strictly upper triangle, and ``v = (A + Aᵀ) 1``, then
    ``∂z/∂t = diag(XᵀAX) - mean ⊙ Xᵀv + mean² (1ᵀv / 2)``.

    With m nonzeros, time O(m chunk² + m K + n chunk K + d), less where the rows of a block share columns; memory
    O(m K + n (K + chunk) + d) and a dense block of the columns of `chunk` rows. On CUDA a call waits for the device a
    few times, to learn the widths of its blocks. Means far above a column's deviations cost digits.

    References
    ----------
    Ours; the authors' code makes every batch dense.

    Examples
    --------
    >>> import torch
    >>> X = torch.eye(6, 3).repeat(10, 1)
    >>> y = X[:, 0] - X[:, 1]
    >>> s, mean = torch.ones(3), X.mean(0)
    >>> z, gradient = sparse_value_and_grad(s, sp.csr_array(X), y, [1.0], mean=mean)
    >>> gradient.argmin()
    tensor(2)
    """
    n, order = len(y), len(coeffs)
    factors, rows = growth(order, n), SparseRows(X, s, y, chunk, mean, scale)
    left, grams = _left_chains(rows, y, factors)
    z = left[1:] @ y @ on_device(coeffs, y) / n
    weighted = chain_weights(coeffs, n, y) @ left[:order]
    earlier = weighted.cumsum(1) - weighted
    state, total, weight = y.new_zeros(order, rows.width), y.new_zeros(rows.width), y.new_zeros(())
    for block in reversed(rows.blocks):
        part, columns = block.part, block.columns
        x, masked = rows.dense(block)
        later, w = state.index_select(1, columns), weighted[:, part]
        right = lengthen(grams.pop(), later @ masked.T, y[part], factors[:-1])
        pairs = (w.T @ right).triu_(1)
        after = rows.ones(later) + right.sum(1, keepdim=True) - right.cumsum(1)
        v = (w * after + right * earlier[:, part]).sum(0)
        gradient = (later * (w @ x)).sum(0) + (x * (pairs @ x)).sum(0) - rows.mean[columns] * (v @ x)
        total.index_add_(0, columns, gradient)
        state.index_add_(1, columns, right @ x)
        weight += v.sum() / 2
    return z, rows.gradient(total, weight)


def sparse_moments(
    s: Float[Tensor, "d"],
    X: sp.spmatrix | sp.sparray | Tensor,
    y: Float[Tensor, "n"],
    order: int,
    *,
    chunk: int | None = None,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> Float[Tensor, "k"]:
    """Moments of order 1 to `order`, shape (order,), in one pass; other arguments as in `sparse_value_and_grad`."""
    rows = SparseRows(X, s, y, chunk, mean, scale)
    return _left_chains(rows, y, growth(order, len(y)), keep=False)[0][1:] @ y / len(y)


def _left_chains(
    rows: SparseRows, y: Float[Tensor, "n"], factors: list[float], keep: bool = True
) -> tuple[Float[Tensor, "lengths n"], list[Float[Tensor, "b b"]]]:
    """Sums over the chains of 0..K links that end at each row, and the blocks' Gram matrices if they are to be kept."""
    order = len(factors)
    left, grams = y.new_empty(order + 1, len(y)), []
    state = y.new_zeros(order, rows.width)
    for block in rows.blocks:
        x, masked = rows.dense(block)
        gram = (x @ masked.T).triu_(1)
        left[:, block.part] = ends = lengthen(
            gram.T, state.index_select(1, block.columns) @ masked.T, y[block.part], factors
        )
        state.index_add_(1, block.columns, ends[:order] @ x)
        if keep:
            grams.append(gram)
    return left, grams
