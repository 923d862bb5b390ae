"""What survives at each penalty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selectlib.features._training import Training


@dataclass(frozen=True)
class PenaltyPath:
    """The columns that survive at each penalty, from `FeatureGradientSelector.penalty_path`.

    Attributes
    ----------
    penalty : ndarray of float64, shape (p,)
        The penalties, ascending.
    n_features : ndarray of int64, shape (p,)
        How many columns survive.
    value : ndarray of float64, shape (p,)
        Explained variance at the masks in the mean of the last pass, as `FeatureGradientSelector.learnability_`.
    support : ndarray of bool, shape (p, d)
        Which columns survive.
    last_penalty : ndarray of float64, shape (d,)
        The highest penalty that each column survives; 0 for none.
    ranking : ndarray of int64, shape (d,)
        The place of each column, from 1: by the highest penalty that it survives, then by its mean gain over the path,
        then by its index.
    """

    penalty: np.ndarray
    n_features: np.ndarray
    value: np.ndarray
    support: np.ndarray
    last_penalty: np.ndarray
    ranking: np.ndarray


def trace_path(training: Training, penalties: Sequence[float], epochs: int, min_steps: int, seed: int) -> PenaltyPath:
    """A search from the start for each penalty, all over the same batches."""
    group = training.problem.group.numpy(force=True)
    rows, penalty = np.arange(len(training.codes)), np.unique(np.asarray(penalties, dtype=np.float64))
    value, gain = np.empty(len(penalty)), np.zeros(len(group))
    support = np.empty((len(penalty), len(group)), dtype=bool)
    for i, each in enumerate(penalty.tolist()):
        search = training.start()
        value[i] = training.run(search, rows, each, epochs, min_steps, np.random.RandomState(seed))[1]
        support[i] = (search.logits >= 0).numpy(force=True)[group]
        gain += search.gain.numpy(force=True)[group]
    last = (support * penalty[:, None]).max(0)
    ranking = np.empty(len(group), dtype=np.int64)
    ranking[np.lexsort((-gain, -last))] = np.arange(1, len(group) + 1)
    return PenaltyPath(penalty, support.sum(1), value, support, last, ranking)
