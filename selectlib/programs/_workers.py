"""Where programs are evaluated: here, or in processes beside."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import isfinite
from multiprocessing import get_context, parent_process
from threading import Thread

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from selectlib.programs._program import Program
from selectlib.programs._task import FAILED, Task


class Workers:
    """Evaluates programs in `count` processes, or in this one if `count` is 1; a context, at whose end they stop.

    Here as there the arithmetic has one thread, so that it gives the same bits.
    """

    def __init__(self, task: Task, seeds: Sequence[int], count: int):
        self._evaluate_here = partial(_evaluate, task, seeds)
        self._pool = None
        if count > 1:
            self._pool = ProcessPoolExecutor(
                count, mp_context=get_context("spawn"), initializer=_start, initargs=(task, seeds)
            )

    def submit(self, program: Program) -> Callable[[], tuple[float, float]]:
        """Ask for an evaluation; the result gives the fitness and the CPU seconds spent in another process."""
        if self._pool is None:
            return lambda: (self._evaluate_here(program), 0.0)
        return self._pool.submit(_evaluate_there, program).result

    def __enter__(self) -> "Workers":
        self._limits = threadpool_limits(1)
        return self

    def __exit__(self, *error: object) -> None:
        self._limits.restore_original_limits()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _evaluate(task: Task, seeds: Sequence[int], program: Program) -> float:
    fitness = float(task.evaluate(program, seeds))
    return fitness if isfinite(fitness) else FAILED


_job: tuple[Task, Sequence[int]]  # of a worker: what it was started with, sent once


def _start(task: Task, seeds: Sequence[int]) -> None:
    """Make this process a worker: one thread, deaf to Ctrl-C, which the parent handles, and gone when the parent is."""
    global _job
    _job = task, seeds
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "only workers watch their parent"
    parent.join()
    os._exit(1)


def _evaluate_there(program: Program) -> tuple[float, float]:
    start = time.process_time()
    fitness = _evaluate(*_job, program)
    return fitness, time.process_time() - start
