"""Regularised evolution of programs."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from selectlib._atomic import write_atomically
from selectlib._checks import check_int, check_positive
from selectlib.programs._builtin import ADAMW
from selectlib.programs._mutate import Mutation, Mutator
from selectlib.programs._program import Program
from selectlib.programs._search_state import COLUMNS, Child, Scored, State
from selectlib.programs._task import Task
from selectlib.programs._workers import Workers
from selectlib.seeding import replicate_seeds

_SAVE_EVERY = 30.0  # seconds between checkpoints


class RegularizedEvolution:
    """Search for programs by evolution in which the oldest die, whatever their fitness.

    The population begins as copies of one program. Of a few members drawn at random the fittest is the parent; its
    mutated copy enters, and the oldest member leaves. Programs that compute the same (`Program.key`) share one
    evaluation. Children are drawn `batch` ahead of their insertion, so that several can be evaluated side by side; they
    are inserted in the order in which they were drawn, so that the history is the same for any number of workers.

    Parameters
    ----------
    task : object
        What judges: ``task.evaluate(program, seeds) -> float``, higher is better, and what is not finite counts as
        failed (-10). It must give the same value for the same arguments, and be picklable if there are several workers.
    init : Program, default `ADAMW`
        The program that the search begins with; valid.
    population : int, default 1000
        Members, at least 1.
    tournament : int, default 2
        Members among which the fittest becomes the parent, drawn without replacement; of equals, one at random. From 1
        (any member) to `population` (always the fittest).
    mutator : callable, optional
        ``mutator(program, rng) -> Mutation``; by default a `Mutator` that makes programs of up to 40 statements, or of
        the length of `init`. With `RandomPrograms` the search is random search.
    replicas : int, default 1
        Seeds on which each program is evaluated, the same for all: ``replicate_seeds(seed, replicas)``.
    workers : int, default 1
        Processes that evaluate, each on one thread; 1 evaluates in this process, on one thread too. With several, a
        script must start the search under ``if __name__ == "__main__":``, as they import it.
    batch : int, optional
        Children drawn ahead, from 1 (a child is in before the next is drawn) to `population`; by default a tenth of
        `population`, at least 1. It changes the history; to keep workers busy it must be several times their number,
        divided by the share of children that are not known yet.
    seed : int, default 0
        Of all draws, and of the evaluations' seeds; from 0 to 2**32 - 1.
    checkpoint : path, optional
        A file that is replaced, whole or not at all, every 30 seconds and at the end. If it is there when `fit` is
        first called, the search goes on from it, and gives what it would have given without the interruption. It holds
        text (JSON), no pickles. The task is not in it, and of the mutator its `repr` alone.

    Attributes
    ----------
    best_ : Program
        The fittest program found, in the population or not any more; the first one of equals.
    best_fitness_ : float
        Its fitness.
    archive_ : list of Scored
        The 100 fittest programs found, each with a key of its own, the fittest first.
    improvements_ : list of Scored
        The programs that were the fittest so far, in the order found; the first is `init`, the last `best_`.
    population_ : list of Scored
        The members, the oldest first.
    history_ : dict of str to array, shape (evaluated,)
        A row for each evaluation: "generated" and "evaluated" (children inserted and programs evaluated so far),
        "fitness", "best" (so far), "redundancy" and "redundancy_within_step" (share of the population's statements that
        are dead, across steps and within one: `Program.live`), and "seconds" (of CPU so far, all processes together).
    statistics_ : dict of str to number
        "generated" children, "invalid" tries beside them, "evaluated" programs, "hit_rate" (share of children that
        needed no evaluation) and "hit_rate_within_step" (the share that would have needed none if all outputs of a step
        were live, as they are in the paper).

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If a number is out of its range; `ProgramError`, if `init` is not valid.

    Notes
    -----
    Beside evaluations a child costs O(tournament + length), of the order of 100 microseconds at 30 statements; memory
    grows by some hundred bytes a program. Source: Chen et al., Symbolic Discovery of Optimization Algorithms (NeurIPS
    2023), after Real et al., Regularized Evolution for Image Classifier Architecture Search (AAAI 2019), as secondary
    sources and the official code tell it; the papers themselves were not read. Drawing ahead, the key across steps, the
    archive and the checkpoint are ours.

    Examples
    --------
    >>> from selectlib.programs import RegularizedEvolution
    >>> class Short:
    ...     def evaluate(self, program, seeds):
    ...         return -float(sum(program.live()))
    >>> search = RegularizedEvolution(Short(), population=20, seed=100).fit(evaluations=30)
    >>> search.history_["fitness"][0].item(), search.best_fitness_
    (-9.0, -3.0)
    """

    def __init__(
        self,
        task: Task,
        *,
        init: Program = ADAMW,
        population: int = 1000,
        tournament: int = 2,
        mutator: Callable[[Program, np.random.Generator], Mutation] | None = None,
        replicas: int = 1,
        workers: int = 1,
        batch: int | None = None,
        seed: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
    ):
        if not callable(getattr(task, "evaluate", None)):
            raise TypeError(f"task must have a method evaluate(program, seeds), got {type(task).__name__}")
        if not isinstance(init, Program):
            raise TypeError(f"init must be a Program, got {type(init).__name__}")
        if mutator is not None and not callable(mutator):
            raise TypeError(f"mutator must be callable, got {type(mutator).__name__}")
        init.validate()
        self.task = task
        self.init = init
        self.population = check_int("population", population, 1)
        self.tournament = check_int("tournament", tournament, 1, population)
        self.mutator = Mutator(max_length=max(40, len(init))) if mutator is None else mutator
        self.replicas = check_int("replicas", replicas, 1)
        self.workers = check_int("workers", workers, 1)
        self.batch = max(1, population // 10) if batch is None else check_int("batch", batch, 1, population)
        self.seed = seed
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self._seeds = replicate_seeds(seed, replicas)
        self._state: State | None = None

    def fit(
        self,
        *,
        evaluations: int | None = None,
        seconds: float | int | None = None,
        progress: Callable[[Iterable[None]], Iterable[None]] | None = None,
    ) -> "RegularizedEvolution":
        """Search until a budget is spent, from the start of the search, the checkpoint's part included.

        Called again with a larger budget, the search goes on, and is then as if that one had been given at once.

        Parameters
        ----------
        evaluations : int, optional
            Programs to evaluate, `init` included; at least 1.
        seconds : float, optional
            CPU seconds, of all processes together, so that a busy machine takes nothing away.
        progress : callable, optional
            Wraps an iterable of unknown length with an item for each evaluation, as ``tqdm.tqdm`` does.

        Returns
        -------
        RegularizedEvolution
            The object itself, with the attributes that end in an underscore.

        Raises
        ------
        TypeError
            If `evaluations` is not an int or `seconds` not a number.
        ValueError
            If neither is given or one is out of range; if the checkpoint is of a search with other settings; if a
            program has no valid child.
        OSError
            If the checkpoint cannot be written; the first is written before the search begins.
        KeyboardInterrupt
            On Ctrl-C; what was found by then is there, and `fit` may be called again.
        """
        if evaluations is None and seconds is None:
            raise ValueError("evaluations or seconds must be given")
        budget = (
            np.inf if evaluations is None else check_int("evaluations", evaluations, 1),
            np.inf if seconds is None else check_positive("seconds", seconds),
        )
        self._clock = time.process_time()
        with Workers(self.task, self._seeds, self.workers) as workers:
            state = self._state or self._begin(workers)
            self._state = state
            self._save()
            saved = time.monotonic()
            steps = self._steps(state, workers, *budget)
            try:
                for _ in steps if progress is None else progress(steps):
                    if time.monotonic() - saved > _SAVE_EVERY:
                        self._save()
                        saved = time.monotonic()
            finally:
                self._save()
        return self

    def _begin(self, workers: Workers) -> State:
        """Take up the checkpoint, or evaluate the first program."""
        if self.checkpoint is not None and self.checkpoint.exists():
            return State.read(self.checkpoint.read_text(), self._settings())
        fitness, elsewhere = workers.submit(self.init)()
        state = State(self.init, fitness, self.population, np.random.default_rng(self.seed))
        self._count(state, elsewhere)
        return state

    def _steps(self, state: State, workers: Workers, evaluations: float | int, seconds: float) -> Iterator[None]:
        """Search; give way after each evaluation."""
        results: dict[bytes, Callable[[], tuple[float, float]]] = {}

        def submit(child: Child) -> None:
            if child.key not in state.fitness and child.key not in results:
                results[child.key] = workers.submit(child.program)

        for child in state.waiting:
            submit(child)
        while len(state.fitness) < evaluations and state.seconds < seconds:
            while len(state.waiting) < self.batch:
                child = self._draw(state)
                state.waiting.append(child)
                submit(child)
            child = state.waiting[0]
            is_new = child.key not in state.fitness
            fitness, elsewhere = results.pop(child.key)() if is_new else (state.fitness[child.key], 0.0)
            self._count(state, elsewhere)
            state.waiting.popleft()
            state.insert(child, fitness)
            if is_new:
                yield

    def _draw(self, state: State) -> Child:
        """Draw a child of the fittest of a few members."""
        slots: dict[int, None] = {}  # in the order drawn, so that of equals the first, a random one, wins
        while len(slots) < self.tournament:
            slots[int(state.rng.random() * self.population)] = None
        parent = max((state.members[slot] for slot in slots), key=lambda member: member.fitness)
        program, _, tries = self.mutator(parent.program, state.rng)
        return Child(program, program.key(), tries)

    def _count(self, state: State, elsewhere: float) -> None:
        """Add the CPU seconds since the last call, here and elsewhere."""
        now = time.process_time()
        state.seconds += now - self._clock + elsewhere
        self._clock = now

    def _settings(self) -> dict[str, Any]:
        """Give what two searches must share for one to go on with the other's checkpoint."""
        names = ("population", "tournament", "replicas", "batch", "seed")
        values = {name: getattr(self, name) for name in names}
        return values | {"mutator": repr(self.mutator), "init": self.init.source()}

    def _save(self) -> None:
        if self.checkpoint is not None and self._state is not None:
            write_atomically(self.checkpoint, self._state.write(self._settings()))

    @property
    def _fitted(self) -> State:
        if self._state is None:
            raise AttributeError("the search has no results before fit is called")
        return self._state

    @property
    def best_(self) -> Program:
        return self._fitted.improvements[-1].program

    @property
    def best_fitness_(self) -> float:
        return self._fitted.improvements[-1].fitness

    @property
    def archive_(self) -> list[Scored]:
        return [scored for _, _, scored in sorted(self._fitted.archive, reverse=True)]

    @property
    def improvements_(self) -> list[Scored]:
        return list(self._fitted.improvements)

    @property
    def population_(self) -> list[Scored]:
        oldest = self._fitted.generated % self.population
        return self._fitted.members[oldest:] + self._fitted.members[:oldest]

    @property
    def history_(self) -> dict[str, np.ndarray]:
        columns = zip(*self._fitted.rows, strict=True)
        return {name: np.array(column) for name, column in zip(COLUMNS, columns, strict=True)}

    @property
    def statistics_(self) -> dict[str, float | int]:
        state = self._fitted
        children = max(1, state.generated)
        return {
            "generated": state.generated,
            "invalid": state.invalid,
            "evaluated": len(state.fitness),
            "hit_rate": (state.generated - len(state.fitness) + 1) / children,
            "hit_rate_within_step": state.hits_within_step / children,
        }
