"""k-center by farthest-first traversal: the plain algorithm, and a lazy one with the same picks in fewer passes."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_int
from selectlib.kernels._checks import check_floating
from selectlib.kernels._scaled_rows import ScaledRows, check_finite, mean_row, product_error, row_blocks
from selectlib.kernels._topk import top_k

_TOGETHER = 256  # points from which all rows are measured together
_AHEAD = {"cuda": 64}  # picks made before the device is asked how many of them count; each question stops it
_TAKEN = -1.0  # the distance of what is picked: below every other, so that it is not picked again


def kcenter_greedy(
    X: Float[Tensor, "n d"],
    k: int,
    *,
    centers: Float[Tensor, "m d"] | None = None,
    first: int | None = None,
    method: Literal["lazy", "plain"] = "lazy",
    block: int = 4096,
) -> Int[Tensor, "k"]:
    """Pick k rows, each the farthest from the centres and from the picks before it.

    The traversal is greedy for k-center: the largest distance of a row from the nearest centre or pick is at most
    twice what the best k rows reach.

    Parameters
    ----------
    X : Tensor of floats, shape (n, d)
        The rows, finite.
    k : int
        How many to pick, from 1 to n.
    centers : Tensor of floats, shape (m, d), optional
        Points that are covered already. None and an empty tensor mean that there are none.
    first : int, optional
        Without centres, the row of the first pick. Default: the row nearest the mean of all.
    method : {"lazy", "plain"}, default "lazy"
        "plain" measures all rows from every pick. "lazy" picks the same and measures all rows only now and then.
    block : int, default 4096
        "lazy": of the farthest rows, follow at most so many between two passes over all rows.

    Returns
    -------
    Tensor of int64, shape (k,)
        Distinct indices in the order of the picks, on the device of `X`.

    Raises
    ------
    TypeError
        If `X` or `centers` is not a floating tensor, or `k`, `first` or `block` is not an int.
    ValueError
        If a shape, `k`, `first`, `method` or `block` is not allowed, `first` is given beside centres, the devices
        differ, or a number is not finite.

    Notes
    -----
    Distances are taken in float64 from differences of coordinates. Of equally far rows the lowest index is picked.

    The lazy method follows the rows P that are farthest now. Distances only decrease; so while the farthest row of P
    is farther than every row outside P was at the start, it is the farthest of all, and the pick is measured against P
    alone. Then one pass brings all rows up to date: a float32 matrix product, with a bound on its own rounding, tells
    which picks could be nearer to a row than all before, and those alone are measured.

    Time O(n k d), for "lazy" nearly all of it in matrix products; memory O(n + block d) beside `X`.

    References
    ----------
    Gonzalez (1985), Clustering to minimize the maximum intercluster distance. Sener and Savarese (2018), Active
    learning for convolutional neural networks: a core-set approach, algorithm 1.

    Examples
    --------
    >>> X = torch.tensor([[0.0], [1.0], [4.0], [9.0]])
    >>> kcenter_greedy(X, 3, first=0)
    tensor([0, 3, 2])
    >>> kcenter_greedy(X, 2, centers=torch.tensor([[9.5]]))
    tensor([0, 2])
    """
    _check(X, k, centers, first, method, block)
    X = X.detach()
    mean = mean_row(X)
    picks = torch.empty(0, dtype=torch.int64, device=X.device)
    if centers is None or not len(centers):
        picks = _distances(X, mean[None]).argmin(0, keepdim=True) if first is None else picks.new_tensor([first])
        centers = X[picks]
    if method == "plain":
        return _plain(X, k, centers.detach(), picks)
    return _lazy(X, k, centers.detach(), picks, mean, min(block, max(256, len(X) // 64), len(X)))


def _plain(X: Tensor, k: int, centers: Float[Tensor, "m d"], picks: Int[Tensor, "p"]) -> Int[Tensor, "k"]:
    nearest = _distances(X, centers).index_fill_(0, picks, _TAKEN)
    while len(picks) < k:
        pick = nearest.argmax(0, keepdim=True)
        torch.minimum(nearest, _distances(X, X[pick]), out=nearest).index_fill_(0, pick, _TAKEN)
        picks = torch.cat([picks, pick])
    return picks


def _lazy(
    X: Tensor, k: int, centers: Float[Tensor, "m d"], picks: Int[Tensor, "p"], mean: Float[Tensor, "d"], candidates: int
) -> Int[Tensor, "k"]:
    rows = ScaledRows(X, mean)
    nearest = _distances(X, centers[:1]).index_fill_(0, picks, _TAKEN)
    new = centers[1:]
    while len(picks) < k:
        for some in new.split(_TOGETHER):
            _update(nearest, X, rows, some)
        found = _pick_among(X, nearest, top_k(nearest, candidates).indices, k - len(picks))
        nearest.index_fill_(0, found, _TAKEN)
        picks, new = torch.cat([picks, found]), X[found]
    return picks


def _pick_among(X: Tensor, nearest: Tensor, P: Int[Tensor, "c"], k: int) -> Int[Tensor, "p"]:
    """Pick from P, at most k rows, for as long as no row outside can be farther, or as far and of a lower index."""
    last, bound = P[-1], nearest[P[-1]]  # the rows outside are nearer than the last of P, or as near and behind it
    P = P.sort().values  # so that the lower index comes first
    items, near = X[P].double(), nearest[P]
    ahead = _AHEAD.get(X.device.type, 8)
    picks = torch.empty(0, dtype=torch.int64, device=X.device)
    while len(picks) < k:
        values, where = [], []
        for _ in range(min(ahead, k - len(picks))):
            value, at = near.max(0, keepdim=True)
            values.append(value)
            where.append(at)
            near = torch.minimum(near, _measure(items, items.index_select(0, at)).squeeze(1))
            near.index_fill_(0, at, _TAKEN)
        value, pick = torch.cat(values), P[torch.cat(where)]
        count = int(((value > bound) | ((value == bound) & (pick <= last))).sum())  # from one that fails on, all fail
        picks = torch.cat([picks, pick[:count]])
        if count < len(pick):
            break
    return picks


def _update(nearest: Tensor, X: Tensor, rows: ScaledRows, new: Float[Tensor, "p d"]) -> None:
    """Lower `nearest` to the distance from the `new` points where that is less."""
    if not len(new):
        return
    points, exact = rows.convert(new), new.double()
    sure = 1 - product_error(X.shape[1])
    own = points.square().sum(1).mul_(sure)
    points = points.mul_(-2).T

    def limit(near: Tensor, squared_norms: Tensor) -> Tensor:
        return (near / rows.scale).float().square_().sub_(squared_norms, alpha=sure)

    for part in row_blocks(len(X), max(new.shape), X.device):
        near, norms = nearest[part], rows.squared_norms[part]
        lower = torch.addmm(own, rows[part], points)  # with `norms`, below the squared distances, whatever is rounded
        active = (~(lower.amin(1) > limit(near, norms)) & (near > 0)).nonzero().squeeze(1)
        if not len(active):
            continue
        x, d = X[part].index_select(0, active).double(), near[active]
        lower = lower.index_select(0, active)
        best = lower.argmin(1, keepdim=True)
        d = torch.minimum(d, _measure(x.unsqueeze(1), exact[best]).view(-1))
        others = lower.scatter_(1, best, torch.inf).amin(1)
        unsure = (~(others > limit(d, norms[active])) & (d > 0)).nonzero().squeeze(1)
        if len(unsure):
            d[unsure] = torch.minimum(d[unsure], _measure(x[unsure], exact).amin(1))
        near[active] = d


def _distances(X: Float[Tensor, "n d"], points: Float[Tensor, "p d"]) -> Float[Tensor, "n"]:
    """Distance of each row from the nearest of the points."""
    nearest = torch.full((len(X),), torch.inf, dtype=torch.float64, device=X.device)
    for some in points.double().split(_TOGETHER):
        for part in row_blocks(len(X), max(some.shape), X.device):
            near = nearest[part]
            torch.minimum(near, _measure(X[part].double(), some).amin(1), out=near)
    return nearest


def _measure(x: Float[Tensor, "... a d"], y: Float[Tensor, "... b d"]) -> Float[Tensor, "... a b"]:
    """Distances from differences: each is the same number, whatever is measured beside it."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _check(X: Tensor, k: int, centers: Tensor | None, first: int | None, method: str, block: int) -> None:
    check_floating("X", X, (2,))
    check_int("k", k, 1, len(X))
    check_int("block", block, 1, 2**62)
    if method not in ("lazy", "plain"):
        raise ValueError(f'method must be "lazy" or "plain", got {method!r}')
    check_finite("X", X)
    if centers is not None:
        check_floating("centers", centers, (2,))
        if len(centers) and (centers.shape[1] != X.shape[1] or centers.device != X.device):
            given, wanted = f"{centers.shape[1]} on {centers.device}", f"{X.shape[1]} on {X.device}"
            raise ValueError(f"centers must have the width and the device of X, {wanted}, got {given}")
        check_finite("centers", centers)
    if first is not None:
        check_int("first", first, 0, len(X) - 1)
        if centers is not None and len(centers):
            raise ValueError("first must be None beside centers: the first pick is the row farthest from them")
