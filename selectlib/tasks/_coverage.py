"""How well the samples of some tasks cover the mean of a target."""

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_choice
from selectlib.tasks._candidates import Candidates, ranked
from selectlib.tasks._task_stats import TaskStats, check_shrinkage

_SINGULAR = 1e-10  # a share of the variance, below which it counts as rounding


def coverage_curve(
    task_features: Any,
    target_features: Any,
    *,
    order: Iterable[Any] | None = None,
    shrinkage: float = 0.1,
    inverse: Literal["cholesky", "pinv"] = "cholesky",
) -> Float[np.ndarray, "M"]:
    """Coverage of the target by the first task, the first two, and so on.

    Parameters
    ----------
    task_features : sequence of arrays or tensors of floats, shapes (m_i, D), or of TaskStats
        Features of each candidate task; one array or tensor of shape (M, m, D) will do.
    target_features : array or tensor of floats, shape (n0, D), or TaskStats
        Features of the target: of its support set or of unlabelled samples that are not evaluated on.
    order : iterable of int, optional
        Distinct tasks, in the order in which they are added. Default: by the similarity of their means to the target's.
    shrinkage : float, default 0.1
        As in `TaskStats.covariance`.
    inverse : {"cholesky", "pinv"}, default "cholesky"
        Solve with the covariance itself, which must not be singular; or with its pseudo-inverse, which leaves out the
        part of the distance in directions that no sample varies in.

    Returns
    -------
    ndarray of float64, shape (M,)
        One over the squared Mahalanobis distance of the target's mean from the union of the tasks; infinity where the
        means are equal, NaN where the covariance is singular and `inverse` is "cholesky". Shape of `order` if given.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If there is no task, shapes do not fit, features are not finite, or an argument is out of range.

    Notes
    -----
    Time O(m D² + D³) a task, memory O(D²) beside the features. Source: the coverage of Xu et al. (ICLR 2024) as the
    authors' development code plots it, with the plain inverse; shrinkage is ours. The paper's body was not read.

    Examples
    --------
    >>> coverage_curve([[[1.0], [3.0]], [[2.0], [4.0]]], [[0.0]], shrinkage=0.0).round(4).tolist()
    [0.5, 0.2667]
    """
    check_shrinkage(shrinkage)
    check_choice("inverse", inverse, ("cholesky", "pinv"))
    tasks = Candidates(task_features, target_features)
    found, union = [], None
    for i in ranked(tasks.similarities(), order):
        union = tasks.stats(i) if union is None else union.merge(tasks.stats(i))
        found.append(coverage(union, tasks.target_mean, shrinkage, inverse))
    return np.array(found)


def coverage(stats: TaskStats, target_mean: Float[Tensor, "D"], shrinkage: float, inverse: str = "cholesky") -> float:
    """One over the squared Mahalanobis distance of the target's mean; NaN where the covariance is singular."""
    gap = stats.mean - target_mean
    covariance = stats.covariance(shrinkage)
    if inverse == "pinv":
        distance = (gap @ torch.linalg.pinv(covariance, rtol=_SINGULAR, hermitian=True) @ gap).item()
    elif not shrinkage and stats.n <= len(gap):
        return math.nan
    else:
        # One transfer decides: whether it is singular, and the distance.
        factor, failed = torch.linalg.cholesky_ex(covariance)
        own = (factor.diagonal().square() / covariance.diagonal()).amin()
        whitened = torch.linalg.solve_triangular(factor, gap[:, None], upper=False)
        code, least, distance = torch.stack([failed.double(), own, whitened.square().sum()]).tolist()
        if code or not least > _SINGULAR:
            # All samples are alike, as where there is one: the limit of ever smaller spreads.
            alike = shrinkage and not bool(stats.scatter.any())
            return math.nan if not alike else 0.0 if bool(gap.any()) else math.inf
    return 1 / distance if distance else math.inf
