"""The adaptation baseline: a nearest-centroid classifier on fixed features."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import normalize
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data


class NearestCentroidClassifier(ClassifierMixin, BaseEstimator):
    """Predict the class whose mean is most like the item, by cosine similarity.

    The features are averaged as they are and the means normalised: this is `nearest_centroid_logits` for one task, as
    a scikit-learn estimator. On features of an encoder that stays as it was pretrained it is the baseline "adaptation".

    Attributes
    ----------
    classes_ : ndarray, shape (c,)
        The classes, sorted.
    centroids_ : ndarray of floats, shape (c, d)
        Mean features of each class, of length 1; zero where the mean is zero.
    n_features_in_ : int
        d.

    Raises
    ------
    ValueError
        From `fit`: shapes do not fit, a number is not finite, or there is only one class.

    Notes
    -----
    `sklearn.neighbors.NearestCentroid` uses the Euclidean distance; on rows of length 1 with centroids that are
    normalised the two agree. Fitting takes O(n d) time, predicting O(n c d). Source: as `nearest_centroid_logits`.

    Examples
    --------
    >>> model = NearestCentroidClassifier().fit([[2.0, 0.0], [3.0, 1.0], [0.0, 1.0]], ["a", "a", "b"])
    >>> model.predict([[1.0, 0.1], [0.2, 5.0]])
    array(['a', 'b'], dtype='<U1')
    """

    def fit(self, X: Any, y: Any) -> "NearestCentroidClassifier":
        """Average the shots of each class.

        Parameters
        ----------
        X : array of floats, shape (n, d)
            Features of the shots.
        y : array, shape (n,)
            Their classes, at least two.

        Returns
        -------
        NearestCentroidClassifier
            Itself, fitted.
        """
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, member = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must hold at least 2 classes, got 1 class: {self.classes_[0]!r}")
        sums = np.zeros((len(self.classes_), X.shape[1]), dtype=X.dtype)
        np.add.at(sums, member, X)
        self.centroids_ = normalize(sums)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Similarity to each class.

        Parameters
        ----------
        X : array of floats, shape (n, d)
            Features of the items.

        Returns
        -------
        ndarray of floats, shape (n, c), or (n,) for two classes
            Cosines, from -1 to 1; for two classes that of the second minus that of the first.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        cosines = normalize(X) @ self.centroids_.T
        return cosines[:, 1] - cosines[:, 0] if len(self.classes_) == 2 else cosines

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest classes.

        Parameters
        ----------
        X : array of floats, shape (n, d)
            Features of the items.

        Returns
        -------
        ndarray, shape (n,)
            Of each item the class of the largest cosine; of equal ones the first.
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]
