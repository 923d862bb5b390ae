"""The strategies as query strategies of scikit-activeml."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from selectlib.pool import Pool, PoolSelector
from selectlib.queries._eada import EADA
from selectlib.queries._scores import FreeEnergy
from selectlib.queries._then import Then
from selectlib.seeding import generator

Model = Callable[[np.ndarray], Any]


def as_skactiveml(strategy: PoolSelector, *, missing_label: Any = np.nan, random_state: Any = None) -> Any:
    """Turn a pool selector into a query strategy of scikit-activeml.

    What comes back is a `SingleAnnotatorPoolQueryStrategy`, with the `query` of that library's own strategies::

        query(X, y, clf=None, fit_clf=True, sample_weight=None, candidates=None, batch_size=1, return_utilities=False)

    The pool is the rows of X without a label, or the `candidates`. Its features are the rows, its `labeled_features`
    those with a label, its `n_total` the number of all rows where there are no `candidates`. `clf` gives the logits: it
    is a classifier, whose logits are the logarithms of its `predict_proba` and which is fitted to X and y first unless
    `fit_clf` is False, or a function that takes rows of X and returns logits, or logits and features, as arrays or as
    tensors on one device.

    Parameters
    ----------
    strategy : PoolSelector
        A selector that needs no more than features and logits of the pool.
    missing_label : scalar, str or None, default NaN
        The label of those that have none.
    random_state : int, numpy RandomState or None, default None
        Seeds the generator of each query, as scikit-activeml seeds its own strategies.

    Returns
    -------
    SingleAnnotatorPoolQueryStrategy
        Works with `clone`, pickles, and goes into scikit-activeml's wrappers.

    Raises
    ------
    ImportError
        If scikit-activeml is not installed.
    TypeError
        If `strategy` is no pool selector.
    ValueError
        If it needs another field of the pool; and by `query`, if it needs logits and there is no `clf`, or it reads the
        free energy and `clf` gives probabilities, whose free energy is 0.

    Notes
    -----
    The utilities are the scores of a strategy that has scores; of others, 1 for the item chosen and 0 for the rest. As
    in scikit-activeml, row i holds NaN for labelled items and the first i choices. Tried with version 1.0.1.

    Examples
    --------
    >>> from selectlib.queries import CoreSet, as_skactiveml
    >>> X, y = np.array([[0.0], [1.0], [5.0], [9.0]]), np.array([0, np.nan, np.nan, np.nan])
    >>> as_skactiveml(CoreSet()).query(X, y, batch_size=2)  # doctest: +SKIP
    array([3, 2])
    """
    if isinstance(strategy, type) or not isinstance(strategy, PoolSelector):
        raise TypeError(f"strategy must be a pool selector such as BADGE(), got {strategy!r}")
    if extra := sorted(strategy.needs - {"features", "logits", "labeled_features"}):
        raise ValueError(f"strategy must need no more than features and logits, but it needs {', '.join(extra)}")
    return _adapter()(strategy, missing_label=missing_label, random_state=random_state)


@functools.cache
def _adapter() -> Any:
    """The class, made at the first use: scikit-activeml is no dependency."""
    try:
        base: Any = importlib.import_module("skactiveml.base").SingleAnnotatorPoolQueryStrategy
        is_labeled = importlib.import_module("skactiveml.utils").is_labeled
    except ImportError as error:
        raise ImportError("as_skactiveml needs scikit-activeml: pip install scikit-activeml==1.0.1") from error

    class SelectorQueryStrategy(base):
        """A pool selector as a query strategy of scikit-activeml; see `as_skactiveml`."""

        def __init__(self, strategy: Any, missing_label: Any = np.nan, random_state: Any = None):
            super().__init__(missing_label=missing_label, random_state=random_state)
            self.strategy = strategy

        def query(
            self,
            X: Any,
            y: Any,
            clf: Any = None,
            fit_clf: bool = True,
            sample_weight: Any = None,
            candidates: Any = None,
            batch_size: int = 1,
            return_utilities: bool = False,
        ) -> Any:
            X, y, candidates, batch_size, return_utilities = self._validate_data(
                X, y, candidates, batch_size, return_utilities, reset=True
            )
            rows, mapping = self._transform_candidates(candidates, X, y)
            model = _model(self.strategy, clf)
            if fit_clf and isinstance(model, _LogProbabilities):
                model.fit(X, y, sample_weight)
            labeled = X[is_labeled(y, self.missing_label_)]
            pool = _pool(rows, labeled, model, len(X) if candidates is None else None)
            draws = generator(int(self.random_state_.randint(2**31 - 1)), pool.device)
            picks = self.strategy.select(pool, batch_size, generator=draws).numpy(force=True)
            found = picks if mapping is None else mapping[picks]
            if not return_utilities:
                return found
            worth = _utilities(self.strategy, pool, picks)
            if mapping is None:
                return found, worth
            utilities = np.full((batch_size, len(X)), np.nan)
            utilities[:, mapping] = worth
            return found, utilities

    SelectorQueryStrategy.__qualname__ = "SelectorQueryStrategy"  # pickle looks it up in this module
    return SelectorQueryStrategy


def __getattr__(name: str) -> Any:
    """Give pickle the class of the adapter."""
    if name == "SelectorQueryStrategy":
        return _adapter()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _LogProbabilities:
    """A classifier as a function that gives logits."""

    def __init__(self, clf: Any):
        self._clf = clf

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Fit a copy of the classifier, and go on with that."""
        weights = () if sample_weight is None else (sample_weight,)
        self._clf = clone(self._clf).fit(X, y, *weights)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        p = self._clf.predict_proba(rows)
        return np.log(np.maximum(p, np.finfo(p.dtype).tiny))


