"""Batches of rows of an array, a memory map or a CSR matrix, as tensors on the device."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch


@dataclass(frozen=True)
class Rows:
    """Rows that are read a batch at a time: sparse ones stay sparse unless they are wanted dense."""

    X: Any
    dtype: torch.dtype
    device: torch.device
    dense: bool

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        """These rows: a tensor (b, d), or a CSR matrix of scipy."""
        part = self.X[rows]
        precision = np.float64 if self.dtype == torch.float64 else np.float32
        if sp.issparse(part):
            part = part.astype(precision)
            return torch.from_numpy(part.toarray()).to(self.device) if self.dense else part
        # A slice is a view, of a file that may be read-only; an index array has made a copy.
        return torch.from_numpy(part.astype(precision, order="C", copy=isinstance(rows, slice))).to(self.device)


def batches(rows: np.ndarray, size: int, least: int) -> Iterator[np.ndarray]:
    """These rows in batches; a last one that is smaller than half a batch or than `least` is left out."""
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        if start == 0 or len(batch) >= max(size / 2, least):
            yield batch
