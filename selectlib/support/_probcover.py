"""ProbCover: items whose balls cover as much of the pool as possible."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator, check_int, check_positive
from selectlib.kernels import kmeans
from selectlib.pool import Pool, check_select_args
from selectlib.seeding import uniform_indices
from selectlib.support._features import pool_features

_BLOCK = 2**22  # distances held together
_RESTARTS = 10  # of the k-means that gives the pseudo-labels for the radius


class ProbCover:
    """Choose, one after the other, the item whose ball holds the most items that no ball covers yet.

    The ball of an item holds the items nearer than `delta`, and the item itself. When all items are covered, the rest
    is drawn uniformly from those not chosen.

    Parameters
    ----------
    delta : float, optional
        Radius of the balls, in the units of the features: the Euclidean distance between them. Default: it is chosen
        from the pool without labels. The pool is clustered in `n_classes` clusters, and the largest radius is taken at
        which at least the share `purity` of all balls hold items of one cluster only.
    n_classes : int, optional
        Number of clusters for that choice, at least 2: the number of classes. Needed without `delta`, and only then.
    purity : float, default 0.95
        That share, above 0 and at most 1.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features"}``.

    Raises
    ------
    TypeError
        If `delta` or `purity` is not a number, or `n_classes` not an int.
    ValueError
        If not exactly one of `delta` and `n_classes` is given, or an argument is out of range.

    Notes
    -----
    The greedy rule covers at least 1 - 1/e of what the best k balls cover. A ball is pure if and only if its radius is
    at most the distance from the nearest item of another cluster, so that the radius is a quantile of these distances.

    With E the number of pairs nearer than `delta`: time O(n² d + E log E), and O(n) and a few waits for the device at
    each choice; memory O(n + E) beside the features, which are read into memory where they are a source. E grows with
    the radius, up to about n²/c where the balls hold whole clusters of c.

    Source: Yehuda, Dekel, Hacohen and Weinshall (NeurIPS 2022), the greedy algorithm and the choice of the radius;
    there, the features have norm 1, and here they are taken as they are.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> line = torch.tensor([[0.0], [1.0], [2.0], [8.0], [9.0]])
    >>> ProbCover(delta=1.5).select(Pool(line), 2, generator=generator(100))
    tensor([1, 3])
    >>> ProbCover(n_classes=2).select(Pool(line), 2, generator=generator(100))
    tensor([0, 3])
    """

    needs: frozenset[str] = frozenset({"features"})

    def __init__(self, delta: float | int | None = None, n_classes: int | None = None, purity: float | int = 0.95):
        if (delta is None) == (n_classes is None):
            raise ValueError(f"give one of delta and n_classes, got delta={delta} and n_classes={n_classes}")
        self.delta = None if delta is None else check_positive("delta", delta)
        self.n_classes = None if n_classes is None else check_int("n_classes", n_classes, 2)
        self.purity = check_positive("purity", purity)
        if self.purity > 1:
            raise ValueError(f"purity must be at most 1, got {purity}")

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `features` are covered.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Source of the starts of the k-means, if the radius is chosen, and of the items drawn when all are covered.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices in the order of choice, the lower index first among ties, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range, `n_classes` is above the number of items, or an item of a source is not finite.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        X = pool_features(pool)
        X = X.to(torch.promote_types(X.dtype, torch.float32))
        X = X - X.mean(0)  # near the origin, the products that the distances come from round little
        delta = self.delta if self.delta is not None else self._radius(X, generator)
        chosen = _greedy_cover(*_near_pairs(X, delta), k)
        if len(chosen) == k:
            return chosen
        order = uniform_indices(2**62, len(X), generator=generator).argsort().to(X.device)
        return torch.cat([chosen, order[torch.isin(order, chosen, invert=True)][: k - len(chosen)]])

    def _radius(self, X: Float[Tensor, "n d"], generator: torch.Generator) -> float:
        """The largest radius at which the share `purity` of the balls hold one pseudo-label."""
        assert self.n_classes is not None
        check_int("n_classes", self.n_classes, 2, len(X))
        labels = kmeans(X, self.n_classes, restarts=_RESTARTS, generator=generator).labels
        step = max(1, _BLOCK // len(X))
        foreign = []
        for x, own in zip(X.split(step), labels.split(step), strict=True):
            same = own.unsqueeze(1) == labels
            foreign.append(torch.cdist(x, X).masked_fill_(same, torch.inf).amin(1))
        impure = len(X) - math.ceil(self.purity * len(X))  # so many balls may hold items of several
        return float(torch.cat(foreign).sort().values[impure])


def _near_pairs(X: Float[Tensor, "n d"], delta: float) -> tuple[Int[Tensor, "n"], Int[Tensor, "e"]]:
    """How many items are in the ball of each item, itself among them, and which: one ball after the other."""
    n, step = len(X), max(1, _BLOCK // len(X))
    pairs = [torch.arange(n, device=X.device).expand(2, n)]
    for start in range(0, n, step):
        near = torch.cdist(X[start : start + step], X[start:]) < delta
        pair = near.triu_(1).nonzero().T + start  # each pair is looked at once, so that both agree that they are near
        pairs += [pair, pair.flip(0)]
    of, item = torch.cat(pairs, dim=1)
    return torch.bincount(of, minlength=n), item[of.argsort()]


def _greedy_cover(sizes: Int[Tensor, "n"], items: Int[Tensor, "e"], k: int) -> Int[Tensor, "p"]:
    """Up to k items, each covering the most items not covered before; fewer when all are covered."""
    ends = sizes.cumsum(0)
    gains, covered = sizes.clone(), torch.zeros_like(sizes, dtype=torch.bool)
    chosen: list[int] = []
    while len(chosen) < k:
        gain, best = torch.stack(gains.max(0)).tolist()
        if not gain:
            break
        chosen.append(best)
        ball = items[ends[best] - sizes[best] : ends[best]]
        new = ball[~covered[ball]]
        covered[new] = True
        # Each item near a newly covered one has one less to gain: the balls of the new ones, one after the other.
        length = sizes[new]
        before = ends[new] - length.cumsum(0)
        places = torch.arange(int(length.sum()), device=items.device) + before.repeat_interleave(length)
        gains -= torch.bincount(items[places], minlength=len(gains))
    return torch.tensor(chosen, dtype=torch.int64, device=items.device)