def _model(strategy: PoolSelector, clf: Any) -> Model | None:
    """The function that gives the logits of rows; None for a strategy that needs none."""
    if clf is None and "logits" in strategy.needs:
        raise ValueError(f"{type(strategy).__name__} needs logits: give query(..., clf=...)")
    if hasattr(clf, "predict_proba"):
        if _reads_free_energy(strategy):
            raise ValueError("clf must be a function that gives logits: probabilities all have the free energy 0")
        return _LogProbabilities(clf) if "logits" in strategy.needs else None
    if clf is not None and not callable(clf):
        raise TypeError(f"clf must be a classifier with predict_proba, or a function, got {type(clf).__name__}")
    return clf


def _reads_free_energy(strategy: Any) -> bool:
    if isinstance(strategy, Then):
        return _reads_free_energy(strategy.first) or _reads_free_energy(strategy.second)
    return isinstance(strategy, FreeEnergy | EADA)


def _pool(rows: np.ndarray, labeled: np.ndarray, model: Model | None, n_total: int | None) -> Pool:
    """The rows as a pool, with features and logits of the model where it gives them."""
    features, labeled_features = _floats(rows).flatten(1), _floats(labeled).flatten(1)
    if model is None:
        return Pool(features, labeled_features=labeled_features, n_total=n_total)
    found = model(rows)
    if isinstance(found, tuple):
        logits, features = map(_floats, found)
        labeled_features = _floats(model(labeled)[1]) if len(labeled) else features[:0]
    else:
        logits = _floats(found)
    return Pool(
        features.to(logits.device),
        logits=logits,
        labeled_features=labeled_features.to(logits.device),
        n_total=n_total,
    )


def _floats(values: Any) -> Tensor:
    """A tensor of floats, sharing memory where that can be."""
    tensor = torch.as_tensor(values)
    return tensor if tensor.is_floating_point() else tensor.to(torch.float64)


def _utilities(strategy: Any, pool: Pool, picks: np.ndarray) -> np.ndarray:
    """One row a choice: what each item was worth then, NaN for those chosen before."""
    if hasattr(strategy, "scores"):
        utilities = np.tile(strategy.scores(pool).numpy(force=True), (len(picks), 1))
    else:
        utilities = np.zeros((len(picks), len(pool)))
        utilities[np.arange(len(picks)), picks] = 1
    for i in range(1, len(picks)):
        utilities[i, picks[:i]] = np.nan
    return utilities
