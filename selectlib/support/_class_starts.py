"""Where the restarts of class k-means begin."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.support._class_blocks import ClassBlock


def trials(k: int) -> int:
    """Candidates for each start, of which the best is kept: as many as in scikit-learn."""
    return 2 + int(math.log(k))


def scores_from(block: ClassBlock, starts: Int[Tensor, "c r k"]) -> Float[Tensor, "c r k n"]:
    """``|start|² - 2 start·x`` for each row x of the class: the squared distance without the row's own share."""
    c, r, k = starts.shape
    return _equal_alike(block, starts, _scores(block, starts.reshape(c, r * k)).view(c, r, k, -1))


def draw_starts(
    block: ClassBlock, uniforms: Float[Tensor, "c r k t"]
) -> tuple[Int[Tensor, "c r k"], Float[Tensor, "c r k n"]]:
    """Draw starts by k-means++ with trials, and give the scores of all rows as well."""
    c, r, k = uniforms.shape[:3]
    n = block.rows.shape[1]
    valid, pinned = block.valid.view(c, 1, 1, n), block.pinned.view(c, 1, 1)
    last = valid.sum(3) - 1
    starts = block.where.new_empty(c, r, k)
    scores = block.rows.new_empty(c, r, k, n)
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
        row = best.unsqueeze(3).expand(c, r, 1, n)
        scores[:, :, j : j + 1], nearest = found.gather(2, row), reach.gather(2, row)
    return starts, _equal_alike(block, starts, scores)


def _equal_alike(
    block: ClassBlock, starts: Int[Tensor, "c r k"], scores: Float[Tensor, "c r k n"]
) -> Float[Tensor, "c r k n"]:
    """Give equal starts equal scores, which products round as they please: all rows then go to the first of them."""
    c, r, k, n = scores.shape
    square = block.squares.gather(1, starts.flatten(1)).view(c, r, 1, k)
    apart = scores.gather(3, starts.unsqueeze(2).expand(c, r, k, k)) + square  # squared, [.., i, j] of start j from i
    rounding = (block.rows.shape[2] + 16) * torch.finfo(scores.dtype).eps
    itself = torch.eye(k, dtype=torch.bool, device=scores.device)
    first = ((apart <= rounding * square) | itself).byte().argmax(2)
    if bool((first == torch.arange(k, device=first.device)).all()):
        return scores
    return scores.gather(2, first.unsqueeze(3).expand(c, r, k, n))


def _scores(block: ClassBlock, places: Int[Tensor, "c w"]) -> Float[Tensor, "c w n"]:
    c, n, _ = block.rows.shape
    flat = places + n * torch.arange(c, device=places.device).unsqueeze(1)
    points = block.rows.flatten(0, 1).index_select(0, flat.flatten()).view(*places.shape, -1)
    norms = block.squares.gather(1, places).unsqueeze(2)
    return torch.baddbmm(norms, points, block.rows.mT, alpha=-2)
