"""How much to shrink the columns so that the kernel of their products has its spectrum below 1."""

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.features._anova import elementary_kernels

_NEWTON_STEPS = 20
_LANCZOS_STEPS = 40
_TOLERANCE = 1e-3  # of the logarithm of the eigenvalue, before the last step


def kernel_scale(
    X: Float[Tensor, "n d"],
    *,
    degree: int,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> float:
    """The factor c > 0 by which all columns are divided so that the kernel of their products has top eigenvalue n.

    Parameters
    ----------
    X : Tensor of floats, shape (n, d)
        At least 4 rows; a thousand are enough.
    degree : int
        The most columns in a product.
    mean, scale : Tensor of floats, shape (d,), optional
        The columns are ``(X - mean) / scale``. Default: as they are.

    Returns
    -------
    float
        The factor; 1 if the kernel has no positive eigenvalue, as with constant columns.

    Raises
    ------
    ValueError
        If there are fewer than 4 rows.

    Notes
    -----
    The kernel is the centred one of `anova_value_and_grad` with all masks at 1, without its diagonal, which says
    nothing of how rows relate. In the polynomial of the moments the eigenvalues must lie in [0, 1] (over n); for
    columns alone the largest singular value of the rows does that. Newton's steps on the logarithms, where the
    eigenvalue falls and is nearly straight; the eigenvalue by 40 steps of Lanczos' method, to about a percent where the
    spectrum has no gap. Time and memory of one `anova_value_and_grad`.

    References
    ----------
    Ours.

    Examples
    --------
    >>> X = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    >>> c = kernel_scale(X, degree=2)
    >>> abs(kernel_scale(X / c, degree=2) - 1) < 1e-3
    True
    """
    kernels = torch.stack(elementary_kernels(X, degree, mean, scale)) / len(X)
    kernels = kernels + kernels.mT
    if not kernels.any():
        return 1.0
    powers = torch.arange(1, degree + 1, dtype=kernels.dtype, device=kernels.device)
    # Here no kernel has an eigenvalue above 1, so the first step comes from the side where Newton cannot leave.
    log_c = (torch.linalg.matrix_norm(kernels).log() / (2 * powers)).max()
    for _ in range(_NEWTON_STEPS):
        shares = torch.exp(-2 * powers * log_c).view(-1, 1, 1) * kernels
        top, v = _top_eigenpair(shares.sum(0))
        if not top > 0:
            return 1.0
        slope = -2 * (powers * (shares @ v @ v)).sum() / top
        log_c = log_c - top.log() / slope
        if top.log().abs() <= _TOLERANCE:
            break
    return float(log_c.exp())


def _top_eigenpair(K: Float[Tensor, "n n"]) -> tuple[Float[Tensor, ""], Float[Tensor, "n"]]:
    """The largest eigenvalue of a symmetric matrix and its vector, by Lanczos' method from a fixed start."""
    v = torch.randn(len(K), generator=torch.Generator().manual_seed(0)).to(K)
    steps = min(_LANCZOS_STEPS, len(K) - 1)  # in the space where vectors sum to zero, like the rows of K
    basis = K.new_zeros(steps, len(K))
    v = v - v.mean()
    for step in range(steps):
        for _ in range(2):  # once is not enough in float32
            v = v - basis[:step].T @ (basis[:step] @ v)
        basis[step] = v / v.norm().clamp(min=torch.finfo(v.dtype).tiny)
        v = K @ basis[step]
    values, vectors = torch.linalg.eigh(basis @ K @ basis.T)
    return values[-1], vectors[:, -1] @ basis
