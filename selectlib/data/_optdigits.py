from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from selectlib.data._digits import LICENCE
from selectlib.data._download import local_copy
from selectlib.data._images import LabeledImages


def load_optdigits() -> LabeledImages:
    """Load the 3,823 handwritten digits of 8 x 8 pixels that scikit-learn's set leaves out.

    scikit-learn carries the test part of the UCI set (`load_digits`), by 13 writers; this is the training part, by 30
    others. Its two files are looked for in the data folder, which is the environment's ``SELECTLIB_DATA``, else the
    user's cache folder, and downloaded if they are not there; their checksums are verified.

    Returns
    -------
    LabeledImages
        Images of shape (3823, 8, 8): the sixteenths of the original as floats from 0 to 1; labels from 0 to 9.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If a file's content is not what it should be.

    Examples
    --------
    .. code-block:: python

        digits = load_optdigits()
        digits.images.shape  # (3823, 8, 8)
        digits.images[digits.labels == 7]  # the sevens
    """
    table = np.concatenate([read_optdigits(local_copy(f"optdigits/optdigits.{part}")) for part in ("tra", "hol")])
    return LabeledImages(
        images=torch.from_numpy(table[:, :-1] / 16).float().reshape(-1, 8, 8),
        labels=torch.from_numpy(table[:, -1].copy()),
        description=f"{len(table):,} handwritten digits of 8 x 8 pixels, by other writers than scikit-learn's",
        licence=LICENCE,
        source="UCI Optical Recognition of Handwritten Digits (training part)",
    )


def read_optdigits(path: Path) -> Int64[np.ndarray, "n 65"]:
    """Read lines of 64 brightnesses from 0 to 16 and a label from 0 to 9, separated by commas.

    Raises
    ------
    ValueError
        If a line that is no comment (``#``) holds anything else.
    """
    try:
        table = np.loadtxt(path, dtype=np.int64, delimiter=",", ndmin=2, encoding="ascii")
    except ValueError as error:
        raise ValueError(f"{path} must hold lines of whole numbers, separated by commas: {error}") from error
    if table.shape[1] != 65 or len(table) == 0:
        raise ValueError(f"{path} must hold lines of 64 pixels and a label, got shape {table.shape}")
    if table.min() < 0 or table[:, :-1].max() > 16 or table[:, -1].max() > 9:
        raise ValueError(f"{path} must hold brightness from 0 to 16 and labels from 0 to 9")
    return table
