"""Where a search stands: all that it needs to go on, in memory and as text."""

import json
from collections import deque
from heapq import heappush, heappushpop
from typing import Any, NamedTuple

import numpy as np

from selectlib.programs._program import Program

_ARCHIVE = 100
COLUMNS = ("generated", "evaluated", "fitness", "best", "redundancy", "redundancy_within_step", "seconds")


class Scored(NamedTuple):
    """A program with its fitness.

    Attributes
    ----------
    program : Program
        The program.
    fitness : float
        Its fitness; higher is better.
    generated : int
        Children that had entered the population by then, this one included; 0 for the program that the search began
        with.
    evaluated : int
        Programs that had been evaluated by then.
    """

    program: Program
    fitness: float
    generated: int
    evaluated: int


class Child(NamedTuple):
    """A program that is to be inserted, with its key and the tries that drawing it took."""

    program: Program
    key: bytes
    tries: int


class State:
    """The population, the children on their way into it, and what is known of all that were in it."""

    def __init__(self, init: Program, fitness: float, population: int, rng: np.random.Generator):
        first = Scored(init, fitness, 0, 1)
        self.rng = rng
        self.generated = self.invalid = self.hits_within_step = 0
        self.seconds = 0.0
        self.waiting: deque[Child] = deque()
        self.fitness = {init.key(): fitness}
        self.seen_within_step = {init.key(cross_step=False)}
        self.archive = [(fitness, -1, first)]
        self.improvements = [first]
        self.rows: list[tuple[float, ...]] = []
        self._fill([first] * population)
        self._note(first)

    def _fill(self, members: list[Scored]) -> None:
        """Set the population, slot by slot: child number n takes slot n modulo its size, which holds the oldest."""
        self.members = members
        self._counts = [_counts(member.program) for member in members]
        self._sums = [sum(column) for column in zip(*self._counts, strict=True)]

    def insert(self, child: Child, fitness: float) -> None:
        """Let a child take the place of the oldest member."""
        slot = self.generated % len(self.members)
        self.generated += 1
        self.invalid += child.tries - 1
        within_step = child.program.key(cross_step=False)
        self.hits_within_step += within_step in self.seen_within_step
        self.seen_within_step.add(within_step)
        is_new = child.key not in self.fitness
        self.fitness[child.key] = fitness
        scored = Scored(child.program, fitness, self.generated, len(self.fitness))
        self.members[slot] = scored
        counts, old = _counts(child.program), self._counts[slot]
        self._counts[slot] = counts
        self._sums = [total + new - gone for total, new, gone in zip(self._sums, counts, old, strict=True)]
        if is_new:
            entry = (fitness, -scored.evaluated, scored)
            if len(self.archive) < _ARCHIVE:
                heappush(self.archive, entry)
            else:
                heappushpop(self.archive, entry)
            if fitness > self.improvements[-1].fitness:
                self.improvements.append(scored)
            self._note(scored)

    def _note(self, scored: Scored) -> None:
        length, dead, dead_within_step = self._sums
        shares = (dead / length, dead_within_step / length) if length else (0.0, 0.0)
        best = self.improvements[-1].fitness
        self.rows.append((scored.generated, scored.evaluated, scored.fitness, best, *shares, self.seconds))

    def write(self, settings: dict[str, Any]) -> str:
        """Give all of it as text, with the settings of the search."""
        return json.dumps(
            {
                "settings": settings,
                "rng": self.rng.bit_generator.state,
                "counts": [self.generated, self.invalid, self.hits_within_step, self.seconds],
                "waiting": [[child.program.source(), child.tries] for child in self.waiting],
                "fitness": {key.hex(): value for key, value in self.fitness.items()},
                "seen_within_step": [key.hex() for key in sorted(self.seen_within_step)],
                "archive": [_as_list(scored) for _, _, scored in self.archive],
                "improvements": [_as_list(scored) for scored in self.improvements],
                "members": [_as_list(scored) for scored in self.members],
                "rows": self.rows,
            }
        )

    @classmethod
    def read(cls, text: str, settings: dict[str, Any]) -> "State":
        """Take up what `write` gave; raise unless the settings are the same."""
        saved = json.loads(text)
        for name, value in settings.items():
            if (had := saved["settings"][name]) != value:
                raise ValueError(f"{name} is {value!r}, but the checkpoint's search had {had!r}")
        self = cls.__new__(cls)
        self.rng = np.random.default_rng()
        self.rng.bit_generator.state = saved["rng"]
        self.generated, self.invalid, self.hits_within_step, self.seconds = saved["counts"]
        waiting = [(Program.parse(source), tries) for source, tries in saved["waiting"]]
        self.waiting = deque(Child(program, program.key(), tries) for program, tries in waiting)
        self.fitness = {bytes.fromhex(key): value for key, value in saved["fitness"].items()}
        self.seen_within_step = set(map(bytes.fromhex, saved["seen_within_step"]))
        self.archive = [(scored.fitness, -scored.evaluated, scored) for scored in map(_as_scored, saved["archive"])]
        self.improvements = [_as_scored(values) for values in saved["improvements"]]
        self.rows = [tuple(row) for row in saved["rows"]]
        self._fill([_as_scored(values) for values in saved["members"]])
        return self


def _counts(program: Program) -> tuple[int, int, int]:
    """Count the statements, those that are dead across steps, and those that are within a step."""
    length = len(program)
    return length, length - sum(program.live()), length - sum(program.live(cross_step=False))


def _as_list(scored: Scored) -> list[Any]:
    return [scored.program.source(), *scored[1:]]


def _as_scored(values: list[Any]) -> Scored:
    return Scored(Program.parse(values[0]), *values[1:])
