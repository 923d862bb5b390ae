from collections.abc import Callable, Sequence

import torch
from torch import nn

from selectlib._checks import check_int, check_positive
from selectlib.data import DomainShift
from selectlib.device import pick_device
from selectlib.seeding import generator
from selectlib.support._byol import BYOL, Augment
from selectlib.support._embed import embed
from selectlib.support._source import Progress, paired, train_source
from selectlib.support._streams import SELF_SUPERVISION, stream_seed
from selectlib.support._task import SupportTask
from selectlib.support._views import affine_views, random_affine


def prepare_tasks(
    shifts: Sequence[DomainShift],
    make_model: Callable[[], nn.Module],
    *,
    seeds: Sequence[int],
    source_epochs: int = 25,
    source_lr: float | int = 3e-3,
    source_augment: Augment = random_affine,
    byol: Callable[[nn.Module], BYOL] = BYOL,
    ssl_epochs: int = 20,
    ssl_lr: float | int = 1e-3,
    augment: Augment = affine_views,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> list[SupportTask]:
    """Do for each shift what comes before the selection: source training, self-supervision, features, pseudo-labels.

    A source model g∘f is trained by `train_source`; its features f are trained on by `BYOL` on the pool of the target,
    without labels, which gives f' and a projector; the source's head g stays on both.

    Parameters
    ----------
    shifts : sequence of DomainShifts
        A labelled source, and the target's pool and held-out images.
    make_model : callable
        Returns a new model with ``features`` and ``head``, as for `train_source`.
    seeds : sequence of int
        One a shift, of all that is drawn for it.
    source_epochs : int, default 25
        Passes over the source; with 0 the models are those that `make_model` returns.
    source_lr : float, default 3e-3
        Largest learning rate of the source training.
    source_augment : callable, default random_affine
        How images of the source are changed at random.
    byol : callable, default BYOL
        Makes of a source model what trains its features on; `functools.partial` sets the widths of `BYOL`.
    ssl_epochs : int, default 20
        Passes over the pool in self-supervision; with 0 there is none: f' = f, and no projector.
    ssl_lr : float, default 1e-3
        Its learning rate.
    augment : callable, default affine_views
        ``augment(images, generator=generator)`` makes its views; `colour_views` for colour images.
    device : str or torch.device, default "cpu"
        Where to work, and where the tasks' tensors and models will be; names as in `selectlib.device.pick_device`.
    progress : callable, optional
        Wraps the sequence of shifts, as ``tqdm`` does.

    Returns
    -------
    list of SupportTask
        One a shift, with its seed. Each is what its shift alone gives.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or a model lacks ``features`` or ``head``.
    ValueError
        If there is no shift or not one seed a shift, or another argument is out of range.

    Notes
    -----
    Dawoud et al., "SelectNAdapt", ICCVW 2023, stages 1 and 2; pseudo-labels average the probabilities of g∘f and g∘f',
    not their logits.

    Examples
    --------
    >>> from selectlib.data import backdrop_digits
    >>> from selectlib.nets import PooledConvNet
    >>> shift = backdrop_digits(seed=100, n_source=100, n_pool=60)
    >>> (task,) = prepare_tasks([shift], PooledConvNet, seeds=[100], source_epochs=1, ssl_epochs=1)
    >>> {name: tuple(rows.shape) for name, rows in task.features.items()}
    {'source': (60, 256), 'adapted': (60, 256), 'projector': (60, 64)}
    """
    check_int("source_epochs", source_epochs, 0)
    check_positive("source_lr", source_lr)
    check_int("ssl_epochs", ssl_epochs, 0)
    check_positive("ssl_lr", ssl_lr)
    where, pairs = pick_device(device), paired(shifts, seeds)
    tasks = []
    for shift, seed in pairs if progress is None else progress(pairs):
        (source,) = train_source(
            make_model, [shift], seeds=[seed], epochs=source_epochs, lr=source_lr, augment=source_augment, device=where
        )
        images = shift.pool.to(where)
        draws = generator(stream_seed(seed, SELF_SUPERVISION), where)
        adapted, projector = byol(source).fit(images, epochs=ssl_epochs, augment=augment, lr=ssl_lr, generator=draws)
        tasks.append(_task(shift, seed, images, source, adapted, projector))
    return tasks


@torch.no_grad()
def _task(shift: DomainShift, seed: int, images: torch.Tensor, source, adapted, projector) -> SupportTask:
    """What is known of the pool: one pass of it through either model."""
    models = {"source": source, "adapted": adapted}
    features = {name: embed(model, images) for name, model in models.items()}
    proba = {name: model.head(features[name]).softmax(1) for name, model in models.items()}
    proba["ensemble"] = (proba["source"] + proba["adapted"]) / 2
    return SupportTask(
        images=images,
        labels=shift.pool_labels.to(images.device),
        test=shift.test.to(images.device),
        test_labels=shift.test_labels.to(images.device),
        models=models,
        features={**features, "projector": projector(features["adapted"])},
        proba=proba,
        seed=seed,
    )
