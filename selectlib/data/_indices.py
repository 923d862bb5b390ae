import torch
from torch import Tensor


def check_indices(idx: Tensor, n: int) -> None:
    """Raise a clear error unless `idx` is a list of indices below `n`, as a tensor."""
    if not isinstance(idx, Tensor) or idx.dtype != torch.int64 or idx.ndim != 1:
        given = f"{idx.dtype} of shape {tuple(idx.shape)}" if isinstance(idx, Tensor) else type(idx).__name__
        raise TypeError(f"idx must be a 1-D int64 tensor, got {given}")
    if len(idx):
        low, high = torch.stack(torch.aminmax(idx)).tolist()
        if low < 0 or high >= n:
            raise ValueError(f"idx must be from 0 to {n - 1}, got {low if low < 0 else high}")
