"""Checks of the estimator's arguments, before any work."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selectlib.corpora._features import Projector
from selectlib.corpora._outputs import OutputFunction


def check_options(model: Any, output: Any, projector: Any, damping: Any, chunk_size: Any) -> None:
    """Raise unless the options of an estimator are of the right kinds and ranges."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(output, type) or not isinstance(output, OutputFunction):
        raise TypeError(f"output must be an output function such as CorrectClassMargin(), got {output!r}")
    if projector is not None and (isinstance(projector, type) or not isinstance(projector, Projector)):
        raise TypeError(f"projector must be a projector such as JLProjector(2048), or None, got {projector!r}")
    if isinstance(damping, bool) or not isinstance(damping, int | float):
        raise TypeError(f"damping must be a number, got {type(damping).__name__}")
    if not (math.isfinite(damping) and damping >= 0):
        raise ValueError(f"damping must be finite and at least 0, got {damping}")
    if chunk_size != "auto":
        _check_count("chunk_size", chunk_size, None)


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise unless `value` is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}")


def check_checkpoints(checkpoints: Any) -> None:
    """Raise unless this is a sequence of at least one."""
    if isinstance(checkpoints, Mapping | str | os.PathLike) or not isinstance(checkpoints, Sequence):
        raise TypeError(f"checkpoints must be a sequence of checkpoints, got {type(checkpoints).__name__}")
    if not checkpoints:
        raise ValueError("checkpoints is empty; at least 1 is needed")


def draw_rows(n: int, rows: Any, generator: Any) -> Tensor:
    """Draw distinct rows of a pool of n, ascending."""
    _check_count("kernel_rows", rows, n)
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator where kernel_rows is given, got {generator!r}")
    return torch.randperm(n, generator=generator, device=generator.device)[:rows].sort().values


def _check_count(name: str, value: Any, most: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if value < 1 or (most is not None and value > most):
        raise ValueError(f"{name} must be {'at least 1' if most is None else f'from 1 to {most}'}, got {value}")
