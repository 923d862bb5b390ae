"""Rank correlations of many columns at once, on all rows or on resamples of them."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selectlib.seeding import uniform_indices

_BLOCK = 2**19  # numbers held at once by a block of resamples, in the cache


class Ranked:
    """Columns sorted once, so that the ranks of any resample of their rows are sums of counts."""

    def __init__(self, values: Float[Tensor, "s m"]):
        self.values = values
        ordered, self.order = values.sort(0)
        columns = ordered.t().contiguous()
        # Every value ties with those from `first` up to, and without, `last` in its column's order.
        self.first = torch.searchsorted(columns, columns, side="left").t()
        self.last = torch.searchsorted(columns, columns, side="right").t()

    def of(self, columns: Bool[Tensor, "m"]) -> "Ranked":
        return Ranked(self.values[:, columns])

    def ranks(self, counts: Float[Tensor, "b s"]) -> Float[Tensor, "b s m"]:
        """Mean ranks, from 1, in the samples that hold row j ``counts[:, j]`` times, in the order of the rows."""
        b = len(counts)
        before = torch.nn.functional.pad(counts[:, self.order].cumsum(1), (0, 0, 1, 0))
        first, last = (before.gather(1, at.expand(b, *at.shape)) for at in (self.first, self.last))
        ranks = torch.empty_like(first)
        return ranks.scatter_(1, self.order.expand(b, *self.order.shape), (first + last + 1) / 2)


def correlations(x: Ranked, y: Ranked, counts: Float[Tensor, "b s"]) -> Float[Tensor, "b m"]:
    """Spearman's correlation of each column in each sample; NaN where a column is constant."""
    middle = (counts.sum(1) + 1)[:, None, None] / 2
    a, b = x.ranks(counts) - middle, y.ranks(counts) - middle
    weights = counts[:, :, None]
    norm = ((weights * a * a).sum(1) * (weights * b * b).sum(1)).sqrt()
    return (weights * a * b).sum(1) / norm.masked_fill(norm == 0, torch.nan)


def all_once(x: Ranked) -> Float[Tensor, "1 s"]:
    """Counts of the sample that is the data."""
    return torch.ones(1, len(x.values), dtype=torch.float64, device=x.values.device)


def resampled_counts(x: Ranked, resamples: int, generator: torch.Generator) -> Iterator[Float[Tensor, "b s"]]:
    """How often each row is drawn, in blocks of bootstrap resamples of the rows."""
    s, m = x.values.shape
    drawn = uniform_indices(s, resamples * s, generator=generator).reshape(resamples, s).to(x.values.device)
    for part in drawn.split(max(1, _BLOCK // (s * m))):
        counts = torch.zeros(len(part), s, dtype=torch.float64, device=part.device)
        yield counts.scatter_add_(1, part, torch.ones_like(counts))


class SeedHalves:
    """Outputs over seeds as two halves, which tell how reliable their average is."""

    def __init__(self, seeds: Float[Tensor, "s r m"]):
        half = seeds.shape[1] // 2
        self._factor = seeds.shape[1] / half
        self._halves = Ranked(seeds[:, :half].mean(1)), Ranked(seeds[:, half : 2 * half].mean(1))

    def ceiling(self, counts: Float[Tensor, "b s"]) -> Float[Tensor, "b"]:
        """Square root of the reliability by Spearman and Brown, 0 where the halves do not agree."""
        rho = correlations(*self._halves, counts).nanmean(1).clamp(min=0)
        return (self._factor * rho / (1 + (self._factor - 1) * rho)).sqrt()
