"""k-center by farthest-first traversal: the plain algorithm, and a lazy one with the same picks in fewer passes."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_int
from selectlib.kernels._checks import check_floating
from selectlib.kernels._scaled_rows import ScaledRows, check_finite, mean_row, product_error, row_blocks
from selectlib.kernels._topk import largest

_TOGETHER = 256  # points from which rows are measured together
_FEW = 48  # rows among which the next picks are looked for
_TAKEN = -1.0  # the distance of what is picked: below every other, so that it is not picked again
_TINY = 2.0**-100  # more than is lost where products of small numbers underflow


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
        "plain" measures all rows from every pick. "lazy" picks the same and reads all rows only now and then.
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

    The lazy method bounds all distances from above, by float32 matrix products and what these may lose to rounding. It
    measures the rows P with the largest bounds and follows them. Distances only decrease; so while the farthest row of
    P is farther than every bound outside P, it is the farthest of all, and the pick is measured against P alone. Then
    one pass lowers the bounds for all picks since the last. Where the bounds cannot tell which row is the farthest, all
    rows that it may be are measured.

    Time O(n k d), for "lazy" nearly all of it in matrix products, unless the rows are so alike that float32 cannot tell
    them apart: then "plain" may be faster. Memory O(n + block d) beside `X`.

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
    reach = _Reach(X, mean, picks)
    new = centers
    while len(picks) < k:
        reach.cover(new)
        P = largest(reach.most, min(candidates, len(X) - len(picks)))
        bound = reach.most[P].min()
        last = P[reach.most[P] == bound].max()  # a row outside is nearer than the bound, or as near and behind this one
        near = reach.measure(P)
        found = P[_pick_among(X[P].double(), near, bound, P <= last, k - len(picks))]
        if not len(found):  # the bounds outside hide which row is the farthest: measure all that may be
            reach.measure((reach.most >= near.max()).nonzero().squeeze(1))
        reach.most.index_fill_(0, found, _TAKEN)
        picks, new = torch.cat([picks, found]), X[found]
    return picks


def _pick_among(items: Tensor, near: Tensor, bound: Tensor, ahead: Tensor, k: int) -> list[int]:
    """Pick at most k, for as long as they are farther than the bound, or as far and ahead of the rows outside."""
    far, border, wins_ties = near.cpu().numpy().copy(), bound.item(), ahead.cpu().numpy()
    left = np.arange(len(far))
    picks: list[int] = []
    while len(picks) < k:
        left = left[(far[left] > border) | ((far[left] == border) & wins_ties[left])]
        if not len(left):
            break
        few = np.sort(left[(-far[left]).argsort(kind="stable")[:_FEW]])
        found = few[_pick_few(_measure(items[few], items[few]).cpu().numpy(), far[few], k - len(picks))]
        far[left] = np.minimum(far[left], _measure(items[left], items[found]).amin(1).cpu().numpy())
        far[found] = _TAKEN
        picks += found.tolist()
    return picks


def _pick_few(between: Float[np.ndarray, "f f"], far: Float[np.ndarray, "f"], k: int) -> list[int]:
    """The same among the few farthest: the nearest of them bounds the others."""
    border = far.min()
    last = (far == border).nonzero()[0][-1]
    picks: list[int] = []
    while len(picks) < k:
        at = int(far.argmax())
        if far[at] < border or (far[at] == border and at > last):
            break
        picks.append(at)
        far = np.minimum(far, between[at])
        far[at] = _TAKEN
    return picks


class _Reach:
    """How far the rows are from the points that were given, at most: `most`, which is exact for rows just measured."""

    def __init__(self, X: Float[Tensor, "n d"], mean: Float[Tensor, "d"], taken: Int[Tensor, "p"]) -> None:
        self._X, self._rows = X, ScaledRows(X, mean)
        self._points = X[:0]
        self._measured = torch.zeros(len(X), dtype=torch.int64, device=X.device)  # from so many of the points
        self.most = torch.full((len(X),), torch.inf, dtype=torch.float64, device=X.device)
        self.most.index_fill_(0, taken, _TAKEN)

    def cover(self, new: Float[Tensor, "p d"]) -> None:
        """Add points: one float32 product bounds the distances, with what it may lose to rounding on top."""
        self._points = torch.cat([self._points, new])
        more = 1 + product_error(new.shape[1])
        for some in self._rows.convert(new).split(_TOGETHER) if len(new) else ():
            own = some.square().sum(1, keepdim=True).mul_(more).add_(_TINY)
            some = some.mul(-2)
            for part in row_blocks(len(self.most), max(some.shape), self.most.device):
                squared = torch.addmm(own, some, self._rows[part].T).amin(0)
                squared.add_(self._rows.squared_norms[part], alpha=more).clamp_min_(0)
                most = self.most[part]
                torch.fmin(most, squared.double().sqrt_().mul_(self._rows.scale), out=most)  # NaN: it overflowed

    def measure(self, which: Int[Tensor, "c"]) -> Float[Tensor, "c"]:
        """Measure these rows from the points that may be nearest; those measured from before are not nearer."""
        sure, width = 1 - product_error(self._X.shape[1]), self._X.shape[1]
        start = int(self._measured[which].min())
        near = self.most[which]
        for some in self._points[start:].split(_TOGETHER):
            points, exact = self._rows.convert(some), some.double()
            own = points.square().sum(1).mul_(sure).sub_(_TINY)
            points = points.mul_(-2).T
            order = torch.arange(start, start + len(some), device=which.device)
            start += len(some)
            for part in row_blocks(len(which), max(some.shape), which.device):
                idx, found = which[part], near[part]
                limit = (found / self._rows.scale).float().square_().sub_(self._rows.squared_norms[idx], alpha=sure)
                lower = torch.addmm(own, self._rows[idx], points)  # with the norms, below the squared distances
                pairs = ~(lower > limit.unsqueeze(1)) & (order >= self._measured[idx].unsqueeze(1))
                row, point = pairs.nonzero(as_tuple=True)
                items = self._X[idx].double()
                for block in row_blocks(len(row), width, which.device):
                    r, p = row[block], point[block]
                    found.scatter_reduce_(0, r, _measure(items[r].unsqueeze(1), exact[p].unsqueeze(1)).view(-1), "amin")
        self.most[which] = near
        self._measured[which] = len(self._points)
        return near


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
