"""k-means++ sampling, of rows or of outer products that are never made: the plain method, and one by rejection."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_int
from selectlib.kernels._checks import check_floating
from selectlib.kernels._points import OuterProducts, Rows
from selectlib.kernels._scaled_rows import check_finite, row_blocks
from selectlib.seeding import uniform_indices

_TOGETHER = 256  # picks from which all rows are measured together
_DRAWS = 16, 1024  # drawn at once: at least, at most


def kmeanspp(
    X: Float[Tensor, "n d"],
    k: int,
    *,
    outer: Float[Tensor, "n c"] | None = None,
    weights: Float[Tensor, "n"] | None = None,
    first: Literal["largest", "uniform"] | int = "uniform",
    method: Literal["rejection", "sequential"] = "rejection",
    generator: torch.Generator,
) -> Int[Tensor, "k"]:
    """Draw k rows one after the other, each with a probability in proportion to its squared distance from those before.

    Parameters
    ----------
    X : Tensor of floats, shape (n, d)
        The rows, finite.
    k : int
        How many to draw, from 1 to n.
    outer : Tensor of floats, shape (n, c), optional
        Draw among the n outer products of ``outer[i]`` with ``X[i]``, points of c·d coordinates each, which are never
        made. Default: among the rows of `X`.
    weights : Tensor of floats, shape (n,), optional
        Factors of the probabilities, at least 0. Default: 1.
    first : {"uniform", "largest"} or int, default "uniform"
        The first pick: in proportion to the weights, or the point of the largest norm, or the point of that index.
    method : {"rejection", "sequential"}, default "rejection"
        "sequential" measures all rows from every pick. "rejection" draws from the same law, see the notes.
    generator : torch.Generator
        Source of the draws, on any device.

    Returns
    -------
    Tensor of int64, shape (k,)
        Distinct indices in the order of the draws, on the device of `X`.

    Raises
    ------
    TypeError
        If `X`, `outer` or `weights` is not a floating tensor, `k` is not an int, or `generator` is not a
        `torch.Generator`.
    ValueError
        If a shape, a device, `k`, `first` or `method` is not allowed, a number is not finite, or a weight is negative.

    Notes
    -----
    Once every probability is 0, because all points that are left coincide with picks or have no weight, the rest is
    drawn uniformly.

    Rejection keeps an upper bound of each squared distance: that from the picks of some time ago. An item drawn in
    proportion to the bounds is accepted with probability distance over bound, both squared, and then follows the law
    exactly, however old the bounds are. They are renewed by one float32 matrix product, rounded up, when fewer than
    half of the draws are accepted; the distances of the few items that are drawn are float64. The two methods use the
    generator differently: their picks differ, their law does not.

    Distances of outer products come from ``|a|²|h|² + |b|²|g|² - 2 (a·b)(h·g)``; what is below the rounding of that
    sum in float64 counts as 0.

    Time O(n k (c + d)), for "rejection" nearly all in matrix products; memory O(n) and a block beside the arguments.

    References
    ----------
    Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding. Ash et al. (2020), Deep batch active
    learning by diverse, uncertain gradient lower bounds, for the outer products.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> X = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    >>> sorted(X[kmeanspp(X, 2, generator=generator(100))].squeeze(1).tolist())
    [0.0, 1.0]
    """
    _check(X, k, outer, weights, first, method, generator)
    points = Rows(X.detach()) if outer is None else OuterProducts(outer.detach(), X.detach())
    weights = None if weights is None else weights.detach().double()
    picks = _first(points, weights, first, generator)
    draw = _by_rejection if method == "rejection" else _sequentially
    picks = draw(points, picks, k, weights, generator)
    return torch.cat([picks, _uniformly(len(X), picks, k - len(picks), generator)])


def _first(
    points: Rows | OuterProducts, weights: Tensor | None, first: str | int, generator: torch.Generator
) -> Int[Tensor, "1"]:
    if isinstance(first, int):
        return torch.tensor([first], device=points.device)
    if first == "largest":
        parts = row_blocks(len(points), points.width, points.device)
        norms = torch.cat([points.norms(part) for part in parts])
        if norms.any():
            return norms.argmax(0, keepdim=True)
    if weights is None or not weights.any():
        return uniform_indices(len(points), 1, generator=generator).to(points.device)
    return _draw(weights.cumsum(0), 1, generator)


def _sequentially(
    points: Rows | OuterProducts,
    picks: Int[Tensor, "p"],
    k: int,
    weights: Float[Tensor, "n"] | None,
    generator: torch.Generator,
) -> Int[Tensor, "q"]:
    """Draw until there are k picks, or all probabilities are 0: the reference."""
    nearest = _lower(None, points, picks, exactly=True)
    while len(picks) < k:
        mass = nearest if weights is None else nearest * weights
        if not mass.any():
            break
        pick = _draw(mass.cumsum(0), 1, generator)
        if mass[pick] > 0:  # rounding in a parallel sum could hit an item without mass
            picks, nearest = torch.cat([picks, pick]), _lower(nearest, points, pick, exactly=True)
    return picks


def _by_rejection(
    points: Rows | OuterProducts,
    picks: Int[Tensor, "p"],
    k: int,
    weights: Float[Tensor, "n"] | None,
    generator: torch.Generator,
) -> Int[Tensor, "q"]:
    """Draw until there are k picks, or all probabilities are 0."""
    bounds, new, exactly = None, picks, False
    while len(picks) < k:
        bounds = _lower(bounds, points, new, exactly=exactly)
        mass = (bounds.double() if weights is None else bounds * weights).cumsum(0)
        if exactly and mass[-1] == 0:
            break
        known, tight, accepted = len(picks), None, 1.0 if mass[-1] > 0 else 0.0
        while accepted >= 0.5 and len(picks) < k:
            count = min(max(_DRAWS[0], len(picks)), 2 * (k - len(picks)), _DRAWS[1])
            found, ratio = _try(points, picks, bounds, mass, count, generator)
            picks, accepted = torch.cat([picks, found[: k - len(picks)]]), len(found) / count
            tight = ratio if tight is None else tight  # of the bounds while they were new
        new = picks[known:]
        if not exactly and (tight is None or tight < 0.5):  # the bounds are mostly float32's rounding by now
            bounds, new, exactly = None, picks, True
    return picks


def _try(
    points: Rows | OuterProducts,
    picks: Int[Tensor, "p"],
    bounds: Float[Tensor, "n"],
    mass: Float[Tensor, "n"],
    count: int,
    generator: torch.Generator,
) -> tuple[Int[Tensor, "a"], float]:
    """Draw in proportion to the bounds, and accept in turn; also the mean of distance over bound, both squared."""
    drawn = _draw(mass, count, generator)
    bound = bounds[drawn].double()
    level = bound * _uniform(count, generator).to(bound.device)
    nearest = points.squared_distances(drawn, picks).amin(1)
    bounds[drawn[nearest == 0]] = 0.0
    far = level < nearest
    found, level = drawn[far], level[far]
    clash = (points.squared_distances(found, found) <= level).triu(1).cpu()  # [s, t]: accepting s rules t out
    kept = torch.ones(len(found), dtype=torch.bool)
    for s in clash.any(1).nonzero().squeeze(1).tolist():
        if kept[s]:
            kept &= ~clash[s]
    return found[kept.to(found.device)], float((nearest / bound).mean())


def _lower(
    bounds: Float[Tensor, "n"] | None, points: Rows | OuterProducts, new: Int[Tensor, "p"], *, exactly: bool
) -> Float[Tensor, "n"]:
    """Lower the bounds of the squared distances from the picks by new picks; None stands for infinity."""
    if bounds is None:
        dtype = torch.float64 if exactly else torch.float32
        bounds = torch.full((len(points),), torch.inf, dtype=dtype, device=points.device)
    for some in new.split(_TOGETHER) if len(new) else ():
        for part in row_blocks(len(points), max(len(some), points.width), points.device):
            if exactly:
                measured = points.squared_distances(part, some).amin(1)
            else:
                measured = points.upper_bounds(part, some)
            torch.minimum(bounds[part], measured, out=bounds[part])
    return bounds.index_fill_(0, new, 0.0)


def _draw(cumulated: Float[Tensor, "n"], count: int, generator: torch.Generator) -> Int[Tensor, "count"]:
    """Draw indices in proportion to the steps of the cumulated masses."""
    levels = _uniform(count, generator).to(cumulated.device) * cumulated[-1]
    return torch.searchsorted(cumulated, levels, right=True).clamp_max_(len(cumulated) - 1)


def _uniform(count: int, generator: torch.Generator) -> Float[Tensor, "count"]:
    return torch.rand(count, dtype=torch.float64, generator=generator, device=generator.device)


def _uniformly(n: int, picks: Int[Tensor, "p"], count: int, generator: torch.Generator) -> Int[Tensor, "count"]:
    """Draw from the indices that are left, all alike."""
    if count == 0:
        return picks[:0]
    left = torch.ones(n, dtype=torch.bool, device=picks.device).index_fill_(0, picks, False).nonzero().squeeze(1)
    order = uniform_indices(2**62, len(left), generator=generator).argsort()[:count]
    return left[order.to(left.device)]


def _check(
    X: Tensor,
    k: int,
    outer: Tensor | None,
    weights: Tensor | None,
    first: str | int,
    method: str,
    generator: torch.Generator,
) -> None:
    check_floating("X", X, (2,))
    check_int("k", k, 1, len(X))
    check_finite("X", X)
    for name, value, ndim in (("outer", outer, 2), ("weights", weights, 1)):
        if value is not None:
            check_floating(name, value, (ndim,))
            check_finite(name, value)
            if len(value) != len(X) or value.device != X.device:
                given, wanted = f"{len(value)} on {value.device}", f"{len(X)} on {X.device}"
                raise ValueError(f"{name} must have the length and the device of X, {wanted}, got {given}")
    if weights is not None and bool((weights < 0).any()):
        raise ValueError(f"weights must be at least 0, got {weights.min().item()}")
    if isinstance(first, int):
        check_int("first", first, 0, len(X) - 1)
    elif first not in ("uniform", "largest"):
        raise ValueError(f'first must be "uniform", "largest" or an index, got {first!r}')
    if method not in ("rejection", "sequential"):
        raise ValueError(f'method must be "rejection" or "sequential", got {method!r}')
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
