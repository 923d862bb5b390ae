"""SemDeDup: a random choice among items that do not mean the same."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from selectlib.corpora._draws import check_generator, permutation, seed_of
from selectlib.corpora._rows import Rows, row_blocks, take
from selectlib.kernels import top_k
from selectlib.pool import Pool, check_select_args

_FIT_PER_CLUSTER = 256  # items that the k-means sees, per cluster
_BLOCK = 2**22  # cosines held together


class SemDeDupSelector:
    """Choose at random among the items that are left when near-duplicates are dropped; the target is not read.

    The embeddings are scaled to length 1 and clustered by k-means. In each cluster the items are ordered by their
    distance from the centroid, the farthest first, and each gets its largest cosine with an item before it. The items
    whose value is above a threshold go; the threshold is the one that leaves a share `keep` of the pool.

    Parameters
    ----------
    keep : float, default 0.2
        Share of the pool that is kept, in (0, 1]; rounded to a whole number of items, at least 1.
    clusters : int, optional
        Number of clusters. Default: the square root of the pool's length, rounded.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features"}``.
    threshold_ : float
        After `select`: the largest cosine that was kept.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `keep` is not in (0, 1], or `clusters` below 1.

    Notes
    -----
    Follows a common description of SemDeDup (Abbas et al., 2023), which was not checked against the paper; DsDm's code
    keeps about a fifth of the pool and draws from it uniformly. The k-means is fitted on up to 256 random items a
    cluster. Time O(n d (c + n / c)) for c clusters of equal size, memory O(n) and the largest cluster's embeddings:
    cosines are computed in blocks.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> angles = torch.tensor([0.0, 0.001, 1.0, 1.001, 2.0, 3.0])
    >>> embeddings = torch.stack([angles.cos(), angles.sin()], 1)
    >>> selector = SemDeDupSelector(keep=4 / 6, clusters=1)
    >>> chosen = selector.select(Pool(embeddings), 4, generator=generator(100))
    >>> sorted((angles[chosen].round()).tolist())  # one of each pair
    [0.0, 1.0, 2.0, 3.0]
    """

    needs: frozenset[str] = frozenset({"features"})

    def __init__(self, keep: float | int = 0.2, *, clusters: int | None = None):
        if isinstance(keep, bool) or not isinstance(keep, int | float):
            raise TypeError(f"keep must be a number, got {type(keep).__name__}")
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, got {keep}")
        if clusters is not None and (isinstance(clusters, bool) or not isinstance(clusters, int)):
            raise TypeError(f"clusters must be an int or None, got {type(clusters).__name__}")
        if clusters is not None and clusters < 1:
            raise ValueError(f"clusters must be at least 1, got {clusters}")
        self.keep, self.clusters = keep, clusters

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `features`, a tensor or a source, are the items' embeddings.
        k : int
            How many, from 1 to the number of items kept.
        generator : torch.Generator
            Source of every draw: the k-means' sample and start, and the choice.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices in random order, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range or above the number of items kept, there are more clusters than items, or an item is
            not finite.

        Notes
        -----
        scikit-learn fits the k-means on the CPU; all else is done where the features are.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        n = len(pool)
        kept = max(1, round(self.keep * n))
        if k > kept:
            raise ValueError(f"k must be at most the {kept} items that keep={self.keep} leaves of {n}, got {k}")
        clusters = round(n**0.5) if self.clusters is None else self.clusters
        if clusters > n:
            raise ValueError(f"clusters must be at most the pool's {n} items, got {clusters}")
        likeness = _likeness(pool.features, _centroids(pool.features, clusters, generator))
        survivors = top_k(-likeness, kept).indices
        self.threshold_ = float(likeness[survivors[-1]])
        return survivors[permutation(kept, generator)[:k].to(survivors.device)].to(pool.device)


def _centroids(rows: Rows, clusters: int, generator: torch.Generator) -> Float[Tensor, "c d"]:
    sample = permutation(len(rows), generator)[: _FIT_PER_CLUSTER * clusters]
    X = _unit(take("features", rows, sample))
    seed = seed_of(generator)
    fitted = MiniBatchKMeans(clusters, n_init=1, random_state=seed).fit(X.numpy(force=True))
    return torch.nn.functional.normalize(torch.from_numpy(fitted.cluster_centers_).to(X))


def _likeness(rows: Rows, centroids: Float[Tensor, "c d"]) -> Float[Tensor, "n"]:
    """Largest cosine of each item with one of its cluster that is farther from the centroid; -1 for the farthest."""
    near = [(_unit(block) @ centroids.T).max(1) for block in row_blocks("features", rows)]
    cosine, cluster = torch.cat([m.values for m in near]), torch.cat([m.indices for m in near])
    likeness = torch.full_like(cosine, -1.0)
    for members in _members(cosine, cluster):
        X = _unit(take("features", rows, members))
        step = max(1, _BLOCK // len(members))
        for start in range(0, len(members), step):
            stop = min(start + step, len(members))
            cosines = X[start:stop] @ X[:stop].T
            before = torch.ones_like(cosines, dtype=torch.bool).tril(start - 1)  # column j comes before row i + start
            likeness[members[start:stop]] = cosines.where(before, -1.0).amax(1)
    return likeness


def _members(cosine: Float[Tensor, "n"], cluster: Int[Tensor, "n"]) -> Iterator[Int[Tensor, "s"]]:
    """The items of each cluster that has any, the farthest from the centroid first."""
    order = cosine.argsort(stable=True)
    order = order[cluster[order].argsort(stable=True)]
    return iter(order.split(cluster.bincount()[cluster.unique()].tolist()))


def _unit(X: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    """Rows of length 1, at least in single precision; zeros stay zeros."""
    return torch.nn.functional.normalize(X.to(torch.promote_types(X.dtype, torch.float32)))
