"""Products of columns as features: moments over all products of at most p columns, from power sums alone."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.features._gram import chains
from selectlib.features._recursion import chain_weights, on_device

_COLUMNS = 2048  # standardised and raised to powers at a time
_ROWS = 256  # of a block of a triangle


def anova_value_and_grad(
    s: Float[Tensor, "d"],
    X: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    coeffs: Sequence[float],
    *,
    degree: int,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "d"]]:
    """Explained variance when all products of at most `degree` columns are features, and its gradient in the masks.

    Parameters
    ----------
    s : Tensor of floats, shape (d,)
        Mask of each column, at least 0. A product of columns has the product of their masks.
    X : Tensor of floats, shape (n, d)
        The rows.
    y : Tensor of floats, shape (n,)
        The target, centred.
    coeffs : sequence of float, length K
        Weights of the moments of order 1 to K; K is at most n - 1.
    degree : int
        The most columns in a product.
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
    ValueError
        If there are fewer than 4 rows.

    Notes
    -----
    The products are never made. With ``P_q[i, j] = Σ_d (s_d x_id x_jd)^q``, Newton's identities give the kernel of all
    products of q columns, the elementary symmetric polynomial ``e_q``; that of all degrees is ``e_1 + ... + e_p``. Its
    derivative in ``P_q`` is ``(-1)^(q-1) / q (1 + e_1 + ... + e_(p-q))``. See `centre` for how products are centred.

    Time O(p n² d), in 2p matrix products over triangles; memory O(p n²) and a block of columns beside the arguments.

    References
    ----------
    Ours; the method has ``degree=1`` only. The kernel: Stitson et al. (1999), Support vector regression with ANOVA
    decomposition kernels.

    Examples
    --------
    The target is a product of two columns, and neither alone says anything of it:

    >>> X = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).repeat(50, 1)[torch.randperm(200)]
    >>> z, gradient = anova_value_and_grad(torch.ones(2), X, X.prod(1), [1.0], degree=2)
    >>> bool(abs(z - 1) < 0.1), bool((gradient > 0.9).all())
    (True, True)
    """
    n, order = len(y), len(coeffs)
    sums = _elementary_sums(_power_sums(s, X, degree, mean, scale))
    G = centre(sums[-1])
    R = chains(G, y, order)
    z = R[1:] @ y @ on_device(coeffs, y) / n
    L = chains(G.T, y, order - 1)
    A = centre(L.T @ (chain_weights(coeffs, n, y) @ R[:order]))  # ∂z/∂K
    weights = [torch.addcmul(A, A, sums[degree - q - 1]) for q in range(1, degree)] + [A]  # of ∂P_q, up to its factor
    gradient = torch.empty_like(s)
    for block, x in _column_blocks(X, mean, scale):
        gradient[block] = _quadratic(weights[0], x)
        power = x
        for q, weight in enumerate(weights[1:], 1):
            power = power * x
            gradient[block] += (-s[block]) ** q * _quadratic(weight, power)
    return z, gradient


def anova_moments(
    s: Float[Tensor, "d"],
    X: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    order: int,
    *,
    degree: int,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> Float[Tensor, "k"]:
    """Moments of order 1 to `order`, shape (order,); the arguments are those of `anova_value_and_grad`."""
    sums = _elementary_sums(_power_sums(s, X, degree, mean, scale))
    return chains(centre(sums[-1]), y, order)[1:] @ y / len(y)


def elementary_kernels(X: Float[Tensor, "n d"], degree: int, mean: Tensor | None, scale: Tensor | None) -> list[Tensor]:
    """The centred kernels of all products of 1, 2, ..., `degree` columns, strictly upper triangles (n, n)."""
    sums = _elementary_sums(_power_sums(X.new_ones(X.shape[1]), X, degree, mean, scale))
    return [centre(total) for total in (sums[0], *(later - earlier for earlier, later in pairwise(sums)))]


def centre(K: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Centre the features behind a kernel, entry by entry, by what the other rows say of their mean.

    Entry i, j becomes the mean of ``(φ_i - φ_k)ᵀ(φ_j - φ_l)`` over all k and l that are neither equal nor i or j: an
    unbiased estimate of the kernel of the centred features, which no shift of the features changes. The mean of all
    rows would take about 1/n of the trace from each entry, more than the entries are worth when products are many.

    Reads what is above the diagonal and returns a strictly upper triangle; on those it is linear and its own adjoint.
    """
    n = len(K)
    if n < 4:
        raise ValueError(f"X must have at least 4 rows for products of columns, got {n}")
    K = K.triu(1)
    means = (K.sum(0) + K.sum(1)) / (n - 2)
    K -= (means - means.sum() / (n - 1)).unsqueeze(1)
    return K.sub_(means).mul_((n - 1) / (n - 3)).triu_(1)


def _power_sums(s: Tensor, X: Tensor, degree: int, mean: Tensor | None, scale: Tensor | None) -> list[Tensor]:
    """``P_q[i, j] = Σ_d (s_d x_id x_jd)^q`` for q = 1..degree, above the diagonal."""
    sums = [X.new_zeros(len(X), len(X)) for _ in range(degree)]
    for block, x in _column_blocks(X, mean, scale):
        masked = x * s[block]
        left, power = masked, x
        for q, total in enumerate(sums):
            if q:
                left, power = left * masked, power * x
            for rows, later in _triangle(len(X)):
                total[rows, later].addmm_(left[rows], power[later].T)
    return sums


def _elementary_sums(P: Sequence[Tensor]) -> list[Tensor]:
    """``e_1 + ... + e_q`` for q = 1..degree, by Newton's identities ``q e_q = Σ_i (-1)^(i-1) e_(q-i) P_i``, e_0 = 1."""
    e: list[Tensor] = []
    for q, last in enumerate(P, 1):
        total = last * (-1) ** (q - 1)
        for i in range(1, q):
            total.addcmul_(e[q - i - 1], P[i - 1], value=(-1) ** (i - 1))
        e.append(total.div_(q))
    return list(accumulate(e, torch.add))


def _quadratic(A: Tensor, x: Tensor) -> Tensor:
    """``x_dᵀ A x_d`` for each column d, A strictly upper triangular."""
    total = x.new_zeros(x.shape[1])
    for rows, later in _triangle(len(x)):
        total += ((A[rows, later] @ x[later]) * x[rows]).sum(0)
    return total


def _triangle(n: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of rows, and the columns from their diagonal on: little more than half of the matrix."""
    for start in range(0, n, _ROWS):
        yield slice(start, start + _ROWS), slice(start, n)


def _column_blocks(X: Tensor, mean: Tensor | None, scale: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of standardised columns."""
    for start in range(0, X.shape[1], _COLUMNS):
        block = slice(start, start + _COLUMNS)
        x = X[:, block] if mean is None else X[:, block] - mean[block]
        yield block, x if scale is None else x / scale[block]
