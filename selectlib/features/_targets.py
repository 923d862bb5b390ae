"""Targets as the search wants them: one column of mean 0 and variance 1 for each problem."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import type_of_target


@dataclass(frozen=True)
class Targets:
    """How `y` becomes columns: its values for a regression, one class against the rest for a classification."""

    classes: np.ndarray | None
    means: np.ndarray
    scales: np.ndarray
    weights: np.ndarray  # of the columns in the loss; they sum to 1, or are all 0 where nothing varies

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Numbers for `y`, (n,): its values, or the positions of its labels among the classes."""
        if self.classes is None:
            return np.asarray(y, dtype=np.float64)
        return _positions(y, self.classes)

    def columns(self, codes: np.ndarray) -> np.ndarray:
        """The standardised columns of encoded rows, (t, n)."""
        return (_raw_columns(codes, self.classes) - self.means[:, None]) / self.scales[:, None]


def targets_of(y: np.ndarray, task: str, classes: Any, class_weight: str | None) -> Targets:
    """Learn from `y`, and from the classes if they are known, what `Targets` holds."""
    kind = type_of_target(y, input_name="y", raise_unknown=True)
    if kind not in ("binary", "multiclass", "continuous"):
        raise ValueError(f"y must be one column of numbers or of class labels, got an y of the type {kind}")
    if task == "regression" or (task == "auto" and kind == "continuous" and classes is None):
        classes = None
        codes = np.asarray(y, dtype=np.float64)
    else:
        if kind == "continuous":
            raise ValueError("Unknown label type: y must hold class labels for a classification, got fractions")
        classes = np.unique(y if classes is None else np.asarray(classes))
        codes = _positions(y, classes)
    columns = _raw_columns(codes, classes)
    means, scales = columns.mean(1), columns.std(1)
    # Rounding leaves a constant a standard deviation of about eps times its mean.
    varies = scales > 1e-12 * np.abs(means)
    weights = varies * (means if class_weight is None and len(means) > 1 else 1.0)
    return Targets(classes, means, np.where(varies, scales, 1.0), weights / (weights.sum() or 1.0))


def _positions(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(f"y must hold no other classes than {classes.tolist()}, got {unknown.tolist()}")
    return np.searchsorted(classes, y)


def _raw_columns(codes: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    if classes is None:
        return codes[None]
    # Of two classes the second is enough: the problem of the first is its mirror image.
    positions = np.arange(len(classes)) if len(classes) > 2 else np.array([len(classes) - 1])
    return (codes == positions[:, None]).astype(np.float64)
