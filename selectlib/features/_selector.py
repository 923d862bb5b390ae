"""The feature selector: masks over the columns that are learnt by gradient."""

from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from selectlib.features._learnt import check_parameters, check_penalty, learn, least_rows, pose
from selectlib.features._path import PenaltyPath, trace_path
from selectlib.features._search import Search
from selectlib.features._training import HELD_OUT, Training, choose_penalty, ranking

PENALTIES = tuple(np.geomspace(0.1, 100.0, 7).tolist())
_SMALL_SAMPLE_PENALTY = 10.0


class FeatureGradientSelector(SelectorMixin, BaseEstimator):
    """Select features by a gradient search over masks, against an estimate of what any linear rule could explain.

    Each column gets a mask from 0 to 1. The search lowers the error of the best linear rule on the masked columns,
    which is estimated without fitting that rule, plus a penalty on the mean mask. It reads the rows in batches, in time
    and memory linear in rows and columns. Columns whose masks end at one half or above are selected, or the best k.

    Parameters
    ----------
    n_features_to_select : int, optional
        How many columns to select, or groups where `groups` are given: the first of `ranking_`. Default: those whose
        masks survive.
    task : {"auto", "regression", "classification"}, default="auto"
        What `y` holds. "auto" takes fractions for a regression and all else for classes, as scikit-learn does: name the
        task where a regression has whole numbers.
    order : int, default=4
        Highest moment of the Gram matrix. With 1 the search is a filter that looks at each column alone; from about 4
        it sees columns that only help together, at a larger variance where rows are few.
    interaction_degree : {1, 2, 3}, default=1
        Let products of up to so many distinct columns explain `y` as well. Ours. Batches are made dense.
    penalty : float or "auto", default="auto"
        Weight of the mean mask against the error, at least 0: a mask survives about where the error falls by more than
        penalty/d as it grows. "auto": one of seven from 0.1 to 100, as in the notes. The authors' codes have 10 and 1.
    learning_rate : float, default=0.1
        Of Adam, on the logits; each moves by about so much a step.
    init : float, default=0.0
        Where the logits start: at 0 all masks are one half. Below, few columns speak at first.
    max_epochs : int, default=10
        Passes over the rows.
    min_steps : int, default=50
        With few rows there are more passes, up to so many steps. 0 for exactly `max_epochs`.
    batch_size : int, default=1000
        Rows of a step, at least ``order + 1``. What is left of a pass is a step too if it is half a batch or more.
    shuffle : bool, default=True
        Draw the order of the rows anew in each pass. The estimate takes rows for exchangeable: sorted rows need it.
    preprocess : {"zscore", "center"}, default="zscore"
        Whether columns are brought to equal variance, or only centred.
    class_weight : {"balanced"}, optional
        With three classes or more, the mean of the errors of one class against the rest counts each class by its share
        of the rows; "balanced" counts all alike.
    groups : array of shape (d,), optional
        The group of each column, any labels. Members share one mask, and live or die together.
    clip_gradient : {"leaky", "official"}, default="leaky"
        How fast the error of a classification falls where the explained variance is estimated below 0: by 0.01, or
        rise by it as in the authors' code, which drives the estimate further down.
    device : str, default="auto"
        As in `selectlib.device.pick_device`.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the search. Columns whose mean is 10,000 standard deviations or more want float64.
    backend : str, default="auto"
        As in `value_and_grad`. CSR rows stay sparse with "auto" and "sparse", and are made dense a batch at a time
        otherwise.
    warm_start : bool, default=False
        Let `fit` go on from the masks of the last `fit`, whose columns must be the same.
    random_state : int, RandomState instance or None, default=None
        Source of the orders of the rows.

    Attributes
    ----------
    scores_ : ndarray of float64, shape (d,)
        Masks, from 0 to 1.
    logits_ : ndarray of float64, shape (d,)
        ``scores_ = sigmoid(2 logits_)``.
    gains_ : ndarray of float64, shape (d,)
        How fast the estimated error falls as the mask grows, in the mean over the steps.
    ranking_ : ndarray of int64, shape (d,)
        Places, from 1: survivors before the others, then by gain, then by index. Masks alone would tie: those of all
        survivors end near 1.
    learnability_ : float
        Share of the variance of `y` that the masked columns explain, estimated in the mean of the last pass; may lie
        outside [0, 1]. Comparable between masks, not an unbiased R².
    penalty_ : float
        The penalty used.
    n_iter_ : int
        Steps taken.
    history_ : ndarray of float64, shape (steps,)
        Loss before each step of this `fit`, or of all blocks since.
    classes_ : ndarray
        The classes, sorted; only of a classification.
    n_features_in_ : int
        Number of columns, d.
    feature_names_in_ : ndarray of str
        Names of the columns, if they have any.

    Raises
    ------
    TypeError
        From `fit`: an argument is not a number of the right kind.
    ValueError
        From `fit`: an argument is out of range, shapes do not fit, a number is not finite, or there are fewer than
        ``order + 1`` rows.

    Warns
    -----
    UserWarning
        `y` is constant: only the penalty speaks.

    Notes
    -----
    The error is ``1 - z`` for a regression and half of ``1 - √z`` for a classification, with z the estimated share of
    explained variance; the loss is ``(1 - w) error + w mean(mask)`` with ``w = penalty / (penalty + 1)``. Adam with the
    usual constants, gradients clipped to norm 1. As in the authors' code, except that targets are centred and scaled
    for a classification too, and the defaults of `max_epochs` and `min_steps`: their one pass is a single step where
    rows are few.

    Columns are standardised by the means and standard deviations of all rows, and divided by their largest singular
    value, of at most 10,000 rows; or by `kernel_scale` for interactions. With an `interaction_degree` of 1, a pure
    interaction on a design that is symmetric about 0, such as XOR of signs, cannot be seen, whatever the order.

    A linear rule can undo a mask by a larger coefficient. Where few columns hold most of the spectrum, from order 2 on
    a mask well below one half may thus serve as well as 1, and the column is not counted a survivor: its place in
    `ranking_` stays right, and `n_features_to_select` selects it.

    An automatic penalty costs seven more searches, on three rows in four, compared on the rest by what their selections
    explain. Among those that are no worse than the best by more than one standard error, it is the highest; with
    `n_features_to_select` the nearest to 1. Below ``16 (order + 1)`` rows it is 10.

    Time O(order n d) a pass, or O(order n nnz) for n rows of nnz nonzeros; memory O(order (batch_size + d)) beside a
    batch and 64 MiB. Interactions take O(n batch_size d) and batch_size² numbers.

    Source: Sheth and Fusi, "Differentiable Feature Selection by Discrete Relaxation", AISTATS 2020, from the abstract
    and the authors' code. The ranking, the automatic penalty, interactions and the closed-form gradient are ours.

    Examples
    --------
    The second column says nothing of `y` alone, but it takes the nuisance out of the first:

    >>> rng = np.random.default_rng(100)
    >>> signal, nuisance = rng.normal(size=(2, 1000))
    >>> X = np.column_stack([signal + nuisance, nuisance, rng.normal(size=(1000, 38))])
    >>> selector = FeatureGradientSelector(penalty=1.0, random_state=100).fit(X, signal)
    >>> selector.get_support(indices=True)
    array([0, 1])
    >>> selector.transform(X).shape
    (1000, 2)
    """

    def __init__(
        self,
        n_features_to_select: int | None = None,
        *,
        task: Literal["auto", "regression", "classification"] = "auto",
        order: int = 4,
        interaction_degree: int = 1,
        penalty: float | Literal["auto"] = "auto",
        learning_rate: float = 0.1,
        init: float = 0.0,
        max_epochs: int = 10,
        min_steps: int = 50,
        batch_size: int = 1000,
        shuffle: bool = True,
        preprocess: Literal["zscore", "center"] = "zscore",
        class_weight: Literal["balanced"] | None = None,
        groups: Any = None,
        clip_gradient: Literal["leaky", "official"] = "leaky",
        device: str = "auto",
        dtype: Literal["float32", "float64"] = "float32",
        backend: str = "auto",
        warm_start: bool = False,
        random_state: Any = None,
    ):
        self.n_features_to_select = n_features_to_select
        self.task = task
        self.order = order
        self.interaction_degree = interaction_degree
        self.penalty = penalty
        self.learning_rate = learning_rate
        self.init = init
        self.max_epochs = max_epochs
        self.min_steps = min_steps
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.preprocess = preprocess
        self.class_weight = class_weight
        self.groups = groups
        self.clip_gradient = clip_gradient
        self.device = device
        self.dtype = dtype
        self.backend = backend
        self.warm_start = warm_start
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "FeatureGradientSelector":
        """Learn which columns to keep.

        Parameters
        ----------
        X : array, memory map or CSR matrix of numbers, shape (n, d)
            The rows.
        y : array of shape (n,)
            Numbers for a regression, labels of classes for a classification.

        Returns
        -------
        FeatureGradientSelector
            Itself, fitted.
        """
        old = getattr(self, "_search", None) if self.warm_start else None
        X, y = self._validate(X, y, reset=True)
        training = self._first(X, y, None)
        if old is None:
            search = self._begin(training)
        elif len(old.logits) == training.n_masks:
            search = old
            if self.penalty != "auto":
                self.penalty_ = float(self.penalty)
        else:
            raise ValueError(f"warm_start must be False for {training.n_masks} masks after {len(old.logits)}")
        self._go(training, search, self.max_epochs, self.min_steps)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "FeatureGradientSelector":
        """Go once over a block of rows, from where the search stands.

        Parameters
        ----------
        X : array, memory map or CSR matrix of numbers, shape (n, d)
            The block. Of the first, means, scales, and the penalty if it is "auto", are kept for all that follow.
        y : array of shape (n,)
            Its targets.
        classes : array of shape (c,), optional
            All classes, at the first call. Default: those of the first block, if its `y` holds labels. A class that
            the first block lacks gets no problem of its own: its rows are among "the rest" for the others.

        Returns
        -------
        FeatureGradientSelector
            Itself, fitted to the blocks so far.
        """
        if hasattr(self, "_search"):
            X, y = self._validate(X, y, reset=False)
            training, search = pose(self, self._learnt, X, y), self._search
        else:
            X, y = self._validate(X, y, reset=True)
            training = self._first(X, y, classes)
            search = self._begin(training)
        self._go(training, search, 1, 0)
        return self

    def penalty_path(self, X: Any, y: Any, penalties: Any = None) -> PenaltyPath:
        """Search with several penalties, each from the start.

        Parameters
        ----------
        X : array, memory map or CSR matrix of numbers, shape (n, d)
            The rows.
        y : array of shape (n,)
            Their targets.
        penalties : iterable of float, optional
            Penalties, at least 0. Default: seven from 0.1 to 100, evenly on a logarithmic scale.

        Returns
        -------
        PenaltyPath
            What survives at each. The estimator itself does not change.
        """
        allowed = "finite numbers of at least 0"
        penalties = [
            check_penalty("penalties", each, allowed) for each in (PENALTIES if penalties is None else penalties)
        ]
        if not penalties:
            raise ValueError("penalties must hold at least one number")
        draft = clone(self)
        X, y = draft._validate(X, y, reset=True)
        training = draft._first(X, y, None)
        return trace_path(training, penalties, self.max_epochs, self.min_steps, draft._rng.randint(2**31 - 1))

    def _validate(self, X: Any, y: Any, reset: bool) -> tuple[Any, np.ndarray]:
        """Check the parameters and the rows."""
        check_parameters(self)
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype="numeric", ensure_min_samples=2, reset=reset)
        if len(y) < least_rows(self):
            raise ValueError(f"X must have at least {least_rows(self)} rows for order {self.order}, got {len(y)}")
        if sp.issparse(X) and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X, np.asarray(y)

    def _first(self, X: Any, y: np.ndarray, classes: Any) -> Training:
        """Learn from the first rows, and pose the search over them."""
        self._rng = np.random.RandomState(check_random_state(self.random_state).randint(2**31 - 1))
        self._learnt = learn(self, X, y, classes, self._rng)
        self.history_ = np.zeros(0)
        return pose(self, self._learnt, X, y)

    def _begin(self, training: Training) -> Search:
        """A new search, and its penalty."""
        seed = self._rng.randint(2**31 - 1)
        if self.penalty != "auto":
            self.penalty_ = float(self.penalty)
        elif len(training.codes) < HELD_OUT**2 * training.least:
            self.penalty_ = _SMALL_SAMPLE_PENALTY
        else:
            n_select = self.n_features_to_select
            self.penalty_ = choose_penalty(training, PENALTIES, n_select, self.max_epochs, self.min_steps, seed)
        return training.start()

    def _go(self, training: Training, search: Search, epochs: int, min_steps: int) -> None:
        """Search on, and publish where the search stands."""
        like, rows = training.problem.mean, np.arange(len(training.codes))
        search = search.to(like.device, like.dtype)
        losses, self.learnability_ = training.run(search, rows, self.penalty_, epochs, min_steps, self._rng)
        group = training.problem.group.numpy(force=True)
        self.history_ = np.concatenate([self.history_, losses])
        self.n_iter_ = search.steps
        self.logits_, self.scores_, self.gains_ = (
            values.double().numpy(force=True)[group]
            for values in (search.logits, torch.sigmoid(2 * search.logits), search.gain)
        )
        self.ranking_ = ranking(search)[group]
        if self._learnt.targets.classes is not None:
            self.classes_ = self._learnt.targets.classes
        elif hasattr(self, "classes_"):
            del self.classes_
        # Kept on the CPU, so that it can be pickled and read where there is no such device.
        self._search = search.to(torch.device("cpu"), like.dtype)

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        if self.n_features_to_select is None:
            return self.scores_ >= 0.5
        return self.ranking_ <= self.n_features_to_select

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        return tags
