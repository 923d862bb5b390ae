"""Weighted k-means by Lloyd's algorithm, in blocks of rows."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_int
from selectlib.kernels._checks import accumulator, check_floating
from selectlib.kernels._kmeanspp import kmeanspp
from selectlib.kernels._scaled_rows import check_finite, row_blocks
from selectlib.kernels._topk import top_k


class KMeansResult(NamedTuple):
    """Centres, the nearest of them for each row, and the weighted sum of the squared distances to it."""

    centers: Float[Tensor, "k d"]
    labels: Int[Tensor, "n"]
    inertia: Float[Tensor, ""]


def kmeans(
    X: Float[Tensor, "n d"],
    k: int,
    *,
    weights: Float[Tensor, "n"] | None = None,
    centers: Float[Tensor, "k d"] | None = None,
    restarts: int = 1,
    max_iter: int = 300,
    tol: float = 1e-4,
    generator: torch.Generator | None = None,
) -> KMeansResult:
    """Place k centres so that the weighted sum of squared distances to the nearest centre is small.

    Parameters
    ----------
    X : Tensor of floats, shape (n, d)
        The rows, finite.
    k : int
        Number of centres, from 1 to n.
    weights : Tensor of floats, shape (n,), optional
        Weight of each row, at least 0, one of them above. A row of weight 0 gets a label and has no other effect.
        Default: 1.
    centers : Tensor of floats, shape (k, d), optional
        Where to start. Default: k-means++ draws.
    restarts : int, default 1
        How many starts to try; the result of the smallest inertia is kept. 1 if `centers` are given.
    max_iter : int, default 300
        At most so many steps from each start.
    tol : float, default 1e-4
        Stop when the squared shift of all centres together is at most `tol` times the mean variance of a coordinate.
        0: only when no label changes.
    generator : torch.Generator, optional
        Source of the draws; needed without `centers`.

    Returns
    -------
    KMeansResult
        `centers` (k, d), `labels` (n,) of int64 and `inertia`, a scalar; floats in the dtype of `X`, or in float32 for
        half precisions; on the device of `X`.

    Raises
    ------
    TypeError
        If a tensor does not hold floats, `k`, `restarts` or `max_iter` is not an int, `tol` is not a number, or
        `generator` is missing or no `torch.Generator`.
    ValueError
        If a shape, a device or a number is not allowed, or a number is not finite.

    Notes
    -----
    From equal starts the centres are those of scikit-learn's ``KMeans(algorithm="lloyd")``, up to rounding: a cluster
    that loses all its rows gets the row that is farthest from its centre, and stays with the heaviest cluster if all
    distances are 0. Of equally near centres the first is chosen. On CUDA the sums are taken in a fixed order, so that
    a run repeats bit by bit.

    Time O(n k d) a step, in matrix products; memory O(n + k d) and a block beside the arguments.

    References
    ----------
    Lloyd (1982), Least squares quantization in PCM.

    Examples
    --------
    >>> X = torch.tensor([[0.0], [1.0], [9.0], [10.0]])
    >>> kmeans(X, 2, centers=X[:2]).centers.squeeze(1)
    tensor([0.5000, 9.5000])
    """
    _check(X, k, weights, centers, restarts, max_iter, tol, generator)
    X = X.detach()
    lloyd = _Lloyd(X, X.new_ones(len(X)) if weights is None else weights.detach())
    if centers is not None:
        return lloyd.run(centers.detach(), max_iter, tol)
    assert generator is not None
    starts = (X[kmeanspp(X, k, weights=weights, generator=generator)] for _ in range(restarts))
    return min((lloyd.run(start, max_iter, tol) for start in starts), key=lambda result: float(result.inertia))


class _Lloyd:
    """Lloyd's steps. The rows are moved by their mean, block by block, so that a large mean costs no precision."""

    def __init__(self, X: Float[Tensor, "n d"], weights: Float[Tensor, "n"]) -> None:
        self._X, self._dtype = X, accumulator(X.dtype)
        self._weights = weights.to(self._dtype)
        self._counted = self._weights > 0
        self._mean = torch.zeros(X.shape[1], dtype=self._dtype, device=X.device)
        self._mean = self._average(self._rows).to(self._dtype)
        self._variance = self._average(lambda part: self._rows(part).square_()).mean()

    def run(self, start: Float[Tensor, "k d"], max_iter: int, tol: float) -> KMeansResult:
        """Step until no label changes, or the centres hardly move."""
        centers = start.to(self._dtype) - self._mean
        labels, settled = torch.full((len(self._X),), -1, device=self._X.device), False
        for _ in range(max_iter):
            before, old = labels, centers
            labels, sums, masses = self._assign(centers)
            centers = self._average_of_clusters(old, labels, sums, masses)
            settled = bool(((labels == before) | ~self._counted).all())
            if settled or (centers - old).square().sum() <= tol * self._variance:
                break
        if not settled:
            labels = self._assign(centers)[0]
        inertia = (self._squared_distances(centers, labels) * self._weights).sum()
        return KMeansResult(centers + self._mean, labels, inertia.to(self._dtype))

    def _assign(
        self, centers: Float[Tensor, "k d"]
    ) -> tuple[Int[Tensor, "n"], Float[Tensor, "k d"], Float[Tensor, "k"]]:
        """The nearest centre of each row, and the weighted sum and the mass of the rows of each centre."""
        labels = torch.empty(len(self._X), dtype=torch.int64, device=self._X.device)
        sums, masses = (
            torch.zeros_like(centers, dtype=torch.float64),
            centers.new_zeros(len(centers), dtype=torch.float64),
        )
        own = centers.square().sum(1)
        for part in row_blocks(len(self._X), max(centers.shape), self._X.device):
            x = self._rows(part)
            labels[part] = torch.addmm(own, x, centers.T, alpha=-2).min(1).indices
            _add_by_label(sums, masses, x, self._weights[part], labels[part])
        return labels, sums, masses

    def _average_of_clusters(
        self,
        centers: Float[Tensor, "k d"],
        labels: Int[Tensor, "n"],
        sums: Float[Tensor, "k d"],
        masses: Float[Tensor, "k"],
    ) -> Float[Tensor, "k d"]:
        """The weighted means; an empty cluster first takes the row that is farthest from its centre."""
        empty = (masses == 0).nonzero().squeeze(1)
        if len(empty):
            distances = self._squared_distances(centers, labels).masked_fill_(~self._counted, -1.0)
            far = top_k(distances, len(empty)).indices
            if distances[far[0]] > 0:
                x, w = self._X[far].to(self._dtype) - self._mean, self._weights[far]
                left = masses.clone()
                _add_by_label(sums, left, x, -w, labels[far])
                sums[empty], left[empty] = (x * w.unsqueeze(1)).double(), w.double()
                masses = left.where(left > 1e-12 * masses.max(), 0.0)  # all rows gone: no matter how the sums round
        empty = masses == 0
        means = sums / masses.where(~empty, 1.0).unsqueeze(1)
        return torch.where(empty.unsqueeze(1), means[masses.argmax()], means).to(self._dtype)

    def _squared_distances(self, centers: Float[Tensor, "k d"], labels: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """From each row to its own centre, from differences."""
        distances = torch.empty(len(self._X), dtype=torch.float64, device=self._X.device)
        for part in row_blocks(len(self._X), centers.shape[1], self._X.device):
            distances[part] = (self._rows(part) - centers[labels[part]]).square_().sum(1)
        return distances

    def _average(self, values: Callable[[slice], Float[Tensor, "b d"]]) -> Float[Tensor, "d"]:
        """The mean over the rows that count, one coordinate each."""
        total = torch.zeros(self._X.shape[1], dtype=torch.float64, device=self._X.device)
        for part in row_blocks(len(self._X), self._X.shape[1], self._X.device):
            total += (values(part) * self._counted[part].unsqueeze(1)).sum(0, dtype=torch.float64)
        return total / self._counted.sum()

    def _rows(self, part: slice) -> Float[Tensor, "b d"]:
        return self._X[part].to(self._dtype) - self._mean


def _add_by_label(
    sums: Float[Tensor, "k d"],
    masses: Float[Tensor, "k"],
    x: Float[Tensor, "b d"],
    w: Float[Tensor, "b"],
    labels: Int[Tensor, "b"],
) -> None:
    """Add the rows and their weights to their clusters', in an order that is the same every time."""
    if x.is_cuda:  # there `index_add_` adds in whatever order the threads come
        share = x.new_zeros(len(x), len(sums)).scatter_(1, labels.unsqueeze(1), w.unsqueeze(1))
        sums += share.T @ x
        masses += share.sum(0, dtype=torch.float64)
    else:
        sums.index_add_(0, labels, (x * w.unsqueeze(1)).double())
        masses.index_add_(0, labels, w.double())


def _check(
    X: Tensor,
    k: int,
    weights: Tensor | None,
    centers: Tensor | None,
    restarts: int,
    max_iter: int,
    tol: float,
    generator: torch.Generator | None,
) -> None:
    check_floating("X", X, (2,))
    check_int("k", k, 1, len(X))
    check_int("restarts", restarts, 1, 2**31 if centers is None else 1)
    check_int("max_iter", max_iter, 1, 2**31)
    check_finite("X", X)
    if isinstance(tol, bool) or not isinstance(tol, int | float):
        raise TypeError(f"tol must be a number, got {type(tol).__name__}")
    if not tol >= 0:
        raise ValueError(f"tol must be at least 0, got {tol}")
    for name, value, shape in (("weights", weights, (len(X),)), ("centers", centers, (k, X.shape[1]))):
        if value is not None:
            check_floating(name, value, (len(shape),))
            check_finite(name, value)
            if value.shape != shape or value.device != X.device:
                given, wanted = f"{tuple(value.shape)} on {value.device}", f"{shape} on {X.device}"
                raise ValueError(f"{name} must have shape and device {wanted}, got {given}")
    if weights is not None and not (bool((weights >= 0).all()) and bool(weights.any())):
        raise ValueError("weights must be at least 0, and one of them above 0")
    if centers is None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator where centers are not given, got {type(generator).__name__}"
        )
