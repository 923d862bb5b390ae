"""Checks of arguments, before any work."""

from typing import Any

import torch
from torch import Tensor


def check_share(name: str, value: Any) -> float:
    """Raise unless `value` is a number above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    return float(value)


def check_logits(logits: Any, classes: int = 1) -> Tensor:
    """Raise unless `logits` holds floats over at least so many classes; return it, at least in single precision."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        given = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"logits must be a tensor of floats, got {given}")
    if logits.ndim == 0 or logits.shape[-1] < classes:
        least = f"at least {classes} class" + "es" * (classes > 1)
        raise ValueError(f"logits must have {least} in the last dimension, got shape {tuple(logits.shape)}")
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
