"""Referees that are classifiers of scikit-learn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter
from torch import Tensor

from selectlib._checks import check_positive
from selectlib.seeding import uniform_indices
from selectlib.tournament._job import Referee

Array = Tensor | np.ndarray


def referee_of(
    estimators: Mapping[str, Any],
    X: Float[Array, "n d"],
    y: Int[Array, "n"],
    X_test: Float[Array, "m d"],
    y_test: Int[Array, "m"],
    *,
    extra: tuple[Float[Array, "s d"], Int[Array, "s"], float | int] | None = None,
) -> Referee:
    """Make a referee that trains classifiers on the chosen items and takes their accuracy.

    Parameters
    ----------
    estimators : mapping from str to classifier
        Classifiers of scikit-learn, or pipelines that end in one, by the names of their grades. They are left as they
        are: clones are trained, with every ``random_state`` drawn from the referee's generator.
    X : Tensor or numpy.ndarray of floats, shape (n, d)
        What is learnt from when an item is chosen: a row for each item of the pool, in its order. They need not be the
        features that selectors see.
    y : Tensor or numpy.ndarray of ints, shape (n,)
        The labels that are given for them; wrong ones, where the job is to cope with those.
    X_test, y_test : Tensors or numpy.ndarrays, shapes (m, d) and (m,)
        Held-out items and their true labels.
    extra : tuple of X, y and a number, optional
        Items that are learnt from besides whatever is chosen, such as those of a source, and the weight of each where a
        chosen one weighs 1. With a weight other than 1, `fit` must take ``sample_weight``.

    Returns
    -------
    callable
        ``referee(chosen, generator)`` for a `Job`: it returns the accuracy of each classifier.

    Raises
    ------
    TypeError
        If `estimators` is not a mapping of classifiers.
    ValueError
        If shapes do not fit, there are no classifiers or no test items, the weight is not a finite number above 0, or a
        classifier cannot weigh.

    Notes
    -----
    A choice of a single class, with which many classifiers cannot be trained, predicts that class. Everything is copied
    to the CPU once, and computed there.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X, y = torch.arange(10.0)[:, None], torch.arange(10) // 5
    >>> referee = referee_of({"1-NN": KNeighborsClassifier(1)}, X, y, X, y)
    >>> referee(torch.tensor([2, 7]), generator(100)), referee(torch.tensor([0, 6]), generator(100))
    ({'1-NN': 1.0}, {'1-NN': 0.9})
    """
    items, labels = _labelled("X", X, "y", y)
    test_items, test_labels = _labelled("X_test", X_test, "y_test", y_test)
    more_items, more_labels = (
        (items[:0], labels[:0]) if extra is None else _labelled("extra[0]", extra[0], "extra[1]", extra[1])
    )
    weight = 1.0 if extra is None else check_positive("extra[2]", extra[2])
    for name, others in {"X_test": test_items, "extra[0]": more_items}.items():
        if others.shape[1] != items.shape[1]:
            raise ValueError(f"{name} must have the width of X, {items.shape[1]}, got {others.shape[1]}")
    if len(test_items) == 0:
        raise ValueError("X_test must hold at least one item, got none")
    _check_estimators(estimators, weight)
    models = dict(estimators)

    def referee(chosen: Tensor, generator: torch.Generator) -> dict[str, float]:
        rows = chosen.cpu().numpy()
        learnt, known = np.concatenate([items[rows], more_items]), np.concatenate([labels[rows], more_labels])
        weights = {}
        if weight != 1:
            weights["sample_weight"] = np.repeat([1.0, weight], [len(rows), len(more_items)])
        random_state = int(uniform_indices(2**32, 1, generator=generator))
        if (known == known[0]).all():
            return dict.fromkeys(models, float(np.mean(test_labels == known[0])))
        grades = {}
        for name, model in models.items():
            model = _seeded(clone(model), random_state)
            with np.errstate(
                invalid="ignore"
            ):  # NearestCentroid needs no spread, of which a class of one item has none
                model.fit(learnt, known, **weights)
            grades[name] = float(np.mean(model.predict(test_items) == test_labels))
        return grades

    return referee


def _seeded(model: Any, random_state: int) -> Any:
    """Set its random state and those of its steps."""
    names = [name for name in model.get_params() if name.split("__")[-1] == "random_state"]
    return model.set_params(**dict.fromkeys(names, random_state))


def _labelled(x_name: str, X: Array, y_name: str, y: Array) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays on the CPU."""
    items, labels = (v.detach().cpu().numpy() if isinstance(v, Tensor) else np.asarray(v) for v in (X, y))
    if items.ndim != 2:
        raise ValueError(f"{x_name} must be 2-D (items, width), got shape {items.shape}")
    if labels.shape != items.shape[:1]:
        raise ValueError(f"{y_name} must have shape ({len(items)},) as {x_name} has that many rows, got {labels.shape}")
    return items, labels


def _check_estimators(estimators: Mapping[str, Any], weight: float) -> None:
    if not isinstance(estimators, Mapping):
        raise TypeError(f"estimators must be a mapping from names, got {type(estimators).__name__}")
    if not estimators:
        raise ValueError("estimators must hold at least one, got none")
    for name, model in estimators.items():
        if isinstance(model, type) or not all(hasattr(model, method) for method in ("fit", "predict", "get_params")):
            raise TypeError(f"estimators must hold classifiers of scikit-learn, got {model!r} for {name!r}")
        if weight != 1 and not has_fit_parameter(model, "sample_weight"):
            raise ValueError(f"extra[2] must be 1, as {name!r} takes no sample_weight, got {weight:g}")
