"""Strategies that give each item a score by its logits, and take the best."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator, check_positive
from selectlib.kernels import top_k
from selectlib.pool import Pool, check_select_args
from selectlib.queries._checks import check_logits
from selectlib.queries._energies import free_energy, gap_to_second, mvsm

_BLOCK = 2**20  # logits in a block


def row_blocks(logits: Float[Tensor, "n c"]) -> Iterator[Float[Tensor, "b c"]]:
    """The rows in order, in blocks of bounded size that remember no graph."""
    return iter(logits.detach().split(max(1, _BLOCK // max(1, logits.shape[1]))))


class _ScoreStrategy(ABC):
    """Choose the items of the highest scores."""

    needs: frozenset[str] = frozenset({"logits"})

    @abstractmethod
    def _score(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b"]:
        """Score each row: higher where a label is rather asked for."""

    def scores(self, pool: Pool) -> Float[Tensor, "n"]:
        """Score the items of `pool`, in one pass over its logits.

        Parameters
        ----------
        pool : Pool
            Its `logits` are read.

        Returns
        -------
        Tensor of floats, shape (n,)
            Higher where a label is rather asked for; in float64 for logits in float64, else in float32.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`.
        ValueError
            If the pool has no logits, or there are too few classes.

        Notes
        -----
        Time O(n c); memory O(n) and a few blocks of 2**20 logits.
        """
        check_select_args(self, pool, 1)
        assert pool.logits is not None
        return torch.cat([self._score(rows) for rows in row_blocks(pool.logits)])

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose the `k` items of the highest scores.

        Parameters
        ----------
        pool : Pool
            Its `logits` are read.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Not drawn from: the choice is determined.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices, the highest score first and the lower index first among ties, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range, the pool has no logits, or there are too few classes.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        return top_k(self.scores(pool), k).indices


class Entropy(_ScoreStrategy):
    r"""Query the items whose predicted distribution has the highest entropy, :math:`-\sum_c p_c \log p_c`.

    Attributes
    ----------
    needs : frozenset of str
        ``{"logits"}``.

    Notes
    -----
    Scores in nats, from 0 to log c. Time O(n c).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> pool = Pool(torch.zeros(3, 1), logits=torch.tensor([[4.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    >>> Entropy().scores(pool)
    tensor([0.0901, 0.6931, 0.5822])
    >>> Entropy().select(pool, 2, generator=generator(100))
    tensor([1, 2])
    """

    def _score(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b"]:
        log_p = check_logits(logits).log_softmax(-1)
        log_p = log_p.clamp_(min=torch.finfo(log_p.dtype).min)  # 0 log 0 = 0, where a difference of logits overflows
        return -(log_p.exp() * log_p).sum(-1)


class LeastConfidence(_ScoreStrategy):
    r"""Query the items whose predicted class is the least probable: those of the highest :math:`-\max_c p_c`.

    Attributes
    ----------
    needs : frozenset of str
        ``{"logits"}``.

    Notes
    -----
    Scores from -1 to -1 / c. Time O(n c).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> pool = Pool(torch.zeros(3, 1), logits=torch.tensor([[4.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    >>> LeastConfidence().scores(pool)
    tensor([-0.9820, -0.5000, -0.7311])
    >>> LeastConfidence().select(pool, 2, generator=generator(100))
    tensor([1, 2])
    """

    def _score(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b"]:
        return -check_logits(logits).softmax(-1).amax(-1)


class Margin(_ScoreStrategy):
    r"""Query the items whose two most probable classes are closest: those of the highest :math:`p_{(2)} - p_{(1)}`.

    Also called best versus second best, BvSB.

    Attributes
    ----------
    needs : frozenset of str
        ``{"logits"}``.

    Notes
    -----
    Scores from -1 to 0; at least 2 classes. Time O(n c).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> pool = Pool(torch.zeros(3, 1), logits=torch.tensor([[4.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    >>> Margin().scores(pool)
    tensor([-0.9640,  0.0000, -0.4621])
    >>> Margin().select(pool, 2, generator=generator(100))
    tensor([1, 2])
    """

    def _score(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b"]:
        return gap_to_second(check_logits(logits, 2).softmax(-1))


class MvSM(_ScoreStrategy):
    """Query the items of the highest min-versus-second-min, `mvsm`: the second step of `EADA`, alone.

    Attributes
    ----------
    needs : frozenset of str
        ``{"logits"}``.

    Notes
    -----
    Scores in the units of the logits, at most 0; at least 2 classes. Time O(n c).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> pool = Pool(torch.zeros(3, 1), logits=torch.tensor([[4.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    >>> MvSM().scores(pool)
    tensor([-4.,  0., -1.])
    >>> MvSM().select(pool, 2, generator=generator(100))
    tensor([1, 2])
    """

    def _score(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b"]:
        return mvsm(logits)


class FreeEnergy(_ScoreStrategy):
    """Query the items of the highest free energy, those least like the source: the first step of `EADA`, alone.

    Parameters
    ----------
    T : float, default 1.0
        Temperature of `free_energy`, in units of the logits.

    Attributes
    ----------
    needs : frozenset of str
        ``{"logits"}``.

    Raises
    ------
    TypeError
        If `T` is not a number.
    ValueError
        If `T` is not finite and positive.

    Notes
    -----
    Scores in the units of the logits. Time O(n c).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> pool = Pool(torch.zeros(3, 1), logits=torch.tensor([[4.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    >>> FreeEnergy().scores(pool)
    tensor([-4.0181, -0.6931, -1.3133])
    >>> FreeEnergy().select(pool, 2, generator=generator(100))
    tensor([1, 2])
    """

    def __init__(self, T: float | int = 1.0):
        self.T = check_positive("T", T)

    def _score(self, logits: Float[Tensor, "b c"]) -> Float[Tensor, "b"]:
        return free_energy(logits, T=self.T)
