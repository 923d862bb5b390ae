"""Inputs of an encoder, the tasks that index them, and their features."""

from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | dict[str, Tensor]
_TOGETHER = 256  # inputs that are embedded in one pass


def take(inputs: Inputs, rows: Tensor, device: torch.device) -> Inputs:
    """Some rows of the inputs, on a device; they are gathered where the inputs are."""
    if isinstance(inputs, dict):
        return {name: part[rows].to(device, non_blocking=True) for name, part in inputs.items()}
    return inputs[rows].to(device, non_blocking=True)


def encode(encoder: nn.Module, batch: Inputs, autocast: bool = False) -> Tensor:
    """Features of a batch, shape (b, D), in float32 at least."""
    where = (next(iter(batch.values())) if isinstance(batch, dict) else batch).device.type
    with torch.autocast(where, torch.bfloat16, enabled=autocast):
        features = encoder(**batch) if isinstance(batch, dict) else encoder(batch)
    if not isinstance(features, Tensor) or features.ndim != 2:
        got = f"shape {tuple(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"encoder must map inputs to features of shape (b, D), got {got}")
    return features.to(torch.promote_types(features.dtype, torch.float32))


@torch.no_grad()
def embed_rows(encoder: nn.Module, inputs: Inputs, rows: Tensor, device: torch.device, autocast: bool) -> Tensor:
    """Features of some rows of the inputs, shape (r, D), without a graph, in the mode that the encoder is in."""
    return torch.cat([encode(encoder, take(inputs, part, device), autocast) for part in rows.split(_TOGETHER)])


def check_inputs(name: str, inputs: Any) -> int:
    """Raise unless inputs are a tensor, or tensors by name, with one row an item; return how many."""
    parts = inputs if isinstance(inputs, dict) else {name: inputs}
    if not parts or not all(isinstance(part, Tensor) for part in parts.values()):
        raise TypeError(f"{name} must be a Tensor or a dict of Tensors, got {type(inputs).__name__}")
    sizes = {len(part) if part.ndim else 0 for part in parts.values()}
    if len(sizes) > 1 or 0 in sizes:
        shapes = ", ".join(str(tuple(part.shape)) for part in parts.values())
        raise ValueError(f"{name} must have the same rows in each tensor, at least one, got shapes {shapes}")
    return sizes.pop()


def check_tasks(name: str, tasks: Any, n: int, n_shot: int) -> None:
    """Raise unless tasks have shots and queries, and index n inputs."""
    if not isinstance(tasks, Tensor) or tasks.dtype != torch.int64:
        raise TypeError(f"{name} must be a tensor of int64, got {getattr(tasks, 'dtype', type(tasks).__name__)}")
    if tasks.ndim != 3 or not len(tasks) or tasks.shape[1] < 2 or tasks.shape[2] <= n_shot:
        raise ValueError(
            f"{name} must have shape (M, Y, S + Q): at least one task, two classes, and a query after n_shot={n_shot} "
            f"shots, got {tuple(tasks.shape)}"
        )
    low, high = (int(end) for end in torch.aminmax(tasks))
    if low < 0 or high >= n:
        raise ValueError(f"{name} must index the {n} inputs, from 0 to {n - 1}, got {low} to {high}")
