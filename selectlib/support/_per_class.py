"""So many items of each class: drawn at random from the true or the pseudo-classes, or the most uncertain ones."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator, check_int
from selectlib.kernels import top_k
from selectlib.pool import Pool, check_select_args
from selectlib.support._short import fill_by_probability, shots_of, top_per_class


class StratifiedRandom:
    """Draw the same number of items of each *true* class: an oracle, since a pool whose labels are bought has none.

    The usual way to draw a support set in papers on few-shot adaptation. It knows the class of every item before any
    label is paid for, and never misses a class: a strong baseline that no one can use.

    Parameters
    ----------
    labels : Tensor of ints, shape (n,)
        The true class of each item of the pool, from 0.
    n_classes : int, optional
        Number of classes. Default: the largest label plus 1.

    Attributes
    ----------
    needs : frozenset of str
        Empty: of the pool, only its length is read.

    Raises
    ------
    TypeError
        If `labels` is not a tensor of ints, or `n_classes` not an int.
    ValueError
        If `labels` is empty, not 1-D or negative somewhere, or `n_classes` is not above the largest label.

    Notes
    -----
    A class with too few items gives them all, and the rest is drawn uniformly from what is left. Time O(n log n),
    memory O(n). Source: the baseline in the official code of SelectNAdapt (``get_ksupport_loaders``).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> labels = torch.tensor([0, 0, 0, 0, 1, 1])
    >>> chosen = StratifiedRandom(labels).select(Pool(torch.zeros(6, 1)), 4, generator=generator(100))
    >>> labels[chosen].tolist()
    [0, 0, 1, 1]
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, labels: Int[Tensor, "n"], n_classes: int | None = None):
        if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise TypeError(f"labels must be a tensor of ints, got {getattr(labels, 'dtype', type(labels).__name__)}")
        if labels.ndim != 1 or not len(labels):
            raise ValueError(f"labels must be 1-D and not empty, got shape {tuple(labels.shape)}")
        low, high = torch.stack(torch.aminmax(labels)).tolist()
        if low < 0:
            raise ValueError(f"labels must be at least 0, got {low}")
        self.labels = labels.long()
        self.n_classes = high + 1 if n_classes is None else check_int("n_classes", n_classes, high + 1)

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            What to choose from, as many items as there are labels.
        k : int
            How many, up to ``len(pool)``: a multiple of the number of classes.
        generator : torch.Generator
            Source of the draws, on any device.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices, class by class, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range or no multiple of the classes, or the pool has another length than the labels.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        if len(pool) != len(self.labels):
            raise ValueError(f"pool must have as many items as there are labels, {len(self.labels)}, got {len(pool)}")
        quota = _quota(k, self.n_classes, pool.device)
        scores = _random_scores(pool, generator)
        items, _ = top_per_class(scores, self.labels.to(pool.device), quota)
        if len(items) == k:
            return items
        return torch.cat([items, top_k(scores.index_fill(0, items, -1.0), k - len(items)).indices])


class RandomPerClass:
    """Draw the same number of items of each pseudo-class: SelectNAdapt without its clustering.

    An item's pseudo-class is the one of its largest logit.

    Attributes
    ----------
    needs : frozenset of str
        ``{"logits"}``.

    Notes
    -----
    A pseudo-class with too few items gives them all, and then the items not chosen yet that are likeliest of that
    class, as in `SelectNAdapt`. Time O(n c + n log n), memory O(n c). A baseline of ours, to tell what the clustering
    is worth.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> logits = torch.tensor([[9.0, 0.0], [8.0, 0.0], [0.1, 0.0], [0.0, 9.0]])
    >>> chosen = RandomPerClass().select(Pool(torch.zeros(4, 1), logits=logits), 2, generator=generator(100))
    >>> logits[chosen].argmax(1).tolist()
    [0, 1]
    """

    needs: frozenset[str] = frozenset({"logits"})

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `logits` give the pseudo-classes.
        k : int
            How many, up to ``len(pool)``: a multiple of the number of classes.
        generator : torch.Generator
            Source of the draws, on any device.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices, class by class, then what fills short classes; on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range or no multiple of the classes, or the pool has no logits.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        assert pool.logits is not None
        return _best_of_pseudo_classes(_random_scores(pool, generator), _log_proba(pool.logits), k)


class EntropyPerClass:
    r"""Choose in each pseudo-class the items whose predicted distribution has the highest entropy.

    An item's pseudo-class is the one of its largest logit; the entropy is :math:`-\sum_c p_c \log p_c` of the softmax.

    Attributes
    ----------
    needs : frozenset of str
        ``{"logits"}``.

    Notes
    -----
    Short pseudo-classes are filled as in `RandomPerClass`. Time O(n c + n log n), memory O(n c). Source: the
    other selector in the official code of SelectNAdapt, which takes the true classes, and NaN where a probability is 0.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> logits = torch.tensor([[9.0, 0.0], [8.0, 0.0], [0.1, 0.0], [0.0, 9.0]])
    >>> EntropyPerClass().select(Pool(torch.zeros(4, 1), logits=logits), 2, generator=generator(100))
    tensor([2, 3])
    """

    needs: frozenset[str] = frozenset({"logits"})

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `logits` give the pseudo-classes and the entropies.
        k : int
            How many, up to ``len(pool)``: a multiple of the number of classes.
        generator : torch.Generator
            Not drawn from: the choice is determined, the lower index first among ties.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices, class by class and the highest entropy first, then what fills short classes; on
            `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range or no multiple of the classes, or the pool has no logits.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        assert pool.logits is not None
        log_p = _log_proba(pool.logits)
        entropy = -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(1)  # 0 log 0 = 0
        return _best_of_pseudo_classes(entropy, log_p, k)


def _best_of_pseudo_classes(scores: Float[Tensor, "n"], log_p: Float[Tensor, "n c"], k: int) -> Int[Tensor, "k"]:
    """The items of the highest scores in each class of the largest probability; short classes are filled."""
    quota = _quota(k, log_p.shape[1], log_p.device)
    items, of = top_per_class(scores, log_p.argmax(1), quota)
    short = quota - torch.bincount(of, minlength=len(quota))
    return torch.cat([items, fill_by_probability(items, short, log_p)[0]])


def _quota(k: int, n_classes: int, device: torch.device) -> Int[Tensor, "c"]:
    return torch.full((n_classes,), shots_of(k, n_classes), device=device)


def _random_scores(pool: Pool, generator: torch.Generator) -> Float[Tensor, "n"]:
    return torch.rand(len(pool), dtype=torch.float64, generator=generator, device=generator.device).to(pool.device)


def _log_proba(logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    return logits.detach().to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
