"""k-means within each class, for all classes and restarts at once."""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator, check_int
from selectlib.support._class_blocks import ClassBlock, class_blocks, draw_starts, trials
from selectlib.support._class_lloyd import class_lloyd
from selectlib.support._class_lloyd_cpu import compiled_lloyd


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

    Products measure all rows from those centres alone that moved, and the sums of the clusters change by those rows
    alone that moved; so most of the work is in the first few steps. The products are in float32, also for float64; rows
    whose label might depend on their rounding are measured in float64. Sums run in a fixed order on every device.

    Classes of similar size are padded to the largest of them and stepped together, with all their restarts. On the CPU
    a C++ function steps class by class instead, on as many threads as torch has, and three to four times as fast. It is
    compiled at the first call that is large enough, in a second or two, and kept in the user's cache folder; that needs
    a compiler with OpenMP, ``c++`` or what the environment's ``CXX`` names. A warning tells where there is none.

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
    task = _Task.checked(Z, labels, k, n_classes, init, n_init, pinned, max_iter, tol, generator)
    Z, width, device = Z.detach(), task.width, Z.device
    dtype = torch.promote_types(Z.dtype, torch.float32)
    centers = torch.full((len(task.sizes), width, Z.shape[1]), torch.nan, dtype=dtype, device=device)
    inertia = torch.zeros(len(task.sizes), dtype=dtype, device=device)
    found = task.places.clone()  # right where each row is a cluster
    alone = (task.sizes <= task.clusters)[task.labels].nonzero().squeeze(1)
    centers[task.labels[alone], found[alone]] = Z[alone].to(dtype)
    scale, restarts = task.scale, n_init if init is None else len(init)
    uniforms = None
    if generator is not None and init is None:
        shape = len(task.sizes), restarts, width, trials(width)
        uniforms = torch.rand(shape, dtype=torch.float64, generator=generator, device=generator.device).to(device)
    blocks = list(class_blocks(Z, task.order, task.sizes, task.clusters, task.fixed, scale, restarts * width))
    if blocks:
        starts = [task.starts(x) if uniforms is None else draw_starts(x, uniforms[x.classes]) for x in blocks]
        best = (compiled_lloyd(blocks, starts) or class_lloyd)(blocks, starts, max_iter, float(tol))
        for block, (own, labels, squares) in zip(blocks, best, strict=True):
            centers[block.classes] = (own + block.means.unsqueeze(1)) / scale
            inertia[block.classes] = (squares / scale**2).to(dtype)
            found[block.where[block.valid]] = labels[block.valid]
    return ClassKMeansResult(centers, found, inertia)


