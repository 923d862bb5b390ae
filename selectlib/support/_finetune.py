import copy
from itertools import chain, count, islice
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from selectlib._checks import check_choice, check_generator, check_int, check_positive
from selectlib.support._batches import shuffled_batches
from selectlib.support._embed import check_inputs, check_module, device_of, embed

_EPOCHS = 20


def finetune(
    model: nn.Module,
    X: Float[Tensor, "n ..."],
    y: Int[Tensor, "n"],
    *,
    params: Literal["all", "bn", "classifier", "lp-ft"] = "all",
    steps: int | None = None,
    lr: float | int = 1e-3,
    batch_size: int = 32,
    bn: Literal["eval", "train"] = "eval",
    generator: torch.Generator,
) -> nn.Module:
    """Adapt a model to a few labelled examples by training it on: cross-entropy, Adam, a fixed number of steps.

    Parameters
    ----------
    model : torch.nn.Module
        With ``features``, inputs (b, ...) to features (b, d), and ``head``, features to logits (b, c), which it
        composes. It is left as it is.
    X : Tensor of floats, shape (n, ...)
        The support set's inputs; they are moved to the model's device.
    y : Tensor of int64, shape (n,)
        Their labels, from 0 to c - 1. A class may be missing.
    params : {"all", "bn", "classifier", "lp-ft"}, default "all"
        What is trained: everything; scales and offsets of batch normalisation; the head; or the head first, and then
        everything, `steps` each.
    steps : int, optional
        Updates, at least 1. By default as many as 20 passes over the support set take.
    lr : float, default 1e-3
        Learning rate, above 0.
    batch_size : int, default 32
        Largest batch, at least 3; the batches of a pass are of equal size (to one).
    bn : {"eval", "train"}, default "eval"
        Whether batch normalisation keeps its running averages and normalises by them, or normalises by each batch (of
        at least 2) and moves them. Everything else is in evaluation mode.
    generator : torch.Generator
        Source of the orders.

    Returns
    -------
    torch.nn.Module
        An adapted copy, in evaluation mode: inputs to logits.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range, or `model` lacks what `params` names.

    Notes
    -----
    A step costs one pass forward and backward of a batch. Where the head alone is trained and ``bn="eval"``, features
    are computed once for all steps.

    The two stages of ``"lp-ft"`` are those of Kumar et al., "Fine-tuning can distort pretrained features and
    underperform out-of-distribution", ICLR 2022; Lee et al., "Few-shot fine-tuning is all you need for source-free
    domain adaptation", 2023, use them for this task.

    Examples
    --------
    >>> from functools import partial
    >>> import torch
    >>> from selectlib.nets import BatchNormConvNet
    >>> from selectlib.seeding import generator
    >>> adapt = partial(finetune, params="classifier", steps=30, lr=0.1)  # an adapter for `compare_support`
    >>> images, labels = torch.rand(6, 1, 8, 8, generator=generator(100)), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> adapted = adapt(BatchNormConvNet(classes=3), images, labels, generator=generator(100))
    >>> adapted(images).argmax(1)
    tensor([0, 1, 2, 0, 1, 2])
    """
    _check(model, X, y, steps, batch_size)
    check_choice("params", params, ("all", "bn", "classifier", "lp-ft"))
    check_choice("bn", bn, ("eval", "train"))
    check_positive("lr", lr)
    check_generator(generator)
    if bn == "train" and len(X) < 2:
        raise ValueError("X must hold at least 2 inputs for bn='train', got 1")
    tuned = copy.deepcopy(model).eval()
    X, y = X.to(device_of(tuned, X)), y.to(device_of(tuned, X), torch.int64)
    _check_labels(y, tuned, X[:1])
    learnt = [parameter.requires_grad for parameter in tuned.parameters()]
    for stage in ("classifier", "all") if params == "lp-ft" else (params,):
        trained = _only_learns(tuned, stage)
        norms = [module.train(bn == "train") for module in tuned.modules() if isinstance(module, _BatchNorm)]
        optimizer = torch.optim.Adam(trained, lr=lr, fused=True)
        updates = steps or _EPOCHS * -(-len(y) // batch_size)
        if stage == "classifier" and not (norms and bn == "train"):  # features are the same at every step
            _descend(tuned.head, embed(tuned, X), y, optimizer, updates, batch_size, generator)
        else:
            _descend(tuned, X, y, optimizer, updates, batch_size, generator)
    for parameter, flag in zip(tuned.parameters(), learnt, strict=True):
        parameter.requires_grad_(flag)
    return tuned.eval()


def _only_learns(model: nn.Module, stage: str) -> list[nn.Parameter]:
    """Freeze a model but for what a stage trains, and return that."""
    if stage == "bn":
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        trained = [parameter for norm in norms for parameter in norm.parameters(recurse=False)]
    else:
        trained = [*(model.get_submodule("head") if stage == "classifier" else model).parameters()]
    if not trained:
        raise ValueError(f"model must have parameters that params={stage!r} can train, but has none")
    model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_()
    return trained


def _descend(forward, inputs: Tensor, y: Tensor, optimizer, steps: int, batch_size: int, generator) -> None:
    """Follow the gradient of the cross-entropy for so many batches, pass after pass."""
    passes = (shuffled_batches(len(y), batch_size, generator=generator) for _ in count())
    for batch in islice(chain.from_iterable(passes), steps):
        batch = batch.to(y.device)
        optimizer.zero_grad()
        cross_entropy(forward(inputs[batch]), y[batch]).backward()
        optimizer.step()


def _check(model, X, y, steps, batch_size) -> None:
    """Raise a clear error before any work."""
    check_module("model", model)
    for part in ("features", "head"):
        if not hasattr(model, part):
            raise ValueError(f"model must have features and a head, but has no {part}")
    check_inputs(X)
    if not isinstance(y, Tensor) or y.is_floating_point() or y.dtype == torch.bool:
        raise TypeError(f"y must be a tensor of ints, got {y.dtype if isinstance(y, Tensor) else type(y).__name__}")
    if y.shape != X.shape[:1]:
        raise ValueError(f"y must have one label an input, shape ({len(X)},), got shape {tuple(y.shape)}")
    check_int("batch_size", batch_size, 3)
    if steps is not None:
        check_int("steps", steps, 1)


def _check_labels(y: Tensor, model: nn.Module, inputs: Tensor) -> None:
    """Raise unless every label is one of the model's classes."""
    with torch.no_grad():
        classes = model(inputs).shape[1]
    low, high = (int(end) for end in torch.aminmax(y))
    if low < 0 or high >= classes:
        raise ValueError(f"y must hold labels from 0 to {classes - 1}, got {low} to {high}")
