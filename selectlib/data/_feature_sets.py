from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.data._download import local_copy


@dataclass(frozen=True)
class FeatureSet:
    """A table for feature selection in two parts: one to select and learn on, one to judge by.

    Attributes
    ----------
    X, X_test : Tensors of float64, shapes (n, d) and (m, d)
        The rows of both parts.
    y, y_test : Tensors of float64, shapes (n,) and (m,)
        Their classes, -1 or 1.
    description, licence : str
        What the table is, and under which terms.
    """

    X: Float[Tensor, "n d"]
    y: Float[Tensor, "n"]
    X_test: Float[Tensor, "m d"]
    y_test: Float[Tensor, "m"]
    description: str
    licence: str


def load_madelon() -> FeatureSet:
    """Load Madelon: two classes of artificial clusters in a few dimensions, where single columns say next to nothing.

    The files are looked for in the data folder, which is the environment's ``SELECTLIB_DATA``, else the user's cache
    folder, and downloaded if they are not there; their checksums are verified.

    Returns
    -------
    FeatureSet
        2,000 rows and 600 others of 500 columns, whole numbers: the training and validation parts of the challenge.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.

    Examples
    --------
    .. code-block:: python

        madelon = load_madelon()
        madelon.X.shape  # (2000, 500)
    """
    return _load("madelon", "Madelon: 500 columns, of which a few matter together")


def load_arcene() -> FeatureSet:
    """Load Arcene: mass spectra of patients with and without cancer, with far more columns than rows.

    The files are found as by `load_madelon`.

    Returns
    -------
    FeatureSet
        100 rows and 100 others of 10,000 columns, whole numbers: the training and validation parts of the challenge.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.

    Examples
    --------
    .. code-block:: python

        arcene = load_arcene()
        arcene.X.shape  # (100, 10000)
    """
    return _load("arcene", "Arcene: mass spectra, 10,000 columns")


def _load(name: str, description: str) -> FeatureSet:
    X, y, X_test, y_test = (
        read_numbers(local_copy(f"{name}_{part}.{kind}")) for part in ("train", "valid") for kind in ("data", "labels")
    )
    return FeatureSet(
        X=X,
        y=y[:, 0],
        X_test=X_test,
        y_test=y_test[:, 0],
        description=f"{description}; training and validation parts of the NIPS 2003 feature selection challenge",
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
    )


def read_numbers(path: Path) -> Float[Tensor, "n d"]:
    """Read a table of numbers, separated by spaces, one row a line.

    Raises
    ------
    ValueError
        If the file holds something else, or lines of different lengths.
    """
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    if not lines or len({len(line) for line in lines}) > 1:
        raise ValueError(f"{path} must hold lines of equally many numbers")
    try:
        return torch.from_numpy(np.array(lines, dtype=np.float64))
    except ValueError as error:
        raise ValueError(f"{path} must hold numbers: {error}") from error
