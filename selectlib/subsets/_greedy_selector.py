"""Greedy maximisation of the determinant as a pool selector."""

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib._checks import check_generator
from selectlib.pool import Pool, check_select_args
from selectlib.subsets._greedy import greedy_map
from selectlib.subsets._kernels import RBF, Kernel
from selectlib.subsets._selector import mean_squared_distance


class GreedyMAPSelector:
    """Choose diverse items of a pool: each next one adds the most to the determinant of their kernel matrix.

    Where `DPPSelector` draws a set, this goes for the likeliest one, greedily, by `greedy_map`.

    Parameters
    ----------
    kernel : Kernel, optional
        Similarity of two items. Default: that of `DPPSelector`, an `RBF` with gamma = 1 / the mean squared distance of
        up to 512 random items.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features"}``.

    Examples
    --------
    >>> import torch
    >>> from selectlib.pool import Pool
    >>> from selectlib.seeding import generator
    >>> clusters = torch.tensor([[0.0], [100.0], [200.0]]).repeat_interleave(50, 0)
    >>> chosen = GreedyMAPSelector().select(Pool(clusters), 3, generator=generator(100))
    >>> (chosen // 50).tolist()  # the first item, the one farthest from it, and the one between
    [0, 2, 1]
    """

    needs: frozenset[str] = frozenset({"features"})

    def __init__(self, kernel: Kernel | None = None):
        self.kernel = kernel

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `features`, a tensor or a source, are the items.
        k : int
            How many, from 1 to the numerical rank of the kernel.
        generator : torch.Generator
            Chooses the items that set the default length, where the pool has more than 512; nothing else is drawn.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices in the order in which they were taken, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range or larger than the numerical rank, where every item that is left is a combination of
            those taken to within 1e-10, or an item is not finite.

        Notes
        -----
        O(n k²) time and O(n k) memory. Of equal gains the lowest index wins: where all items are as similar to
        themselves, as under an `RBF`, the first one taken is item 0.

        With the kernel given, the first j items of a choice of k are the choice of j.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        kernel = self.kernel or RBF(1 / mean_squared_distance(pool.features, generator))
        return greedy_map(pool.features, k, kernel=kernel).to(pool.device)
