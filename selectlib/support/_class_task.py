"""What class k-means is asked for, checked."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib._checks import check_generator, check_int
from selectlib.support._class_blocks import ClassBlock


class ClassTask(NamedTuple):
    """The arguments as tensors: rows of Z class by class, pinned ones first."""

    labels: Int[Tensor, "n"]
    order: Int[Tensor, "n"]
    places: Int[Tensor, "n"]  # of each row within its class
    sizes: Int[Tensor, "c"]
    clusters: Int[Tensor, "c"]
    fixed: Int[Tensor, "c"]  # pinned rows
    width: int
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
    ) -> "ClassTask":
        """Raise unless all is as it should be."""
        if not isinstance(Z, Tensor) or not Z.is_floating_point():
            raise TypeError(f"Z must be a floating tensor, got {getattr(Z, 'dtype', type(Z).__name__)}")
        if Z.ndim != 2 or not Z.numel():
            raise ValueError(f"Z must be 2-D (rows, width) and not empty, got shape {tuple(Z.shape)}")
        if not torch.stack(torch.aminmax(Z)).isfinite().all():
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
        return cls(labels, order, places, sizes, clusters, fixed, width, init)


def _ints(name: str, value: Any, shape: tuple[int | None, ...], device: torch.device) -> Int[Tensor, "..."]:
    """A tensor of ints, or an error."""
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} must be a tensor of ints, got {getattr(value, 'dtype', type(value).__name__)}")
    fits = len(value.shape) == len(shape) and all(w in (None, s) for s, w in zip(value.shape, shape, strict=True))
    if not fits or value.device != device:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), on {device}; got {tuple(value.shape)} on {value.device}")
    return value.long()
