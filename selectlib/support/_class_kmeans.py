"""k-means within each class, for all classes and restarts at once."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.support._class_blocks import ClassBlock, class_blocks
from selectlib.support._class_lloyd import ClassLloyd
from selectlib.support._class_starts import draw_starts, scores_from, trials
from selectlib.support._class_task import ClassTask

_EQUAL = 1e-9  # of restarts whose inertias differ relatively by less, the first is kept, however they are rounded


class ClassKMeansResult(NamedTuple):
    """Centres of each class, the cluster of each row within its class, and the sums of the squared distances."""

    centers: Float[Tensor, "c k d"]
    labels: Int[Tensor, "n"]
    inertia: Float[Tensor, "c"]


def class_kmeans(
    Z: Float[Tensor, "n d"],
    labels: Int[Tensor, "n"],
    k: int | Int[Tensor, "c"],
    *,
    n_classes: int | None = None,
    init: Int[Tensor, "r c k"] | None = None,
    n_init: int = 10,
    pinned: Int[Tensor, "p"] | None = None,
    max_iter: int = 300,
    tol: float | int = 1e-4,
    generator: torch.Generator | None = None,
) -> ClassKMeansResult:
    """Cluster the rows of each class by themselves.

    Parameters
    ----------
    Z : Tensor of floats, shape (n, d)
        The rows, finite.
    labels : Tensor of ints, shape (n,)
        The class of each row, from 0.
    k : int or Tensor of ints, shape (c,)
        Clusters of each class, at least 1. A class of at most k rows gets one for each row.
    n_classes : int, optional
        c. Default: the largest label plus 1.
    init : Tensor of ints, shape (r, c, k), optional
        Where to start: rows of the class, for r restarts; k is the largest there is. Entries of clusters that a class
        does not make are not read. Default: k-means++ draws.
    n_init : int, default 10
        Restarts without `init`; of all restarts the one with the smallest inertia is kept, class by class.
    pinned : Tensor of ints, shape (p,), optional
        Distinct rows, each the centre of a cluster that never moves: the first clusters of their class, in this order.
        They stand in for the starts of these clusters.
    max_iter : int, default 300
        At most so many steps from each start.
    tol : float, default 1e-4
        Stop when the squared shift of all centres together is at most `tol` times the mean variance of a coordinate in
        the class. 0: only when no label changes.
    generator : torch.Generator, optional
        Source of the draws, on any device; needed without `init`. One on the CPU gives all devices the same starts.

    Returns
    -------
    ClassKMeansResult
        `centers` (c, k, d), NaN for a cluster without rows; `labels` (n,) of int64, each row's cluster within its
        class; `inertia` (c,). Floats in the dtype of `Z`, or in float32 for half precisions; on the device of `Z`.

    Raises
    ------
    TypeError
        If `Z` does not hold floats, another tensor does not hold ints, a number is of the wrong kind, or `generator` is
        missing or no `torch.Generator`.
    ValueError
        If a shape, a device or a number is not allowed, `Z` is not finite, a label is out of range, a start or a pinned
        row is not one of its class, or a class has more pinned rows than clusters.

    Notes
    -----
    The rules are scikit-learn's (`KMeans` with ``algorithm="lloyd"``): from equal starts in float64 the labels are the
    same. Of 2 + log k candidates k-means++ keeps the best. A cluster that loses all its rows gets the row farthest from
    its centre. Of restarts with the same inertia the first is kept.

    Classes of similar size are padded to the largest of them and stepped together, with all their restarts. A matrix
    product measures all rows from those centres alone that moved, and the sums of the clusters change by those rows
    alone that moved; so most of the work is in the first few steps. Sums run in a fixed order on every device.

    Time O(r n k d) a step at most; memory O(n d + r n k), and without `init` O(r c k log k).

    References
    ----------
    Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding. Lloyd (1982), Least squares
    quantization in PCM. The use: Dawoud et al. (2023), SelectNAdapt.

    Examples
    --------
    >>> Z = torch.tensor([[0.0], [1.0], [8.0], [9.0], [5.0]])
    >>> labels = torch.tensor([0, 0, 0, 0, 1])
    >>> result = class_kmeans(Z, labels, 2, init=torch.tensor([[[0, 3], [4, 4]]]))
    >>> result.centers.squeeze(2)
    tensor([[0.5000, 8.5000],
            [5.0000,    nan]])
    >>> result.labels, result.inertia
    (tensor([0, 0, 1, 1, 0]), tensor([1., 0.]))
    """
    task = ClassTask.checked(Z, labels, k, n_classes, init, n_init, pinned, max_iter, tol, generator)
    Z, width, device = Z.detach(), task.width, Z.device
    dtype = torch.promote_types(Z.dtype, torch.float32)
    centers = torch.full((len(task.sizes), width, Z.shape[1]), torch.nan, dtype=dtype, device=device)
    inertia = torch.zeros(len(task.sizes), dtype=dtype, device=device)
    found = task.places.clone()  # right where each row is a cluster
    alone = (task.sizes <= task.clusters)[task.labels].nonzero().squeeze(1)
    centers[task.labels[alone], found[alone]] = Z[alone].to(dtype)
    scale, restarts = _power_of_two(Z), n_init if init is None else len(init)
    uniforms = None
    if generator is not None and init is None:
        shape = len(task.sizes), restarts, width, trials(width)
        uniforms = torch.rand(shape, dtype=torch.float64, generator=generator, device=generator.device).to(device)
    blocks = list(class_blocks(Z, task.order, task.sizes, task.clusters, task.fixed, scale, restarts * width))
    if blocks:
        if uniforms is None:
            given = [task.starts(block) for block in blocks]
            begun = [(start, scores_from(block, start)) for block, start in zip(blocks, given, strict=True)]
        else:
            begun = [draw_starts(block, uniforms[block.classes]) for block in blocks]
        lloyd = ClassLloyd(blocks, *map(list, zip(*begun, strict=True)))
        lloyd.run(max_iter, float(tol))
        for block, best in zip(blocks, _best(lloyd, blocks), strict=True):
            centers[block.classes] = (best.centers + block.means.unsqueeze(1)) / scale
            inertia[block.classes] = (best.inertia / scale**2).to(dtype)
            found[block.where[block.valid]] = best.labels[block.valid]
    return ClassKMeansResult(centers, found, inertia)


def _best(lloyd: ClassLloyd, blocks: list[ClassBlock]) -> Iterator[ClassKMeansResult]:
    """The best restart of each class, block by block; labels (c, n), and lengths in the unit of the block."""
    inertia = lloyd.inertia()
    first = (inertia <= inertia.amin(1, keepdim=True) * (1 + _EQUAL)).byte().argmax(1)
    pair = torch.arange(len(first), device=first.device) * inertia.shape[1] + first
    centers, counts = (x.unflatten(0, (inertia.numel(), -1))[pair] for x in (lloyd.centers, lloyd.counts))
    sizes = [len(block.classes) for block in blocks]
    parts = zip(blocks, lloyd.labels(pair), centers.split(sizes), counts.split(sizes), strict=True)
    for block, labels, center, count in parts:
        c, k = count.shape
        places = (labels + k * torch.arange(c, device=labels.device).unsqueeze(1)).flatten()
        own = center.flatten(0, 1).index_select(0, places).view_as(block.rows)
        squares = torch.linalg.vector_norm(own.sub_(block.rows), dim=2).double().square_().mul_(block.valid)
        used = (count > 0) & (torch.arange(k, device=count.device) < block.clusters.unsqueeze(1))
        yield ClassKMeansResult(center.masked_fill_(~used.unsqueeze(2), torch.nan), labels, squares.sum(1))


def _power_of_two(Z: Float[Tensor, "n d"]) -> float:
    """What brings the entries below 1 without rounding any, so that no square overflows."""
    reach = float(torch.stack(torch.aminmax(Z)).abs().max())
    return 2.0 ** -max(math.frexp(reach)[1], -100)
