"""What all training runs of programs share: splits, learning rates, the end of a run that diverges, fitness."""

import math
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from selectlib.programs._program import Program
from selectlib.programs._task import FAILED

Split = Literal["train", "validation", "test"]
SPLITS = ("train", "validation", "test")
LOOK = 10  # steps between looks at the loss


@runtime_checkable
class ScoredTask(Protocol):
    """A task that tells the loss of each run."""

    def evaluate(self, program: Program, seeds: Sequence[int], split: Split = "validation") -> float: ...

    def losses(
        self, program: Program, seeds: Sequence[int], split: Split = "validation"
    ) -> Float64[np.ndarray, "s"]: ...


def fitness(losses: Float64[np.ndarray, "s"]) -> float:
    """Minus the mean loss; `FAILED` where a run failed, and never below it."""
    if len(losses) == 0:
        raise ValueError("seeds must hold at least one seed, got none")
    return max(FAILED, -float(losses.mean()))


def schedule(steps: int, warmup: float = 0.05) -> list[float]:
    """Learning rates from 0 to 1: a linear rise over the first share `warmup` of the steps, times half a cosine."""
    rise = max(1, round(warmup * steps))
    return [min(1.0, (t + 1) / rise) * (1 + math.cos(math.pi * t / steps)) / 2 for t in range(steps)]


def ceiling(first_loss: float) -> float:
    """The loss above which a run that started at `first_loss` has diverged."""
    return 3 * first_loss + 2
