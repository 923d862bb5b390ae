"""How well scores predict retraining: the linear datamodeling score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from selectlib.corpora._spearman import Ranked, SeedHalves, all_once, correlations, resampled_counts
from selectlib.stats import Interval

_LEVEL = 0.95
_BLOCK = 2**21  # numbers held at once by a block of rows

Subsets = Bool[Tensor, "s n"] | Integer[Tensor, "s k"] | Sequence[Integer[Tensor, "_"] | Sequence[int]]


@dataclass(frozen=True)
class LDSResult:
    """The linear datamodeling score of a set of scores.

    Parameters
    ----------
    interval
        Mean over the targets that count, with its interval at level 0.95 over the choice of subsets; ``n`` is the
        number of subsets.
    per_target
        The rank correlation for each target, shape ``(m,)``; NaN for the targets that do not count.
    ceiling
        The mean that the expected outputs themselves would reach against these noisy ones, in [0, 1]; None when there
        is one seed or no way to tell.
    dropped
        Number of targets that do not count, because all predictions or all outputs of theirs are equal.
    """

    interval: Interval
    per_target: Float[Tensor, "m"]
    ceiling: float | None
    dropped: int

    @property
    def mean(self) -> float:
        """The score: the mean rank correlation, in [-1, 1]."""
        return self.interval.value


def linear_datamodeling_score(
    scores: Float[Tensor, "n m"],
    subsets: Subsets,
    outputs: Float[Tensor, "s m"] | Float[Tensor, "s r m"],
    *,
    resamples: int = 1000,
    generator: torch.Generator,
) -> LDSResult:
    """Rank correlation between what scores predict for subsets of the training data and what retraining gives.

    The prediction for a subset is the sum of its examples' scores; it is compared, target by target and over the
    subsets, with the output of models that were trained on the subset.

    Parameters
    ----------
    scores
        Effect of each of n training examples on each of m targets, shape ``(n, m)``; positive where the example raises
        the output.
    subsets
        The s subsets, at least 3: a mask of shape ``(s, n)``, or for each subset the indices of its examples.
    outputs
        Outputs of the retrained models, shape ``(s, m)``; or ``(s, r, m)`` with r training seeds a subset, over which
        they are averaged.
    resamples
        Bootstrap resamples of the subsets, at least 1; default 1000.
    generator
        Source of the resamples.

    Returns
    -------
    LDSResult
        The mean with its interval, the targets' correlations, the ceiling and the number of dropped targets.

    Raises
    ------
    TypeError
        `generator` is not a `torch.Generator`, or the subsets are neither masks nor indices.
    ValueError
        Shapes do not fit, fewer than 3 subsets, an index out of range or repeated, a score or an output that is not
        finite, ``resamples < 1``, or no target is left that counts.

    Notes
    -----
    Park et al., "TRAK: Attributing Model Behavior at Scale", ICML 2023, section 2. Ties get their mean rank; a
    column of predictions that differ by no more than the rounding of their sums counts as constant.

    The interval is about the score at many subsets, for these targets and these models. It resamples subsets and not
    targets, since all targets share the subsets. A resample repeats subsets, whose ties lower its score; so the
    percentiles are mirrored at the estimate ("basic" bootstrap; Davison and Hinkley 1997), on Fisher's z scale.

    The ceiling comes from the outputs' two halves of the seeds, h = ⌊r/2⌋ each. Their mean rank correlation ρ gives
    the reliability of the average over r seeds, ``kρ / (1 + (k - 1)ρ)`` with k = r/h (Spearman and Brown), and the
    ceiling is its square root; 0 where ρ is not positive.

    Time O(s n m + resamples s m), memory O(s n + s m) beside the inputs.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> draws = generator(100)
    >>> scores = torch.randn(40, 3, dtype=torch.float64, generator=draws)
    >>> subsets = draw_subsets(40, 20, generator=draws)
    >>> outputs = subsets.double() @ scores  # a model that is linear in its training data
    >>> linear_datamodeling_score(scores, subsets, outputs, generator=draws).mean
    1.0
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    if scores.ndim != 2 or not scores.numel():
        raise ValueError(f"scores must have shape (n, m), neither 0; got {tuple(scores.shape)}")
    masks = as_masks(subsets, len(scores), scores.device)
    seeds = outputs if outputs.ndim == 3 else outputs[:, None]
    if (
        outputs.ndim not in (2, 3)
        or (len(seeds), seeds.shape[-1]) != (len(masks), scores.shape[1])
        or not seeds.numel()
    ):
        s, m = len(masks), scores.shape[1]
        raise ValueError(f"outputs must have shape ({s}, {m}) or ({s}, r, {m}); got {tuple(outputs.shape)}")
    for name, given in (("scores", scores), ("outputs", outputs)):
        if wrong := int((~given.isfinite()).sum()):
            raise ValueError(f"{name} must be finite; {wrong} of {given.numel()} entries are not")

    predicted, measured = predictions(scores, masks), Ranked(seeds.double().mean(1))
    per_target = correlations(predicted, measured, all_once(measured))[0]
    counted = ~per_target.isnan()
    if not counted.any():
        raise ValueError("scores or outputs are the same for all subsets, for every target: nothing to correlate")
    mean = float(per_target[counted].mean())
    low, high = _bootstrap(predicted.of(counted), measured.of(counted), mean, resamples, generator)
    return LDSResult(
        Interval(mean, low, high, len(masks), _LEVEL),
        per_target,
        _ceiling(seeds[..., counted].double(), measured),
        int((~counted).sum()),
    )


