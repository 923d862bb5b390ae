from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR

from selectlib._checks import check_int, check_positive
from selectlib.data import DomainShift
from selectlib.device import pick_device
from selectlib.nets import batch_orders
from selectlib.nets._initial import initial_model
from selectlib.seeding import generator
from selectlib.support._byol import Augment
from selectlib.support._streams import AUGMENT, ORDER, WEIGHTS, stream_seed
from selectlib.support._views import random_affine

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def train_source(
    make_model: Callable[[], nn.Module],
    shifts: Sequence[DomainShift],
    *,
    seeds: Sequence[int],
    epochs: int = 25,
    batch_size: int = 64,
    lr: float | int = 3e-3,
    augment: Augment = random_affine,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> list[nn.Module]:
    """Train one model on the labelled source of each shift: Adam under a one-cycle schedule, weight decay 1e-4.

    Parameters
    ----------
    make_model : callable
        Returns a new model with ``features``, images to features of shape (b, d), and ``head``, features to logits of
        shape (b, c), such as `selectlib.nets.PooledConvNet`. Called once a shift, with torch's global generators seeded
        for the time of the call.
    shifts : sequence of DomainShifts
        Only `source` and `source_labels` are read.
    seeds : sequence of int
        One a shift, of all that is drawn for it: start, order and augmentation.
    epochs : int, default 25
        Passes over the source, at least 0: with none the models come back as they are made.
    batch_size : int, default 64
        Images a step, at least 2, and at most the source's.
    lr : float, default 3e-3
        Largest learning rate, above 0.
    augment : callable, default random_affine
        ``augment(images, generator=generator)`` changes a batch at random, anew at each step.
    device : str or torch.device, default "cpu"
        Where to train; names as in `selectlib.device.pick_device`.
    progress : callable, optional
        Wraps the sequence of shifts, as ``tqdm`` does.

    Returns
    -------
    list of torch.nn.Module
        On `device`, in evaluation mode. Each is what training on its shift alone gives.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or a model lacks ``features`` or ``head``.
    ValueError
        If there is no shift or not one seed a shift, or another argument is out of range.

    Notes
    -----
    A plain loop: on a CPU convolutions of stacked replicas (`selectlib.nets.train`) take as long, and their examples
    cannot be augmented anew at each step. Nothing in a step synchronises with the device.

    Examples
    --------
    >>> from selectlib.data import shifted_digits
    >>> from selectlib.nets import BatchNormConvNet
    >>> shifts = [shifted_digits("turn", seed=seed, n_source=100) for seed in (100, 101)]
    >>> models = train_source(BatchNormConvNet, shifts, seeds=[100, 101], epochs=1)
    >>> len(models), models[0].training
    (2, False)
    """
    check_int("epochs", epochs, 0)
    check_int("batch_size", batch_size, 2)
    check_positive("lr", lr)
    where, pairs = pick_device(device), paired(shifts, seeds)
    return [
        _train(make_model, shift, seed, epochs, batch_size, lr, augment, where)
        for shift, seed in (pairs if progress is None else progress(pairs))
    ]


def paired(shifts: Sequence[DomainShift], seeds: Sequence[int]) -> list[tuple[DomainShift, int]]:
    """Put shifts and seeds together; raise unless there are as many, and at least one."""
    if len(shifts) == 0:
        raise ValueError("shifts must hold at least one, got none")
    if len(seeds) != len(shifts):
        raise ValueError(f"seeds must name one seed a shift, got {len(seeds)} for {len(shifts)} shifts")
    for seed in seeds:
        check_int("seeds", seed, 0, 2**32 - 1)
    return list(zip(shifts, seeds, strict=True))


def _train(make_model, shift, seed, epochs, batch_size, lr, augment, where) -> nn.Module:
    model = initial_model(make_model, stream_seed(seed, WEIGHTS)).to(where)
    for part in ("features", "head"):
        if not callable(getattr(model, part, None)):
            raise TypeError(f"make_model must return models with `features` and `head`, got one without `{part}`")
    if epochs == 0:
        return model.eval()
    images, labels = shift.source.to(where), shift.source_labels.to(where)
    n = len(images)
    order = stream_seed(seed, ORDER)
    orders = batch_orders([torch.arange(n)], epochs=epochs, batch=min(batch_size, n), seeds=[order])[0].to(where)
    draws = generator(stream_seed(seed, AUGMENT), where)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=1e-4, fused=True)
    schedule = OneCycleLR(optimizer, max_lr=lr, total_steps=len(orders))
    for rows in orders:
        loss = cross_entropy(model(augment(images[rows], generator=draws)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()
