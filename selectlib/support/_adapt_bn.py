import copy
from collections.abc import Sequence
from contextlib import suppress

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selectlib._checks import check_int
from selectlib.support._embed import check_inputs, check_module, device_of


def adapt_bn(model: nn.Module, X: Float[Tensor, "n ..."], *, batch_size: int = 512) -> nn.Module:
    """Give a model's batch normalisation the statistics of a new domain: AdaBN.

    Every layer's running mean and variance become those of all its inputs, when the whole of `X` passes through the
    adapted layers before it. The result is that of one batch of all of `X`, whatever the size and order of the batches.

    Parameters
    ----------
    model : torch.nn.Module
        A trained model with batch normalisation. It is left as it is.
    X : Tensor of floats, shape (n, ...)
        Unlabelled inputs of the new domain; blocks of them are moved to the model's device.
    batch_size : int, default 512
        Inputs a pass, at least 1. Bounds the memory.

    Returns
    -------
    torch.nn.Module
        An adapted copy, in evaluation mode: it maps X as the model in training mode would map X in one batch.

    Raises
    ------
    TypeError
        If `model` is no module, `X` holds no floats, or `batch_size` is not an int.
    ValueError
        If `X` is empty, `batch_size` is below 1, no layer of batch normalisation with running averages takes part, or
        one does so twice in a pass.

    Notes
    -----
    A layer's inputs depend on the layers before it, so that X passes once for each of the L layers, up to that layer:
    about L / 2 full passes. Means and variances of blocks are pooled exactly (variance within blocks, and between
    them). The variance is the biased one, by which a batch is normalised in training; torch's running average would
    store n / (n - 1) times as much. Layers without running averages are left alone.

    Li et al., "Revisiting batch normalization for practical domain adaptation", 2016.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 3))
    >>> adapted = adapt_bn(model, torch.tensor([[0.0, 1.0], [4.0, 3.0]]), batch_size=1)
    >>> adapted[0].running_mean, adapted[0].running_var
    (tensor([2., 2.]), tensor([4., 1.]))
    """
    check_inputs(X)
    check_int("batch_size", batch_size, 1)
    adapted = copy.deepcopy(check_module("model", model)).eval()
    device = device_of(adapted, X)
    with torch.no_grad():
        for layer in _layers_in_use(adapted, X[:2].to(device)):
            mean, variance = _input_moments(adapted, layer, X.split(batch_size), device)
            layer.get_buffer("running_mean").copy_(mean)
            layer.get_buffer("running_var").copy_(variance)
    return adapted


def _layers_in_use(model: nn.Module, inputs: Tensor) -> list[_BatchNorm]:
    """Layers of batch normalisation with running averages, in the order in which a pass reaches them."""
    reached: list[_BatchNorm] = []
    candidates = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    hooks = [layer.register_forward_pre_hook(lambda layer, _: reached.append(layer)) for layer in candidates]
    model(inputs)
    for hook in hooks:
        hook.remove()
    if not reached:
        raise ValueError("model must use batch normalisation with running averages, but has no such layer in use")
    if len(set(reached)) < len(reached):
        raise ValueError("model must use each layer of batch normalisation once in a pass, but uses one again")
    return reached


class _Reached(Exception):
    """The layer has seen its inputs: the rest of the pass is not needed."""


def _input_moments(
    model: nn.Module, layer: _BatchNorm, blocks: Sequence[Tensor], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of a layer's inputs over all blocks."""
    moments: list[tuple[Tensor, Tensor]] = []

    def look(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs = arguments[0].to(torch.promote_types(arguments[0].dtype, torch.float32))
        moments.append(torch.var_mean(inputs, [0, *range(2, inputs.ndim)], correction=0))
        raise _Reached

    hook = layer.register_forward_pre_hook(look)
    for block in blocks:
        with suppress(_Reached):
            model(block.to(device, non_blocking=True))
    hook.remove()
    variances, means = map(torch.stack, zip(*moments, strict=True))
    shares = means.new_tensor([[len(block)] for block in blocks]) / sum(map(len, blocks))
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)  # within the blocks, and between them
