"""What a selector chooses from, and what every selector offers."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.seeding import uniform_indices


@runtime_checkable
class ItemSource(Protocol):
    """Items that are made or read when asked for, so that a pool may be larger than memory.

    A source may also have an attribute ``device``, where its items come out; without one that is the CPU.

    Examples
    --------
    >>> class Squares:
    ...     def __len__(self):
    ...         return 10**9
    ...
    ...     def fetch(self, idx):
    ...         return (idx.double() ** 2).unsqueeze(1)
    >>> isinstance(Squares(), ItemSource), len(Pool(Squares()))
    (True, 1000000000)
    """

    def __len__(self) -> int:
        """Return the number of items, n."""
        ...

    def fetch(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Return the features of the items `idx`, in that order; repeats are allowed."""
        ...


@dataclass(frozen=True, eq=False)
class Pool:
    """The items that a selector may choose from, with what is known about them and about the target.

    Parameters
    ----------
    features : Tensor of floats, shape (n, d), or ItemSource
        One row an item, or a random-access source of such rows.
    logits : Tensor of floats, shape (n, c), optional
        The current model's logits of the items.
    labeled_features : Tensor of floats, shape (m, d), optional
        Features of items that are labelled already.
    source_features : Tensor of floats, shape (s, d), optional
        Features of the source domain.
    target_samples : object, optional
        A sample of the target, labelled or not, in the form that the selector at hand documents.
    n_total : int, optional
        Items before any was labelled and taken out, at least n: for selectors that keep a share of the whole.

    Raises
    ------
    TypeError
        If `features` is neither a tensor nor a source, a tensor field does not hold floats, or `n_total` is not an int.
    ValueError
        If the pool is empty, a tensor field is not 2-D, holds NaN or infinity, sits on another device than
        `features`, has another width than `features`, `logits` has another length than `features`, or `n_total` is
        below n.

    Notes
    -----
    A source's items are checked by whoever fetches them: making a pool fetches nothing.

    Examples
    --------
    >>> import torch
    >>> pool = Pool(torch.eye(4), logits=torch.zeros(4, 2))
    >>> len(pool), pool.device
    (4, device(type='cpu'))
    """

    features: Float[Tensor, "n d"] | ItemSource
    logits: Float[Tensor, "n c"] | None = None
    labeled_features: Float[Tensor, "m d"] | None = None
    source_features: Float[Tensor, "s d"] | None = None
    target_samples: object | None = None
    n_total: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.features, Tensor | ItemSource):
            given = type(self.features).__name__
            raise TypeError(f"features must be a tensor or a source with `__len__` and `fetch`, got {given}")
        if isinstance(self.features, Tensor):
            self._check_tensor("features")
        for name in ("logits", "labeled_features", "source_features"):
            if getattr(self, name) is not None:
                self._check_tensor(name)
        if len(self) == 0:
            raise ValueError("features holds no items; a pool needs at least 1")
        if self.logits is not None and len(self.logits) != len(self):
            raise ValueError(f"logits must have one row an item: {len(self.logits)} rows for {len(self)} items")
        if self.n_total is not None and (not isinstance(self.n_total, int) or isinstance(self.n_total, bool)):
            raise TypeError(f"n_total must be an int, got {type(self.n_total).__name__}")
        if self.n_total is not None and self.n_total < len(self):
            raise ValueError(f"n_total must be at least the pool's {len(self)} items, got {self.n_total}")

    def __len__(self) -> int:
        """Return the number of items, n."""
        return len(self.features)

    @property
    def device(self) -> torch.device:
        """Where the features are, and where a selector's indices go."""
        return torch.device(getattr(self.features, "device", "cpu"))

    def _check_tensor(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            given = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a tensor of floats, got {given}")
        if value.ndim != 2:
            raise ValueError(f"{name} must be 2-D (items, width), got shape {tuple(value.shape)}")
        if value.device != self.device:
            raise ValueError(f"{name} is on {value.device}, but features on {self.device}; put both on one device")
        if name != "logits" and isinstance(self.features, Tensor) and value.shape[1] != self.features.shape[1]:
            width = self.features.shape[1]
            raise ValueError(f"{name} must have the width of features, {width}, got {value.shape[1]}")
        # The extremes tell without a mask of the tensor's size; only a failure looks for the place.
        if value.numel() and not torch.stack(torch.aminmax(value)).isfinite().all():
            row, column = (~value.isfinite()).nonzero()[0].tolist()
            raise ValueError(f"{name} must be finite, but {name}[{row}, {column}] is {value[row, column].item()}")


@runtime_checkable
class PoolSelector(Protocol):
    """What every pool selector offers, so that one can stand in for another.

    Attributes
    ----------
    needs : frozenset of str
        Names of the fields of `Pool` that the selector reads.

    Examples
    --------
    >>> isinstance(Random(), PoolSelector), Random().needs
    (True, frozenset())
    """

    @property
    def needs(self) -> frozenset[str]:
        """Names of the fields of `Pool` that the selector reads."""
        ...

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            What to choose from; never changed.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Source of every random draw: the same state gives the same choice.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices, on `pool.device`.
        """
        ...


def check_select_args(selector: PoolSelector, pool: Pool, k: int) -> None:
    """Raise a clear error unless `selector` can choose `k` items of `pool`; the first line of every `select`.

    Parameters
    ----------
    selector : PoolSelector
        The selector that was called; its `needs` are looked up in the pool.
    pool : Pool
        What it was given.
    k : int
        How many items it was asked for, from 1 to ``len(pool)``.

    Raises
    ------
    TypeError
        If `pool` is not a `Pool` or `k` is not an int.
    ValueError
        If `k` is out of range, or a field that the selector needs is missing.

    Examples
    --------
    >>> import torch
    >>> check_select_args(Random(), Pool(torch.eye(3)), 4)
    Traceback (most recent call last):
    ...
    ValueError: k must be from 1 to the pool's 3 items, got 4
    """
    if not isinstance(pool, Pool):
        raise TypeError(f"pool must be a selectlib.pool.Pool, got {type(pool).__name__}")
    if not isinstance(k, int) or isinstance(k, bool):
        raise TypeError(f"k must be an int, got {type(k).__name__}")
    if not 1 <= k <= len(pool):
        raise ValueError(f"k must be from 1 to the pool's {len(pool)} items, got {k}")
    for field in sorted(selector.needs):
        if getattr(pool, field) is None:
            name = type(selector).__name__
            raise ValueError(f"{name} needs the pool's {field}, which is missing: give Pool(..., {field}=...)")


class Random:
    """Choose items uniformly without replacement: the baseline of every selector.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> chosen = Random().select(Pool(torch.eye(8)), 3, generator=generator(100))
    >>> chosen.shape, len(set(chosen.tolist()))
    (torch.Size([3]), 3)
    """

    needs: frozenset[str] = frozenset()

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items, every ordered choice equally likely.

        Parameters
        ----------
        pool : Pool
            What to choose from; only its length is read.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Source of the draws, on any device.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices in random order, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range.

        Notes
        -----
        Time O(k log k) and memory O(k) whatever the pool's length: independent draws are made until k are distinct.
        """
        check_select_args(self, pool, k)
        n = len(pool)
        if n <= 4 * k:  # independent draws would repeat too often, and sorting all the items costs no more
            return uniform_indices(2**62, n, generator=generator).argsort()[:k].to(pool.device)
        drawn = uniform_indices(n, 2 * k, generator=generator)
        while len(chosen := _first_occurrences(drawn)) < k:
            drawn = torch.cat([drawn, uniform_indices(n, 2 * k, generator=generator)])
        return chosen[:k].to(pool.device)


def _first_occurrences(values: Int[Tensor, "m"]) -> Int[Tensor, "u"]:
    """Drop the repeats, and keep the order in which the values came."""
    distinct, inverse = torch.unique(values, return_inverse=True)
    positions = torch.arange(len(values), device=values.device)
    first = torch.full_like(distinct, len(values)).scatter_reduce_(0, inverse, positions, "amin")
    return values[first.sort().values]
