from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from selectlib._checks import check_choice, check_int
from selectlib._rows_file import RowsFile, checksum
from selectlib.pool import Pool, PoolSelector
from selectlib.seeding import generator
from selectlib.support._comparison import SupportComparison, SupportResult
from selectlib.support._source import Progress
from selectlib.support._streams import ADAPTATION, SELECTION, stream_seed
from selectlib.support._task import SupportTask


@runtime_checkable
class Adapter(Protocol):
    """What adapts a model to a domain with some labelled images of it, as `finetune` and ``LCCS().adapt`` do."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, /, *, generator: torch.Generator) -> nn.Module:
        """Return a new model in evaluation mode, images to scores; `model` is left as it was."""
        ...


Selector = PoolSelector | Callable[[SupportTask], PoolSelector]


def compare_support(
    selectors: Mapping[str, Selector],
    adapters: Mapping[str, Adapter],
    tasks: Sequence[SupportTask],
    shots: Sequence[int],
    *,
    draws: int | Mapping[str, int] = 1,
    backbones: Sequence[str] = ("adapted",),
    features: str = "projector",
    proba: str = "ensemble",
    seed: int,
    progress: Progress | None = None,
    checkpoint: Path | str | None = None,
) -> SupportComparison:
    """Let selectors choose support sets of equal budgets, adapt a model with each, and grade what comes out.

    All is paired: on a task all selectors choose from the same pool, and all that they choose is learnt from with the
    same draws. A selection serves all adapters and backbones.

    Parameters
    ----------
    selectors : mapping from str to PoolSelector or callable
        What to compare. A callable makes the selector of a task: ``lambda task: StratifiedRandom(task.labels)``. It is
        given the whole task, and is the only way by which a selector can come to know labels.
    adapters : mapping from str to callable
        ``adapter(model, images, labels, generator=generator)`` returns a new model, images to scores. The images are
        those that were chosen, and the labels are theirs.
    tasks : sequence of SupportTasks
        Where to compare.
    shots : sequence of int
        Numbers of labels a class, K: the budgets are K c, below the pool's length.
    draws : int or mapping from str to int, default 1
        Repetitions of a selection, with other draws each; a mapping names selectors, and the others have 1. For
        selectors that draw.
    backbones : sequence of str, default ("adapted",)
        Which of the tasks' models are adapted.
    features, proba : str, default "projector" and "ensemble"
        Which of the tasks' features and probabilities the selectors see, as in `SupportTask.pool`.
    seed : int
        Source of all draws, with the seeds of the tasks, from 0 to 2**32 - 1.
    progress : callable, optional
        Wraps the sequence of selections, as ``tqdm`` does.
    checkpoint : Path or str, optional
        JSON file that keeps the results as they come. Those that are in it are not made again, so that a comparison
        goes on after an interrupt, or gets more shots, draws, selectors or adapters. Names stand for what they name: a
        selector that was changed needs another name, or another file.

    Returns
    -------
    SupportComparison
        A result for each task, number of shots, selector, draw, backbone and adapter. It does not depend on the order
        of either, nor on what else is compared.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range, the checkpoint is of other tasks, seed, features or probabilities, or a selector
        does not return K c distinct indices of the pool. A note names the selection during which an error came up.

    Notes
    -----
    Time beyond selection and adaptation: one pass of the held-out images and one of the pool for each result. Labels
    of images that were not chosen, and held-out images, reach neither selectors nor adapters.

    Examples
    --------
    >>> import torch
    >>> from selectlib.pool import Random
    >>> from selectlib.support import SupportTask
    >>> images, labels = torch.rand(20, 1, 4, 4), torch.arange(20) % 2
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    >>> known = {"features": {"raw": images.flatten(1)}, "proba": {"net": net(images).softmax(1).detach()}}
    >>> task = SupportTask(images, labels, images, labels, {"net": net}, **known, seed=100)
    >>> study = compare_support(
    ...     {"random": Random()},
    ...     {"none": lambda model, images, labels, *, generator: model},
    ...     [task],
    ...     shots=[1, 3],
    ...     draws=5,
    ...     backbones=["net"],
    ...     features="raw",
    ...     proba="net",
    ...     seed=100,
    ... )
    >>> len(study.rows), study.accuracy("random", "none", 3, backbone="net").shape
    (10, (1,))
    """
    repeats = _check(selectors, adapters, tasks, shots, draws, backbones, seed)
    pools = [task.pool(features, proba) for task in tasks]
    settings: dict[str, object] = {"seed": seed, "features": features, "proba": proba}
    if checkpoint is not None:
        settings["tasks"] = [[task.seed, _checksum(task)] for task in tasks]
    selections = [
        _Selection(t, k, name, draw)
        for t in range(len(tasks))
        for k in shots
        for name in selectors
        for draw in range(repeats[name])
    ]
    pairs = [(backbone, adapter) for backbone in backbones for adapter in adapters]
    with RowsFile(checkpoint, settings, SupportResult, _key) as file:
        for selection in selections if progress is None else progress(selections):
            missing = [pair for pair in pairs if (*selection, *pair) not in file.rows]
            task, pool = tasks[selection.task], pools[selection.task]
            for row in _results(selection, missing, selectors[selection.selector], adapters, task, pool, seed):
                file.add(row)
    return SupportComparison([file.rows[(*selection, *pair)] for selection in selections for pair in pairs])


def _key(row: SupportResult) -> tuple[int, int, str, int, str, str]:
    return row.task, row.shots, row.selector, row.draw, row.backbone, row.adapter


def _checksum(task: SupportTask) -> int:
    """A checksum of all that is known of a task's pool."""
    return checksum(task.labels, task.test_labels, *task.features.values(), *task.proba.values())


