import os
import tarfile
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.datasets import load_svmlight_file

from selectlib._checks import check_choice

_FOLDER = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets"
_SHARE = 0.8  # of the rows, for training, where there is one file


class _Source(NamedTuple):
    train: str  # name of the file
    test: str | None  # None: the last fifth of the rows of `train`
    columns: int | None  # None: as many as occur


_SETS = {
    "rcv1": _Source("rcv1_train.binary.bz2", "rcv1_test.binary.bz2", 47_236),
    "gisette": _Source("gisette_scale.bz2", "gisette_scale.t.bz2", 5_000),
    "news20": _Source("news20.binary.bz2", None, None),
    "real-sim": _Source("real-sim.bz2", None, None),
    "webspam": _Source("webspam_wc_normalized_trigram.svm.bz2", None, 16_609_143),
    "criteo": _Source("criteo.kaggle2014.svm.tar.gz", None, 1_000_000),
}


def load_svmlight(
    name: Literal["rcv1", "gisette", "news20", "real-sim", "webspam", "criteo"],
    part: Literal["train", "test"] = "train",
) -> tuple[sparse.csr_array, np.ndarray]:
    """Load a large sparse table of the LIBSVM collection, from a file that you put in the data folder.

    The data folder is the environment's ``SELECTLIB_DATA``. Nothing is downloaded: the checksums of these files are
    unknown to us, and the largest are of many gigabytes. The error for a missing file says where it is published.

    Parameters
    ----------
    name : {"rcv1", "gisette", "news20", "real-sim", "webspam", "criteo"}
        The table.
    part : {"train", "test"}, default "train"
        Two files for "rcv1" and "gisette"; else the first 80 % of the rows of one file, and the rest.

    Returns
    -------
    X : csr_array of float64, shape (n, d)
        Rows; column j is the feature that the file numbers j + 1.
    y : ndarray of float64, shape (n,)
        Classes, -1 or 1.

    Raises
    ------
    FileNotFoundError
        If the file is not in the data folder.
    ValueError
        If an argument is no name of a table or part, or the file is not in the svmlight format.

    Notes
    -----
    Files may be packed as .bz2, or as a .tar.gz with a member whose name ends with "train.svm". The whole file is read
    in memory, about 12 bytes for each nonzero, even for a part of it.

    Examples
    --------
    .. code-block:: python

        X, y = load_svmlight("rcv1")
        X.shape  # (20242, 47236)
    """
    check_choice("name", name, tuple(_SETS))
    check_choice("part", part, ("train", "test"))
    source = _SETS[name]
    separate = source.test is not None
    file = source.test if part == "test" and source.test else source.train
    X, y = read_svmlight(_find(file), source.columns)
    if not separate:
        border = int(_SHARE * X.shape[0])
        rows = slice(border) if part == "train" else slice(border, None)
        X, y = X[rows], y[rows]
    return X, y


def read_svmlight(path: Path, columns: int | None) -> tuple[sparse.csr_array, np.ndarray]:
    """Read a file with columns that count from 1 and labels above 0 or not; see `load_svmlight`."""
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            found = next((member for member in archive if member.name.endswith("train.svm")), None)
            stream = archive.extractfile(found) if found else None
            if stream is None:
                raise ValueError(f"{path} must have a member whose name ends with 'train.svm'")
            X, y = load_svmlight_file(stream, n_features=columns, zero_based=False)
    else:
        X, y = load_svmlight_file(path, n_features=columns, zero_based=False)
    small = np.int32 if max(X.nnz, *X.shape) < 2**31 else np.int64  # most of scikit-learn refuses 64-bit indices
    rows = sparse.csr_array((X.data, X.indices.astype(small), X.indptr.astype(small)), shape=X.shape)
    return rows, np.where(y > 0, 1.0, -1.0)


def _find(file: str) -> Path:
    folder = os.environ.get("SELECTLIB_DATA")
    path = Path(folder or ".").expanduser() / file
    if folder is None or not path.is_file():
        where = "set SELECTLIB_DATA to a folder" if folder is None else f"put it into {folder}"
        raise FileNotFoundError(
            f"{file} is not there: {where} that holds it. It is published from {_FOLDER} (Criteo: from the bucket that "
            f"this page names); no checksum is known to us, so that it is not downloaded."
        )
    return path
