"""A job that selectors compete for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from selectlib._checks import check_int
from selectlib.pool import Pool

Referee = Callable[[Tensor, torch.Generator], Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Job:
    """A pool to choose from, and a referee who grades what was chosen.

    Parameters
    ----------
    name : str
        The setting, such as a data set. Jobs of one setting differ in their seeds.
    pool : Pool
        What selectors choose from, and all that they come to know.
    referee : callable
        ``referee(chosen, generator)`` learns from the items `chosen`, int64 of shape (k,), with all its draws from
        `generator`, and returns a mapping from names to shares from 0 to 1, such as ``{"1-NN": 0.83}``. What it
        measures need not be an accuracy: the share of wrong labels among the chosen is a grade too.
        `referee_of` makes one from scikit-learn's classifiers.
    seed : int
        Names this replicate, from 0 to 2**32 - 1: selectors and referees draw from it. Jobs of several settings with
        one seed are averaged.
    n_classes : int, optional
        Number of classes, at least 1, for entrants that are made for a job.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `name` is empty, or `seed` or `n_classes` is out of range.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> job = Job("line", Pool(torch.arange(9.0)[:, None]), lambda chosen, generator: {"end": 1 - chosen[0] / 8}, 100)
    >>> job.referee(torch.tensor([2, 5]), generator(100))
    {'end': tensor(0.7500)}
    """

    name: str
    pool: Pool
    referee: Referee
    seed: int
    n_classes: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a str, got {type(self.name).__name__}")
        if not self.name:
            raise ValueError("name must not be empty")
        if not isinstance(self.pool, Pool):
            raise TypeError(f"pool must be a selectlib.pool.Pool, got {type(self.pool).__name__}")
        if not callable(self.referee):
            raise TypeError(f"referee must be callable, got {type(self.referee).__name__}")
        check_int("seed", self.seed, 0, 2**32 - 1)
        if self.n_classes is not None:
            check_int("n_classes", self.n_classes, 1)
