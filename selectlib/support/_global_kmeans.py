"""Items that stand for the clusters of the whole pool, whatever their classes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator, check_int
from selectlib.kernels import kmeans, top_k
from selectlib.pool import Pool, check_select_args
from selectlib.support._features import pool_features
from selectlib.support._short import top_per_class

_BLOCK = 2**22  # coordinates looked at together


class KMeansRepresentatives:
    """Cluster the whole pool in as many clusters as items are asked for, and choose the member nearest each centre.

    It knows nothing of classes: what SelectNAdapt has to beat, in particular where pseudo-classes are wrong.

    Parameters
    ----------
    restarts : int, default 1
        Starts of the k-means, of which the best is taken.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features"}``.

    Raises
    ------
    TypeError
        If `restarts` is not an int.
    ValueError
        If `restarts` is below 1.

    Notes
    -----
    Where features repeat, a cluster can stay without members: each such cluster is replaced by the item farthest from
    its centre that is not chosen yet. Time O(n d k) an iteration of the k-means; memory O(n + d k) and a block beside
    the features, which are read into memory where they are a source.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> line = torch.tensor([[0.0], [1.0], [2.0], [8.0], [9.0], [10.0]])
    >>> sorted(KMeansRepresentatives().select(Pool(line), 2, generator=generator(100)).tolist())
    [1, 4]
    """

    needs: frozenset[str] = frozenset({"features"})

    def __init__(self, restarts: int = 1):
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
            Distinct indices in the order of the clusters, the lower index first among ties, on `pool.device`.

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
        centers, labels, _ = kmeans(X, k, restarts=self.restarts, generator=generator)
        distances = _distances_to_own(X, centers, labels)
        items, _ = top_per_class(-distances, labels, torch.ones(k, dtype=torch.int64, device=X.device))
        if len(items) == k:
            return items
        return torch.cat([items, top_k(distances.index_fill(0, items, -1.0), k - len(items)).indices])


def _distances_to_own(
    X: Float[Tensor, "n d"], centers: Float[Tensor, "k d"], labels: Int[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """The distance of each row from its own centre, from differences."""
    step = max(1, _BLOCK // max(1, X.shape[1]))
    pairs = zip(X.split(step), labels.split(step), strict=True)
    return torch.cat([torch.linalg.vector_norm(x - centers[own], dim=1) for x, own in pairs])
