"""Classes of similar size, padded to a common one, so that batched products serve them together."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_NUMBERS = {"cpu": 2**19, "cuda": 2**28}  # of a block: what stays in the cache, or what fills a GPU
_PADDING = 1.25  # the largest class of a block over the smallest, at most


@dataclass
class ClassBlock:
    """The rows of c classes, moved by the mean of their class and scaled: ``(x - mean) * scale``.

    Rows that are pinned come first in their class, the others follow in the order of their numbers; the last is
    repeated for padding.
    """

    classes: Int[Tensor, "c"]  # which classes
    where: Int[Tensor, "c n"]  # the row of Z in each place
    valid: Bool[Tensor, "c n"]  # False for padding
    rows: Float[Tensor, "c n d"]
    squares: Float[Tensor, "c n"]  # squared norms of the rows
    means: Float[Tensor, "c d"]  # in the scaled unit
    clusters: Int[Tensor, "c"]  # clusters to make, fewer than members
    pinned: Int[Tensor, "c"]  # how many of them are pinned

    def spread(self) -> Float[Tensor, "c"]:
        """Sum of the squared norms of the members."""
        return (self.squares.double() * self.valid).sum(1)


def class_blocks(
    Z: Float[Tensor, "n d"],
    order: Int[Tensor, "m"],
    sizes: Int[Tensor, "c"],
    clusters: Int[Tensor, "c"],
    pinned: Int[Tensor, "c"],
    scale: float,
    columns: int,
) -> Iterator[ClassBlock]:
    """Cut the classes that have more members than clusters into blocks.

    `order` holds the rows of Z class by class; `columns` numbers are made for each row beside its coordinates.
    """
    dtype = torch.promote_types(Z.dtype, torch.float32)
    starts, device = sizes.cumsum(0) - sizes, Z.device
    by_size = sizes.sort(stable=True).indices
    open_ = by_size[(sizes > clusters)[by_size]]
    for part in _cuts(sizes[open_].tolist(), Z.shape[1] + columns, _NUMBERS.get(device.type, 2**22)):
        of = open_[part]
        size = sizes[of].unsqueeze(1)
        places = torch.arange(int(size[-1]), device=device)
        where = order[starts[of].unsqueeze(1) + places.minimum(size - 1)]
        rows = Z.index_select(0, where.flatten()).view(*where.shape, -1).to(dtype)
        valid = places < size
        means = ((valid / size).to(dtype).unsqueeze(1) @ rows).mul_(scale)
        rows = torch.add(-means, rows, alpha=scale)
        squares = torch.linalg.vecdot(rows, rows)
        yield ClassBlock(of, where, valid, rows, squares, means.squeeze(1), clusters[of], pinned[of])


def _cuts(sizes: list[int], width: int, numbers: int) -> Iterator[slice]:
    """Runs of ascending sizes that are alike, and together not too large."""
    start = 0
    for stop in range(1, len(sizes) + 1):
        full = stop < len(sizes) and (stop + 1 - start) * sizes[stop] * width > numbers
        if stop == len(sizes) or full or sizes[stop] > _PADDING * sizes[start]:
            yield slice(start, stop)
            start = stop
