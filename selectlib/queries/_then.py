"""Two strategies in a row: the first narrows the pool, the second chooses from what is left."""

import math
from dataclasses import replace
from fractions import Fraction

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator
from selectlib.pool import ItemSource, Pool, PoolSelector, check_select_args
from selectlib.queries._checks import check_share


class Then:
    """Let one selector keep a share of the pool, and another choose from that share.

    Parameters
    ----------
    first : PoolSelector
        Chooses the items that stay; its order among them does not matter.
    keep : float
        Share that stays, in (0, 1], of ``pool.n_total`` items, or of the pool where that is not given; rounded up.
        At least the k items asked for stay, and at most all.
    second : PoolSelector
        Chooses among them.

    Attributes
    ----------
    needs : frozenset of str
        What the two need.

    Raises
    ------
    TypeError
        If `first` or `second` is no pool selector, or `keep` is not a number.
    ValueError
        If `keep` is not in (0, 1].

    Notes
    -----
    Time and memory of the two, and O(kept (c + d)) for the logits and features that the second reads. Where all stay,
    the first is not asked. The pool that the second sees has no ``n_total``, so that a `Then` in second place keeps a
    share of what the first left. ``Then(FreeEnergy(), 0.5, MvSM())`` is `EADA`; a filter by `FreeEnergy` before a
    diverse strategy such as `BADGE` is ours.

    Examples
    --------
    >>> from selectlib.queries import FreeEnergy, Margin, Then
    >>> from selectlib.seeding import generator
    >>> logits = torch.tensor([[9.0, 8.9], [1.0, 0.0], [0.0, 0.5], [3.0, 0.0]])
    >>> pool = Pool(torch.zeros(4, 1), logits=logits)
    >>> Margin().select(pool, 1, generator=generator(100))  # the classes of item 0 are close, but both fit it well
    tensor([0])
    >>> Then(FreeEnergy(), 0.5, Margin()).select(pool, 1, generator=generator(100))
    tensor([2])
    """

    def __init__(self, first: PoolSelector, keep: float | int, second: PoolSelector):
        for name, selector in (("first", first), ("second", second)):
            if isinstance(selector, type) or not isinstance(selector, PoolSelector):
                raise TypeError(f"{name} must be a pool selector such as FreeEnergy(), got {selector!r}")
        self.first, self.keep, self.second = first, check_share("keep", keep), second
        self.needs = frozenset(first.needs | second.needs)

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its ``n_total`` is read, and what the two selectors need.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Handed to the first selector, then to the second.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices in the order of the second selector, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range, or the pool lacks a field.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        kept = number_kept(self.keep, pool, k)
        if kept == len(pool):
            return self.second.select(pool, k, generator=generator)
        stays = self.first.select(pool, kept, generator=generator).sort().values
        return stays[self.second.select(_narrowed(pool, stays, self.second.needs), k, generator=generator)]


def number_kept(keep: float, pool: Pool, k: int) -> int:
    """How many items stay of a pool from which `k` are to be chosen."""
    total = pool.n_total or len(pool)
    share = math.ceil(Fraction(str(keep)) * total)  # of the decimal as written: 0.07 of 100 is 7, not 7.000000000000001
    return min(len(pool), max(k, share))


def _narrowed(pool: Pool, stays: Int[Tensor, "m"], needs: frozenset[str]) -> Pool:
    """The pool of the items `stays`; features are copied only where somebody needs them."""
    features, logits = pool.features, pool.logits
    return replace(
        pool,
        features=features[stays] if isinstance(features, Tensor) and "features" in needs else _View(features, stays),
        logits=logits[stays] if logits is not None and "logits" in needs else None,
        n_total=None,
    )


class _View:
    """Some rows of features, looked up when asked for."""

    def __init__(self, features: Float[Tensor, "n d"] | ItemSource, rows: Int[Tensor, "m"]):
        self._features, self._rows = features, rows
        self.device = rows.device

    def __len__(self) -> int:
        return len(self._rows)

    def fetch(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        rows = self._rows[idx.to(self.device)]
        return self._features[rows] if isinstance(self._features, Tensor) else self._features.fetch(rows)
