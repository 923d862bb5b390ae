"""One score for each pool item, with what it was made of."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

Average = Literal["mean", "std"]


@dataclass(frozen=True, eq=False)
class ScoreVector:
    """Scores of a pool for one target.

    Parameters
    ----------
    scores : Tensor of floats, shape (n,)
        How much each item helps: positive where training on it raises the target's output. NaN where a model gave none.
    per_model : Tensor of floats, shape (n, M)
        The score of each item by each checkpoint.
    report : dict
        What the scores were made with, and how far to trust them: ``model_correlation`` (mean Pearson correlation of
        two models' scores; None where there is one model, or one gives all items the same), ``nan`` (number of items
        without a score), ``average``, and what the estimator adds.

    Examples
    --------
    >>> import torch
    >>> found = average_models(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), "mean", {})
    >>> found.scores, round(found.report["model_correlation"], 4)
    (tensor([1.5000, 4.5000]), 1.0)
    """

    scores: Float[Tensor, "n"]
    per_model: Float[Tensor, "n m"]
    report: dict[str, Any]


def average_models(per_model: Float[Tensor, "n m"], average: Average, report: dict[str, Any]) -> ScoreVector:
    """Average the models' scores, and say how they agree."""
    scores = mean_of_models(per_model, average)
    found = {"model_correlation": _correlation(per_model), "nan": int(scores.isnan().sum()), "average": average}
    return ScoreVector(scores, per_model, {**found, **report})


def mean_of_models(scores: Float[Tensor, "n *t m"], average: Average) -> Float[Tensor, "n *t"]:
    """Average over the last dimension: as they are ("mean"), or each over its standard deviation among rows ("std").

    Scores that are all equal are left as they are.
    """
    if average == "mean":
        return scores.mean(-1)
    centred = scores - scores.nanmean(0)
    spread = centred.square().nanmean(0).sqrt()
    return (scores / torch.where(spread > 0, spread, torch.ones_like(spread))).mean(-1)


def _correlation(columns: Float[Tensor, "n m"]) -> float | None:
    """Mean over pairs of columns of their correlation; None where there is no pair, or a column is constant."""
    models = columns.shape[1]
    seen = columns[~columns.isnan().any(1)].to(torch.float64)
    if models < 2 or len(seen) < 2 or bool((seen == seen[0]).all(0).any()):
        return None
    matrix = torch.corrcoef(seen.T)
    return float((matrix.sum() - models) / (models * (models - 1)))
