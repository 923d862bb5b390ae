"""A low-rank estimate of the items' covariance operator, and what it says about an item from its features alone.

With L = B Bᵀ and rows b_i, the operator C = Σ_i b_i b_iᵀ has the spectrum of L. Nothing in the samplers asks the
estimate Ĉ to be right: a poor one makes them slower, never wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.subsets._kernels import Kernel
from selectlib.subsets._looked import LookedItems

_BLOCK_ENTRIES = 2**22  # of a block of K(X, D)


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Weighted items that stand for all n in a kernel's covariance: Ĉ = Σ_j b_j b_jᵀ / p_j.

    Attributes
    ----------
    indices : Tensor of int64, shape (m,)
        Which items of the source.
    points : Tensor of float64, shape (m, d)
        Their features.
    p : Tensor of float64, shape (m,)
        The probability with which each was kept, in (0, 1].
    lam : float
        The regularisation at which they were chosen; the sampler's α is of the order 1/lam.
    dim : float
        Estimate of the effective dimension Σ_j λ_j / (λ_j + lam).

    Raises
    ------
    ValueError
        If `indices`, `points` and `p` differ in length, or `p` holds what is not positive and finite.

    Examples
    --------
    >>> import torch
    >>> Dictionary(torch.arange(3), torch.eye(3).double(), torch.ones(3).double(), lam=1.0, dim=1.5).p.sum()
    tensor(3., dtype=torch.float64)
    """

    indices: Int[Tensor, "m"]
    points: Float[Tensor, "m d"]
    p: Float[Tensor, "m"]
    lam: float
    dim: float

    def __post_init__(self) -> None:
        if not len(self.indices) == len(self.points) == len(self.p):
            raise ValueError("indices, points and p must have the same length")
        if not bool(((self.p > 0) & self.p.isfinite()).all()):
            raise ValueError("p must be positive and finite")


@dataclass(frozen=True, eq=False)
class Covariance:
    """Ĉ = Σ_j λ_j v_j v_jᵀ, with orthonormal v_j = Σ_a rotation_aj b_a in the span of some items ("landmarks").

    Attributes
    ----------
    kernel : Kernel
        Gives ⟨b, b'⟩.
    landmarks : Tensor (m, d)
        Features of the items that span the v_j.
    rotation : Tensor (m, r)
        Coefficients of the v_j.
    eigvals : Tensor (r,)
        λ_j > 0, ascending.
    outside : float
        Estimate of the trace that the items have outside the span of the v_j.
    """

    kernel: Kernel
    landmarks: Float[Tensor, "m d"]
    rotation: Float[Tensor, "m r"]
    eigvals: Float[Tensor, "r"]
    outside: float = 0.0

    def without(self, smallest: int) -> "Covariance":
        """The same without the `smallest` smallest eigenvalues, whose directions are then outside."""
        outside = self.outside + float(self.eigvals[:smallest].sum())
        return Covariance(self.kernel, self.landmarks, self.rotation[:, smallest:], self.eigvals[smallest:], outside)

    def dimension(self, alpha: float) -> float:
        """Σ_j αλ_j / (1 + αλ_j), with the directions outside taken as many and small."""
        scaled = alpha * self.eigvals
        return float((scaled / (1 + scaled)).sum()) + alpha * self.outside

    def coordinates(self, X: Float[Tensor, "b d"]) -> Float[Tensor, "b r"]:
        """⟨v_j, b⟩ for the items with features `X`."""
        return self.kernel(X, self.landmarks) @ self.rotation

    def quadratic_form(
        self, X: Float[Tensor, "b d"], diag: Float[Tensor, "b"], outside: float, weights: Float[Tensor, "r"]
    ) -> Float[Tensor, "b"]:
        """bᵀ M b with M = Σ_j weights_j v_j v_jᵀ + outside · (I - Σ_j v_j v_jᵀ), for the items with features `X`."""
        values = [
            # The part of b outside the span is a difference of near equals for a well-covered item: never below zero.
            (diag[block] - squares.sum(-1)).clamp_(min=0) * outside + squares @ weights
            for block, squares in self._squares(X)
        ]
        return torch.cat(values) if values else diag.clone()

    def uncovered(self, X: Float[Tensor, "b d"], diag: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Squared length of the part of b that is outside the span of the landmarks."""
        return self.quadratic_form(X, diag, 1.0, torch.zeros_like(self.eigvals))

    def _squares(self, X: Tensor) -> Iterator[tuple[slice, Tensor]]:
        step = max(1, _BLOCK_ENTRIES // max(1, len(self.landmarks)))
        for start in range(0, len(X), step):
            block = slice(start, start + step)
            yield block, self.coordinates(X[block]).square_()


def dictionary_covariance(kernel: Kernel, dictionary: Dictionary) -> Covariance:
    """Ĉ = Σ_j b_j b_jᵀ / p_j of a weighted dictionary."""
    scale = dictionary.p.rsqrt()
    points = dictionary.points.to(torch.float64)
    gram = kernel(points, points) * scale[:, None] * scale  # W^{1/2} L_DD W^{1/2} = U Λ Uᵀ
    eigvals, vectors = _positive_part(gram)
    return Covariance(kernel, points, scale[:, None] * vectors * eigvals.rsqrt(), eigvals)


def looked_covariance(looked: LookedItems, landmarks: Float[Tensor, "m d"]) -> Covariance:
    """Ĉ from every item in memory, each with the inverse of its probability to be there, in the span of `landmarks`."""
    kernel = looked.kernel
    sigma, vectors = _positive_part(kernel(landmarks, landmarks))
    span = Covariance(kernel, landmarks, vectors * sigma.rsqrt(), sigma)
    weight = looked.inclusion().rsqrt()
    trace = float((looked.diag * weight.square()).sum())
    moments = landmarks.new_zeros(len(sigma), len(sigma))
    rows = torch.arange(looked.count, device=looked.device)
    for block in rows.split(max(1, _BLOCK_ENTRIES // max(1, len(landmarks)))):
        coordinates = span.coordinates(looked.features(block)) * weight[block, None]
        moments.addmm_(coordinates.mT, coordinates)
    eigvals, turn = _positive_part(moments)
    return Covariance(kernel, landmarks, span.rotation @ turn, eigvals, max(0.0, trace - float(eigvals.sum())))


def _positive_part(gram: Float[Tensor, "m m"]) -> tuple[Float[Tensor, "r"], Float[Tensor, "m r"]]:
    """Eigenpairs above rounding."""
    if not len(gram):
        return gram.new_empty(0), gram
    eigvals, vectors = torch.linalg.eigh(gram)
    kept = eigvals > eigvals[-1] * len(gram) * torch.finfo(torch.float64).eps
    return eigvals[kept], vectors[:, kept]
