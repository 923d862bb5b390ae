"""Classes of similar size, padded to a common one, so that batched products serve them together; starts in them."""

import math
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
    together: Float[Tensor, "m d"]  # the rows of all blocks, one block after the other

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
    parts = list(_cuts(sizes_ := sizes[open_].tolist(), Z.shape[1] + columns, _NUMBERS.get(device.type, 2**22)))
    held = Z.new_empty(sum((p.stop - p.start) * sizes_[p.stop - 1] for p in parts), Z.shape[1], dtype=dtype)
    done = 0
    for part in parts:
        of = open_[part]
        size = sizes[of].unsqueeze(1)
        places = torch.arange(int(size[-1]), device=device)
        where = order[starts[of].unsqueeze(1) + places.minimum(size - 1)]
        rows = held[done : done + where.numel()]
        done += where.numel()
        if Z.dtype == dtype:
            torch.index_select(Z, 0, where.flatten(), out=rows)
        else:
            rows.copy_(Z.index_select(0, where.flatten()))
        rows = rows.view(*where.shape, -1)
        valid = places < size
        means = ((valid / size).to(dtype).unsqueeze(1) @ rows).mul_(scale)
        torch.add(-means, rows, alpha=scale, out=rows)
        squares = torch.linalg.vector_norm(rows, dim=2).square_()
        yield ClassBlock(of, where, valid, rows, squares, means.squeeze(1), clusters[of], pinned[of], held)


def _cuts(sizes: list[int], width: int, numbers: int) -> Iterator[slice]:
    """Runs of ascending sizes that are alike, and together not too large."""
    start = 0
    for stop in range(1, len(sizes) + 1):
        full = stop < len(sizes) and (stop + 1 - start) * sizes[stop] * width > numbers
        if stop == len(sizes) or full or sizes[stop] > _PADDING * sizes[start]:
            yield slice(start, stop)
            start = stop


def trials(k: int) -> int:
    """Candidates for each start, of which the best is kept: as many as in scikit-learn."""
    return 2 + int(math.log(k))


def draw_starts(block: ClassBlock, uniforms: Float[Tensor, "c r k t"]) -> Int[Tensor, "c r k"]:
    """Draw starts by k-means++ with trials."""
    c, r, k = uniforms.shape[:3]
    n = block.rows.shape[1]
    valid, pinned = block.valid.view(c, 1, 1, n), block.pinned.view(c, 1, 1)
    last = valid.sum(3) - 1
    starts = block.where.new_empty(c, r, k)
    nearest = block.rows.new_full((c, r, 1, n), torch.inf)
    for j in range(k):
        if j == 0:
            drawn = (uniforms[:, :, 0, :1] * (last + 1)).long()
        else:
            mass = nearest.cumsum(3).view(c, r, n)
            drawn = torch.searchsorted(mass, uniforms[:, :, j].to(mass.dtype) * mass[:, :, -1:], right=True)
        drawn = torch.where(j < pinned, j, drawn.minimum(last))
        found = _scores(block, drawn.flatten(1)).view(c, r, -1, n)
        reach = (found + block.squares.view(c, 1, 1, n)).clamp_min_(0).scatter_(3, drawn.unsqueeze(3), 0.0)
        reach = torch.minimum(nearest, reach.mul_(valid))
        best = reach.sum(3).argmin(2, keepdim=True)
        starts[:, :, j : j + 1] = drawn.gather(2, best)
        nearest = reach.gather(2, best.unsqueeze(3).expand(c, r, 1, n))
    return starts


def _scores(block: ClassBlock, places: Int[Tensor, "c w"]) -> Float[Tensor, "c w n"]:
    c, n, _ = block.rows.shape
    flat = places + n * torch.arange(c, device=places.device).unsqueeze(1)
    points = block.rows.flatten(0, 1).index_select(0, flat.flatten()).view(*places.shape, -1)
    norms = block.squares.gather(1, places).unsqueeze(2)
    return torch.baddbmm(norms, points, block.rows.mT, alpha=-2)
