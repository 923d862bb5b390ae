"""Linear datamodeling scores of several estimates, compared on the same resamples of the subsets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.corpora._lds import Subsets, as_masks, predictions
from selectlib.corpora._spearman import Ranked, SeedHalves, all_once, correlations, resampled_counts
from selectlib.stats import Interval

_CEILING = "ceiling"


@dataclass(frozen=True, eq=False)
class LDSComparison:
    """Linear datamodeling scores that share targets, retrained models and resamples; made by `compare_lds`.

    Parameters
    ----------
    values
        By name: the score of each estimate on all subsets, and the ``"ceiling"`` where there are two seeds or more.
    draws
        By name: the same on each resample of the subsets, shape ``(resamples,)``.
    subsets
        Number of subsets.
    """

    values: Mapping[str, float]
    draws: Mapping[str, Float[Tensor, "resamples"]]
    subsets: int

    def interval(self, name: str | Sequence[str], minus: str | Sequence[str] = (), *, level: float = 0.95) -> Interval:
        """Score of an estimate, or how much it exceeds another's.

        Parameters
        ----------
        name
            An estimate, or several whose scores are averaged.
        minus
            What is subtracted: an estimate, several whose scores are averaged, or nothing (the default).
        level
            Confidence level; default 0.95. Of c intervals with level ``1 - 0.05 / c`` all hold at 95 %.

        Returns
        -------
        Interval
            Over the choice of subsets: the basic bootstrap interval. Resamples, in which subsets repeat, score a little
            lower than the subsets themselves; mirroring the draws at the value undoes that.

        Raises
        ------
        KeyError
            A name is not among the estimates.
        ValueError
            ``level`` outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1); got {level}")
        value = float(self._mean(self.values, name) - self._mean(self.values, minus))
        draws = np.asarray(self._mean(self.draws, name) - self._mean(self.draws, minus))
        below, above = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
        low, high = 2 * value - float(above), 2 * value - float(below)
        return Interval(value, min(low, value), max(high, value), self.subsets, level)

    @staticmethod
    def _mean(table: Mapping, names: str | Sequence[str]):
        chosen = [names] if isinstance(names, str) else list(names)
        return sum(table[name] for name in chosen) / max(len(chosen), 1)


def compare_lds(
    estimates: Mapping[str, Float[Tensor, "n m"]],
    subsets: Subsets,
    outputs: Float[Tensor, "s m"] | Float[Tensor, "s r m"],
    *,
    resamples: int = 1000,
    generator: torch.Generator,
) -> LDSComparison:
    """Score several estimates against the same retrained models, on the same resamples of the subsets.

    All estimates share the noise of the retrained models and of the choice of subsets, so that the interval of a
    difference is much shorter than the intervals of its two terms suggest.

    Parameters
    ----------
    estimates
        By name: effect of each of n training examples on each of m targets, shape ``(n, m)``, as
        `linear_datamodeling_score` takes them. The name ``"ceiling"`` is taken.
    subsets, outputs
        As `linear_datamodeling_score` takes them.
    resamples
        Bootstrap resamples of the subsets, at least 1; default 1000.
    generator
        Source of the resamples.

    Returns
    -------
    LDSComparison
        Scores, and intervals of scores and differences.

    Raises
    ------
    TypeError
        `generator` is not a `torch.Generator`, or the subsets are neither masks nor indices.
    ValueError
        No estimate, one that is named ``"ceiling"``, shapes that do not fit, or ``resamples < 1``.

    Notes
    -----
    Time O(c (s n m + resamples s m)) for c estimates. The ceiling is that of `linear_datamodeling_score`.

    Examples
    --------
    >>> from selectlib.corpora import draw_subsets
    >>> from selectlib.seeding import generator
    >>> draw = generator(100)
    >>> effects = torch.randn(40, 3, dtype=torch.float64, generator=draw)
    >>> subsets = draw_subsets(40, 20, generator=draw)
    >>> guess = torch.randn(40, 3, dtype=torch.float64, generator=draw)
    >>> found = compare_lds({"true": effects, "guess": guess}, subsets, subsets.double() @ effects, generator=draw)
    >>> found.values["true"], found.interval("true", "guess").low > 0
    (1.0, True)
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    if not estimates or _CEILING in estimates:
        raise ValueError(f"estimates must name at least one estimate, none '{_CEILING}'; got {list(estimates)}")
    seeds = (outputs if outputs.ndim == 3 else outputs[:, None]).double()
    predicted = {}
    for name, scores in estimates.items():
        masks = as_masks(subsets, len(scores), scores.device)
        if scores.ndim != 2 or (len(masks), scores.shape[1]) != (len(seeds), seeds.shape[-1]):
            raise ValueError(
                f"estimates[{name!r}] of shape {tuple(scores.shape)} does not fit {len(masks)} subsets and outputs of "
                f"shape {tuple(outputs.shape)}"
            )
        predicted[name] = predictions(scores, masks)
    measured = Ranked(seeds.mean(1))
    halves = SeedHalves(seeds) if seeds.shape[1] > 1 else None

    def means(counts: Tensor) -> dict[str, Tensor]:
        found = {name: correlations(ranked, measured, counts).nanmean(1) for name, ranked in predicted.items()}
        return found | ({_CEILING: halves.ceiling(counts)} if halves else {})

    values = {name: float(mean) for name, mean in means(all_once(measured)).items()}
    parts = [means(counts) for counts in resampled_counts(measured, resamples, generator)]
    return LDSComparison(values, {name: torch.cat([part[name] for part in parts]) for name in values}, len(seeds))
