"""What the selection of tasks has to know of a task: how many samples, their mean and their scatter."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_int


@dataclass(frozen=True, eq=False)
class TaskStats:
    """Count, mean and scatter of a task's features: all that the selection reads, and mergeable.

    An owner of data can publish these numbers instead of the samples, 1.2 MB for 384 features.

    Parameters
    ----------
    n : int
        How many samples, at least 1.
    mean : Tensor of float64, shape (D,)
        Their mean.
    scatter : Tensor of float64, shape (D, D)
        Sum over the samples of the outer product of the deviation from the mean with itself; zeros for one sample.

    Raises
    ------
    TypeError
        If `n` is not an int.
    ValueError
        If `n` is below 1, a tensor is not of float64, or the shapes do not fit.

    Notes
    -----
    `from_features` takes O(n D²) time, `merge` O(D²). Merging in any order and bracketing gives the statistics of all
    samples together, to rounding: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing
    sample variances (1982). That task selection needs nothing else is our observation.

    Examples
    --------
    >>> first, second = TaskStats.from_features([[1.0], [3.0]]), TaskStats.from_features([[2.0], [4.0]])
    >>> union = first.merge(second)
    >>> union.n, union.mean.item(), round(union.covariance().item(), 4)
    (4, 2.5, 1.6667)
    """

    n: int
    mean: Float[Tensor, "D"]
    scatter: Float[Tensor, "D D"]

    def __post_init__(self) -> None:
        check_int("n", self.n, 1)
        if self.mean.ndim != 1 or self.scatter.shape != (len(self.mean), len(self.mean)):
            raise ValueError(
                "mean and scatter must have shapes (D,) and (D, D), "
                f"got {tuple(self.mean.shape)} and {tuple(self.scatter.shape)}"
            )
        if not self.mean.dtype == self.scatter.dtype == torch.float64:
            raise ValueError(f"mean and scatter must be of float64, got {self.mean.dtype} and {self.scatter.dtype}")

    @classmethod
    def from_features(cls, x: Any) -> "TaskStats":
        """The statistics of samples.

        Parameters
        ----------
        x : array or tensor of floats, shape (n, D)
            A row a sample, at least one.

        Returns
        -------
        TaskStats
            On the device of `x`.

        Raises
        ------
        ValueError
            If `x` is no table with a row and a column at least, or not finite.
        """
        rows = as_rows("x", x)
        mean = rows.mean(0, dtype=torch.float64)
        if not bool(mean.isfinite().all()):
            raise ValueError("x must be finite, got NaN or infinity")
        return cls(len(rows), mean, scatter_of(rows, mean))

    def merge(self, other: "TaskStats") -> "TaskStats":
        """The statistics of the samples of both together.

        Parameters
        ----------
        other : TaskStats
            Of as many features, on the same device.

        Returns
        -------
        TaskStats
            A new one.

        Raises
        ------
        ValueError
            If `other` has another number of features.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"other must have {len(self.mean)} features, got {len(other.mean)}")
        n = self.n + other.n
        shift = other.mean - self.mean
        between = torch.outer(shift, shift * (self.n * other.n / n))
        return TaskStats(n, self.mean + shift * (other.n / n), self.scatter + other.scatter + between)

    def covariance(self, shrinkage: float = 0.0) -> Float[Tensor, "D D"]:
        """The covariance with divisor n - 1, drawn towards a multiple of the identity.

        Parameters
        ----------
        shrinkage : float, default 0.0
            Weight of the identity times the mean variance, from 0 to 1.

        Returns
        -------
        Tensor of float64, shape (D, D)
            ``(1 - shrinkage) C + shrinkage tr(C) / D I``; zeros for one sample.

        Raises
        ------
        TypeError
            If `shrinkage` is not a number.
        ValueError
            If it is out of range.
        """
        check_shrinkage(shrinkage)
        covariance = self.scatter * ((1 - shrinkage) / max(1, self.n - 1))
        if shrinkage:
            covariance.diagonal().add_(self.scatter.trace() * (shrinkage / (max(1, self.n - 1) * len(self.mean))))
        return covariance


def scatter_of(rows: Float[Tensor, "n D"], mean: Float[Tensor, "D"]) -> Float[Tensor, "D D"]:
    """Scatter of the rows around their mean, in float64."""
    deviations = rows.double() - mean
    return deviations.T @ deviations


def as_rows(name: str, x: Any) -> Float[Tensor, "n D"]:
    """A table of floats with a row and a column at least, or an error."""
    if not isinstance(x, Tensor):
        x = torch.from_numpy(np.array(x, dtype=np.float64))
    if x.ndim != 2 or 0 in x.shape or not x.is_floating_point():
        raise ValueError(
            f"{name} must be a table of floats (n, D) with a row and a column at least, "
            f"got {x.dtype} of shape {tuple(x.shape)}"
        )
    return x.detach()


def check_shrinkage(shrinkage: Any) -> float:
    """Raise unless `shrinkage` is a number from 0 to 1."""
    if isinstance(shrinkage, bool) or not isinstance(shrinkage, int | float):
        raise TypeError(f"shrinkage must be a number, got {type(shrinkage).__name__}")
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage must be from 0 to 1, got {shrinkage}")
    return float(shrinkage)
