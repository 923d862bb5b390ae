"""What the search asks of the tasks that judge programs."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from selectlib.programs._program import Program

FAILED = -10.0
"""The fitness of a program whose run fails or diverges."""


@runtime_checkable
class Task(Protocol):
    """What judges programs."""

    def evaluate(self, program: Program, seeds: Sequence[int]) -> float:
        """Give the fitness, higher is better; the same for the same program and seeds."""
        ...
