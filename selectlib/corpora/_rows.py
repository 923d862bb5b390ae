"""Rows of features read in blocks, whether they are a tensor, a source, or sparse counts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from scipy import sparse
from torch import Tensor

from selectlib.corpora._ngrams import HashedNGrams
from selectlib.pool import ItemSource

_BLOCK = 2**22  # numbers in a block

Rows = Num[Tensor, "_ _"] | ItemSource  # axes without names: one function may read rows of two lengths


def check_rows(name: str, rows: Any, width: int) -> Rows:
    """Raise unless `rows` holds one row or more, as wide as the features; return it."""
    if not isinstance(rows, Tensor | ItemSource):
        raise TypeError(f"{name} must be a tensor, a HashedNGrams or another source, got {type(rows).__name__}")
    if isinstance(rows, Tensor) and rows.ndim != 2:
        raise ValueError(f"{name} must be 2-D (items, width), got shape {tuple(rows.shape)}")
    if len(rows) == 0:
        raise ValueError(f"{name} must hold at least 1 item, got none")
    if row_width(rows) != width:
        raise ValueError(f"{name} must have the width of features, {width}, got {row_width(rows)}")
    return rows


def row_width(rows: Rows) -> int:
    """Number of columns, d."""
    if isinstance(rows, HashedNGrams):
        return rows.num_buckets
    if isinstance(rows, Tensor):
        return rows.shape[1]
    return rows.fetch(torch.arange(1, device=_device(rows))).shape[1]


def row_blocks(name: str, rows: Rows) -> Iterator[Num[Tensor, "b d"]]:
    """The rows in order, as dense blocks of bounded size."""
    step = max(1, _BLOCK // max(1, row_width(rows)))
    for start in range(0, len(rows), step):
        yield take(name, rows, torch.arange(start, min(start + step, len(rows))))


def take(name: str, rows: Rows, idx: Int[Tensor, "b"]) -> Num[Tensor, "b d"]:
    """The rows `idx`, dense, checked to be finite."""
    idx = idx.to(_device(rows))
    found = rows[idx] if isinstance(rows, Tensor) else rows.fetch(idx)
    if not found.isfinite().all():
        item = int(idx[(~found.isfinite()).any(1)][0])
        raise ValueError(f"{name} must be finite, but item {item} is not")
    return found


def take_cpu(name: str, rows: Rows, idx: Int[Tensor, "b"]) -> Any:
    """The rows `idx` as scikit-learn takes them: a sparse or a dense array of float64 on the CPU."""
    if isinstance(rows, HashedNGrams):
        return rows.counts[idx.numpy(force=True)].astype(np.float64)
    return take(name, rows, idx).to(torch.float64).numpy(force=True)


def column_sums(name: str, counts: Rows) -> Float[Tensor, "d"]:
    """Sum over the rows, in double precision; a negative entry is an error.

    Time O(n d), or the number of non-zeros for `HashedNGrams`.
    """
    if isinstance(counts, HashedNGrams):
        return torch.from_numpy(np.asarray(counts.counts.sum(0), dtype=np.float64))
    total = torch.zeros(row_width(counts), dtype=torch.float64, device=_device(counts))
    for block in row_blocks(name, counts):
        if (block < 0).any():
            raise ValueError(f"{name} must hold counts of at least 0, got {float(block.min())}")
        total += block.to(torch.float64).sum(0)
    return total


def linear(name: str, rows: Rows, weights: Float[Tensor, "d r"], *, unit: bool = False) -> Float[Tensor, "n r"]:
    """Every row times `weights`, in double precision; `unit` scales the rows to length 1 first (zeros stay zeros).

    Time O(n d r), or r times the number of non-zeros for `HashedNGrams`; memory O(n r) and one block.
    """
    if isinstance(rows, HashedNGrams):
        products = rows.counts @ weights.numpy(force=True)
        if unit:
            products /= np.maximum(sparse.linalg.norm(rows.counts.astype(np.float64), axis=1), 1e-300)[:, None]
        return torch.from_numpy(products)
    parts = []
    for block in row_blocks(name, rows):
        X = block.to(torch.float64)
        parts.append((torch.nn.functional.normalize(X, eps=1e-300) if unit else X) @ weights.to(X.device))
    return torch.cat(parts)


def _device(rows: Rows) -> torch.device:
    return torch.device(getattr(rows, "device", "cpu"))
