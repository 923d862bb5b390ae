"""Dense random matrices R (P x k), one tile at a time: each entry is a function of its own counter."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from selectlib.kernels._philox import Stream, philox_grid


@dataclass(frozen=True)
class DenseLaw:
    """Independent entries, each a function of a few random bits.

    Attributes
    ----------
    tag : int
        Last word of the counter.
    bits : int
        Random bits of an entry: 1 or 16. Entry (r, c) reads bits ``bits * (r % rows)`` onwards of the 128 bits at the
        counter (r // rows, c, model_id, tag).
    values : callable
        ``values() -> (2**bits,)`` numpy array in float32: the entry of each pattern of bits; mean 0, variance 1.
    """

    tag: int
    bits: int
    values: Callable[[], np.ndarray]

    @property
    def rows(self) -> int:
        """Rows that share a counter."""
        return 128 // self.bits


@cache
def _two_signs() -> np.ndarray:
    return np.array([-1, 1], dtype=np.float32)


@cache
def normal_quantiles() -> np.ndarray:
    """The 65,536 normal quantiles at the centres of equal slices of probability, scaled to variance 1, in float32.

    The largest is 4.325; without the scaling the variance would be 0.99998. Rounded to float32, the last digits of the
    double in which they are computed, which differ between machines, do not show.
    """
    quantiles = ndtri((np.arange(2**16) + 0.5) / 2**16)
    return (quantiles / math.sqrt(math.fsum(quantiles**2) / 2**16)).astype(np.float32)


RADEMACHER = DenseLaw(tag=0, bits=1, values=_two_signs)
GAUSSIAN = DenseLaw(tag=1, bits=16, values=normal_quantiles)


def dense_tile(
    law: DenseLaw, rows: range, columns: range, stream: Stream, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The entries of the rows and columns asked for, transposed: shape (columns, rows)."""
    blocks = range(rows.start // law.rows, -(-rows.stop // law.rows))
    expand = expand_numpy if device.type == "cpu" else expand_torch
    words = philox_grid(blocks, columns, law.tag, stream, device)
    skipped = rows.start - blocks.start * law.rows
    return expand(law, words, dtype)[:, skipped : skipped + len(rows)]


def expand_torch(law: DenseLaw, words: Tensor, dtype: torch.dtype) -> Tensor:
    """Cut words into patterns of bits and look each up."""
    shifts = torch.arange(0, 32, law.bits, dtype=torch.int32, device=words.device)
    patterns = (words[..., None] >> shifts) & (2**law.bits - 1)
    return torch.as_tensor(law.values(), dtype=dtype, device=words.device)[patterns].flatten(1)


def expand_numpy(law: DenseLaw, words: Tensor, dtype: torch.dtype) -> Tensor:
    """The same from a table that holds eight signs a byte."""
    table = _table(law, dtype)
    patterns = words.numpy().astype("<i4", copy=False).view("u1" if law.bits == 1 else "<u2").reshape(-1)
    tile = np.empty((len(patterns), table.shape[1]), dtype=table.dtype)
    np.take(table, patterns, axis=0, out=tile, mode="clip")
    return torch.from_numpy(tile).view(len(words), -1)


@cache
def _table(law: DenseLaw, dtype: torch.dtype) -> np.ndarray:
    """The entries of each byte (eight signs) or of each 16-bit pattern (one value)."""
    values = law.values().astype(np.float64 if dtype == torch.float64 else np.float32)
    return values[np.arange(256)[:, None] >> np.arange(8) & 1] if law.bits == 1 else values[:, None]