class _Selection(NamedTuple):
    """One support set: of which task, of how many shots a class, chosen by whom, at which draw."""

    task: int
    shots: int
    selector: str
    draw: int


def _results(
    selection: _Selection,
    pairs: Sequence[tuple[str, str]],
    selector: Selector,
    adapters: Mapping[str, Adapter],
    task: SupportTask,
    pool: Pool,
    seed: int,
) -> Iterator[SupportResult]:
    """Select once, then adapt and grade each pair of a backbone and an adapter."""
    if not pairs:
        return

    def draws(stream: int) -> torch.Generator:  # the same for all selectors, and for all adapters
        return generator(stream_seed(seed, task.seed, stream, selection.shots, selection.draw))

    with _noted(selection):
        chosen = _select(selector, selection, task, pool, draws(SELECTION))
        images, labels = task.images[chosen], task.labels[chosen]
        missing_classes = task.n_classes - len(labels.unique())
        for backbone, adapter in pairs:
            model = adapters[adapter](task.models[backbone], images, labels, generator=draws(ADAPTATION))
            yield SupportResult(
                **selection._asdict(),
                backbone=backbone,
                adapter=adapter,
                held_out=task.accuracy(model),
                transductive=task.accuracy(model, "pool", exclude=chosen),
                missing_classes=missing_classes,
            )


def _select(
    selector: Selector, selection: _Selection, task: SupportTask, pool: Pool, draws: torch.Generator
) -> Int[Tensor, "k"]:
    """Choose K c items, and make sure that it is as many."""
    if not isinstance(selector, PoolSelector):
        selector = selector(task)
    k = selection.shots * task.n_classes
    chosen = selector.select(pool, k, generator=draws)
    if not isinstance(chosen, Tensor) or chosen.dtype != torch.int64 or chosen.shape != (k,):
        given = (
            f"{chosen.dtype} of shape {tuple(chosen.shape)}" if isinstance(chosen, Tensor) else type(chosen).__name__
        )
        raise ValueError(f"selector {selection.selector!r} must return {k} indices of int64, got {given}")
    if chosen.min() < 0 or chosen.max() >= len(pool):
        raise ValueError(f"selector {selection.selector!r} must return indices of the pool's {len(pool)} items")
    if (distinct := len(chosen.unique())) < k:
        raise ValueError(f"selector {selection.selector!r} must return {k} distinct indices, got {distinct}")
    return chosen


@contextmanager
def _noted(selection: _Selection) -> Iterator[None]:
    """Say of an error which selection it came up in."""
    try:
        yield
    except Exception as error:
        named = ", ".join(f"{name} {value!r}" for name, value in selection._asdict().items())
        error.add_note(f"while comparing {named}")
        raise


def _check(selectors, adapters, tasks, shots, draws, backbones, seed) -> dict[str, int]:
    """Raise a clear error before any work; return the draws of each selector."""
    check_int("seed", seed, 0, 2**32 - 1)
    given = {"selectors": selectors, "adapters": adapters, "tasks": tasks, "shots": shots, "backbones": backbones}
    for name, values in given.items():
        if len(values) == 0:
            raise ValueError(f"{name} must hold at least one, got none")
    for name in ("selectors", "adapters"):
        if not isinstance(given[name], Mapping):
            raise TypeError(f"{name} must be a mapping from names, got {type(given[name]).__name__}")
    for task in tasks:
        if not isinstance(task, SupportTask):
            raise TypeError(f"tasks must hold SupportTasks, got {type(task).__name__}")
        for name in backbones:
            check_choice("backbones", name, tuple(task.models))
        for k in shots:
            check_int("shots", k, 1, (len(task.images) - 1) // task.n_classes)  # one image is left to grade on
    repeats = (
        dict.fromkeys(selectors, 1) | dict(draws) if isinstance(draws, Mapping) else dict.fromkeys(selectors, draws)
    )
    for name, count in repeats.items():
        check_choice("draws", name, tuple(selectors))
        check_int(f"draws of {name!r}", count, 1)
    return repeats