class _Task(NamedTuple):
    """The arguments as tensors: rows of Z class by class, pinned ones first."""

    labels: Int[Tensor, "n"]
    order: Int[Tensor, "n"]
    places: Int[Tensor, "n"]  # of each row within its class
    sizes: Int[Tensor, "c"]
    clusters: Int[Tensor, "c"]
    fixed: Int[Tensor, "c"]  # pinned rows
    width: int
    scale: float  # a power of two that brings the entries of Z below 1, so that no square overflows
    init: Int[Tensor, "r c k"] | None

    def starts(self, block: ClassBlock) -> Int[Tensor, "c r k"]:
        """Places within their classes of the given starts; pinned rows are in the first."""
        assert self.init is not None
        place = torch.arange(self.width, device=self.init.device)
        given = self.places[self.init[:, block.classes].transpose(0, 1).clamp(0, len(self.places) - 1)]
        given = given.where(place < block.clusters.view(-1, 1, 1), 0)
        return torch.where(place < block.pinned.view(-1, 1, 1), place, given)

    @classmethod
    def checked(
        cls,
        Z: Any,
        labels: Any,
        k: Any,
        n_classes: Any,
        init: Any,
        n_init: Any,
        pinned: Any,
        max_iter: Any,
        tol: Any,
        generator: Any,
    ) -> "_Task":
        """Raise unless all is as it should be."""
        if not isinstance(Z, Tensor) or not Z.is_floating_point():
            raise TypeError(f"Z must be a floating tensor, got {getattr(Z, 'dtype', type(Z).__name__)}")
        if Z.ndim != 2 or not Z.numel():
            raise ValueError(f"Z must be 2-D (rows, width) and not empty, got shape {tuple(Z.shape)}")
        reach = float(torch.stack(torch.aminmax(Z.detach())).double().abs().max())
        if not math.isfinite(reach):
            raise ValueError("Z must be finite, got NaN or infinity")
        labels = _ints("labels", labels, (len(Z),), Z.device)
        low, high = torch.stack(torch.aminmax(labels)).tolist()
        n_classes = high + 1 if n_classes is None else check_int("n_classes", n_classes, 1)
        if low < 0 or high >= n_classes:
            raise ValueError(f"labels must be from 0 to {n_classes - 1}, got {low} to {high}")
        if isinstance(k, Tensor):
            clusters = _ints("k", k, (n_classes,), Z.device)
            if int(clusters.min()) < 1:
                raise ValueError(f"k must be at least 1 for every class, got {int(clusters.min())}")
        else:
            clusters = torch.full((n_classes,), check_int("k", k, 1), device=Z.device)
        for name, value in (("n_init", n_init), ("max_iter", max_iter)):
            check_int(name, value, 1)
        if isinstance(tol, bool) or not isinstance(tol, int | float):
            raise TypeError(f"tol must be a number, got {type(tol).__name__}")
        if not tol >= 0:
            raise ValueError(f"tol must be at least 0, got {tol}")
        width, sizes = int(clusters.max()), torch.bincount(labels, minlength=n_classes)
        pinned = labels[:0] if pinned is None else _ints("pinned", pinned, (None,), Z.device)
        if len(pinned) and not 0 <= int(pinned.min()) <= int(pinned.max()) < len(Z):
            raise ValueError(f"pinned must be rows from 0 to {len(Z) - 1}, got {pinned.tolist()}")
        fixed = torch.bincount(labels[pinned], minlength=n_classes)
        if len(pinned.unique()) < len(pinned) or bool((fixed > clusters).any()):
            raise ValueError("pinned must be distinct rows, at most k of each class")
        if init is None:
            check_generator(generator)
        else:
            init = _ints("init", init, (None, n_classes, width), Z.device)
            place = torch.arange(width, device=Z.device)
            read = (place < clusters.unsqueeze(1)) & (place >= fixed.unsqueeze(1)) & (sizes > clusters).unsqueeze(1)
            inside = (init >= 0) & (init < len(Z))
            of = labels[init.clamp(0, len(Z) - 1)] == torch.arange(n_classes, device=Z.device).unsqueeze(1)
            if not len(init) or bool((read & ~(inside & of)).any()):
                raise ValueError("init must hold rows of the class for each restart, of which there is at least 1")
        rank = torch.full_like(labels, len(pinned))
        rank[pinned] = torch.arange(len(pinned), device=Z.device)
        order = rank.sort(stable=True).indices
        order = order[labels[order].sort(stable=True).indices]
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=Z.device) - (sizes.cumsum(0) - sizes)[labels[order]]
        scale = 2.0 ** -max(math.frexp(reach)[1], -100)
        return cls(labels, order, places, sizes, clusters, fixed, width, scale, init)


def _ints(name: str, value: Any, shape: tuple[int | None, ...], device: torch.device) -> Int[Tensor, "..."]:
    """A tensor of ints, or an error."""
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} must be a tensor of ints, got {getattr(value, 'dtype', type(value).__name__)}")
    fits = len(value.shape) == len(shape) and all(w in (None, s) for s, w in zip(value.shape, shape, strict=True))
    if not fits or value.device != device:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), on {device}; got {tuple(value.shape)} on {value.device}")
    return value.long()
