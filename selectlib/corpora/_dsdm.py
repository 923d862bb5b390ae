"""DsDm: the examples that the target wants most, by a datamodel."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.corpora._draws import check_generator
from selectlib.corpora._examples import Examples, check_examples
from selectlib.kernels import top_k
from selectlib.pool import Pool, check_select_args

Normalize = Literal["none", "std", "rank"]
_DOMINANCE = 3.0  # ratio of two tasks' standard deviations that calls for a warning


@runtime_checkable
class Scorer(Protocol):
    """What `DsDmSelector` asks of an estimator; `DatamodelEstimator` is one."""

    def score_mean(self, pool: Examples, targets: list[Examples], **options: Any) -> Sequence[Any]:
        """Return one object a task; its `scores`, shape (n,), say how much each example helps the task on average."""
        ...


class DsDmSelector:
    """Choose the pool items that a datamodel expects to help the target most.

    Parameters
    ----------
    estimator : DatamodelEstimator
        Scores the pool; fitted already, unless `checkpoints` are given.
    examples : tuple of tensors, n rows each
        The pool's items as the model's examples, in the pool's order.
    checkpoints : sequence, optional
        Fit the estimator on these models and `examples` at each `select`.
    kernel_rows : int, optional
        Passed to the estimator's `fit`; only read with `checkpoints`.
    task_weights : sequence of float, optional
        Weight of each target task, at least 0; their sum does not matter. Default: equal weights.
    normalize : {"none", "std", "rank"}, default "none"
        What is averaged over the tasks: the scores (the paper's), the scores divided by their standard deviation, or
        their ranks from 0 (least) to 1.
    **score_options
        Passed to the estimator's `score_mean`, such as ``store`` for a job that can be resumed, or ``progress``.

    Attributes
    ----------
    needs : frozenset of str
        ``{"target_samples"}``.
    scores_ : Tensor of floats, shape (n,)
        After `select`: the averaged score of every item, higher is better; the least wanted are its smallest.
    report_ : dict
        After `select`: ``nan_scores`` (items without a score; they rank last), ``task_std`` (standard deviation of the
        scores, a number a task), ``tied`` (chosen items whose score equals another chosen item's, as those of
        duplicates do) and ``estimates`` (the estimator's own report for each task, None where it gives none).

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If `examples` are empty or ragged, `normalize` is unknown, or a weight is negative, not finite, or all are 0.

    Notes
    -----
    Scores are effects on the model's output (a margin), so the largest are taken; the paper writes the effect on the
    loss, and takes the smallest. Exact duplicates get equal scores and are all taken: drop them from the pool first.

    Source: Engstrom et al. (2024), section 2: the average over target samples, then a sort. Their code mixes tasks by
    the plain average; "std" and "rank" are ours.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from selectlib.seeding import generator
    >>> class Dots:  # the score of an example is its product with the mean target
    ...     def score_mean(self, pool, targets):
    ...         return [SimpleNamespace(scores=pool[0] @ vectors.mean(0)) for (vectors,) in targets]
    >>> examples = (torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [3.0, 3.0]]),)
    >>> selector = DsDmSelector(Dots(), examples)
    >>> pool = Pool(examples[0], target_samples=(torch.tensor([[1.0, 0.0], [0.0, 0.0]]),))
    >>> selector.select(pool, 2, generator=generator(100)), selector.scores_
    (tensor([3, 0]), tensor([ 0.5000,  0.0000, -0.5000,  1.5000]))
    """

    needs: frozenset[str] = frozenset({"target_samples"})
    scores_: Float[Tensor, "n"]
    report_: dict[str, Any]

    def __init__(
        self,
        estimator: Scorer,
        examples: Sequence[Tensor],
        *,
        checkpoints: Sequence[Any] | None = None,
        kernel_rows: int | None = None,
        task_weights: Sequence[float | int] | None = None,
        normalize: Normalize = "none",
        **score_options: Any,
    ):
        for method in ["score_mean"] + ["fit"] * (checkpoints is not None):
            if not callable(getattr(estimator, method, None)):
                raise TypeError(f"estimator must have a method {method}, got {type(estimator).__name__}")
        if normalize not in get_args(Normalize):
            raise ValueError(f"normalize must be one of {', '.join(get_args(Normalize))}, got {normalize!r}")
        self.estimator: Any = estimator
        self.examples = check_examples("examples", examples)
        self.checkpoints, self.kernel_rows = checkpoints, kernel_rows
        self.task_weights = None if task_weights is None else _check_weights(task_weights)
        self.normalize, self.score_options = normalize, score_options

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            `target_samples` is a tuple of tensors, a sample of one target as the model's examples; or a list of such
            tuples, one for each task. Its items are the `examples`: its `features` are not read.
        k : int
            How many, from 1 to ``len(pool)``.
        generator : torch.Generator
            Only used with `checkpoints`, to draw the kernel's rows.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices on `pool.device`, the best first; ties go to the lower index, items without a score last.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, `generator` not a `torch.Generator`, or `target_samples` are no
            examples.
        ValueError
            If `k` is out of range, the pool is not as long as `examples`, a task has no sample, there is not one weight
            for each task, or the estimator does not give one score an item.

        Warns
        -----
        UserWarning
            If the tasks' scores are averaged as they are, and the standard deviation of one is more than 3 times
            another's, so that it decides alone.

        Notes
        -----
        One `score_mean` of all tasks, then a sort; memory O(n) a task.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        if len(pool) != len(self.examples[0]):
            raise ValueError(f"pool must hold the {len(self.examples[0])} items of examples, got {len(pool)}")
        tasks = _tasks(pool.target_samples)
        weights = [1 / len(tasks)] * len(tasks) if self.task_weights is None else self.task_weights
        if len(weights) != len(tasks):
            raise ValueError(
                f"task_weights must have one weight for each of the {len(tasks)} tasks, got {len(weights)}"
            )
        if self.checkpoints is not None:
            self.estimator.fit(self.checkpoints, self.examples, kernel_rows=self.kernel_rows, generator=generator)
        estimates = self.estimator.score_mean(self.examples, tasks, **self.score_options)
        scores = _columns([estimate.scores for estimate in estimates], len(pool))
        spread = (scores - scores.nanmean(0)).square().nanmean(0).sqrt()
        if self.normalize == "none":
            _warn_of_dominance(spread)
        self.scores_ = _mean(scores, spread, weights, self.normalize)
        chosen, nan_count = top_k(self.scores_, k)
        self.report_ = {
            "nan_scores": nan_count,
            "task_std": spread.tolist(),
            "tied": _tied(self.scores_[chosen]),
            "estimates": [getattr(estimate, "report", None) for estimate in estimates],
        }
        return chosen.to(pool.device)


def _check_weights(weights: Sequence[float | int]) -> list[float]:
    if isinstance(weights, str) or not isinstance(weights, Sequence):
        raise TypeError(f"task_weights must be a sequence of numbers, got {type(weights).__name__}")
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise TypeError(f"task_weights must hold numbers, got {type(weight).__name__}")
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"task_weights must be finite and at least 0, got {weight}")
    if not sum(weights) > 0:
        raise ValueError("task_weights must hold a weight above 0")
    return [weight / sum(weights) for weight in weights]


def _tasks(target_samples: Any) -> list[Examples]:
    """The tasks' samples: one task where the first entry is a tensor, else one task an entry."""
    if isinstance(target_samples, Tensor) or not isinstance(target_samples, Sequence) or not target_samples:
        raise TypeError(
            "target_samples must be a tuple of tensors such as (inputs, labels), or a list of such tuples, "
            f"got {type(target_samples).__name__}"
        )
    if isinstance(target_samples[0], Tensor):
        return [check_examples("target_samples", target_samples)]
    return [check_examples(f"target_samples[{t}]", task) for t, task in enumerate(target_samples)]


