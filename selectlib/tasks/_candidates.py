"""Candidate tasks and a target as the selection reads them: means at once, scatters when asked for."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.tasks._task_stats import TaskStats, as_rows, scatter_of


class Candidates:
    """Tasks whose scatters are computed only for those that are looked at.

    Attributes
    ----------
    counts : list of int
        Samples of each task.
    means : Tensor of float64, shape (M, D)
        Their means.
    target_mean : Tensor of float64, shape (D,)
        The mean of the target, on the device of the tasks.
    """

    def __init__(self, task_features: Any, target_features: Any):
        if not isinstance(task_features, Tensor | Sequence) and not hasattr(task_features, "__array__"):
            raise TypeError(f"task_features must be a list or a table of tasks, got {type(task_features).__name__}")
        if not len(task_features):
            raise ValueError("task_features must hold at least one task, got none")
        self._tasks = [
            task if isinstance(task, TaskStats) else as_rows(f"task_features[{i}]", task)
            for i, task in enumerate(task_features)
        ]
        means = [_mean(task) for task in self._tasks]
        self.target_mean = _mean(
            target_features if isinstance(target_features, TaskStats) else as_rows("target_features", target_features)
        ).to(means[0].device)
        for i, mean in enumerate(means):
            if len(mean) != len(self.target_mean):
                raise ValueError(
                    f"task_features[{i}] must have {len(self.target_mean)} features like the target, got {len(mean)}"
                )
        self.counts = [task.n if isinstance(task, TaskStats) else len(task) for task in self._tasks]
        self.means = torch.stack([mean.to(means[0].device) for mean in means])
        # In float64 a mean is finite just where all that went into it is.
        finite = torch.cat([self.means, self.target_mean[None]]).isfinite().all(1).tolist()
        if not all(finite):
            i = finite.index(False)
            name = f"task_features[{i}]" if i < len(self) else "target_features"
            raise ValueError(f"{name} must be finite, got NaN or infinity")

    def __len__(self) -> int:
        return len(self._tasks)

    def stats(self, i: int) -> TaskStats:
        """Statistics of one task."""
        task = self._tasks[i]
        if not isinstance(task, TaskStats):
            return TaskStats(len(task), self.means[i], scatter_of(task, self.means[i]))
        if not bool(task.scatter.isfinite().all()):
            raise ValueError(f"task_features[{i}] must be finite, got NaN or infinity in its scatter")
        return TaskStats(task.n, self.means[i], task.scatter.to(self.means.device))

    def similarities(self, center: bool = False) -> Float[Tensor, "M"]:
        """Cosine of each task's mean with the target's; 0 where one of them is the zero vector."""
        means, target = self.means, self.target_mean
        if center:
            weights = means.new_tensor(self.counts)
            middle = weights @ means / weights.sum()
            means, target = means - middle, target - middle
        return torch.nn.functional.normalize(means, dim=1) @ torch.nn.functional.normalize(target, dim=0)


def ranked(similarities: Float[Tensor, "M"], order: Iterable[Any] | None) -> list[int]:
    """The order given, or an error; by default the most similar task first, and ties as they come."""
    if order is None:
        return similarities.argsort(descending=True, stable=True).tolist()
    tasks, M = [int(i) for i in order], len(similarities)
    if not tasks or len(set(tasks)) < len(tasks) or not all(0 <= i < M for i in tasks):
        raise ValueError(f"order must hold distinct tasks from 0 to {M - 1}, at least one, got {tasks}")
    return tasks


def _mean(task: TaskStats | Tensor) -> Float[Tensor, "D"]:
    return task.mean if isinstance(task, TaskStats) else task.mean(0, dtype=torch.float64)
