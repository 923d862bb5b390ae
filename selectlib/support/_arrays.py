"""Arrays, tensors and lists as the tensors that are meant, or an error that names the argument."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def as_rows(name: str, value: Any) -> Float[Tensor, "n d"]:
    """A matrix of finite floats, from an array or a tensor."""
    rows = torch.as_tensor(value).detach()
    if rows.ndim != 2 or not rows.numel():
        raise ValueError(f"{name} must be 2-D (items, width) and not empty, got shape {tuple(rows.shape)}")
    if rows.is_complex():
        raise TypeError(f"{name} must hold real numbers, got {rows.dtype}")
    rows = rows if rows.is_floating_point() else rows.double()
    bad = (~rows.isfinite()).any(1).nonzero().squeeze(1)
    if len(bad):
        raise ValueError(f"{name} must be finite, but {len(bad)} rows are not: {bad[:10].tolist()}")
    return rows


def as_indices(name: str, value: Any, high: int, device: torch.device) -> Int[Tensor, "m"]:
    """Ints from 0 to high - 1, from an array, a tensor, a list, or nothing."""
    found = torch.as_tensor([] if value is None else value, device=device)
    if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise TypeError(f"{name} must hold ints, got {found.dtype}")
    if found.ndim != 1 or (len(found) and not 0 <= int(found.min()) <= int(found.max()) < high):
        raise ValueError(f"{name} must be 1-D, of ints from 0 to {high - 1}, got shape {tuple(found.shape)}: {found}")
    return found.long()


def labeled_of(y: Any, n: int) -> Int[np.ndarray, "m"]:
    """Where there is a label."""
    if y is None:
        return np.empty(0, dtype=np.int64)
    y = np.asarray(y)
    if y.shape != (n,):
        raise ValueError(f"y must have one entry for each of the {n} items, got shape {y.shape}")
    missing = np.array([label is None or label != label for label in y]) if y.dtype == object else y != y
    return np.flatnonzero(~missing)
