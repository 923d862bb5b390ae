"""A network whose batch normalisations are those of LCCS."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from selectlib.support._lccs_layer import LCCSBatchNorm

Layers = dict[str, LCCSBatchNorm]


def lccs_copy(model: nn.Module, X: Tensor) -> tuple[nn.Module, Layers]:
    """Copy a network in evaluation mode with nothing to learn but the coefficients of its new layers."""
    for part in ("features", "head"):
        if not callable(getattr(model, part, None)):
            raise TypeError(f"model must have {part}(...), but {type(model).__name__} has not")
    copy = deepcopy(model).eval().requires_grad_(False)
    layers: Layers = {}
    made: dict[nn.Module, LCCSBatchNorm] = {}  # a layer that stands in two places stays one
    for name, module in list(copy.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module not in made:
                try:
                    made[module] = layers[name] = LCCSBatchNorm(module)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"model's layer {name}: {error}") from error
            copy.set_submodule(name, made[module])
    if not layers:
        raise ValueError("model must have a BatchNorm1d or BatchNorm2d layer, but has none: there is nothing to adapt")
    dtype = next(iter(layers.values())).bias.dtype
    if X.dtype != dtype:
        raise TypeError(f"X must be of the network's type, {dtype}, got {X.dtype}")
    return copy, layers


def blend(layers: Layers, alphas: Tensor) -> None:
    """Let every layer start anew, and observe what it is given next."""
    for layer in layers.values():
        layer.train().blend(alphas)


def folded(images: Tensor, runs: int) -> Tensor:
    return images.repeat(runs, *[1] * (images.ndim - 1))


def check_support(X: Tensor, y: Tensor) -> None:
    """Raise a clear error before any work."""
    for name, value in (("X", X), ("y", y)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if not X.is_floating_point():
        raise TypeError(f"X must hold floats, got {X.dtype}")
    if y.dtype != torch.int64:
        raise TypeError(f"y must hold int64, got {y.dtype}")
    if X.ndim < 2 or len(X) == 0:
        raise ValueError(f"X must hold at least one image, along its first dimension, got shape {tuple(X.shape)}")
    if y.shape != X.shape[:1]:
        raise ValueError(f"y must hold one class an image, shape ({len(X)},), got {tuple(y.shape)}")
    finite = X.flatten(1).isfinite().all(1)
    if not finite.all():
        raise ValueError(f"X must be finite, but image {int((~finite).nonzero()[0])} is not")


def check_scores(scores: Tensor, y: Tensor) -> int:
    """The number of classes; raise a clear error unless the labels are among them."""
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(
            f"model must score at least 2 classes, shape (n, c), got shape {tuple(scores.shape)} for 1 image"
        )
    low, high = (int(value) for value in torch.aminmax(y))
    if low < 0 or high >= scores.shape[1]:
        raise ValueError(f"y must be from 0 to {scores.shape[1] - 1}, the classes of the model, got {low} to {high}")
    return scores.shape[1]
