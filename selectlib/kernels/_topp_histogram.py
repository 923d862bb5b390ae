"""The threshold of a top-p set by sums in order: over sorted entries, or over histograms of their digits."""

import torch
from torch import Tensor

_DIGITS = ((20, 11), (9, 11), (0, 9))  # shift and width: a non-negative float32 has 31 bits
_GROUP = 64
_FEW = 256  # candidates of a row, from which on sorting them is cheaper than another histogram


def sort_rows(rows: Tensor, total: Tensor, p: float) -> Tensor:
    """Drop the smallest entries as long as they hold no more than the share 1 - p."""
    ordered = rows.sort(-1).values
    return ordered.gather(1, _first_above(ordered.to(total.dtype), total - p * total)[0])


def descend_digits(rows: Tensor, total: Tensor, p: float) -> Tensor:
    """The bit pattern of the threshold, highest digit first: a histogram of mass over a digit says which value it has.

    Only entries with the digits found so far are still candidates. Once they are few they are sorted.
    """
    drop = total - p * total  # the mass that may go, less what is known to go
    bits, mass = rows.view(torch.int32), rows.to(total.dtype)
    row = torch.arange(len(rows), device=rows.device, dtype=torch.int32)[:, None]
    pattern = torch.zeros_like(row)
    for shift, width in _DIGITS:
        digit = (bits >> shift).bitwise_and_(2**width - 1)
        at = (digit + (row << width)).long().view(-1)
        histogram = mass.new_zeros(len(rows) << width).scatter_add_(0, at, mass.view(-1))
        found, drop = _first_bin_above(histogram.view(len(rows), -1), drop)
        found = found.int()
        pattern |= found << shift
        # In place, as 0 and 1 of the same type: a mask, or a comparison of two types, takes several times longer.
        candidates = digit.eq_(found[row, 0]).nonzero(as_tuple=True)
        row, bits, mass = row.expand_as(bits)[candidates], bits[candidates], mass[candidates]
        counts = row.bincount(minlength=len(rows))
        if counts.max() <= _FEW:
            few = mass.new_zeros((len(rows), int(counts.max().clamp_(min=1))))
            few[row, torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]] = mass
            few = few.sort(-1).values
            return few.gather(1, _first_above(few, drop)[0]).to(rows.dtype)
    return pattern.view(torch.float32)


def _first_above(mass: Tensor, drop: Tensor) -> tuple[Tensor, Tensor]:
    """Where the running sum first exceeds `drop`, (n, 1), and what is left of `drop` there.

    Rounding aside it does exceed it. Else the answer is the last place with any mass.
    """
    running = mass.cumsum(-1)
    last = torch.searchsorted(running, running[:, -1:].contiguous())
    first = torch.searchsorted(running, drop, right=True).minimum(last)
    before = torch.where(first > 0, running.gather(1, (first - 1).clamp_(min=0)), 0)
    return first, drop - before


def _first_bin_above(histogram: Tensor, drop: Tensor) -> tuple[Tensor, Tensor]:
    """`_first_above` of a long row: over groups of bins, then in one group."""
    groups = histogram.view(len(histogram), -1, _GROUP)
    group, drop = _first_above(groups.sum(-1), drop)
    inside, drop = _first_above(groups.gather(1, group[..., None].expand(-1, 1, _GROUP))[:, 0], drop)
    return group * _GROUP + inside, drop
