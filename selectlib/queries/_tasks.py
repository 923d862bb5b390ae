from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib.pool import ItemSource
from selectlib.queries._items import Items

Inputs = Tensor | ItemSource


@runtime_checkable
class Annotator(Protocol):
    """Whoever labels images of the target when asked: a `LabelOracle`, or people behind a form.

    Examples
    --------
    >>> import torch
    >>> from selectlib.queries import LabelOracle
    >>> isinstance(LabelOracle(torch.tensor([0, 1]), budget=1), Annotator)
    True
    """

    @property
    def budget(self) -> int:
        """How many labels may be asked for in all."""
        ...

    @property
    def spent(self) -> int:
        """How many labels have been asked for."""
        ...

    def __len__(self) -> int:
        """Return the number of images of the target, n."""
        ...

    def query(self, idx: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
        """Return the classes of the images `idx`, distinct indices from 0 to n - 1, in that order."""
        ...


@dataclass(frozen=True, eq=False)
class AdaptationTask:
    """One problem of active domain adaptation: a labelled source, an unlabelled target, and who may be asked.

    Inputs are a tensor of floats of shape (n, ...), or a source of them: anything with ``__len__`` and ``fetch(idx)``,
    which returns the items of some indices and may augment them anew each time.

    Parameters
    ----------
    source : tuple of inputs and a Tensor of int64, shape (n_s,)
        Source inputs and their classes, to train on.
    target : inputs
        The n images of the target, all unlabelled at first.
    oracle : LabelOracle or Annotator
        Who knows the target's labels. With an `Annotator` of another class, which `ActiveDA` takes and `run_study` does
        not, the history's accuracies on the target are NaN.
    source_test : tuple of inputs and a Tensor of int64, shape (n_h,), optional
        Held-out source, for the history's AUROC.
    test : tuple of inputs and a Tensor of int64, shape (n_t,), optional
        Held-out target, for the history's test accuracy.

    Raises
    ------
    TypeError
        If inputs are neither a tensor of floats nor a source, labels no tensor of int64, or the oracle no `Annotator`.
    ValueError
        If inputs and labels differ in length, or the oracle is for another number of images than the target has.

    Examples
    --------
    >>> import torch
    >>> from selectlib.queries import LabelOracle
    >>> task = AdaptationTask(
    ...     source=(torch.rand(50, 1, 8, 8), torch.arange(50) % 10),
    ...     target=torch.rand(40, 1, 8, 8),
    ...     oracle=LabelOracle(torch.arange(40) % 10, budget=5),
    ... )
    >>> task.test is None
    True
    """

    source: tuple[Inputs, Int[Tensor, "n_s"]]
    target: Inputs
    oracle: Annotator
    source_test: tuple[Inputs, Int[Tensor, "n_h"]] | None = None
    test: tuple[Inputs, Int[Tensor, "n_t"]] | None = None

    def __post_init__(self) -> None:
        _check_inputs("target", self.target)
        for name in ("source", "source_test", "test"):
            if (pair := getattr(self, name)) is not None:
                _check_labelled(name, pair)
        if not isinstance(self.oracle, Annotator):
            given = type(self.oracle).__name__
            raise TypeError(f"oracle must have `query`, `budget`, `spent` and `__len__`, got {given}")
        if len(self.oracle) != len(self.target):
            raise ValueError(f"oracle must be for the {len(self.target)} images of target, got {len(self.oracle)}")


class Domains:
    """What t tasks are trained and tested on, ready on the device; the target's labels are not in it.

    Parameters
    ----------
    tasks : sequence of t AdaptationTasks
        Of equal sizes.
    device : torch.device
        Where tensors are kept, and where batches go.

    Raises
    ------
    ValueError
        If the tasks differ in size, or only some have held-out images.
    """

    def __init__(self, tasks: Sequence[AdaptationTask], device: torch.device):
        self.device = device
        self.target = Items("target", [task.target for task in tasks], device)
        self.source = _labelled("source", [task.source for task in tasks], device)
        self.source_test = _if_given("source_test", [task.source_test for task in tasks], device)
        self.test = _if_given("test", [task.test for task in tasks], device)


class Labelled(NamedTuple):
    """Inputs and their labels."""

    inputs: Items
    labels: Items


def _labelled(name: str, pairs: Sequence[tuple[Inputs, Tensor]], device: torch.device) -> Labelled:
    inputs, labels = zip(*pairs, strict=True)
    return Labelled(Items(name, inputs, device), Items(f"{name} labels", labels, device))


def _if_given(name: str, pairs: Sequence[tuple[Inputs, Tensor] | None], device: torch.device) -> Labelled | None:
    given = [pair for pair in pairs if pair is not None]
    if given and len(given) < len(pairs):
        raise ValueError(f"{name} must be given in all tasks or in none, got it in {len(given)} of {len(pairs)}")
    return _labelled(name, given, device) if given else None


def _check_inputs(name: str, inputs: object) -> None:
    if not isinstance(inputs, Tensor | ItemSource):
        raise TypeError(f"{name} must be a tensor or a source with `__len__` and `fetch`, got {type(inputs).__name__}")
    if isinstance(inputs, Tensor) and not inputs.is_floating_point():
        raise TypeError(f"{name} must hold floats, got {inputs.dtype}")


def _check_labelled(name: str, pair: object) -> None:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"{name} must be a tuple of inputs and labels, got {type(pair).__name__}")
    inputs, labels = pair
    _check_inputs(name, inputs)
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.ndim != 1:
        given = (
            f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        )
        raise TypeError(f"{name}'s labels must be a 1-D tensor of int64, got {given}")
    if len(labels) != len(inputs):
        raise ValueError(f"{name} must have one label an input, got {len(labels)} for {len(inputs)}")
