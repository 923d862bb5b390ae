"""Points between which squared distances are measured exactly for a few, and bounded from above for many."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.kernels._scaled_rows import ScaledRows, mean_row, product_error


class Rows:
    """The rows of X. All lengths are in a unit of the object's own, so that their squares stay in range."""

    def __init__(self, X: Float[Tensor, "n d"]) -> None:
        self._X, self._scaled = X, ScaledRows(X, mean_row(X))
        self.device, self.width = X.device, X.shape[1]

    def __len__(self) -> int:
        return len(self._X)

    def norms(self, which: slice) -> Float[Tensor, "b"]:
        """Norms in float64, in the unit of X."""
        return torch.linalg.vector_norm(self._X[which], dim=1, dtype=torch.float64)

    def squared_distances(self, which: slice | Tensor, others: Int[Tensor, "p"]) -> Float[Tensor, "b p"]:
        """Squared distances in float64; exactly 0 between equal rows."""
        x, y = self._exact(which), self._exact(others)
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square_()

    def upper_bounds(self, which: slice, others: Int[Tensor, "p"]) -> Float[Tensor, "b"]:
        """At least the squared distance from the nearest of the others, from one float32 product."""
        more = 1 + product_error(self.width)
        y = self._scaled[others]
        bounds = torch.addmm(y.square().sum(1).mul_(more), self._scaled[which], y.mul(-2).T).amin(1)
        return bounds.add_(self._scaled.squared_norms[which], alpha=more).clamp_min_(0)

    def _exact(self, which: slice | Tensor) -> Float[Tensor, "b d"]:
        return self._X[which].double() * (1 / self._scaled.scale)


class OuterProducts:
    """The outer products of the rows of A and H, never made."""

    def __init__(self, A: Float[Tensor, "n c"], H: Float[Tensor, "n d"]) -> None:
        self._factors = A, H
        self._scaled = ScaledRows(A), ScaledRows(H)
        self._squared_norms = self._scaled[0].squared_norms * self._scaled[1].squared_norms
        self.device, self.width = H.device, A.shape[1] + H.shape[1]

    def __len__(self) -> int:
        return len(self._squared_norms)

    def norms(self, which: slice) -> Float[Tensor, "b"]:
        """Norms ``|a| |h|`` in float64, in the unit of A times that of H."""
        a, h = (torch.linalg.vector_norm(factor[which], dim=1, dtype=torch.float64) for factor in self._factors)
        return a * h

    def squared_distances(self, which: slice | Tensor, others: Int[Tensor, "p"]) -> Float[Tensor, "b p"]:
        """``|a|² |h|² + |b|² |g|² - 2 (a·b) (h·g)`` in float64; 0 where that is within its rounding."""
        (a, h), (b, g) = self._exact(which), self._exact(others)
        norms = torch.add((a.square().sum(1) * h.square().sum(1)).unsqueeze(1), b.square().sum(1) * g.square().sum(1))
        squares = norms - 2 * (a @ b.T) * (h @ g.T)
        return squares.masked_fill_(squares <= (self.width + 16) * 2.0**-52 * norms, 0.0)

    def upper_bounds(self, which: slice, others: Int[Tensor, "p"]) -> Float[Tensor, "b"]:
        """At least the squared distance from the nearest of the others, from two float32 products."""
        more = 1 + product_error(self.width)
        (b, g), (a, h) = (tuple(factor[rows] for factor in self._scaled) for rows in (others, which))
        bounds = (a @ b.mul(-2).T).mul_(h @ g.T).add_(self._squared_norms[others], alpha=more).amin(1)
        return bounds.add_(self._squared_norms[which], alpha=more).clamp_min_(0)

    def _exact(self, which: slice | Tensor) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b d"]]:
        (A, H), (scaled_A, scaled_H) = self._factors, self._scaled
        return A[which].double() * (1 / scaled_A.scale), H[which].double() * (1 / scaled_H.scale)
