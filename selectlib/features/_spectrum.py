"""What standardises rows and targets on any device: means, scales, and the top of the spectrum."""

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.kernels._scaled_rows import mean_row, row_blocks

_ROWS = 10_000  # that the top of the spectrum is taken from
_STEPS = 20


def standards(X: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Means and scales after which the spectrum of the rows lies in [0, 1], in the type of X.

    A scale is the column's standard deviation (population; 0 counts as 1) times the largest singular value of the
    standardised rows over the root of their number. That comes from 20 steps of the power method, on at most 10,000
    rows at even distances.
    """
    mean = mean_row(X)
    squares = torch.zeros_like(mean)
    for part in row_blocks(len(X), X.shape[1], X.device):
        squares += (X[part] - mean).square_().sum(0)
    sd = (squares / len(X)).sqrt()
    sd = torch.where(sd > 1e-12 * mean.abs(), sd, 1.0)
    mean, sd = mean.to(X.dtype), sd.to(X.dtype)
    rows = X[:: -(-len(X) // _ROWS)]
    draws = torch.Generator(X.device).manual_seed(0)
    v = torch.randn(X.shape[1], dtype=X.dtype, device=X.device, generator=draws)
    norm = v.norm()
    for _ in range(_STEPS):
        v, w = v / norm, torch.zeros_like(v)
        for part in row_blocks(len(rows), X.shape[1], X.device):
            x = (rows[part] - mean) / sd
            w += x.T @ (x @ v)
        v, norm = w / len(rows), (w / len(rows)).norm()
        norm = torch.where(norm > 0, norm, 1.0)
    return mean, sd * norm.sqrt()
