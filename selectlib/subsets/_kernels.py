"""Similarity of items: kernels that the samplers evaluate on the items they look at, never on all pairs."""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Kernel(Protocol):
    """A positive semi-definite function of two items.

    Attributes
    ----------
    diag_bound : float or None
        κ², a number that no k(x, x) exceeds, or None where there is none: then a sampler first reads every item once.

    Examples
    --------
    >>> isinstance(RBF(gamma=0.5), Kernel)
    True
    """

    @property
    def diag_bound(self) -> float | None:
        """κ², a number that no k(x, x) exceeds, or None."""
        ...

    def __call__(self, X: Float[Tensor, "*b n d"], Y: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
        """Return k(x, y) for all pairs; leading dimensions are a batch."""
        ...

    def diag(self, X: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """Return k(x, x)."""
        ...


class RBF:
    """Gaussian kernel ``exp(-gamma ‖x - y‖²)``.

    Parameters
    ----------
    gamma : float
        Inverse squared length, > 0. It is 1/σ² in the convention ``exp(-‖x - y‖²/σ²)`` of this chapter, and 1/(2σ²) in
        the convention of Gaussian processes.

    Raises
    ------
    ValueError
        If `gamma` is not a finite positive number.

    Examples
    --------
    >>> import torch
    >>> RBF(0.5)(torch.tensor([[0.0]]), torch.tensor([[0.0], [2.0]]))
    tensor([[1.0000, 0.1353]])
    """

    def __init__(self, gamma: float | int):
        if not (math.isfinite(gamma) and gamma > 0):
            raise ValueError(f"gamma must be a finite positive number, got {gamma}")
        self.gamma = gamma

    @property
    def diag_bound(self) -> float:
        """κ² = 1."""
        return 1.0

    def __call__(self, X: Float[Tensor, "*b n d"], Y: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
        """Return ``exp(-gamma ‖x - y‖²)`` for all pairs."""
        # ‖x‖² + ‖y‖² - 2⟨x, y⟩ loses digits far from the origin, and distances do not depend on where that is.
        origin = Y.mean(-2, keepdim=True)
        X, Y = X - origin, Y - origin
        half_squares = X.square().sum(-1)[..., :, None] + Y.square().sum(-1)[..., None, :]
        distances = half_squares.sub_(X @ Y.mT, alpha=2).clamp_(min=0)
        return distances.mul_(-self.gamma).exp_()

    def diag(self, X: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """Return ones."""
        return X.new_ones(X.shape[:-1])


class Linear:
    """Inner products ``⟨x, y⟩``; the rank is at most d.

    Parameters
    ----------
    diag_bound : float, optional
        An upper bound of ‖x‖² over all items. Without it a sampler reads every item once, to learn its norm.

    Examples
    --------
    >>> import torch
    >>> Linear().diag(torch.tensor([[3.0, 4.0]]))
    tensor([25.])
    """

    def __init__(self, diag_bound: float | int | None = None):
        self.diag_bound = diag_bound

    def __call__(self, X: Float[Tensor, "*b n d"], Y: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
        """Return ``⟨x, y⟩`` for all pairs."""
        return X @ Y.mT

    def diag(self, X: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """Return ``‖x‖²``."""
        return X.square().sum(-1)


class Cosine:
    """Inner products of directions ``⟨x, y⟩ / (‖x‖ ‖y‖)``; a zero vector has similarity 0, to itself too.

    Examples
    --------
    >>> import torch
    >>> Cosine()(torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[5.0, 0.0]])).flatten()
    tensor([1., 0.])
    """

    @property
    def diag_bound(self) -> float:
        """κ² = 1."""
        return 1.0

    def __call__(self, X: Float[Tensor, "*b n d"], Y: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
        """Return the cosines of all pairs."""
        return self._directions(X) @ self._directions(Y).mT

    def diag(self, X: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """Return 1, or 0 for a zero vector."""
        return (X != 0).any(-1).to(X.dtype)

    @staticmethod
    def _directions(X: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(X, dim=-1, keepdim=True)
        return X / torch.where(norms > 0, norms, 1)


class Precomputed:
    """Entries of a matrix that is already there; the items are the indices, so the source is ``range(len(L))``.

    Parameters
    ----------
    L : Tensor, shape (n, n)
        Symmetric positive semi-definite, finite.

    Raises
    ------
    ValueError
        If `L` is not square, not finite, not symmetric, or has a negative diagonal entry.

    Examples
    --------
    >>> import torch
    >>> Precomputed(torch.eye(3))(torch.tensor([[0.0], [2.0]]), torch.tensor([[2.0]])).flatten()
    tensor([0., 1.])
    """

    def __init__(self, L: Float[Tensor, "n n"]):
        if L.ndim != 2 or L.shape[0] != L.shape[1] or not len(L):
            raise ValueError(f"L must be a square matrix, got shape {tuple(L.shape)}")
        if not bool(L.isfinite().all()):
            raise ValueError("L must be finite; it has NaN or infinite entries")
        scale = float(L.abs().max())
        tolerance = 1e-8 if L.dtype == torch.float64 else 1e-5
        if float((L - L.mT).abs().max()) > tolerance * scale:
            raise ValueError("L must be symmetric")
        if float(L.diagonal().min()) < 0:
            raise ValueError(f"L must be positive semi-definite, but a diagonal entry is {float(L.diagonal().min())}")
        self.L = (L + L.mT) / 2

    @property
    def diag_bound(self) -> float:
        """The largest diagonal entry."""
        return float(self.L.diagonal().max())

    def __call__(self, X: Float[Tensor, "*b n 1"], Y: Float[Tensor, "*b m 1"]) -> Float[Tensor, "*b n m"]:
        """Return the entries at rows `X` and columns `Y`."""
        return self.L[X.long(), Y.long().mT]

    def diag(self, X: Float[Tensor, "*b n 1"]) -> Float[Tensor, "*b n"]:
        """Return the diagonal entries at `X`."""
        return self.L.diagonal()[X.long()[..., 0]]


class CallableKernel:
    """A kernel of one's own.

    Parameters
    ----------
    fn : callable
        ``fn(X, Y) -> (n, m)`` for X of shape (n, d) and Y of shape (m, d), symmetric positive semi-definite.
    diag_bound : float or None
        κ², a number that no ``fn(x, x)`` exceeds, or None: then a sampler reads every item once to learn the diagonal.
    diag : callable, optional
        ``diag(X) -> (n,)``, the values ``fn(x, x)``; without it they are computed one block of 64 items at a time.

    Examples
    --------
    >>> import torch
    >>> laplace = CallableKernel(lambda X, Y: torch.exp(-torch.cdist(X, Y, p=1.0)), diag_bound=1.0)
    >>> laplace.diag(torch.tensor([[0.0], [5.0]]))
    tensor([1., 1.])
    """

    def __init__(
        self,
        fn: Callable[[Tensor, Tensor], Tensor],
        diag_bound: float | int | None,
        diag: Callable[[Tensor], Tensor] | None = None,
    ):
        self.fn = fn
        self.diag_bound = diag_bound
        self._diag = diag

    def __call__(self, X: Float[Tensor, "*b n d"], Y: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
        """Return ``fn(x, y)`` for all pairs."""
        if X.ndim == 2:
            return self.fn(X, Y)
        pairs = zip(X.flatten(0, -3), Y.flatten(0, -3), strict=True)
        return torch.stack([self.fn(x, y) for x, y in pairs]).unflatten(0, X.shape[:-2])

    def diag(self, X: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """Return ``fn(x, x)``."""
        rows = X.flatten(0, -2)
        if self._diag is not None:
            values = self._diag(rows)
        else:
            values = torch.cat([self.fn(block, block).diagonal() for block in rows.split(64)])
        return values.unflatten(0, X.shape[:-1]) if X.ndim > 2 else values
