"""Lists of tensors, taken in short lists, so that a step of several passes works in bounded memory."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_CPU_BLOCK = 1 << 17  # numbers of a tensor: the pieces of a block stay in the cache from one pass to the next
_DEVICE_BLOCK = 1 << 26  # bounds what a step allocates for a moment: 256 MiB of float32 on a GPU


class Block(NamedTuple):
    """Tensors of each list that agree in device and dtypes, or one part of one tensor of each.

    Attributes
    ----------
    lists : list of list of Tensor
        What is taken of each list.
    positions : list of int
        Where in the lists it stands.
    start : int
        The flat index in each tensor of the first number that is taken.
    """

    lists: list[list[Tensor]]
    positions: list[int]
    start: int = 0


def as_real(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, complex ones as pairs of real numbers in the same memory."""
    return [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]


def blocks(lists: Sequence[Sequence[Tensor]], together: bool, split: bool) -> Iterator[Block]:
    """All tensors in blocks, of one tensor each unless `together`.

    Where `split`, a large tensor on the CPU is cut into several blocks.
    """
    for positions in _alike(lists):
        on_cpu = lists[0][positions[0]].device.type == "cpu"
        limit = _CPU_BLOCK if on_cpu else _DEVICE_BLOCK
        chosen: list[int] = []
        size = 0
        for position in positions:
            n = lists[0][position].numel()
            if split and on_cpu and n > limit and all(_is_flat(tensors[position]) for tensors in lists):
                yield from _cut(lists, position, limit)
                continue
            if chosen and (not together or size + n > limit):
                yield _take(lists, chosen)
                chosen, size = [], 0
            chosen.append(position)
            size += n
        if chosen:
            yield _take(lists, chosen)


def _alike(lists: Sequence[Sequence[Tensor]]) -> list[list[int]]:
    """Positions, grouped by device, dtypes and kind: foreach functions take no mixed lists, or take them slowly."""
    found: defaultdict[Any, list[int]] = defaultdict(list)
    for position, (p, *others) in enumerate(zip(*lists, strict=True)):
        found[type(p), p.device, p.dtype, *[tensor.dtype for tensor in others]].append(position)
    return list(found.values())


def _take(lists: Sequence[Sequence[Tensor]], positions: list[int]) -> Block:
    return Block([[tensors[position] for position in positions] for tensors in lists], positions)


def _cut(lists: Sequence[Sequence[Tensor]], position: int, limit: int) -> Iterator[Block]:
    parts = zip(*(tensors[position].view(-1).split(limit) for tensors in lists), strict=True)
    return (Block([[part] for part in taken], [position], k * limit) for k, taken in enumerate(parts))


def _is_flat(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, nn.Parameter) and tensor.is_contiguous()
