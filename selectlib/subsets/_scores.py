"""Draws of items with rates proportional to their scores, without knowing the scores of the items never drawn.

The score of an item is l_i = b_iᵀ M b_i for a psd matrix M made from the estimate Ĉ. Its eigenvalues are at most
`outside`, so that l_i <= outside · L_ii <= outside · β_i. An item in memory is drawn by its score; any other by a look
at the bound, then a coin with probability l_i / (outside · β_i). One number l_i, computed once, is used in rates,
weights and coins: with two that differ by rounding, the law of the output would be another.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.subsets._covariance import Covariance
from selectlib.subsets._looked import LookedItems

_TINY = 1e-300
_BLOCK = 2**18  # random looks at once


class Scores:
    """Scores l_i of the items in memory, under one estimate Ĉ and one weighting of its eigenvectors.

    Parameters
    ----------
    looked : LookedItems
        The memory; items that enter it later get their scores when they do.
    covariance : Covariance
        Ĉ.
    outside : float
        Weight of the directions outside the span of Ĉ, the largest of all.
    weights : Tensor (r,)
        Weight of each eigenvector of Ĉ, at most `outside`.
    """

    def __init__(self, looked: LookedItems, covariance: Covariance, outside: float, weights: Float[Tensor, "r"]):
        self._looked, self._covariance, self._outside, self._weights = looked, covariance, outside, weights
        self._values = torch.empty(0, dtype=torch.float64, device=looked.device)
        self._cumulative = self._values
        self._extend()
        # About Σ_i l_i over all n items; it decides only how many draws are made at once.
        seen = self._values / looked.inclusion()
        self._guess = max(float(weights @ covariance.eigvals), float(seen.sum()), _TINY)

    @property
    def known(self) -> float:
        """Sum of the scores of the items in memory."""
        return float(self._cumulative[-1]) if len(self._cumulative) else 0.0

    @property
    def bound(self) -> float:
        """Rate of the random looks at the bound, Σ_i outside · β_i; 0 when no item is left to look at."""
        return 0.0 if self._looked.complete else self._outside * self._looked.total

    def of(self, rows: Int[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """l_i of the items in these rows."""
        self._extend()
        return self._values[rows]

    def draw(self, size: int) -> Int[Tensor, "size"]:
        """Rows of `size` independent items, each with probability l_i / Σ l: rejection from known scores and bounds."""
        taken: list[Tensor] = []
        missing = size
        while missing:
            self._extend()
            known, bound, before = self.known, self.bound, len(self._values)
            # A look at the bound that finds an item in memory is void: that item is drawn by its score.
            rate = max(1.0, (known + bound) / max(known, self._guess))  # candidates for each kept draw
            # A draw too many is a wasted look: take most of them now, and the rest when it is known how many.
            candidates = math.ceil(min(_BLOCK, missing * (0.9 * rate if bound and missing > 20 else rate)))
            u = torch.rand(
                candidates, dtype=torch.float64, device=self._looked.device, generator=self._looked.generator
            )
            at_bound = u * (known + bound) >= known
            rows = torch.full_like(u, -1, dtype=torch.int64)
            looks, kept = self._look(int(at_bound.sum()), before)
            rows[at_bound] = torch.where(kept, looks, -1)
            rows[~at_bound] = self._draw_known(candidates - len(looks), before)
            rows = rows[rows >= 0][:missing]  # in the order of the draws, whatever they found
            taken.append(rows)
            missing -= len(rows)
        return torch.cat(taken) if taken else torch.empty(0, dtype=torch.int64, device=self._looked.device)

    def poisson(self, rate: float, proposals: int) -> tuple[Int[Tensor, "s"], Int[Tensor, "s"]]:
        """For each of some proposals, every item i independently Poisson(rate · l_i) times: (proposal, row)."""
        self._extend()
        before, device = len(self._values), self._looked.device
        # Poisson(rate · Σ bounds) looks, thinned to their scores, are independent Poisson(rate · l_i) counts. The rate
        # is no whole number, and must not be made one.
        parts = []
        for total, draw in ((rate * self.known, self._known_pairs), (rate * self.bound, self._bound_pairs)):
            rates = torch.full((proposals,), total, dtype=torch.float64, device=device)
            counts = torch.poisson(rates, generator=self._looked.generator).long()
            owner = torch.repeat_interleave(torch.arange(proposals, device=device), counts)
            parts += [draw(block, before) for block in owner.split(_BLOCK)]
        owner, rows = torch.cat(parts, dim=1)
        return owner, rows

    def _known_pairs(self, owner: Tensor, before: int) -> Tensor:
        return torch.stack([owner, self._draw_known(len(owner), before)])

    def _bound_pairs(self, owner: Tensor, before: int) -> Tensor:
        rows, kept = self._look(len(owner), before)
        return torch.stack([owner[kept], rows[kept]])

    def _draw_known(self, size: int, before: int) -> Int[Tensor, "size"]:
        """Rows below `before`, with probability proportional to their scores."""
        if not size:
            return torch.empty(0, dtype=torch.int64, device=self._looked.device)
        cumulative = self._cumulative[:before]
        u = torch.rand(size, dtype=torch.float64, device=self._looked.device, generator=self._looked.generator)
        return torch.searchsorted(cumulative, u * cumulative[-1], right=True).clamp_(max=before - 1)

    def _look(self, size: int, before: int) -> tuple[Int[Tensor, "size"], Bool[Tensor, "size"]]:
        """Look at random items; keep those that were not in memory `before`, with probability l_i / (outside · β_i)."""
        if not size:
            empty = torch.empty(0, dtype=torch.int64, device=self._looked.device)
            return empty, empty.bool()
        rows = self._looked.draw(size)
        self._extend()
        u = torch.rand(size, dtype=torch.float64, device=self._looked.device, generator=self._looked.generator)
        return rows, (rows >= before) & (u * self._outside * self._looked.bounds(rows) < self._values[rows])

    def _extend(self) -> None:
        """Score the items that came into memory since the last time."""
        rows = torch.arange(len(self._values), self._looked.count, device=self._looked.device)
        if not len(rows):
            return
        diag = self._looked.diag[rows]
        values = self._covariance.quadratic_form(self._looked.features(rows), diag, self._outside, self._weights)
        values = torch.minimum(values.clamp_(min=_TINY), self._outside * self._looked.bounds(rows))
        self._values = torch.cat([self._values, values])
        self._cumulative = self._values.cumsum(0)
