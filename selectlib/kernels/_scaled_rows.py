"""The rows of a large matrix in the form in which float32 products bound their distances."""

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.kernels._checks import accumulator

_NUMBERS = {"cpu": 2**18, "cuda": 2**24}  # made together: what stays in the cache, or what fills a GPU
_HELD = 2**23  # up to so many numbers are held, not made again at each reading


def row_blocks(n: int, width: int, device: torch.device) -> list[slice]:
    """Cut n rows, of which each makes `width` numbers."""
    size = max(1, _NUMBERS.get(device.type, 2**22) // max(width, 1))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def check_finite(name: str, value: Float[Tensor, "..."]) -> None:
    """Raise unless all numbers are finite; the extremes tell without a mask of the tensor's size."""
    if value.numel() and not torch.stack(torch.aminmax(value)).isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")


def mean_row(X: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """The mean of the rows, in float64."""
    total = torch.zeros(X.shape[1], dtype=torch.float64, device=X.device)
    for rows in row_blocks(len(X), X.shape[1], X.device):
        total += X[rows].sum(0, dtype=torch.float64)
    return total / len(X)


class ScaledRows:
    """The rows ``(x_i - shift) / scale`` in float32, with entries of at most 1, and their squared norms.

    Neither a large mean nor the unit of X costs precision. The norms are held; the rows, unless they are few, are made
    when asked for, and not to be written to.

    Parameters
    ----------
    X : Tensor of floats, shape (n, d)
        The rows, finite.
    shift : Tensor of float64, shape (d,), optional
        What is taken from each. Without one, products of rows are those of X over ``scale**2``.
    """

    def __init__(self, X: Float[Tensor, "n d"], shift: Float[Tensor, "d"] | None = None) -> None:
        dtype = accumulator(X.dtype)
        self._X = X
        self._held: Tensor | None = None
        self._shift = X.new_zeros((), dtype=dtype) if shift is None else shift.to(dtype)
        low, high = torch.aminmax(X)
        reach = torch.maximum(high - self._shift.min(), self._shift.max() - low).double()
        self.scale = reach.where(reach > 0, 1.0)
        self.squared_norms = torch.empty(len(X), device=X.device)
        held = torch.empty(X.shape, device=X.device) if X.numel() <= _HELD else None
        for part in row_blocks(len(X), X.shape[1], X.device):
            rows = self[part]
            if held is not None:
                held[part] = rows
            torch.sum(rows.square_(), 1, out=self.squared_norms[part])
        self._held = held

    def __getitem__(self, which: slice | Tensor) -> Float[Tensor, "b d"]:
        if self._held is not None:
            return self._held[which]
        rows = self._X[which].to(self._shift.dtype)
        return (rows - self._shift).mul_(1 / self.scale).float()

    def convert(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Move and scale other rows of the same kind."""
        return (rows.double() - self._shift).div_(self.scale).float()


def product_error(width: int) -> float:
    """Bound the rounding of ``x·x + y·y - 2 x·y`` of scaled rows, relative to ``x·x + y·y``."""
    exact = torch.get_float32_matmul_precision() == "highest"
    return (width + 16) * 2.0**-23 + (0.0 if exact else 2.0**-7)  # else the factors may be rounded to bfloat16