def _columns(scores: Sequence[Tensor], n: int) -> Float[Tensor, "n t"]:
    for column in scores:
        if column.shape != (n,):
            raise ValueError(f"estimator must give one score for each of {n} items, got shape {tuple(column.shape)}")
    return torch.stack(list(scores), 1)


def _warn_of_dominance(spread: Float[Tensor, "t"]) -> None:
    low, high = float(spread.min()), float(spread.max())
    if high > _DOMINANCE * low:
        warnings.warn(
            f"the scores of task {int(spread.argmax())} have a standard deviation of {high:.3g}, those of task "
            f"{int(spread.argmin())} of {low:.3g}: the first decides; normalize='std' or 'rank' gives both a say",
            stacklevel=3,
        )


def _mean(
    scores: Float[Tensor, "n t"], spread: Float[Tensor, "t"], weights: list[float], normalize: Normalize
) -> Float[Tensor, "n"]:
    """Weighted mean over the tasks; NaN where a task has none."""
    if normalize == "std":
        scores = scores / torch.where(spread > 0, spread, 1.0)
    if normalize == "rank":
        scores = torch.stack([_ranks(column) for column in scores.T], 1).to(scores.dtype)
    return (scores * torch.tensor(weights, dtype=scores.dtype, device=scores.device)).sum(1)


def _ranks(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Ranks from 0 (least) to 1, ties sharing their mean; NaN stays NaN."""
    seen = ~values.isnan()
    _, place, counts = values[seen].unique(return_inverse=True, return_counts=True)
    ranks = torch.full(values.shape, torch.nan, dtype=torch.float64, device=values.device)
    ranks[seen] = (counts.cumsum(0) - (counts + 1) / 2).to(torch.float64)[place] / max(1, int(seen.sum()) - 1)
    return ranks


def _tied(chosen: Float[Tensor, "k"]) -> int:
    """How many of the scores occur more than once; NaN counts for none."""
    counts = chosen[~chosen.isnan()].unique(return_counts=True)[1]
    return int(counts[counts > 1].sum())
