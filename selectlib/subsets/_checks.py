"""Checks of arguments, before any work."""

from typing import Any

import torch

from selectlib._checks import check_generator
from selectlib.pool import ItemSource
from selectlib.seeding import generator as make_generator
from selectlib.subsets._kernels import Kernel


def check_kernel(kernel: Any) -> Kernel:
    """Raise unless `kernel` has what a kernel has."""
    if isinstance(kernel, type) or not isinstance(kernel, Kernel):
        raise TypeError(
            f"kernel must be a kernel such as RBF(gamma), got {kernel!r}; wrap a function in CallableKernel"
        )
    return kernel


def generator_for(source: ItemSource, generator: Any) -> torch.Generator:
    """The generator given, or one of seed 100 where the items of `source` come out."""
    if generator is None:
        return make_generator(100, getattr(source, "device", "cpu"))
    return check_generator(generator)


def check_indices(name: str, idx: torch.Tensor, n: int) -> torch.Tensor:
    """Raise unless all indices are from 0 to n - 1."""
    if idx.numel() and not (0 <= int(idx.min()) and int(idx.max()) < n):
        raise ValueError(f"{name} must hold indices from 0 to {n - 1}, got {int(idx.min())} to {int(idx.max())}")
    return idx


def check_level(level: float) -> None:
    """Raise unless `level` is a confidence level."""
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
