from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from selectlib._checks import check_int
from selectlib.queries._budgets import round_sizes
from selectlib.queries._tasks import AdaptationTask


@dataclass(frozen=True)
class Plan:
    """How a run goes.

    Parameters
    ----------
    epochs : int
        Passes over the data in all.
    rounds : tuple of int
        Labels are asked for after so many epochs.
    sizes : tuple of int
        How many labels in each round.
    batch_size : int
        Images of each of a step's batches.
    """

    epochs: int
    rounds: tuple[int, ...]
    sizes: tuple[int, ...]
    batch_size: int


def make_plan(
    tasks: Sequence[AdaptationTask],
    epochs: int,
    rounds: Sequence[int],
    budget: float,
    batch_size: int,
    rounding: Literal["exact", "official"],
    *,
    queries: bool = True,
) -> Plan:
    """Check the settings of a run on some tasks, and say what will be asked for when."""
    check_int("epochs", epochs, 1)
    check_int("batch_size", batch_size, 2)  # batch normalisation needs two
    rounds = tuple(rounds)
    for after in rounds:
        check_int("rounds", after, 0)
    if any(later <= earlier for earlier, later in pairwise(rounds)):
        raise ValueError(f"rounds must rise, got {rounds}")
    if rounds and rounds[-1] >= epochs:
        raise ValueError(f"rounds must be below the {epochs} epochs, so that all labels are trained on, got {rounds}")
    lengths = {len(task.target) for task in tasks}
    if len(lengths) > 1:
        raise ValueError(f"tasks must have targets of one length, got {sorted(lengths)}")
    (n,) = lengths
    sizes = round_sizes(n, budget=budget, rounds=len(rounds), rounding=rounding) if queries else []
    if n - sum(sizes) < 2:
        raise ValueError(
            f"budget must leave at least 2 of the {n} images unlabelled, got {budget}: {sum(sizes)} labels"
        )
    for i, task in enumerate(tasks):
        if task.oracle.budget < sum(sizes):
            raise ValueError(f"oracle of task {i} must have a budget of {sum(sizes)} labels, got {task.oracle.budget}")
    return Plan(epochs, rounds, tuple(sizes), batch_size)
