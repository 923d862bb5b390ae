from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from selectlib._checks import check_int, check_positive

_PRIME = 2**31 - 1  # the hash functions are linear modulo this prime
_MARGIN = 1.05  # a newcomer must be heavier by this factor
_ROWS = 1_000  # rows whose cells are looked up at once


class Mission(ClassifierMixin, SelectorMixin, BaseEstimator):
    """Select features online by MISSION: logistic regression in a count-sketch, and the heaviest weights beside it.

    Each row is seen once. Its gradient is added to a count-sketch, which holds the weights of all features in a few
    cells; the features whose weights are estimated as the largest are kept with them, and they alone make predictions.

    Parameters
    ----------
    n_features : int, default=100
        Size of the heap: how many features are kept, at most.
    sketch_width : int, default=2**18 - 1
        Cells of a row of the sketch. Far fewer than there are active features make the estimates noise.
    n_hashes : int, default=3
        Rows of the sketch; an estimate is their median.
    learning_rate : float, default=0.5
        Step of the gradient descent, above 0.
    random_state : int, RandomState instance or None, default=None
        Source of the hash functions. An int gives the same ones every time.

    Attributes
    ----------
    classes_ : ndarray, shape (2,)
        The two classes; the second is that of positive scores.
    coef_ : ndarray of float64, shape (d,)
        Weights of the features in the heap, 0 for all others. There is no intercept.
    scores_ : ndarray of float64, shape (d,)
        Absolute weights.
    n_features_in_ : int
        Number of columns seen.
    feature_names_in_ : ndarray of str, shape (d,)
        Their names, where X has string names.

    Raises
    ------
    TypeError
        From `fit` and `partial_fit`: a parameter is no number of the right kind.
    ValueError
        From `fit` and `partial_fit`: a parameter is out of range, y does not have two classes, or X is not finite.

    Notes
    -----
    ``Mission(n_features=k)`` keeps k features, as the method is meant. ``Mission(n_features=2**14 - 1,
    sketch_width=k)`` is what the experiments in the repository of the feature-gradient paper run as "k features": there
    the number asked for sets the width of the sketch, and up to 16,383 features that share k cells are kept.

    A feature of the heap takes its new estimate whenever a row contains it. A newcomer takes the place of the lightest
    one if it is more than 5 % heavier. The cells of a row are all updated before its features are estimated; the
    repository goes feature by feature, which differs only where two features of a row share a cell. Its hash functions
    are others.

    The descent is sequential by nature, hence a loop over rows. Time O(n_hashes nonzeros), and O(n_features) for a row
    with newcomers; memory O(d + n_hashes sketch_width), where only the table of weights is of size d. Source: Aghazadeh
    et al., "MISSION: ultra large-scale feature selection using count-sketches", ICML 2018.

    Examples
    --------
    >>> rng = np.random.default_rng(100)
    >>> X = rng.standard_normal((2_000, 50))
    >>> y = np.where(X[:, 7] - X[:, 30] > 0, "yes", "no")
    >>> mission = Mission(n_features=2, learning_rate=0.05, random_state=100).fit(X, y)
    >>> mission.get_support(indices=True).tolist()
    [7, 30]
    >>> mission.transform(X).shape, mission.score(X, y) > 0.9
    ((2000, 2), True)
    """

    def __init__(
        self,
        n_features: int = 100,
        sketch_width: int = 2**18 - 1,
        n_hashes: int = 3,
        learning_rate: float = 0.5,
        random_state: Any = None,
    ):
        self.n_features = n_features
        self.sketch_width = sketch_width
        self.n_hashes = n_hashes
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "Mission":
        """Forget what was learnt, and see each row once, in order.

        Parameters
        ----------
        X : array or sparse matrix of floats, shape (n, d)
            Rows; they should be in random order.
        y : array, shape (n,)
            Two classes.

        Returns
        -------
        Mission
            Itself.
        """
        if hasattr(self, "_sketch"):
            del self._sketch
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "Mission":
        """See more rows, each once, in order: blocks give the same as all rows at once.

        Parameters
        ----------
        X : array or sparse matrix of floats, shape (n, d)
            Rows.
        y : array, shape (n,)
            Class of each row.
        classes : array, shape (2,), optional
            The two classes; needed in the first call unless y has both.

        Returns
        -------
        Mission
            Itself.
        """
        first = not hasattr(self, "_sketch")
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, reset=first)
        check_classification_targets(y)
        if first:
            self._start(X.shape[1], np.unique(y if classes is None else classes))
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"y must hold the classes {self.classes_.tolist()}, got {unknown.tolist()} too")
        X = sparse.csr_array(X)
        positive = (y == self.classes_[1]).astype(np.float64)
        for start in range(0, X.shape[0], _ROWS):
            self._learn(X[start : start + _ROWS], positive[start : start + _ROWS])
        self.scores_ = np.abs(self.coef_)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits of rows, from the features in the heap alone.

        Parameters
        ----------
        X : array or sparse matrix of floats, shape (n, d)
            Rows.

        Returns
        -------
        ndarray of float64, shape (n,)
            Positive for the second class.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        return np.asarray(X @ self.coef_)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of rows.

        Parameters
        ----------
        X : array or sparse matrix of floats, shape (n, d)
            Rows.

        Returns
        -------
        ndarray, shape (n,)
            Classes.
        """
        logits = self.decision_function(X)
        return np.asarray(self.classes_[(logits > 0).astype(int)])

    def _start(self, d: int, classes: np.ndarray) -> None:
        """Draw the hash functions, and start with no weight."""
        check_int("n_features", self.n_features, 1)
        check_int("sketch_width", self.sketch_width, 1)
        check_int("n_hashes", self.n_hashes, 1)
        check_positive("learning_rate", self.learning_rate)
        if len(classes) != 2:
            raise ValueError(
                f"Only binary classification is supported. y must have two classes, got {len(classes)} "
                f"class{'es' if len(classes) != 1 else ''}"
            )
        self.classes_ = classes
        draws = check_random_state(self.random_state).randint(1, _PRIME, size=(2, 2, self.n_hashes, 1))
        self._hash_cell, self._hash_sign = draws.astype(np.uint64)
        self._sketch = np.zeros((self.n_hashes, self.sketch_width))
        self.coef_ = np.zeros(d)
        size = min(self.n_features, d)
        self._slot = np.full(d, -1)  # place of a feature in the heap
        self._heap = np.full(size, -1)  # the features in it
        self._weights = np.full(size, -np.inf)  # their absolute weights
        self._lightest = -np.inf  # no weight in the heap is below this

    def _learn(self, X: sparse.csr_array, positive: np.ndarray) -> None:
        keys = X.indices.astype(np.uint64)
        (a, b), (c, e) = self._hash_cell, self._hash_sign
        cells = ((a * keys + b) % _PRIME % self.sketch_width).astype(np.int64)
        cells += self.sketch_width * np.arange(self.n_hashes)[:, None]
        signs = 1.0 - 2.0 * ((c * keys + e) % _PRIME % 2)
        signed = signs * X.data
        flat = self._sketch.reshape(-1)
        low, high = (self.n_hashes - 1) // 2, self.n_hashes // 2
        ends = X.indptr.tolist()
        for target, start, end in zip(positive.tolist(), ends, ends[1:], strict=False):
            features, cell = X.indices[start:end], cells[:, start:end]
            error = target - float(expit(self.coef_[features] @ X.data[start:end]))
            np.add.at(flat, cell.ravel(), (self.learning_rate * error * signed[:, start:end]).ravel())
            estimates = signs[:, start:end] * flat[cell]
            estimates.sort(axis=0)
            self._keep(features, (estimates[low] + estimates[high]) / 2)

    def _keep(self, features: np.ndarray, estimates: np.ndarray) -> None:
        """Refresh the features that are in the heap, and let heavier ones in."""
        weights, slots = np.abs(estimates), self._slot[features]
        inside = (slots >= 0).nonzero()[0]
        if len(inside):
            refreshed = weights[inside]
            self.coef_[features[inside]] = estimates[inside]
            self._weights[slots[inside]] = refreshed
            self._lightest = min(self._lightest, float(refreshed.min()))
        rivals = ((slots < 0) & (weights > _MARGIN * self._lightest)).nonzero()[0]
        for rival in rivals.tolist():
            place = int(self._weights.argmin())
            self._lightest = float(self._weights[place])
            if weights[rival] <= _MARGIN * self._lightest:
                continue
            leaver, newcomer = self._heap[place], features[rival]
            if leaver >= 0:
                self._slot[leaver], self.coef_[leaver] = -1, 0.0
            self._heap[place], self._slot[newcomer] = newcomer, place
            self._weights[place], self.coef_[newcomer] = weights[rival], estimates[rival]

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        return np.asarray(self._slot >= 0)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags
