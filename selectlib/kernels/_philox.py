"""Counter-based random bits: the same number from the same counter, on every device and in any order."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85  # what the two words of the key grow by each round
_LOW = 0xFFFFFFFF
_ROUNDS = 10


class Stream(NamedTuple):
    """Which random matrix is meant.

    Attributes
    ----------
    seed : int
        The key, from 0 to 2**64 - 1.
    model_id : int
        The third word of the counter, from 0 to 2**32 - 1.
    """

    seed: int
    model_id: int

    @property
    def key(self) -> tuple[int, int]:
        """The two words of the key, the low one first."""
        return self.seed & _LOW, self.seed >> 32


def philox(counter: Int[Tensor, "*b 4"], key: Int[Tensor, "2"]) -> Int[Tensor, "*b 4"]:
    """Philox4x32 with 10 rounds: four random 32-bit words from four counter words and two key words.

    Parameters
    ----------
    counter : Tensor of int64, shape ``(*b, 4)``
        Words from 0 to 2**32 - 1.
    key : Tensor of int64, shape (2,)
        Words from 0 to 2**32 - 1.

    Returns
    -------
    Tensor of int64, shape ``(*b, 4)``
        Words from 0 to 2**32 - 1, on the device of `counter`.

    Raises
    ------
    TypeError
        If an argument is no int64 tensor.
    ValueError
        If a shape is not as above.

    Notes
    -----
    About 100 integer operations for 128 bits. Source: J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel random
    numbers: as easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> import torch
    >>> words = philox(torch.zeros(4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    >>> [f"{word:08x}" for word in words.tolist()]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    for name, value, size in (("counter", counter, 4), ("key", key, 2)):
        if not isinstance(value, Tensor) or value.dtype != torch.int64:
            raise TypeError(f"{name} must be an int64 tensor, got {getattr(value, 'dtype', type(value).__name__)}")
        if value.ndim < 1 or value.shape[-1] != size:
            raise ValueError(f"{name} must have {size} words in its last dimension, got shape {tuple(value.shape)}")
    if key.ndim != 1:
        raise ValueError(f"key must have shape (2,), got {tuple(key.shape)}")
    (c0, c1, c2, c3), (low, high) = counter.unbind(-1), key.tolist()
    return torch.stack(_rounds(c0, c1, c2, c3, low, high), -1)


def philox_grid(blocks: range, columns: range, tag: int, stream: Stream, device: torch.device) -> Tensor:
    """The words at the counters (block, column, model_id, tag): int32 that hold the bits, (columns, blocks, 4)."""
    if device.type == "cpu":
        return grid_numpy(blocks, columns, tag, stream)  # twice as fast there
    return grid_torch(blocks, columns, tag, stream, device)


def grid_torch(blocks: range, columns: range, tag: int, stream: Stream, device: torch.device) -> Tensor:
    """`philox_grid` on any device."""
    block = torch.arange(blocks.start, blocks.stop, device=device)
    column = torch.arange(columns.start, columns.stop, device=device)[:, None]
    model_id, last = torch.tensor([[stream.model_id], [tag]], device=device)
    return torch.stack(_rounds(block, column, model_id, last, *stream.key), -1).to(torch.int32)


def grid_numpy(blocks: range, columns: range, tag: int, stream: Stream) -> Tensor:
    """`philox_grid` on the CPU."""
    packed = np.empty((len(columns), len(blocks), 4), dtype=np.uint32)
    block, column = np.arange(blocks.start, blocks.stop), np.arange(columns.start, columns.stop)[:, None]
    c0, c1, c2, c3 = (np.asarray(part, dtype=np.uint64) for part in (block, column, [stream.model_id], [tag]))
    for w, word in enumerate(_rounds(c0, c1, c2, c3, *stream.key)):
        packed[..., w] = word
    return torch.from_numpy(packed.view(np.int32))


def _rounds(c0: Any, c1: Any, c2: Any, c3: Any, k0: int, k1: int) -> tuple[Any, Any, Any, Any]:
    """Ten rounds on 64-bit arrays that hold 32-bit words; arrays of different shapes grow to a grid as they mix."""
    for _ in range(_ROUNDS):
        # Only the low 32 bits of a word count. What a signed product that wrapped leaves above them is masked here.
        p0, p1 = (c0 & _LOW) * _MULTIPLIERS[0], (c2 & _LOW) * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1, (p0 >> 32) ^ c3 ^ k1, p0
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0 & _LOW, c1 & _LOW, c2 & _LOW, c3 & _LOW
