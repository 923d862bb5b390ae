from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selectlib._checks import check_int
from selectlib.support._eval_mode import eval_mode


def embed(
    backbone: nn.Module, X: Float[Tensor, "n ..."], projector: nn.Module | None = None, *, batch_size: int = 512
) -> Float[Tensor, "n d"]:
    """Compute the features of inputs, in evaluation mode and without a graph: ``h(f(x))``.

    Parameters
    ----------
    backbone : torch.nn.Module
        f: by its ``features``, where it has such, else by its call it maps inputs to features, shape (b, w).
    X : Tensor of floats, shape (n, ...)
        Inputs; blocks of them are moved to the backbone's device.
    projector : torch.nn.Module, optional
        h: maps features to projections, shape (b, d). By default there is none, and d = w.
    batch_size : int, default 512
        Inputs a pass, at least 1. Bounds the memory; it does not change the result beyond rounding.

    Returns
    -------
    Tensor of floats, shape (n, d)
        On the backbone's device.

    Raises
    ------
    TypeError
        If `backbone` or `projector` is no module, `X` holds no floats, or `batch_size` is not an int.
    ValueError
        If `X` is empty, `batch_size` is below 1, or features are not of shape (b, w).

    Notes
    -----
    One forward pass of each input. The models are left in the modes they were in.

    Examples
    --------
    >>> import torch
    >>> embed(torch.nn.Flatten(), torch.rand(5, 1, 4, 4), torch.nn.Linear(16, 3)).shape
    torch.Size([5, 3])
    """
    check_inputs(X)
    check_int("batch_size", batch_size, 1)
    features = features_of(backbone)
    models = [backbone] if projector is None else [backbone, check_module("projector", projector)]
    device = device_of(backbone, X)
    rows = []
    with torch.no_grad(), eval_mode(*models):
        for block in X.split(batch_size):
            row = features(block.to(device, non_blocking=True))
            rows.append(row if projector is None else projector(row))
    return torch.cat(rows)


def features_of(backbone: nn.Module) -> Callable[[Tensor], Tensor]:
    """What maps inputs to features, shape (b, d): the backbone's ``features``, where it has such, or itself."""
    features = getattr(check_module("backbone", backbone), "features", backbone)

    def checked(inputs: Tensor) -> Tensor:
        rows = features(inputs)
        if rows.ndim != 2:
            raise ValueError(f"backbone must map inputs to features of shape (b, d), got shape {tuple(rows.shape)}")
        return rows

    return checked


def device_of(model: nn.Module, X: Tensor) -> torch.device:
    """Where a model computes: with its first parameter; without any, where the inputs are."""
    return next((parameter.device for parameter in model.parameters()), X.device)


def check_module(name: str, model: nn.Module) -> nn.Module:
    """Raise unless `model` is a module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} must be a torch.nn.Module, got {type(model).__name__}")
    return model


def check_inputs(X: Tensor, least: int = 1) -> Tensor:
    """Raise unless `X` holds at least `least` inputs of floats."""
    if not isinstance(X, Tensor) or not X.is_floating_point():
        given = X.dtype if isinstance(X, Tensor) else type(X).__name__
        raise TypeError(f"X must be a tensor of floats, got {given}")
    if X.ndim < 2 or len(X) < least:
        raise ValueError(f"X must hold at least {least} inputs, shape (n, ...), got shape {tuple(X.shape)}")
    return X
