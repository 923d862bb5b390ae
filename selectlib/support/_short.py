"""So many items of each class, and what is done for a class that has too few."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.kernels import top_k


def shots_of(k: int, n_classes: int) -> int:
    """Shots for each class when k items are to be chosen, or an error if they cannot be shared out equally."""
    if k % n_classes:
        raise ValueError(f"k must be a multiple of the {n_classes} classes, so many shots for each, got {k}")
    return k // n_classes


def top_per_class(
    scores: Float[Tensor, "n"], classes: Int[Tensor, "n"], quota: Int[Tensor, "c"]
) -> tuple[Int[Tensor, "p"], Int[Tensor, "p"]]:
    """Choose the items of the highest scores of each class: `quota` of them, or all where there are fewer.

    Items of score -inf are never chosen; of equal scores the lower index comes first.

    Returns
    -------
    tuple of two Tensors of int64, shape (p,)
        The items, class by class and best first, and their classes. Time O(n log n).
    """
    order = scores.sort(descending=True, stable=True).indices
    order = order[classes[order].sort(stable=True).indices]
    counts = torch.bincount(classes, minlength=len(quota))
    sorted_classes = classes[order]
    rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[sorted_classes]
    kept = (rank < quota[sorted_classes]) & (scores[order] > -torch.inf)
    return order[kept], sorted_classes[kept]


def fill_by_probability(
    chosen: Int[Tensor, "p"], short: Int[Tensor, "c"], proba: Float[Tensor, "n c"]
) -> tuple[Int[Tensor, "m"], Int[Tensor, "m"]]:
    """Fill classes that have too few items with the likeliest of the items that are not chosen yet.

    Class by class, in the order of their numbers, the ``short[c]`` items with the largest ``proba[:, c]`` are taken,
    whatever class they were counted to; ties go to the lower index.

    Parameters
    ----------
    chosen : Tensor of int64, shape (p,)
        What is chosen already; never taken again.
    short : Tensor of int64, shape (c,)
        How many items each class lacks, together at most the n - p that are left.
    proba : Tensor of floats, shape (n, c)
        Probability of each class, or anything that ranks the items in the same way.

    Returns
    -------
    tuple of two Tensors of int64, shape (m,)
        The items taken, and the classes that they are taken for. Time O(n) for each class that lacks any.
    """
    free = torch.ones(len(proba), dtype=torch.bool, device=proba.device).index_fill_(0, chosen, False)
    items, lacking = [chosen[:0]], short.nonzero().squeeze(1)
    for c in lacking.tolist():
        taken = top_k(torch.where(free, proba[:, c], -torch.inf), int(short[c])).indices
        free[taken] = False
        items.append(taken)
    return torch.cat(items), lacking.repeat_interleave(short[lacking])
