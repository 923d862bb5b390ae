"""From the parameters of a selector to its search: what is checked, what the first rows decide, what is searched."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from selectlib._checks import check_choice, check_int, check_positive
from selectlib.device import pick_device
from selectlib.features._kernel_scale import kernel_scale
from selectlib.features._polynomial import polynomial_coefficients
from selectlib.features._rows import Rows
from selectlib.features._search import Problem
from selectlib.features._statistics import column_moments, spectral_norm
from selectlib.features._targets import Targets, targets_of
from selectlib.features._training import Training

_KERNEL_ROWS = 1000


@dataclass(frozen=True)
class Learnt:
    """What the first rows decide for all that follow: targets, and means and scales of the columns, (d,)."""

    targets: Targets
    mean: np.ndarray
    scale: np.ndarray


def check_parameters(selector: Any) -> None:
    """Raise unless the parameters of a `FeatureGradientSelector` are allowed, as far as they show without rows."""
    check_int("order", _plain(selector.order), 1)
    check_int("interaction_degree", _plain(selector.interaction_degree), 1, 3)
    check_int("max_epochs", _plain(selector.max_epochs), 1)
    check_int("min_steps", _plain(selector.min_steps), 0)
    check_int("batch_size", _plain(selector.batch_size), least_rows(selector))
    check_positive("learning_rate", _plain(selector.learning_rate))
    init = _plain(selector.init)
    if isinstance(init, bool) or not isinstance(init, int | float) or not math.isfinite(init):
        raise ValueError(f"init must be a finite number, the first logit of each mask, got {init!r}")
    if selector.penalty != "auto":
        check_penalty("penalty", selector.penalty, 'a finite number of at least 0 or "auto"')
    check_choice("task", selector.task, ("auto", "regression", "classification"))
    check_choice("preprocess", selector.preprocess, ("zscore", "center"))
    check_choice("clip_gradient", selector.clip_gradient, ("leaky", "official"))
    check_choice("dtype", selector.dtype, ("float32", "float64"))
    if selector.class_weight not in (None, "balanced"):
        raise ValueError(f'class_weight must be None or "balanced", got {selector.class_weight!r}')


def check_penalty(name: str, value: Any, allowed: str) -> float:
    """Raise unless `value` is a finite number of at least 0."""
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return float(value)


def _plain(value: Any) -> Any:
    """Python's own number for one of numpy's, as parameter grids hold them."""
    return value.item() if isinstance(value, np.generic) else value


def least_rows(selector: Any) -> int:
    """Rows of a batch, at least: for chains of the order's length, and for centring products."""
    return max(int(selector.order) + 1, 4 if selector.interaction_degree > 1 else 2)


def learn(selector: Any, X: Any, y: np.ndarray, classes: Any, rng: np.random.RandomState) -> Learnt:
    """Learn from the first rows."""
    targets = targets_of(y, selector.task, classes, selector.class_weight)
    if not targets.weights.any():
        warnings.warn("y is constant: no column explains anything of it", stacklevel=4)
    mean, sd = column_moments(X)
    scale = sd if selector.preprocess == "zscore" else np.ones_like(sd)
    if selector.interaction_degree == 1:
        start = rng.standard_normal(len(mean))
        return Learnt(targets, mean, scale * spectral_norm(X, mean, scale, start, selector.dtype))
    training = pose(selector, Learnt(targets, mean, scale), X, y)
    rows = training.rows[np.arange(0, len(y), -(-len(y) // _KERNEL_ROWS))]
    problem = training.problem
    shrink = kernel_scale(rows, degree=problem.degree, mean=problem.mean, scale=problem.scale)
    return Learnt(targets, mean, scale * shrink)


def pose(selector: Any, learnt: Learnt, X: Any, y: np.ndarray) -> Training:
    """The search over these rows, with what was learnt from the first."""
    d, device, dtype = X.shape[1], pick_device(selector.device), getattr(torch, selector.dtype)
    groups = np.arange(d) if selector.groups is None else np.asarray(selector.groups)
    if groups.shape != (d,):
        raise ValueError(f"groups must name a group for each of the {d} columns, got shape {groups.shape}")
    group = np.unique(groups, return_inverse=True)[1]
    if selector.n_features_to_select is not None:
        check_int("n_features_to_select", _plain(selector.n_features_to_select), 1, int(group.max()) + 1)
    if selector.backend == "sparse" and not sp.issparse(X):
        raise ValueError('backend must not be "sparse" for dense X')
    return Training(
        problem=Problem(
            coeffs=polynomial_coefficients(int(selector.order)).tolist(),
            mean=torch.as_tensor(learnt.mean, dtype=dtype, device=device),
            scale=torch.as_tensor(learnt.scale, dtype=dtype, device=device),
            group=torch.as_tensor(group, device=device),
            weights=learnt.targets.weights.tolist(),
            classification=learnt.targets.classes is not None,
            degree=int(selector.interaction_degree),
            clip_gradient=selector.clip_gradient,
            backend=selector.backend,
        ),
        rows=Rows(
            X, dtype, device, dense=selector.interaction_degree > 1 or selector.backend not in ("auto", "sparse")
        ),
        targets=learnt.targets,
        codes=learnt.targets.encode(y),
        init=float(selector.init),
        learning_rate=float(selector.learning_rate),
        batch_size=int(selector.batch_size),
        least=least_rows(selector),
        shuffle=selector.shuffle,
    )
