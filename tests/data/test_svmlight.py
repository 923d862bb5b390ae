import bz2
import io
import tarfile

import numpy as np
import pytest

from selectlib.data import load_svmlight

LINES = "+1 1:0.5 4:2\n-1 2:1\n-1 4:3\n+1 1:1\n-1 3:7\n"


def test_two_files(folder):
    (folder / "rcv1_train.binary.bz2").write_bytes(bz2.compress(LINES.encode()))
    (folder / "rcv1_test.binary.bz2").write_bytes(bz2.compress(b"1 47236:1\n"))
    X, y = load_svmlight("rcv1")
    assert X.shape == (5, 47_236) and y.tolist() == [1, -1, -1, 1, -1]
    assert X.indices.dtype == X.indptr.dtype == np.int32
    assert X[[0]].indices.tolist() == [0, 3] and X[[0]].data.tolist() == [0.5, 2]
    X, y = load_svmlight("rcv1", "test")
    assert X.shape == (1, 47_236) and X[0, 47_235] == 1 and y.tolist() == [1]


def test_one_file_in_two_parts(folder):
    (folder / "real-sim.bz2").write_bytes(bz2.compress(LINES.encode()))
    (X, y), (X_test, y_test) = load_svmlight("real-sim"), load_svmlight("real-sim", "test")
    assert X.shape == (4, 4) and X_test.shape == (1, 4)
    assert y.tolist() == [1, -1, -1, 1] and y_test.tolist() == [-1]


def test_an_archive_with_labels_from_0(folder):
    with tarfile.open(folder / "criteo.kaggle2014.svm.tar.gz", "w:gz") as archive:
        for name, text in (("other.svm", "1 1:1\n"), ("criteo/train.svm", "0 7:1\n1 9:1\n")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    X, y = load_svmlight("criteo")
    assert X.shape == (1, 1_000_000) and X.indices.tolist() == [6] and y.tolist() == [-1]
    assert y.dtype == np.float64


def test_an_archive_without_the_rows(folder):
    with tarfile.open(folder / "criteo.kaggle2014.svm.tar.gz", "w:gz"):
        pass
    with pytest.raises(ValueError, match=r"must have a member whose name ends with 'train\.svm'"):
        load_svmlight("criteo")


def test_a_missing_file_says_where_it_is_published(folder, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"gisette_scale\.t\.bz2 is not there: put it into .*csie\.ntu\.edu\.tw"
    ):
        load_svmlight("gisette", "test")
    monkeypatch.delenv("SELECTLIB_DATA")
    with pytest.raises(FileNotFoundError, match="set SELECTLIB_DATA to a folder"):
        load_svmlight("gisette")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="name must be one of rcv1, gisette"):
        load_svmlight("mnist")
    with pytest.raises(ValueError, match="part must be one of train, test"):
        load_svmlight("rcv1", "all")
