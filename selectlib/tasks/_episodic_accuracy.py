"""Few-shot accuracy of fixed features over many tasks."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_choice, check_int
from selectlib.stats import mean_interval
from selectlib.tasks._centroid import nearest_centroid_logits
from selectlib.tasks._episodes import EpisodeSampler, as_ints
from selectlib.tasks._gram import EpisodeGram

_SCORES = {"cpu": 1 << 17}  # numbers a block may hold, so that it fits the cache
_SCORES_ELSEWHERE = 1 << 24
_LARGEST = 1 << 14  # items of which "auto" makes a Gram matrix: 1 GiB in float32
_ROW = 100  # entries of a Gram matrix that take as long as gathering an item's features for a task


@dataclass(frozen=True, eq=False)
class EpisodicAccuracy:
    """Accuracy over few-shot tasks.

    Attributes
    ----------
    mean : float
        Mean over the tasks, a share from 0 to 1.
    low, high : float
        Ends of Student's confidence interval of the mean over tasks from these items. It holds nothing of what other
        classes, or another encoder, would give.
    per_task : Tensor of float64, shape (M,)
        The share of right queries in each task.

    Examples
    --------
    >>> import torch
    >>> labels = torch.arange(4).repeat_interleave(5)
    >>> episodic_accuracy(torch.eye(4)[labels], labels, n_way=3, n_shot=1, n_query=2, n_tasks=2)
    EpisodicAccuracy(mean=1.0, low=1.0, high=1.0, per_task=tensor([1., 1.], dtype=torch.float64))
    """

    mean: float
    low: float
    high: float
    per_task: Float[Tensor, "m"]


def episodic_accuracy(
    features: Float[Tensor, "n d"],
    labels: Any,
    *,
    n_way: int,
    n_shot: int,
    n_query: int,
    n_tasks: int,
    classes: Any = None,
    method: Literal["auto", "gram", "dense"] = "auto",
    seed: int = 0,
    level: float = 0.95,
    block: int | None = None,
) -> EpisodicAccuracy:
    """Measure how often the nearest-centroid head is right, over the tasks of an `EpisodeSampler`.

    Parameters
    ----------
    features : Tensor of floats, shape (n, D)
        Features of the items, finite.
    labels : Tensor or array of ints, shape (n,)
        Their classes.
    n_way, n_shot, n_query : int
        Y classes a task, S shots and Q queries a class.
    n_tasks : int
        M, at least 2.
    classes : sequence of ints, optional
        As in `EpisodeSampler`.
    method : {"auto", "gram", "dense"}, default "auto"
        "dense" gathers the features of each task. "gram" takes all similarities of two items once, and then looks them
        up: the similarity to a mean is the weighted sum of those to its shots. Both score alike, up to rounding.
        "auto" takes "gram" where that is cheaper and needs at most 1 GiB in float32.
    seed : int, default 0
        Of the tasks: those of ``EpisodeSampler(labels, ..., seed=seed)``.
    level : float, default 0.95
        Confidence level of the interval.
    block : int, optional
        Tasks scored at once. Default: as many as fit the cache of a CPU, more elsewhere; the result is the same.

    Returns
    -------
    EpisodicAccuracy
        The mean, its interval, and each task's accuracy on the device of `features`. Of equal scores the class that
        stands first in the task is predicted.

    Raises
    ------
    TypeError
        If `features` is no floating tensor, `labels` hold no ints, or a number is no int.
    ValueError
        If shapes do not fit, a number is out of range, `features` are not finite, or classes are too few or too small.

    Notes
    -----
    Dense: time O(M Y Q (Y + 1) D). Gram: time O(N**2 D + M Y**2 S Q) and memory O(N**2) for the N items of `classes`:
    for many tasks from few items. Half-precision features are scored in float32. Source: the head is that of
    `nearest_centroid_logits`; the look-up is ours.

    Examples
    --------
    >>> import torch
    >>> labels = torch.arange(6).repeat_interleave(30)
    >>> noise = torch.randn(180, 8, generator=torch.Generator().manual_seed(100))
    >>> features = torch.eye(8)[labels] + 0.3 * noise
    >>> found = episodic_accuracy(features, labels, n_way=5, n_shot=1, n_query=10, n_tasks=1000, seed=100)
    >>> 0.8 < found.low < found.mean < found.high < 0.9
    True
    >>> found.per_task.shape
    torch.Size([1000])
    """
    check_choice("method", method, ("auto", "gram", "dense"))
    if not isinstance(features, Tensor) or not features.is_floating_point():
        raise TypeError(
            f"features must be a floating tensor, got {getattr(features, 'dtype', type(features).__name__)}"
        )
    labels = as_ints("labels", labels)
    if features.ndim != 2 or len(features) != len(labels):
        raise ValueError(
            f"features must have shape (n, D), a row for each of the {len(labels)} labels, got {tuple(features.shape)}"
        )
    if not bool(features.isfinite().all()):
        raise ValueError("features must be finite")
    check_int("n_tasks", n_tasks, 2)
    sampler = EpisodeSampler(
        labels, n_way, n_shot, n_query, n_tasks, classes=classes, seed=seed, device=features.device
    )
    n, rows = len(sampler.items), n_way * (n_shot + n_query)
    if method == "auto":
        method = "gram" if n <= _LARGEST and n * n <= _ROW * n_tasks * rows else "dense"
    per_task = n_way * n_query * n_way * n_shot if method == "gram" else rows * features.shape[1]
    room = _SCORES.get(features.device.type, _SCORES_ELSEWHERE)
    sampler.tasks_per_batch = max(1, room // per_task) if block is None else check_int("block", block, 1)
    answers = torch.arange(n_way, device=features.device).repeat_interleave(n_query)
    gram = EpisodeGram(features, sampler.items) if method == "gram" else None
    right = []
    for tasks in sampler:
        predicted = gram.predict(tasks, n_shot) if gram else _predict(features.detach(), tasks, n_shot)
        right.append((predicted == answers).sum(1))
    accuracy = torch.cat(right).double() / (n_way * n_query)
    interval = mean_interval(accuracy.numpy(force=True), level=level)
    return EpisodicAccuracy(interval.value, interval.low, interval.high, accuracy)


def _predict(features: Float[Tensor, "n d"], tasks: Int[Tensor, "e y m"], n_shot: int) -> Int[Tensor, "e q"]:
    found = features[tasks]
    return nearest_centroid_logits(found[:, :, :n_shot], found[:, :, n_shot:].flatten(1, 2)).argmax(-1)
