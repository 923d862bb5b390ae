"""Which tasks to finetune on: similar to the target, as long as they cover it better and better."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from selectlib._checks import check_int
from selectlib.tasks._candidates import Candidates, ranked
from selectlib.tasks._coverage import coverage
from selectlib.tasks._task_stats import TaskStats, check_shrinkage

_STEP = np.dtype([("task", np.int64), ("coverage", np.float64), ("kept", np.bool_)])


class ConsistencyDiversitySelector(BaseEstimator):
    """Choose the tasks to finetune on: the most similar to the target, while they cover it better and better.

    Tasks are gone through from the one whose mean feature is the most similar to the target's. Each is kept if the
    target is covered at least 1 + `p` times as well with it as without; after `patience` in a row that were not, the
    search stops.

    Parameters
    ----------
    p : float, default=0.0
        The increment of the coverage, relative, that a task must bring, at least 0.
    patience : int, default=10
        The search stops after so many tasks in a row that were not kept. 1 is the paper's rule.
    shrinkage : float, default=0.1
        How far the covariance of the samples of the chosen tasks is drawn towards a multiple of the identity, from 0
        to 1, as in `TaskStats.covariance`. 0 is the paper's rule, for which there must be more samples than features.
    center : bool, default=False
        Whether to subtract the mean of all candidate samples before similarities are taken. Ours.
    min_tasks : int, default=1
        So many of the most similar tasks are kept whatever they bring.
    max_tasks : int, optional
        The search stops when so many are kept, at least `min_tasks`. Default: no bound. With `min_tasks` equal to it,
        the choice is that of the most similar tasks alone.

    Attributes
    ----------
    similarity_ : ndarray of float64, shape (M,)
        Of each candidate: the cosine between its mean and the target's; 0 where one is the zero vector.
    order_ : ndarray of int64, shape (M,)
        The candidates, the most similar first, and ties as they come; or the `order` that `fit` was given.
    selected_ : ndarray of int64
        The candidates that were kept, in that order.
    coverage_path_ : structured ndarray, one entry for each candidate that was looked at
        Fields ``task``; ``coverage``, that of those kept before and this one together; and ``kept``. Coverage is NaN
        where the covariance is singular, which is an error only where the choice depends on it.
    stop_reason_ : str
        "patience", "max_tasks", "covered" where the mean of those kept is the target's, so that the coverage is
        infinite, or "exhausted" where all candidates were looked at.
    n_features_in_ : int
        D.

    Raises
    ------
    TypeError
        From `fit`: an argument has the wrong type.
    ValueError
        From `fit`: there is no task, shapes do not fit, features are not finite (the task is named), a number is out of
        range, or the covariance is singular and `shrinkage` is 0.

    See Also
    --------
    coverage_curve : The coverage along the whole order, whatever is kept.

    Notes
    -----
    Coverage is one over the squared Mahalanobis distance of the target's mean from the samples of the chosen tasks.
    Similarities and coverages are of moments of the features: tasks on the same samples with other labels look the
    same. The features of the target must not be those that are evaluated on.

    Time O(M m D) for the means, and O(m D² + D³) for each candidate that is looked at; memory O(D²) beside the
    features, all in float64, on the device of the tasks. The choice does not change when all features are turned or
    scaled.

    Source: the consistency-diversity selection of Xu et al., Towards Few-Shot Adaptation of Foundation Models via
    Multitask Finetuning (ICLR 2024), after their development code and the public reviews; the paper's body was not
    read. `shrinkage`, `patience`, `center`, `min_tasks` and `max_tasks` are ours.

    Examples
    --------
    >>> draws = np.random.default_rng(100)
    >>> middles = np.array([[4.0, 1.0], [4.0, 3.0], [-4.0, 0.0], [0.0, -4.0]])
    >>> tasks = middles[:, None] + draws.normal(size=(4, 50, 2))
    >>> target = [4.0, 2.0] + draws.normal(size=(30, 2))
    >>> selector = ConsistencyDiversitySelector(patience=2).fit(tasks, target)
    >>> sorted(selector.selected_.tolist()), selector.stop_reason_
    ([0, 1], 'patience')
    >>> selector.get_support().tolist()
    [True, True, False, False]
    """

    def __init__(
        self,
        p: float = 0.0,
        *,
        patience: int = 10,
        shrinkage: float = 0.1,
        center: bool = False,
        min_tasks: int = 1,
        max_tasks: int | None = None,
    ):
        self.p = p
        self.patience = patience
        self.shrinkage = shrinkage
        self.center = center
        self.min_tasks = min_tasks
        self.max_tasks = max_tasks

    def fit(
        self, task_features: Any, target_features: Any, order: Iterable[Any] | None = None
    ) -> "ConsistencyDiversitySelector":
        """Choose among candidate tasks.

        Parameters
        ----------
        task_features : sequence of arrays or tensors of floats, shapes (m_i, D), or of TaskStats
            Features of the samples of each candidate, all from the same pretrained encoder; one array or tensor of
            shape (M, m, D) will do.
        target_features : array or tensor of floats, shape (n0, D), or TaskStats
            Features of the target, from the same encoder: of its support set or of unlabelled samples.
        order : iterable of int, optional
            Distinct candidates, in the order in which they are looked at, instead of that of the similarities: a random
            one leaves consistency out.

        Returns
        -------
        ConsistencyDiversitySelector
            Itself, fitted.
        """
        self._check()
        tasks = Candidates(task_features, target_features)
        similarities = tasks.similarities(self.center)
        looked_at = ranked(similarities, order)
        kept: list[int] = []
        path: list[tuple[int, float, bool]] = []
        union: TaskStats | None = None
        best, failures, reason = math.nan, 0, "exhausted"
        for i in looked_at:
            enlarged = tasks.stats(i) if union is None else union.merge(tasks.stats(i))
            found = coverage(enlarged, tasks.target_mean, self.shrinkage)
            if len(kept) < self.min_tasks:
                keep = True
            elif math.isnan(best) or math.isnan(found):
                raise ValueError(
                    f"shrinkage must be above 0 here, or min_tasks larger: the covariance of {len(kept)} tasks with "
                    f"{len(enlarged.mean)} features is singular; got shrinkage {self.shrinkage}"
                )
            else:
                keep = found >= (1 + self.p) * best
            path.append((i, found, keep))
            failures = 0 if keep else failures + 1
            if keep:
                kept.append(i)
                union, best = enlarged, found
            if len(kept) == self.max_tasks:
                reason = "max_tasks"
                break
            if math.isinf(best) and len(kept) >= self.min_tasks:
                reason = "covered"
                break
            if failures >= self.patience:
                reason = "patience"
                break
        self.similarity_ = similarities.numpy(force=True)
        self.order_ = np.array(looked_at)
        self.selected_ = np.array(kept)
        self.coverage_path_ = np.array(path, dtype=_STEP)
        self.stop_reason_ = reason
        self.n_features_in_ = len(tasks.target_mean)
        return self

    def get_support(self, indices: bool = False) -> np.ndarray:
        """The chosen tasks.

        Parameters
        ----------
        indices : bool, default=False
            Whether to give their indices, ascending, or a mask over the candidates.

        Returns
        -------
        ndarray
            Bools of shape (M,), or int64.
        """
        check_is_fitted(self)
        mask = np.zeros(len(self.similarity_), dtype=bool)
        mask[self.selected_] = True
        return np.flatnonzero(mask) if indices else mask

    def _check(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, int | float):
            raise TypeError(f"p must be a number, got {type(self.p).__name__}")
        if not 0 <= self.p < math.inf:
            raise ValueError(f"p must be a finite number, at least 0, got {self.p}")
        check_int("patience", self.patience, 1)
        check_shrinkage(self.shrinkage)
        check_int("min_tasks", self.min_tasks, 1)
        if self.max_tasks is not None:
            check_int("max_tasks", self.max_tasks, self.min_tasks)
