"""The mean over several tasks, which spares the later ones where the first already tells."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from selectlib._checks import check_positive
from selectlib.programs._mlp_task import MLPTask
from selectlib.programs._program import Program
from selectlib.programs._runs import ScoredTask, Split
from selectlib.programs._task import FAILED


class TaskMean:
    """Several tasks as one: the fitness is the mean of theirs.

    Parameters
    ----------
    tasks : sequence of tasks
        At least one; the cheapest first.
    cutoff : float, default 1.5
        A program whose loss on the first task is above it keeps that fitness, and is spared the others [nats].

    Raises
    ------
    TypeError
        If `cutoff` is not a number.
    ValueError
        If there is no task, or `cutoff` is not above 0.

    Examples
    --------
    >>> from selectlib.programs import ADAMW, MLPTask
    >>> first, second = MLPTask.digits(steps=20), MLPTask.digits((64, 24, 24, 10), n_train=500, steps=20)
    >>> slow = ADAMW.with_constants([0.9, 0.999, 0.01, 1e-6])
    >>> TaskMean([first, second]).evaluate(slow, [100]) == first.evaluate(slow, [100])
    True
    """

    def __init__(self, tasks: Sequence[ScoredTask], cutoff: float = 1.5):
        self.tasks = tuple(tasks)
        if not self.tasks:
            raise ValueError("tasks must hold at least one task, got none")
        self.cutoff = check_positive("cutoff", cutoff)

    def evaluate(self, program: Program, seeds: Sequence[int], split: Split = "validation") -> float:
        """Return the mean fitness, or that on the first task where it is below minus the cutoff; -10 if any run failed.

        Parameters
        ----------
        program, seeds, split
            As in `MLPTask.evaluate`.

        Returns
        -------
        float
            Fitness [nats], at least -10.
        """
        scores = [self.tasks[0].evaluate(program, seeds, split)]
        if scores[0] >= -self.cutoff:
            scores += [task.evaluate(program, seeds, split) for task in self.tasks[1:]]
        return FAILED if FAILED in scores else sum(scores) / len(scores)

    def losses(self, program: Program, seeds: Sequence[int], split: Split = "validation") -> Float64[np.ndarray, "s"]:
        """Return the mean loss over all tasks for each seed, whatever the cutoff.

        Parameters
        ----------
        program, seeds, split
            As in `MLPTask.evaluate`.

        Returns
        -------
        ndarray of float64, shape (s,)
            Losses [nats]; infinite where a run failed.
        """
        return np.mean([task.losses(program, seeds, split) for task in self.tasks], axis=0)


def two_task_proxy(permutation_seed: int = 0) -> TaskMean:
    """Make the proxy of the searches: two small networks on digits, 64-32-10 on 1,000 and 64-24-24-10 on 500.

    Parameters
    ----------
    permutation_seed : int, default 0
        Seed of the order of the digits, as in `MLPTask.digits`.

    Returns
    -------
    TaskMean

    Examples
    --------
    >>> [task.sizes for task in two_task_proxy().tasks]
    [(64, 32, 10), (64, 24, 24, 10)]
    """
    settings = (((64, 32, 10), 1000), ((64, 24, 24, 10), 500))
    return TaskMean([MLPTask.digits(sizes, n, permutation_seed=permutation_seed) for sizes, n in settings])
