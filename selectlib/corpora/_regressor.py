"""Datamodels by their definition: a regression of retrained models' outputs on what they were trained on."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.utils.validation import check_is_fitted, validate_data


class DatamodelRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """A linear datamodel for each target, fitted to models that were retrained on subsets.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength of the penalty, at least 0.
    l1_ratio : float, default=0.0
        Share of the penalty on absolute values, in [0, 1]: 0 is ridge regression, 1 the lasso.

    Attributes
    ----------
    coef_ : ndarray of shape (m, n), or (n,) for outputs of shape (s,)
        Effect of each training example on each target's output: the transpose of `linear_datamodeling_score`'s scores.
    intercept_ : ndarray of shape (m,), or float
        Output for the empty subset.
    n_features_in_ : int
        Number of training examples, n.

    Raises
    ------
    ValueError
        From `fit`: `alpha` is negative, `l1_ratio` is outside [0, 1], shapes do not fit, or an entry is not finite.

    Notes
    -----
    Minimises ``||y - X w - c||² / (2 s) + alpha (l1_ratio ||w||_1 + (1 - l1_ratio) ||w||² / 2)`` for each target, with
    scikit-learn's `Ridge` or `ElasticNet`. Ridge takes time O(s² n + s n m), the others O(s n) a target and sweep.
    Ilyas et al., "Datamodels: Predicting Predictions from Training Data", ICML 2022, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(100)
    >>> masks = rng.random((60, 10)) < 0.5
    >>> effects = rng.normal(size=(10, 3))
    >>> datamodel = DatamodelRegressor(alpha=1e-6).fit(masks, masks @ effects)
    >>> bool(np.allclose(datamodel.coef_.T, effects, atol=1e-3))
    True
    """

    def __init__(self, alpha: float = 1.0, l1_ratio: float = 0.0):
        self.alpha = alpha
        self.l1_ratio = l1_ratio

    def fit(self, X: Any, y: Any) -> "DatamodelRegressor":
        """Fit the datamodels.

        Parameters
        ----------
        X : array or tensor of shape (s, n)
            Masks: which training examples each of the s subsets holds, as bools or numbers.
        y : array or tensor of shape (s,) or (s, m)
            Outputs of the models trained on the subsets, one column a target.

        Returns
        -------
        DatamodelRegressor
            Itself, fitted.
        """
        if not self.alpha >= 0:
            raise ValueError(f"alpha must be at least 0, got {self.alpha}")
        if not 0 <= self.l1_ratio <= 1:
            raise ValueError(f"l1_ratio must lie in [0, 1], got {self.l1_ratio}")
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        if self.l1_ratio == 0:
            # Ridge's own penalty is on the sum of the squared errors, not on their mean.
            model = Ridge(alpha=self.alpha * len(X))
        else:
            model = ElasticNet(alpha=self.alpha, l1_ratio=self.l1_ratio, max_iter=10_000)
        model.fit(X, y)
        # ElasticNet makes one column of targets into none.
        self.coef_ = model.coef_.reshape(*y.shape[1:], X.shape[1])
        self.intercept_ = np.reshape(model.intercept_, y.shape[1:])[()]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict the outputs of models trained on other subsets.

        Parameters
        ----------
        X : array or tensor of shape (t, n)
            Masks: which training examples each subset holds.

        Returns
        -------
        ndarray of shape (t,) or (t, m)
            One column a target, as in `fit`.
        """
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False) @ self.coef_.T + self.intercept_
