"""SelectNAdapt: of each pseudo-class, the items nearest the centres of its clusters."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from selectlib._checks import check_choice, check_generator, check_int
from selectlib.pool import Pool, check_select_args
from selectlib.seeding import generator as seeded
from selectlib.support._arrays import as_indices, as_rows, labeled_of
from selectlib.support._features import pool_features
from selectlib.support._pseudo_labels import refine_pseudo_labels
from selectlib.support._short import shots_of
from selectlib.support._support_set import SupportSet, choose_support


class Shortfall(NamedTuple):
    """How many items a class lacked, and with which items of the pool it was filled."""

    missing: int
    filled: tuple[int, ...]


class SelectNAdapt(BaseEstimator):
    """Choose which items to label: K of each pseudo-class, each the nearest to the centre of one of K clusters.

    The pseudo-class of an item is its likeliest class. The items of each are clustered by k-means, and of each cluster
    the item nearest the centre is chosen. The budget of `n_shots` times the number of classes is spent exactly, on
    distinct items, however the pseudo-classes turn out; `shortfall_` says what was done for those that are too small.

    Parameters
    ----------
    n_shots : int, default=5
        K, items a class. With C classes, which are the columns of `proba`, the budget is K·C.
    classes : array of ints, shape (n,), optional
        The class of each item, from 0, instead of its pseudo-class: the true one for the oracle variant, or one that
        was refined on other features.
    n_init : int, default=10
        Restarts of the k-means.
    max_iter : int, default=300
        Steps of a restart, at most.
    tol : float, default=1e-4
        Tolerance of the k-means, as in `class_kmeans`.
    on_short : {"top_prob", "kcenter", "skip", "raise"}, default="top_prob"
        What to do about a class that has too few items, or too few distinct ones: take the likeliest items of it that
        are not chosen yet; take the items of the pool that are farthest from all that is chosen, one by one; choose
        fewer; or raise.
    refine : {"shot"}, optional
        Refine the pseudo-labels by `refine_pseudo_labels` on the features that are clustered. Ours; default: do not.
    random_state : int, RandomState instance or None, default=None
        Source of the starts of the k-means. An int gives the same choice every time.

    Attributes
    ----------
    support_indices_ : ndarray of int64, shape (K·C,)
        Distinct indices: those that were labelled already, then class by class, then what fills short classes.
    support_class_ : ndarray of int64, shape (K·C,)
        The class that each of them was chosen for.
    pseudo_labels_ : ndarray of int64, shape (n,)
        The class of each item.
    scores_ : ndarray of float64, shape (n,)
        Minus the distance from the centre of the own cluster; NaN for classes of which nothing was wanted.
    centroids_ : ndarray of floats, shape (C, K, d)
        Centres; NaN where there is no such cluster.
    shortfall_ : dict of int to Shortfall
        For each class that had too few items: how many were missing, and the items that fill it.

    Raises
    ------
    TypeError
        From `fit`: an argument is not a number of the right kind.
    ValueError
        From `fit`: shapes do not fit, a number is not finite or out of range, there are fewer than K·C items, `classes`
        and `refine` are both given, or a class is short and `on_short` is "raise".

    Notes
    -----
    Distances from the centres are taken in float64, by subtraction; ties go to the lower index. For K = 1 the choice is
    the item nearest the mean of its pseudo-class. The starts are drawn on the CPU, so that the choice is the same on
    every device for float64. Labels are never asked for.

    Items that are labelled already count in the budget, each for its class here. Each is the fixed centre of one
    cluster, so that new items are sought away from it; new items go first to the classes with the fewest.

    Time O(n K d) a step and restart, memory O(n (d + K n_init)). Source: Dawoud et al. (ICCV Workshops 2023), section
    3 as its code has it; what is done for short classes, incremental selection and refinement are ours.

    Examples
    --------
    >>> Z = np.array([[0.0], [0.2], [0.4], [5.0], [5.2], [5.4], [9.0], [9.2], [9.4]])
    >>> proba = np.array([[0.9, 0.1]] * 6 + [[0.2, 0.8]] * 3)
    >>> selector = SelectNAdapt(n_shots=2, random_state=100).fit(Z, proba)
    >>> sorted(selector.support_indices_[selector.support_class_ == 0].tolist())
    [1, 4]
    >>> {shots: len(chosen) for shots, chosen in selector.nested(Z, proba, [1, 3]).items()}
    {1: 2, 3: 6}
    """

    needs: frozenset[str] = frozenset({"features", "logits"})

    def __init__(
        self,
        n_shots: int = 5,
        *,
        classes: Any = None,
        n_init: int = 10,
        max_iter: int = 300,
        tol: float = 1e-4,
        on_short: Literal["top_prob", "kcenter", "skip", "raise"] = "top_prob",
        refine: Literal["shot"] | None = None,
        random_state: Any = None,
    ):
        self.n_shots = n_shots
        self.classes = classes
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.on_short = on_short
        self.refine = refine
        self.random_state = random_state

    def fit(self, Z: Any, proba: Any, labeled_indices: Any = None, labeled_classes: Any = None) -> "SelectNAdapt":
        """Choose the support set.

        Parameters
        ----------
        Z : array or tensor of floats, shape (n, d)
            Features of the items.
        proba : array or tensor of floats, shape (n, C)
            Probabilities of the classes, as from `ensemble_proba`.
        labeled_indices : array or tensor of ints, shape (l,), optional
            Items that are labelled already, at most K·C: they are part of the support set.
        labeled_classes : array or tensor of ints, shape (l,), optional
            The class to count each of them for, such as its label. Default: its pseudo-class.

        Returns
        -------
        SelectNAdapt
            Itself, fitted.
        """
        self._set(self._choose(Z, proba, self.n_shots, self._draws(), labeled_indices, labeled_classes))
        return self

    def get_support(self, indices: bool = True) -> np.ndarray:
        """The chosen items.

        Parameters
        ----------
        indices : bool, default=True
            Whether to give their indices, or a mask over the pool.

        Returns
        -------
        ndarray
            Indices of shape (K·C,), or bools of shape (n,).
        """
        check_is_fitted(self)
        if indices:
            return self.support_indices_
        mask = np.zeros(len(self.pseudo_labels_), dtype=bool)
        mask[self.support_indices_] = True
        return mask

    def query(self, X: Any, y: Any = None, batch_size: int | None = None, proba: Any = None) -> np.ndarray:
        """Choose the next items to label, with the arguments that scikit-activeml's strategies take.

        Parameters
        ----------
        X : array or tensor of floats, shape (n, d)
            Features of the items.
        y : array of shape (n,), optional
            Labels, NaN or None where there is none yet. Only which are missing is looked at. Default: all are missing.
        batch_size : int, optional
            How many; together with the labelled items a multiple of C. Default: up to `n_shots` a class.
        proba : array or tensor of floats, shape (n, C)
            Probabilities of the classes.

        Returns
        -------
        ndarray of int64, shape (batch_size,)
            Distinct indices of items that are not labelled. The attributes are set as by `fit`.
        """
        if proba is None:
            raise ValueError("proba must be given: the probabilities of the classes, shape (n, C)")
        labeled = labeled_of(y, len(X))
        shots = self.n_shots
        if batch_size is not None:
            shots = shots_of(len(labeled) + check_int("batch_size", batch_size, 1), np.shape(proba)[1])
        self._set(self._choose(X, proba, shots, self._draws(), labeled))
        return self.support_indices_[len(labeled) :]

    def nested(self, Z: Any, proba: Any, shots: Iterable[int]) -> dict[int, np.ndarray]:
        """Support sets for several budgets, each inside the next: labels that are paid for are never wasted.

        Parameters
        ----------
        Z : array or tensor of floats, shape (n, d)
            Features of the items.
        proba : array or tensor of floats, shape (n, C)
            Probabilities of the classes.
        shots : iterable of int
            Budgets, in items a class.

        Returns
        -------
        dict of int to ndarray of int64
            For each budget K, in ascending order, K·C distinct indices that begin with those of the one before.
        """
        if self.on_short in ("skip", "raise"):
            raise ValueError(f'on_short must be "top_prob" or "kcenter" for nested sets, got {self.on_short!r}')
        draws, found, chosen = self._draws(), {}, None
        for k in sorted(set(shots)):
            chosen = self._choose(Z, proba, k, draws, chosen).items
            found[k] = chosen.numpy(force=True)
        return found

    def select(self, pool: Pool, k: int, *, generator: torch.Generator) -> Int[Tensor, "k"]:
        """Choose `k` distinct items of `pool`.

        Parameters
        ----------
        pool : Pool
            Its `features` are clustered; the softmax of its `logits` gives the probabilities.
        k : int
            How many, up to ``len(pool)``: a multiple of the number of classes. `n_shots` is not read.
        generator : torch.Generator
            Source of the starts of the k-means.

        Returns
        -------
        Tensor of int64, shape (k,)
            Distinct indices, on `pool.device`.

        Raises
        ------
        TypeError
            If `pool` is not a `Pool`, `k` not an int, or `generator` not a `torch.Generator`.
        ValueError
            If `k` is out of range or no multiple of the classes, the pool lacks a field, or `on_short` is "skip" or
            "raise", which cannot promise k items.
        """
        check_select_args(self, pool, k)
        check_generator(generator)
        if self.on_short in ("skip", "raise"):
            raise ValueError(f'on_short must be "top_prob" or "kcenter" to select k items, got {self.on_short!r}')
        assert pool.logits is not None
        shots = shots_of(k, pool.logits.shape[1])
        proba = pool.logits.detach().to(torch.promote_types(pool.logits.dtype, torch.float32)).softmax(1)
        return self._choose(pool_features(pool), proba, shots, generator).items

    def _draws(self) -> torch.Generator:
        return seeded(int(check_random_state(self.random_state).randint(2**31 - 1)))

    def _choose(
        self, Z: Any, proba: Any, shots: Any, draws: torch.Generator, labeled: Any = None, labeled_classes: Any = None
    ) -> SupportSet:
        """Check everything, and choose; nothing of the estimator changes."""
        check_choice("on_short", self.on_short, ("top_prob", "kcenter", "skip", "raise"))
        if self.refine not in (None, "shot"):
            raise ValueError(f'refine must be None or "shot", got {self.refine!r}')
        if self.refine is not None and self.classes is not None:
            raise ValueError("refine must be None where classes are given: there is nothing to refine")
        Z, proba = as_rows("Z", Z), as_rows("proba", proba)
        n, n_classes = proba.shape
        if len(Z) != n:
            raise ValueError(f"proba must have a row for each of the {len(Z)} rows of Z, got {n}")
        if not bool(((proba >= 0) & (proba <= 1 + 1e-3)).all()):
            raise ValueError("proba must hold probabilities, from 0 to 1: take the softmax of logits first")
        check_int("n_shots", shots, 1)
        if shots * n_classes > n:
            raise ValueError(f"n_shots must be at most {n // n_classes}: {n} items, {n_classes} classes; got {shots}")
        proba, labeled = proba.to(Z.device), as_indices("labeled_indices", labeled, n, Z.device)
        if len(labeled) > shots * n_classes or len(labeled.unique()) < len(labeled):
            raise ValueError(f"labeled_indices must be at most {shots * n_classes} distinct items, got {len(labeled)}")
        if self.classes is not None:
            classes = as_indices("classes", self.classes, n_classes, Z.device)
            if len(classes) != n:
                raise ValueError(f"classes must have one entry for each of the {n} items, got {len(classes)}")
        else:
            classes = proba.argmax(1) if self.refine is None else refine_pseudo_labels(Z, proba)
        if labeled_classes is not None:
            known = as_indices("labeled_classes", labeled_classes, n_classes, Z.device)
            if len(known) != len(labeled):
                raise ValueError(f"labeled_classes must have one entry for each of labeled_indices, got {len(known)}")
            classes = classes.index_copy(0, labeled, known)
        options = {"n_init": self.n_init, "max_iter": self.max_iter, "tol": self.tol, "generator": draws}
        return choose_support(Z, proba, classes, shots, labeled, self.on_short, options)

    def _set(self, chosen: SupportSet) -> None:
        items, classes = (value.numpy(force=True) for value in (chosen.items, chosen.classes))
        self.support_indices_, self.support_class_ = items, classes
        self.pseudo_labels_, self.scores_, self.centroids_ = (
            value.numpy(force=True) for value in (chosen.labels, chosen.scores, chosen.centers)
        )
        filled = np.arange(len(items)) >= chosen.first_filled
        self.shortfall_ = {
            c: Shortfall(int(chosen.short[c]), tuple(items[filled & (classes == c)].tolist()))
            for c in chosen.short.nonzero().squeeze(1).tolist()
        }
