"""The k-DPP as a pool selector."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator
from selectlib.pool import ItemSource, Pool, check_select_args
from selectlib.seeding import uniform_indices
from selectlib.subsets._kdpp import KDPP, Method
from selectlib.subsets._kernels import RBF, Kernel

_SCALE_SAMPLE = 512  # items whose distances set the default length


class DPPSelector:
    """Choose diverse items of a pool: one exact sample of the k-DPP of their features.

    Parameters
    ----------
    kernel : Kernel, optional
        Similarity of two items. Default: `RBF` with gamma = 1 / the mean squared distance of up to 512 random items, so
        that typical items are similar by e^{-1}.
    method : {"auto", "direct", "alpha", "spectral", "mcmc"}, default "auto"
        As in `KDPP`.

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
    >>> chosen = DPPSelector().select(Pool(clusters), 3, generator=generator(100))
    >>> sorted((chosen // 50).tolist())  # one item of each cluster: two of one cluster are the same item
    [0, 1, 2]
    """

    needs: frozenset[str] = frozenset({"features"})

    def __init__(self, kernel: Kernel | None = None, method: Method = "auto"):
        self.kernel, self.method = kernel, method

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `features`, a tensor or a source, are the items.
        k : int
            How many, from 1 to the rank of the kernel.
        generator : torch.Generator
            Source of every draw; its device is where the computing is done.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices, ascending, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range or larger than the numerical rank, or an item is not finite.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        kernel = self.kernel or RBF(1 / mean_squared_distance(pool.features, generator))
        sampler = KDPP(pool.features, kernel, k, method=self.method, generator=generator)
        return sampler.sample(1)[0].to(pool.device)


def mean_squared_distance(features: Float[Tensor, "n d"] | ItemSource, generator: torch.Generator) -> float:
    """Mean over pairs of up to 512 random items: twice the sum of the variances. 1 where all are equal."""
    n = len(features)
    idx = torch.unique(uniform_indices(n, _SCALE_SAMPLE, generator=generator)) if n > _SCALE_SAMPLE else torch.arange(n)
    X = features[idx.to(features.device)] if isinstance(features, Tensor) else features.fetch(idx)
    spread = float(2 * X.to(torch.float64).var(0, correction=0).sum())
    return spread if spread > 0 else 1.0
