"""BADGE: a diverse batch of items whose labels would move the last layer far."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_choice, check_generator
from selectlib.kernels import kmeanspp
from selectlib.pool import Pool, check_select_args
from selectlib.queries._checks import check_logits
from selectlib.queries._features import all_features
from selectlib.queries._scores import row_blocks


class BADGE:
    r"""Query by k-means++ on the gradients that the items would give the last layer, were their predictions true.

    With the probabilities p, the predicted class :math:`\hat y` and the features h of an item, the gradient of the
    cross-entropy at :math:`\hat y`, its sign turned, is :math:`(e_{\hat y} - p) \otimes h`: long for an item in doubt,
    and of another direction for another class or another place. The first choice is the longest gradient, each next one
    is drawn with a probability proportional to the squared distance from the nearest gradient chosen.

    Parameters
    ----------
    method : {"rejection", "sequential"}, default "rejection"
        As in `selectlib.kernels.kmeanspp`: the law of the choice is the same, "rejection" reads the pool less often.

    Attributes
    ----------
    needs : frozenset of str
        ``{"features", "logits"}``.

    Raises
    ------
    ValueError
        If `method` is unknown.

    Notes
    -----
    The gradients are never made: their distances follow from those of their two factors. Time O(n (c + d) k), most of
    the k passes saved by "rejection"; memory O(n c) beside the features, which are read into memory where they are a
    source. Where all gradients are zero the choice is uniform. Source: Ash et al. (ICLR 2020), Algorithm 1.

    Examples
    --------
    >>> from selectlib.queries import BADGE
    >>> from selectlib.seeding import generator
    >>> pairs = torch.tensor([0, 0, 1, 1])  # two kinds of items, each of them twice
    >>> features, logits = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.1, 0.0], [0.0, 0.3]])
    >>> chosen = BADGE().select(Pool(features[pairs], logits=logits[pairs]), 2, generator=generator(100))
    >>> pairs[chosen].tolist()  # the longer gradient first, and then not its copy
    [1, 0]
    """

    needs: frozenset[str] = frozenset({"features", "logits"})

    def __init__(self, method: Literal["rejection", "sequential"] = "rejection"):
        check_choice("method", method, ("rejection", "sequential"))
        self.method: Literal["rejection", "sequential"] = method

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `features`, those that the last layer reads, and its `logits`.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Source of every draw.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices in the order of choice, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range, the pool lacks a field, or an item of a source is not finite.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        assert pool.logits is not None
        outer = torch.cat([_residuals(check_logits(rows)) for rows in row_blocks(pool.logits)])
        return kmeanspp(
            all_features(pool), k, outer=outer, first="largest", method=self.method, generator=generator
        ).to(pool.device)


def _residuals(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """One-hot of the predicted class minus the probabilities.

    Each row sums to 0. The entry of the predicted class is made from the others, since 1 - p would lose the digits of
    a confident prediction.
    """
    predicted = logits.argmax(1, keepdim=True)
    residuals = logits.softmax(1).neg_().scatter_(1, predicted, 0.0)
    return residuals.scatter_(1, predicted, -residuals.sum(1, keepdim=True))
