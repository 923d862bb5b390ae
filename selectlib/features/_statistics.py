"""What standardises the columns: their means and scales, and the largest singular value of what results."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.preprocessing import StandardScaler
from sklearn.utils.sparsefuncs import mean_variance_axis

_BLOCK_BYTES = 2**26
_NORM_ROWS = 10_000
_VECTORS = 12  # of d numbers, that the largest singular value is sought with
_TOLERANCE = 1e-6


def column_moments(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations (population) of the columns of a dense or CSR matrix, in blocks of rows.

    The deviation of a constant column is 1.
    """
    if sp.issparse(X):
        mean, variance = mean_variance_axis(X.astype(np.float64), axis=0)
    else:
        scaler = StandardScaler()
        for block in _blocks(X, np.dtype(np.float64)):
            scaler.partial_fit(block)
        mean, variance = scaler.mean_, scaler.var_
    sd = np.sqrt(variance)
    # Rounding leaves a constant column a deviation of about eps times its mean.
    return mean, np.where(sd > 1e-12 * np.abs(mean), sd, 1.0)


def spectral_norm(X: Any, mean: np.ndarray, scale: np.ndarray, start: np.ndarray, dtype: str = "float64") -> float:
    """Largest singular value of the standardised rows of X over the root of their number; 1 if they are all 0.

    Of at most 10,000 rows, at even distances, by Lanczos' method on their second moment, from a random start. Products
    with the rows are in the precision of the rows or `dtype`, whichever is higher.
    """
    X = X[:: -(-X.shape[0] // _NORM_ROWS)]
    precision = np.result_type(X.dtype, dtype)

    def second_moment(v: np.ndarray) -> np.ndarray:
        scaled = v / scale
        product = np.zeros_like(scaled)
        for block in _blocks(X, precision):
            scores = block @ scaled.astype(precision) - mean @ scaled
            product += block.T @ scores.astype(precision) - mean * scores.sum()
        return product / scale / X.shape[0]

    if not second_moment(start).any():
        return 1.0
    d = len(start)
    if d < _VECTORS:
        top = np.linalg.eigvalsh(np.stack([second_moment(v) for v in np.eye(d)]))[-1]
    else:
        operator = LinearOperator((d, d), matvec=second_moment, dtype=np.float64)
        (top,) = eigsh(operator, 1, v0=start, ncv=_VECTORS, tol=_TOLERANCE, return_eigenvectors=False)
    return float(np.sqrt(top))


def _blocks(X: Any, dtype: np.dtype) -> Iterator[Any]:
    """Blocks of rows that take at most 64 MiB in float64; all of a sparse matrix at once."""
    if sp.issparse(X):
        yield X
        return
    step = max(1, _BLOCK_BYTES // (8 * X.shape[1]))
    for start in range(0, X.shape[0], step):
        yield X[start : start + step].astype(dtype, copy=False)
