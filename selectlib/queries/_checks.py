"""Checks of arguments, before any work."""

import math
from typing import Any

import torch
from torch import Tensor


def check_int(name: str, value: Any, low: int, high: int | None = None) -> int:
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


def check_share(name: str, value: Any) -> float:
    """Raise unless `value` is a number above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    return float(value)


def check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Raise unless `value` is one of the words allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def check_generator(generator: Any) -> torch.Generator:
    """Raise unless `generator` is a torch generator."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    return generator


def check_logits(logits: Any, classes: int = 1) -> Tensor:
    """Raise unless `logits` holds floats over at least so many classes; return it, at least in single precision."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        given = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"logits must be a tensor of floats, got {given}")
    if logits.ndim == 0 or logits.shape[-1] < classes:
        least = f"at least {classes} class" + "es" * (classes > 1)
        raise ValueError(f"logits must have {least} in the last dimension, got shape {tuple(logits.shape)}")
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
