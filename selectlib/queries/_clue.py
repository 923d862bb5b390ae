"""CLUE: items near the centres of clusters that are weighted by doubt."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator, check_int, check_positive
from selectlib.kernels import kmeans
from selectlib.pool import Pool, check_select_args
from selectlib.queries._checks import check_logits
from selectlib.queries._features import all_features
from selectlib.queries._scores import row_blocks

_BLOCK = 2**25  # distances held together
_FLOOR = 1e-8  # added to the probabilities, as in the authors' code


class CLUE:
    r"""Query the items nearest the centroids of a k-means in which an item weighs as much as its entropy.

    The weights are :math:`-\sum_c p_c \log p_c` with :math:`p = \mathrm{softmax}(f / T) + 10^{-8}`. There are as many
    clusters as items to choose. Centroid by centroid, the nearest item that is not taken yet is chosen.

    Parameters
    ----------
    T : float, default 0.1
        Temperature of the weights, in units of the logits: the lower, the more they concentrate on the items in doubt;
        with growing T the k-means becomes unweighted.
    restarts : int, default 1
        Starts of the k-means, of which the best is taken.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features", "logits"}``.

    Raises
    ------
    TypeError
        If `T` is not a number, or `restarts` not an int.
    ValueError
        If `T` is not finite and positive, or `restarts` is below 1.

    Notes
    -----
    Time O(n d k) an iteration of the k-means and for the choice; memory O(n) and up to 2**25 distances beside the
    features, which are read into memory where they are a source. Source: Prabhu et al. (ICCV 2021); T and the order of
    choice as in their code's configuration for DomainNet, which leaves the order open.

    Examples
    --------
    >>> from selectlib.queries import CLUE
    >>> from selectlib.seeding import generator
    >>> line = torch.tensor([[0.0], [1.0], [8.0], [9.0]])
    >>> pool = Pool(line, logits=torch.tensor([[0.0, 9.0], [0.0, 0.1], [0.1, 0.0], [9.0, 0.0]]))
    >>> sorted(CLUE().select(pool, 2, generator=generator(100)).tolist())  # of each pair the item in doubt
    [1, 2]
    """

    needs: frozenset[str] = frozenset({"features", "logits"})

    def __init__(self, T: float | int = 0.1, restarts: int = 1):
        self.T, self.restarts = check_positive("T", T), check_int("restarts", restarts, 1)

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `features` are clustered, its `logits` give the weights.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Source of the starts of the k-means.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices in the order of the centroids, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range, the pool lacks a field, there are fewer than 2 classes, or an item of a source is
            not finite.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        assert pool.logits is not None
        weights = torch.cat([_entropies(check_logits(rows, 2) / self.T) for rows in row_blocks(pool.logits)])
        X = all_features(pool)
        centers = kmeans(X, k, weights=weights, restarts=self.restarts, generator=generator).centers
        return _nearest_not_taken(X, centers)


def _entropies(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b"]:
    p = logits.softmax(1) + _FLOOR
    return -(p * p.log()).sum(1)


def _nearest_not_taken(X: Float[Tensor, "n d"], centers: Float[Tensor, "k d"]) -> Int[Tensor, "k"]:
    """For one centre after the other the nearest row that no earlier one took; ties to the lower index."""
    X = X.to(centers.dtype)
    chosen = torch.empty(len(centers), dtype=torch.int64, device=X.device)
    step = max(1, _BLOCK // len(X))
    for start in range(0, len(centers), step):
        some = centers[start : start + step]
        distances = torch.cdist(some, X, compute_mode="donot_use_mm_for_euclid_dist")
        distances.index_fill_(1, chosen[:start], torch.inf)
        for row in range(len(some)):
            taken = chosen[start + row : start + row + 1]  # a slice: nothing here waits for the device
            torch.argmin(distances[row], dim=0, keepdim=True, out=taken)
            distances.index_fill_(1, taken, torch.inf)
    return chosen
