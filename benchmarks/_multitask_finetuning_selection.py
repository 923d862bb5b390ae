"""The choice of tasks with nothing kept between its steps: what merged statistics are compared with."""

import torch
from torch import Tensor

P, SHRINKAGE = 0.0, 0.1  # as in `ConsistencyDiversitySelector`


def coverage(rows: Tensor, target: Tensor) -> float:
    """One over the squared Mahalanobis distance of the target's mean from the samples."""
    covariance = torch.cov(rows.T).view(rows.shape[1], -1)
    level = covariance.trace() / len(covariance)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * level * torch.eye(len(covariance)).to(covariance)
    gap = rows.mean(0) - target.mean(0)
    return 1 / float(gap @ torch.linalg.solve(shrunk, gap))


def select(tasks: Tensor, target: Tensor, patience: int) -> tuple[list[int], list[float]]:
    """The kept tasks and the coverage at each step, from the samples of all kept tasks and of the candidate.

    Parameters
    ----------
    tasks : Tensor, shape (M, m, D)
    target : Tensor, shape (n0, D)
    patience : int
    """
    tasks, target = tasks.double(), target.double()
    order = torch.cosine_similarity(tasks.mean(1), target.mean(0)[None]).argsort(descending=True, stable=True)
    kept: list[int] = []
    path: list[float] = []
    best, failures = 0.0, 0
    for i in order.tolist():
        found = coverage(torch.cat([tasks[j] for j in [*kept, i]]), target)
        path.append(found)
        if not kept or found >= (1 + P) * best:
            kept, best, failures = [*kept, i], found, 0
        else:
            failures += 1
        if failures >= patience:
            break
    return kept, path
