"""Rows for the Feature Gradients benchmark: dense ones, sparse ones as of text, and the arguments of one step."""

from typing import NamedTuple

import torch
from scipy.sparse import csr_array
from torch import Tensor

from selectlib.features import polynomial_coefficients
from selectlib.seeding import generator


class Step(NamedTuple):
    """What one value and gradient is computed from."""

    s: Tensor
    X: Tensor
    y: Tensor
    coeffs: Tensor


def dense(
    n: int, d: int, seed: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", order: int = 4
) -> Step:
    """Normal rows with a spectrum about [0, 1], a target of which ten features explain half, and masks around 1/2."""
    draw = generator(seed, device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, device=device, generator=draw)

    X = normal(n, d)
    y = X[:, :10].sum(1) / min(10, d) ** 0.5 + normal(n)
    s = torch.sigmoid(normal(d))
    X /= 1 + (d / n) ** 0.5
    y = (y - y.mean()) / y.std()
    coeffs = torch.from_numpy(polynomial_coefficients(order)).to(device, dtype)
    return Step(s.to(dtype), X.to(dtype), y.to(dtype), coeffs)


class SparseStep(NamedTuple):
    """The same of sparse rows that are centred and scaled within, with the standardised rows written out."""

    s: Tensor
    X: csr_array
    y: Tensor
    coeffs: Tensor
    mean: Tensor
    scale: Tensor
    rows: Tensor


def sparse(n: int, d: int, per_row: int, seed: int, dtype: torch.dtype = torch.float32, order: int = 4) -> SparseStep:
    """About `per_row` nonzeros a row; the j-th feature occurs in a share of rows that falls off as 1 / (j + 10)."""
    draw = generator(seed)
    shares = 1 / (torch.arange(d, dtype=torch.float64) + 10)
    columns = torch.multinomial(shares.expand(n, d), per_row, generator=draw)
    values = 1 + torch.rand(n, per_row, dtype=torch.float64, generator=draw)
    rows = torch.arange(n).repeat_interleave(per_row)
    X = csr_array((values.flatten().numpy(), (rows.numpy(), columns.flatten().numpy())), shape=(n, d))
    full = torch.zeros(n, d, dtype=torch.float64).scatter_(1, columns, values)
    mean, scale = full.mean(0), full.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0) * (1 + (d / n) ** 0.5)
    y = full[:, :10].sum(1) + torch.randn(n, dtype=torch.float64, generator=draw)
    y = (y - y.mean()) / y.std()
    s = torch.sigmoid(torch.randn(d, dtype=torch.float64, generator=draw))
    coeffs = torch.from_numpy(polynomial_coefficients(order))
    standardised = ((full - mean) / scale).to(dtype)
    kept = [tensor.to(dtype) for tensor in (y, coeffs, mean, scale)]
    return SparseStep(s.to(dtype), X.astype(str(dtype).removeprefix("torch.")), *kept, standardised)
