"""TypiClust: of each cluster of the pool, the item that lies in the densest place."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator, check_int
from selectlib.kernels import kmeans
from selectlib.pool import Pool, check_select_args
from selectlib.support._features import pool_features

_BLOCK = 2**22  # distances held together


class TypiClust:
    """Cluster the pool in as many clusters as items are asked for, and choose the most typical member of each.

    An item is the more typical of its cluster, the smaller its mean Euclidean distance from its nearest neighbours
    there. Clusters give one item each, the largest first, and start over with the members that are left until there are
    enough; small clusters give only when the others have none left.

    Parameters
    ----------
    max_clusters : int, default 500
        At most so many clusters; beyond, each gives several items.
    min_size : int, default 6
        Clusters of fewer members are small [items].
    neighbors : int, default 20
        The most neighbours that are averaged over; half of the cluster's members if that is less, and at least 1.
    restarts : int, default 1
        Starts of the k-means, of which the best is taken.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features"}``.

    Raises
    ------
    TypeError
        If an argument is not an int.
    ValueError
        If an argument is below 1.

    Notes
    -----
    Exactly k distinct items, also where features repeat: a chosen item leaves its cluster. Time O(n d k) an iteration
    of the k-means, and the sum of the squared cluster sizes times d for each round; memory O(n + d k) and 2**22
    distances beside the features, which are read into memory where they are a source.

    Source: Hacohen, Dekel and Weinshall (ICML 2022), with the sizes in their code. There, the clusters of many labelled
    items come last; here nothing is labelled yet. Their distances are squared in the code and plain in the paper; here
    they are plain.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> line = torch.tensor([[0.0], [0.9], [1.0], [1.1], [9.0], [9.5], [9.6]])
    >>> TypiClust(min_size=1).select(Pool(line), 2, generator=generator(100))
    tensor([2, 5])
    """

    needs: frozenset[str] = frozenset({"features"})

    def __init__(self, max_clusters: int = 500, min_size: int = 6, neighbors: int = 20, restarts: int = 1):
        self.max_clusters = check_int("max_clusters", max_clusters, 1)
        self.min_size = check_int("min_size", min_size, 1)
        self.neighbors = check_int("neighbors", neighbors, 1)
        self.restarts = check_int("restarts", restarts, 1)

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `features` are clustered.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Source of the starts of the k-means.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices in the order of choice, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range, or an item of a source is not finite.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        X = pool_features(pool)
        labels = kmeans(X, min(k, self.max_clusters), restarts=self.restarts, generator=generator).labels
        clusters = labels.sort(stable=True).indices.split(torch.bincount(labels).tolist())
        largest_first = sorted((members for members in clusters if len(members)), key=len, reverse=True)
        large = sum(len(members) >= self.min_size for members in largest_first)
        chosen: list[Tensor] = []
        for giving in (largest_first[:large], largest_first[large:]):
            while giving and len(chosen) < k:
                giving = [self._take(X, members, chosen) for members in giving[: k - len(chosen)]]
                giving = [members for members in giving if len(members)]
        return torch.stack(chosen)

    def _take(self, X: Float[Tensor, "n d"], members: Int[Tensor, "m"], chosen: list[Tensor]) -> Int[Tensor, "l"]:
        """Add the most typical of the members to the chosen, and return the others."""
        best = _mean_distances(X[members], min(self.neighbors, max(1, len(members) // 2))).argmin()
        chosen.append(members[best])
        others = torch.arange(len(members) - 1, device=X.device)
        return members[others + (others >= best)]


def _mean_distances(X: Float[Tensor, "m d"], neighbors: int) -> Float[Tensor, "m"]:
    """The mean distance of each row from its nearest others; 0 for a row alone."""
    if len(X) == 1:
        return X.new_zeros(1)
    X = X.to(torch.promote_types(X.dtype, torch.float32))
    X = X - X.mean(0)  # near the origin, the products that the distances come from round little
    step = max(1, _BLOCK // len(X))
    means = []
    for start in range(0, len(X), step):
        distances = torch.cdist(X[start : start + step], X)
        distances.diagonal(start).fill_(torch.inf)  # a row is no neighbour of its own
        means.append(distances.topk(neighbors, largest=False, sorted=False).values.mean(1))
    return torch.cat(means)
