"""Checks of arguments, before any work."""

import math
from typing import Any

import torch

from selectlib.pool import ItemSource
from selectlib.seeding import generator as make_generator
from selectlib.subsets._kernels import Kernel


def check_int(name: str, value: Any, low: int, high: int | None) -> int:
    """Raise unless `value` is an int from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {allowed}, got {value}")
    return value


def check_positive(name: str, value: Any) -> float:
    """Raise unless `value` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite positive number, got {value}")
    return float(value)


def check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Raise unless `value` is one of the words allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


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


def check_generator(generator: Any) -> torch.Generator:
    """Raise unless `generator` is a torch generator."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    return generator


def check_indices(name: str, idx: torch.Tensor, n: int) -> torch.Tensor:
    """Raise unless all indices are from 0 to n - 1."""
    if idx.numel() and not (0 <= int(idx.min()) and int(idx.max()) < n):
        raise ValueError(f"{name} must hold indices from 0 to {n - 1}, got {int(idx.min())} to {int(idx.max())}")
    return idx


def check_level(level: float) -> None:
    """Raise unless `level` is a confidence level."""
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
