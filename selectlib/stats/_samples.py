"""What a sample may be, and the checks that every function of one makes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Real
from torch import Tensor

Number = float | int
Vector = Float[np.ndarray, "n"]
Sample = Real[np.ndarray, "n"] | Real[Tensor, "n"] | Sequence[Number]
Groups = Sequence[Real[np.ndarray, "_"] | Real[Tensor, "_"] | Sequence[Number]]  # samples, each of its own length


def sample_of(x: Sample, name: str) -> Vector:
    sample = np.asarray(x, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < 2:
        raise ValueError(f"{name} must be a vector of at least two observations; got shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise ValueError(f"{name} must be finite; {int((~np.isfinite(sample)).sum())} of {len(sample)} entries are not")
    return sample


def check_fraction(x: float, name: str) -> None:
    if not 0 < x < 1:
        raise ValueError(f"{name} must lie in (0, 1); got {x}")
