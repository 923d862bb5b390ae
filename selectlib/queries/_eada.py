"""The query of energy-based active domain adaptation: unlike the source first, in doubt second."""

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib._checks import check_generator, check_positive
from selectlib.kernels import top_k
from selectlib.pool import Pool, check_select_args
from selectlib.queries._checks import check_logits, check_share
from selectlib.queries._energies import free_energy, mvsm
from selectlib.queries._scores import row_blocks
from selectlib.queries._then import number_kept


class EADA:
    """Query the items in most doubt, by `mvsm`, among the share of the target with the highest `free_energy`.

    Parameters
    ----------
    alpha1 : float, default 0.5
        Share kept by free energy, in (0, 1], of ``pool.n_total`` items, or of the pool where that is not given; rounded
        up. At least the k items asked for are kept, and at most all. At 1 the choice is that of `MvSM`; where alpha1 is
        so small that k are kept, it has the items of `FreeEnergy`.
    T : float, default 1.0
        Temperature of the free energy, in units of the logits.

    Attributes
    ----------
    needs : frozenset of str
        ``{"logits"}``.

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If `alpha1` is not in (0, 1], or `T` not finite and positive.

    Notes
    -----
    The same as ``Then(FreeEnergy(T), alpha1, MvSM())``, in one pass over the logits: time O(n c), memory O(n) and a few
    blocks of 2**20 logits. Source: Xie et al. (AAAI 2022), figure of the framework and official code.

    Examples
    --------
    >>> from selectlib.queries import EADA
    >>> from selectlib.seeding import generator
    >>> logits = torch.tensor([[9.0, 8.9], [1.0, 0.0], [0.0, 0.5], [3.0, 0.0]])
    >>> pool = Pool(torch.zeros(4, 1), logits=logits)
    >>> EADA().select(pool, 1, generator=generator(100))  # item 0 is in most doubt, but its classes fit it well
    tensor([2])
    """

    needs: frozenset[str] = frozenset({"logits"})

    def __init__(self, alpha1: float | int = 0.5, T: float | int = 1.0):
        self.alpha1, self.T = check_share("alpha1", alpha1), check_positive("T", T)

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `logits` and ``n_total`` are read.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Not drawn from: the choice is determined.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices, those in most doubt first and the lower index first among ties, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range, the pool has no logits, or there are fewer than 2 classes.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        assert pool.logits is not None
        check_logits(pool.logits[:1], 2)
        kept = number_kept(self.alpha1, pool, k)
        scores = [(free_energy(rows, T=self.T), mvsm(rows)) for rows in row_blocks(pool.logits)]
        F, U = map(torch.cat, zip(*scores, strict=True))
        first = top_k(F, kept).indices.sort().values
        return first[top_k(U[first], k).indices]
