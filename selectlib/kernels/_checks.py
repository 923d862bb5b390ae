"""Checks of what a projection is asked for, before any work."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from selectlib._checks import check_int
from selectlib.kernels._philox import Stream

_WORD = 2**32


def check_stream(proj_dim: Any, seed: Any, model_id: Any) -> Stream:
    """The stream of random numbers, or an error."""
    check_int("proj_dim", proj_dim, 1, 2**31)
    check_int("seed", seed, 0, 2**64 - 1)
    check_int("model_id", model_id, 0, _WORD - 1)
    return Stream(seed, model_id)


def check_floating(name: str, value: Any, ndims: tuple[int, ...]) -> None:
    """Raise unless `value` is a floating tensor of so many dimensions."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise TypeError(f"{name} must be a floating tensor, got {getattr(value, 'dtype', type(value).__name__)}")
    if value.ndim not in ndims:
        allowed = " or ".join(map(str, ndims))
        raise ValueError(f"{name} must have {allowed} dimensions, got shape {tuple(value.shape)}")


def check_grads(grads: Any, row_offset: Any, rows_per_counter: int) -> None:
    """Raise unless `grads` is a matrix whose columns are rows of R that the counters reach."""
    check_floating("grads", grads, (2,))
    check_int("row_offset", row_offset, 0, _WORD * rows_per_counter - grads.shape[1])


def check_num_params(num_params: Any, row_offset: Any, rows_per_counter: int) -> None:
    """Raise unless there are that many rows of R from `row_offset` on."""
    check_int("num_params", num_params, 0, _WORD * rows_per_counter)
    check_int("row_offset", row_offset, 0, _WORD * rows_per_counter - num_params)


def check_vectors(v: Any) -> None:
    """Raise unless `v` has shape (k,) or (k, m) and k is at least 1."""
    check_floating("v", v, (1, 2))
    if not len(v):
        raise ValueError(f"v must have at least one row, got shape {tuple(v.shape)}")


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums of `dtype` are taken and returned."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def steps(start: int, stop: int, size: int) -> Iterator[range]:
    """Cut [start, stop) at the multiples of `size`."""
    while start < stop:
        end = min(start - start % size + size, stop)
        yield range(start, end)
        start = end