def draw_subsets(n: int, count: int, *, alpha: float = 0.5, generator: torch.Generator) -> Bool[Tensor, "count n"]:
    """Draw subsets of the training data, all of one size, uniformly and independently.

    Parameters
    ----------
    n
        Number of training examples, at least 2.
    count
        Number of subsets, at least 1.
    alpha
        Share of the examples in a subset, in (0, 1); default 0.5. The size is ``alpha * n``, rounded.
    generator
        Source of the draws.

    Returns
    -------
    Tensor of bool, shape (count, n)
        One mask a subset, on the generator's device. The first subsets stay the same when more are drawn.

    Raises
    ------
    TypeError
        `generator` is not a `torch.Generator`.
    ValueError
        ``count < 1``, or the rounded size is not in ``[1, n - 1]``.

    Notes
    -----
    Time O(count n log n). Ilyas et al., "Datamodels", ICML 2022.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> draw_subsets(10, 3, alpha=0.3, generator=generator(100)).sum(1)
    tensor([3, 3, 3])
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    size = round(alpha * n)
    if not 1 <= size < n:
        raise ValueError(f"a share of alpha = {alpha} of n = {n} examples is {size}: it must lie in [1, n - 1]")
    masks = torch.zeros(count, n, dtype=torch.bool, device=generator.device)
    for mask in masks:
        mask[torch.randperm(n, generator=generator, device=generator.device)[:size]] = True
    return masks


def predictions(scores: Float[Tensor, "n m"], masks: Bool[Tensor, "s n"]) -> Ranked:
    """Sums of the scores of each subset, ranked."""
    total = torch.zeros(len(masks), scores.shape[1], dtype=torch.float64, device=scores.device)
    rounding = torch.zeros(scores.shape[1], dtype=torch.float64, device=scores.device)
    rows = max(1, _BLOCK // scores.shape[1])
    for start in range(0, len(scores), rows):
        block = scores[start : start + rows].double()
        total += masks[:, start : start + rows].double() @ block
        rounding += block.abs().sum(0)
    rounding *= len(scores) * torch.finfo(torch.float64).eps
    equal = total.amax(0) - total.amin(0) <= rounding
    return Ranked(torch.where(equal, total[0], total))


def _bootstrap(x: Ranked, y: Ranked, mean: float, resamples: int, generator: torch.Generator) -> tuple[float, float]:
    """Ends of the interval of the mean correlation, from resamples of the subsets."""
    means = [correlations(x, y, counts).nanmean(1) for counts in resampled_counts(x, resamples, generator)]
    # A resample of equal subsets has no correlation and is left out. The others lie too low, as repeated subsets tie:
    # hence not their percentiles, but how far these are from the mean, mirrored.
    below, above = np.nanquantile(_z(torch.cat(means).cpu().numpy()), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    low, high = np.tanh(2 * _z(mean) - above), np.tanh(2 * _z(mean) - below)
    return min(float(low), mean), max(float(high), mean)


def _z(correlation: Any) -> Any:
    """Fisher's scale, where the spread of a correlation does not depend on it; the ends stay finite."""
    return np.arctanh(np.clip(correlation, -1 + 1e-15, 1 - 1e-15))


def _ceiling(seeds: Float[Tensor, "s r m"], measured: Ranked) -> float | None:
    if seeds.shape[1] < 2:
        return None
    found = float(SeedHalves(seeds).ceiling(all_once(measured)))
    return None if np.isnan(found) else found


def as_masks(subsets: Any, n: int, device: torch.device) -> Bool[Tensor, "s n"]:
    """The subsets as masks, checked."""
    if isinstance(subsets, Tensor) and subsets.dtype == torch.bool:
        if subsets.ndim != 2 or subsets.shape[1] != n:
            raise ValueError(f"subsets must be masks of shape (s, n) = (s, {n}); got {tuple(subsets.shape)}")
        masks = subsets.to(device)
    else:
        masks = torch.zeros(len(subsets), n, dtype=torch.bool, device=device)
        for i, subset in enumerate(subsets):
            indices = torch.as_tensor(subset, device=device)
            if indices.numel() and (indices.is_floating_point() or indices.dtype == torch.bool):
                raise TypeError(f"subsets[{i}] must hold indices, got {indices.dtype}; or give one tensor of bool")
            if indices.ndim != 1:
                raise ValueError(f"subsets[{i}] must be a vector of indices; got shape {tuple(indices.shape)}")
            if not ((indices >= 0) & (indices < n)).all():
                raise ValueError(f"subsets[{i}] must hold indices in [0, n) = [0, {n})")
            masks[i, indices.long()] = True
            if int(masks[i].sum()) != len(indices):
                raise ValueError(f"subsets[{i}] must not name an example twice")
    if len(masks) < 3:
        raise ValueError(f"subsets must be at least 3; got {len(masks)}")
    return masks
