from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_array, check_X_y

from selectlib._checks import check_positive


def one_pass_logistic_auc(
    X: Any, y: Any, X_test: Any, y_test: Any, support: Any, *, learning_rate: float = 0.5
) -> float:
    """Judge a choice of columns by logistic regression that sees each row once: the area under the ROC curve.

    Parameters
    ----------
    X : array or sparse matrix of floats, shape (n, d)
        Rows to learn from, in the order in which they are seen.
    y : array, shape (n,)
        Their labels: two classes, of which the larger one is the positive one.
    X_test : array or sparse matrix of floats, shape (m, d)
        Rows to judge by.
    y_test : array, shape (m,)
        Their labels: both classes.
    support : array, of ints with shape (k,) or of bools with shape (d,)
        The columns to use. With none, the area is 1/2.
    learning_rate : float, default 0.5
        Step of the gradient descent, above 0.

    Returns
    -------
    float
        Area under the ROC curve on the test rows, from 0 to 1.

    Raises
    ------
    TypeError
        If `learning_rate` is not a number.
    ValueError
        If shapes do not fit, an entry is not finite, a column is out of range or occurs twice, or labels are not two
        classes.

    Notes
    -----
    Plain stochastic gradient descent from zero weights, without intercept, regularisation or decay: the evaluation in
    the repository of the feature-gradient paper; scikit-learn's `SGDClassifier` with these settings. With columns of
    large scale the step is too long: compare with a converged model. Time O(nonzeros).

    Examples
    --------
    >>> rng = np.random.default_rng(100)
    >>> X = rng.standard_normal((400, 10))
    >>> y = np.sign(X[:, 3] + 0.1 * rng.standard_normal(400))
    >>> one_pass_logistic_auc(X[:300], y[:300], X[300:], y[300:], [3]) > 0.95
    True
    """
    check_positive("learning_rate", learning_rate)
    X, y = check_X_y(X, y, accept_sparse="csr", dtype=np.float64)
    X_test = check_array(X_test, accept_sparse="csr", dtype=np.float64, input_name="X_test")
    y_test = np.asarray(y_test)
    if X_test.shape[1] != X.shape[1]:
        raise ValueError(f"X_test must have the {X.shape[1]} columns of X, got {X_test.shape[1]}")
    if y_test.shape != X_test.shape[:1]:
        raise ValueError(f"y_test must have shape ({X_test.shape[0]},), one label a row, got {y_test.shape}")
    classes = np.unique(y_test)
    if len(classes) != 2 or not np.array_equal(np.unique(y), classes):
        raise ValueError(
            f"y and y_test must hold the same two classes, got {np.unique(y).tolist()} and {classes.tolist()}"
        )
    columns = _columns(support, X.shape[1])
    if not len(columns):
        return 0.5
    model = SGDClassifier(
        loss="log_loss",
        penalty=None,
        fit_intercept=False,
        learning_rate="constant",
        eta0=learning_rate,
        max_iter=1,
        tol=None,
        shuffle=False,
    ).fit(X[:, columns], y)
    return float(roc_auc_score(y_test == classes[1], model.decision_function(X_test[:, columns])))


def _columns(support: Any, d: int) -> np.ndarray:
    columns = np.asarray(support)
    if columns.dtype == bool:
        if columns.shape != (d,):
            raise ValueError(f"support must have shape ({d},) if it is a mask, got {columns.shape}")
        return columns.nonzero()[0]
    if columns.ndim != 1 or (columns.size and columns.dtype.kind not in "iu"):
        raise ValueError(f"support must be a list of ints or a mask, got {columns.dtype} of shape {columns.shape}")
    if columns.size and not 0 <= columns.min() <= columns.max() < d:
        raise ValueError(f"support must be from 0 to {d - 1}, got {columns.min()} to {columns.max()}")
    if len(np.unique(columns)) < len(columns):
        raise ValueError("support must name each column once, got duplicates")
    return columns.astype(np.int64)
