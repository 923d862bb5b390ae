"""Flaws that real pools have, made to order and kept account of: copies, outliers, rare classes, wrong labels."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selectlib._checks import check_generator, check_int


@dataclass(frozen=True, eq=False)
class FlawedPool:
    """Items to choose from, some of them flawed, with the account of which.

    Parameters
    ----------
    X : Tensor of floats, shape (n, ...)
        The items: features (n, d) or images (n, c, h, w), in random order.
    y : Tensor of int64, shape (n,)
        Their labels.
    origin : Tensor of int64, shape (n,)
        Which item of the clean pool each one is or is a copy of; -1 for one that has none there.
    flawed : Tensor of bool, shape (n,)
        Which items the flaw has added.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> X, y = torch.eye(4), torch.arange(4)
    >>> pool = with_duplicates(X, y, share=0.5, copies=3, jitter=0.0, generator=generator(100))
    >>> torch.equal(pool.X, X[pool.origin]), pool.origin[pool.flawed].unique().shape
    (True, torch.Size([2]))
    """

    X: Float[Tensor, "n *item"]
    y: Int64[Tensor, "n"]
    origin: Int64[Tensor, "n"]
    flawed: Bool[Tensor, "n"]


def with_duplicates(
    X: Float[Tensor, "n *item"],
    y: Int64[Tensor, "n"],
    share: float,
    copies: int = 5,
    jitter: float = 0.05,
    *,
    generator: torch.Generator,
) -> FlawedPool:
    """Add near-copies of some of the items.

    Parameters
    ----------
    X : Tensor of floats, shape (n, ...)
        The clean items, features or images.
    y : Tensor of int64, shape (n,)
        Their labels; a copy has its original's.
    share : float
        Share of the items that are copied, from 0 to 1; ``round(share * n)`` of them, without replacement.
    copies : int, default 5
        Copies of each of those, besides the original; at least 1.
    jitter : float, default 0.05
        Standard deviation of the Gaussian noise on every number of a copy [in root-mean-square standard deviations
        of the numbers of `X` over its items]; 0 copies exactly.
    generator : torch.Generator
        Source of every draw.

    Returns
    -------
    FlawedPool
        All n clean items and ``copies * round(share * n)`` copies, in random order; `flawed` marks the copies.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If `X` is empty or not finite, `y` has another length, or a number is out of range.

    Notes
    -----
    O(N d) time and memory for N items that come out. The noise may take the brightness of an image out of its range.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> X, y = torch.rand(100, 8, 8, generator=generator(100)), torch.zeros(100, dtype=torch.int64)
    >>> pool = with_duplicates(X, y, share=0.5, copies=5, generator=generator(101))
    >>> pool.X.shape, int(pool.flawed.sum())
    (torch.Size([350, 8, 8]), 250)
    """
    n = _check_items(X, y, generator)
    _check_share(share)
    check_int("copies", copies, 1)
    _check_number("jitter", jitter)
    if not 0 <= jitter < math.inf:
        raise ValueError(f"jitter must be finite and at least 0, got {jitter}")
    twins = _order(n, generator, X.device)[: round(share * n)].repeat(copies)
    spread = float(X.var(0, correction=0).mean().sqrt())
    noise = torch.randn(len(twins), *X.shape[1:], dtype=X.dtype, generator=generator, device=generator.device)
    copied = X[twins] + jitter * spread * noise.to(X.device)
    origin = torch.cat([torch.arange(n, device=X.device), twins])
    return _shuffled(torch.cat([X, copied]), torch.cat([y, y[twins]]), origin, n, generator)


def with_outliers(
    X: Float[Tensor, "n *item"], y: Int64[Tensor, "n"], share: float, *, generator: torch.Generator
) -> FlawedPool:
    """Add items that are noise, with labels that mean nothing.

    Every number of an outlier is that of a random clean item at the same place, drawn anew for each place: an outlier
    keeps to the range and frequencies of every feature or pixel, but nothing that ties them together is left.

    Parameters
    ----------
    X : Tensor of floats, shape (n, ...)
        The clean items, features or images.
    y : Tensor of int64, shape (n,)
        Their labels; an outlier has that of a random clean item.
    share : float
        Share of outliers in what comes out, from 0 to below 1; ``round(share * n / (1 - share))`` are added.
    generator : torch.Generator
        Source of every draw.

    Returns
    -------
    FlawedPool
        All n clean items and the outliers, in random order; `flawed` marks the outliers, whose `origin` is -1.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If `X` is empty or not finite, `y` has another length, or `share` is out of range.

    Notes
    -----
    O(N d) time and memory for N items that come out.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> X, y = torch.rand(90, 4, generator=generator(100)), torch.arange(90) % 3
    >>> pool = with_outliers(X, y, share=0.1, generator=generator(101))
    >>> pool.X.shape, int(pool.flawed.sum()), pool.origin[pool.flawed].unique()
    (torch.Size([100, 4]), 10, tensor([-1]))
    """
    n = _check_items(X, y, generator)
    _check_share(share)
    if share == 1:
        raise ValueError("share must be below 1: outliers are added to the clean items, got 1")
    added = round(share * n / (1 - share))
    rows = torch.randint(n, (added, X[0].numel()), generator=generator, device=generator.device).to(X.device)
    noise = X.flatten(1).gather(0, rows)
    labels = y[torch.randint(n, (added,), generator=generator, device=generator.device).to(y.device)]
    origin = torch.cat([torch.arange(n, device=X.device), torch.full((added,), -1, device=X.device)])
    return _shuffled(torch.cat([X, noise.reshape(added, *X.shape[1:])]), torch.cat([y, labels]), origin, n, generator)


def imbalanced(y: Int64[Tensor, "n"], ratio: float, *, generator: torch.Generator) -> Int64[Tensor, "m"]:
    """Choose items such that some classes are rare.

    The classes are put in random order, and the numbers of their items fall from one to the next by the same factor,
    to a `ratio`-th at the last; they are the largest such numbers for which the items suffice, rounded.

    Parameters
    ----------
    y : Tensor of int64, shape (n,)
        The labels, of at least two classes.
    ratio : float
        Number of the most frequent class's items over that of the rarest, at least 1.
    generator : torch.Generator
        Source of every draw.

    Returns
    -------
    Tensor of int64, shape (m,)
        Distinct indices in random order; every class keeps at least one item.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If `y` has fewer than two classes, or `ratio` is not finite or below 1.

    Notes
    -----
    O(n c) time for c classes.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> y = torch.arange(3).repeat(100)
    >>> kept = imbalanced(y, 10, generator=generator(100))
    >>> sorted(y[kept].bincount().tolist())
    [10, 32, 100]
    """
    _check_labels(y)
    check_generator(generator)
    _check_number("ratio", ratio)
    if not 1 <= ratio < math.inf:
        raise ValueError(f"ratio must be finite and at least 1, got {ratio}")
    classes, there = torch.unique(y, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"y must have at least 2 classes, got {len(classes)}")
    place = _order(len(classes), generator, y.device)
    weight = torch.tensor(ratio, dtype=torch.float64, device=y.device) ** (-place / (len(classes) - 1))
    wanted = (weight * (there / weight).min()).round().clamp(min=1).long()
    mixed = _order(len(y), generator, y.device)
    of_class = [(y[mixed] == c).nonzero()[:m, 0] for c, m in zip(classes, wanted, strict=True)]
    return mixed[torch.cat(of_class).sort().values]


def with_wrong_labels(
    y: Int64[Tensor, "n"], share: float, n_classes: int, *, generator: torch.Generator
) -> tuple[Int64[Tensor, "n"], Bool[Tensor, "n"]]:
    """Give some of the items the label of another class.

    Parameters
    ----------
    y : Tensor of int64, shape (n,)
        The right labels, from 0 to ``n_classes - 1``; not changed.
    share : float
        Share of the items whose label is made wrong, from 0 to 1; ``round(share * n)`` of them.
    n_classes : int
        Number of classes, at least 2. Each of the other classes is equally likely.
    generator : torch.Generator
        Source of every draw.

    Returns
    -------
    labels : Tensor of int64, shape (n,)
        The labels as given.
    wrong : Tensor of bool, shape (n,)
        Which of them are wrong.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If `y` is empty, a label or a number is out of range.

    Notes
    -----
    O(n) time.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> y = torch.arange(100) % 10
    >>> labels, wrong = with_wrong_labels(y, share=0.2, n_classes=10, generator=generator(100))
    >>> int(wrong.sum()), torch.equal(wrong, labels != y)
    (20, True)
    """
    _check_labels(y)
    check_generator(generator)
    _check_share(share)
    check_int("n_classes", n_classes, 2)
    low, high = torch.stack(torch.aminmax(y)).tolist()
    if low < 0 or high >= n_classes:
        raise ValueError(f"y must be from 0 to {n_classes - 1}, got {low if low < 0 else high}")
    hit = _order(len(y), generator, y.device)[: round(share * len(y))]
    step = torch.randint(1, n_classes, (len(hit),), generator=generator, device=generator.device).to(y.device)
    labels, wrong = y.clone(), torch.zeros_like(y, dtype=torch.bool)
    labels[hit] = (y[hit] + step) % n_classes
    wrong[hit] = True
    return labels, wrong


def _order(n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randperm(n, generator=generator, device=generator.device).to(device)


def _shuffled(X: Tensor, y: Tensor, origin: Tensor, n: int, generator: torch.Generator) -> FlawedPool:
    """The pool in random order; what comes after the first n items is flawed."""
    order = _order(len(X), generator, X.device)
    return FlawedPool(X[order], y[order], origin[order], order >= n)


def _check_items(X: Any, y: Any, generator: Any) -> int:
    if not isinstance(X, Tensor) or not X.is_floating_point():
        raise TypeError(f"X must be a tensor of floats, got {getattr(X, 'dtype', type(X).__name__)}")
    if X.ndim < 2 or len(X) == 0 or X[0].numel() == 0:
        raise ValueError(f"X must hold items of at least one number each, (n, ...), got shape {tuple(X.shape)}")
    if not bool(X.isfinite().all()):
        raise ValueError("X must be finite; it holds NaN or infinity")
    _check_labels(y)
    if len(y) != len(X):
        raise ValueError(f"y must have one label an item: {len(y)} labels for {len(X)} items")
    if y.device != X.device:
        raise ValueError(f"y is on {y.device}, but X on {X.device}; put both on one device")
    check_generator(generator)
    return len(X)


def _check_labels(y: Any) -> None:
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        raise TypeError(f"y must be a tensor of int64, got {getattr(y, 'dtype', type(y).__name__)}")
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"y must be 1-D with at least one label, got shape {tuple(y.shape)}")


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")


def _check_share(share: Any) -> None:
    _check_number("share", share)
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")
