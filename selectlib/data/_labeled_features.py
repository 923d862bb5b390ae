from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
import torch
from jaxtyping import Float32, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LabeledFeatures:
    """Rows of features with their classes, and where they come from.

    Parameters
    ----------
    X : Tensor of float32, shape (n, d)
        The features.
    y : Tensor of int64, shape (n,)
        The class of each row, from 0.
    classes : tuple of str
        The name of each class.
    description, licence, source : str
        What the data is, under which terms, and from where.

    Examples
    --------
    >>> import torch
    >>> rows = LabeledFeatures(torch.eye(2), torch.tensor([1, 0]), ("no", "yes"), "two rows", "CC0 1.0", "made here")
    >>> [rows.classes[label] for label in rows.y]
    ['yes', 'no']
    """

    X: Float32[Tensor, "n d"]
    y: Int64[Tensor, "n"]
    classes: tuple[str, ...]
    description: str
    licence: str
    source: str


def read_mat(path: Path, features: str, labels: str, n_classes: int) -> tuple[Tensor, Tensor]:
    """Read two variables of a MATLAB file: features (n, d), and labels (n, 1) from 1 to `n_classes`.

    Returns
    -------
    X : Tensor of float32, shape (n, d)
    y : Tensor of int64, shape (n,)
        The labels, from 0.

    Raises
    ------
    ValueError
        If the file is not a MATLAB file, lacks a variable, or holds other types, shapes or values.
    """
    try:
        content = scipy.io.loadmat(path, variable_names=[features, labels])
        X, y = content[features], content[labels]
    except Exception as error:  # of a damaged file: whatever the parser or zlib meets
        raise ValueError(f"{path} is not a MATLAB file with {features} and {labels}: {error}") from error
    for name, value in ((features, X), (labels, y)):
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "uif":
            raise ValueError(f"{path} must hold numbers in {name}, got {getattr(value, 'dtype', type(value).__name__)}")
    if X.ndim != 2 or 0 in X.shape or y.shape != (len(X), 1):
        raise ValueError(f"{path} must hold {features} (n, d) and {labels} (n, 1), got {X.shape} and {y.shape}")
    if not np.isfinite(X).all():
        raise ValueError(f"{path} must hold finite numbers in {features}")
    if not np.isin(y, np.arange(1, n_classes + 1)).all():
        raise ValueError(f"{path} must hold whole numbers from 1 to {n_classes} in {labels}")
    return torch.from_numpy(X.astype(np.float32)), torch.from_numpy(y[:, 0].astype(np.int64) - 1)
