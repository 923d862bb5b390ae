"""Isolet and Office-Caltech: MATLAB files of features and labels."""

import numpy as np
import pytest
import scipy.io
import torch

from selectlib.data import load_isolet, load_office_caltech
from selectlib.data._labeled_features import read_mat

COUNTS = np.array([[3, 1, 0, 0], [0, 2, 2, 0], [1, 1, 4, 0]], dtype=np.uint8)
LABELS = np.array([[10], [1], [2]], dtype=np.uint8)


@pytest.fixture
def mat(folder, register):
    """Write a MATLAB file into the data folder and into the list of downloads."""

    def write(name, **content):
        (folder / name).parent.mkdir(exist_ok=True)
        scipy.io.savemat(folder / name, content)
        register(name, (folder / name).read_bytes())
        return folder / name

    return write


def test_a_small_isolet_in_the_same_format(mat):
    mat("feature_selection/Isolet.mat", X=COUNTS / 4 - 0.5, Y=LABELS)
    isolet = load_isolet()
    assert isolet.X.dtype == torch.float32 and isolet.X.tolist() == (COUNTS / 4 - 0.5).tolist()
    assert [isolet.classes[label] for label in isolet.y] == ["j", "a", "b"]
    assert isolet.description == "3 spoken names of letters, 4 features each" and isolet.licence and isolet.source


@pytest.mark.parametrize("domain", ["amazon", "Caltech10", "dslr", "webcam"])
def test_a_small_domain_as_counts(mat, domain):
    mat(f"office_caltech_surf/{domain}_SURF_L10.mat", fts=COUNTS, labels=LABELS)
    photographs = load_office_caltech(domain.lower().removesuffix("10"), standardize=False)
    assert photographs.X.dtype == torch.float32 and photographs.X.tolist() == COUNTS.tolist()
    assert [photographs.classes[label] for label in photographs.y] == ["projector", "backpack", "bike"]
    assert photographs.licence and photographs.source


def test_standardised_counts_are_z_scores_of_shares(mat):
    mat("office_caltech_surf/dslr_SURF_L10.mat", fts=COUNTS, labels=LABELS)
    X = load_office_caltech("dslr").X
    shares = np.array([[3 / 4, 1 / 4, 0], [0, 1 / 2, 1 / 2], [1 / 6, 1 / 6, 2 / 3]])
    z = (shares - shares.mean(0)) / shares.std(0, ddof=1)
    np.testing.assert_allclose(X.numpy(), np.c_[z, np.zeros(3)], atol=1e-6)  # the last word does not occur


def test_the_real_isolet(real_data):
    isolet = load_isolet()
    assert isolet.X.shape == (1560, 617) and isolet.y.bincount().tolist() == [60] * 26
    assert isolet.X.min() == -1 and isolet.X.max() == 1


@pytest.mark.parametrize(
    ("domain", "counts"),
    [
        ("amazon", [92, 82, 94, 99, 100, 100, 99, 100, 94, 98]),
        ("caltech", [151, 110, 100, 138, 85, 128, 133, 94, 87, 97]),
        ("dslr", [12, 21, 12, 13, 10, 24, 22, 12, 8, 23]),
        ("webcam", [29, 21, 31, 27, 27, 30, 43, 30, 27, 30]),
    ],
)
def test_the_real_domains(real_data, domain, counts):
    photographs = load_office_caltech(domain)
    assert photographs.X.shape == (sum(counts), 800) and photographs.y.bincount().tolist() == counts
    assert photographs.X.mean(0).abs().max() < 1e-6
    spread = photographs.X.double().std(0)
    assert ((spread - 1).abs() < 1e-5).logical_or(spread == 0).all()
    words = load_office_caltech(domain, standardize=False).X
    assert torch.equal(words, words.round()) and words.min() == 0 and words.sum(1).min() >= 1


def test_an_unknown_domain_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="domain must be one of amazon, caltech, dslr, webcam, got 'office'"):
        load_office_caltech("office")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fts": np.array([["a", "b"]])}, "must hold numbers in fts"),
        ({"fts": np.array([[{"a": 1}, 2]], dtype=object)}, "must hold numbers in fts"),
        ({"labels": {"a": 1}}, "must hold numbers in labels"),
        ({"fts": COUNTS + 1j}, "must hold numbers in fts, got complex128"),
        ({"fts": scipy.sparse.csc_matrix(COUNTS.astype(float))}, "must hold numbers in fts"),
        ({"fts": np.where(COUNTS, np.inf, 0)}, "must hold finite numbers in fts"),
        ({"labels": LABELS[:2]}, r"labels \(n, 1\), got \(3, 4\) and \(2, 1\)"),
        ({"fts": COUNTS[None]}, r"got \(1, 3, 4\) and \(3, 1\)"),
        ({"labels": LABELS - 1}, "must hold whole numbers from 1 to 10 in labels"),
        ({"labels": LABELS + 0.5}, "must hold whole numbers from 1 to 10 in labels"),
    ],
)
def test_a_wrong_content_is_named(mat, changes, message):
    path = mat("office_caltech_surf/dslr_SURF_L10.mat", **{"fts": COUNTS, "labels": LABELS} | changes)
    with pytest.raises(ValueError, match=rf"dslr_SURF_L10\.mat {message}" if "must" in message else message):
        read_mat(path, "fts", "labels", 10)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_missing_variable_or_a_damaged_file_is_named(tmp_path, compressed):
    path = tmp_path / "some.mat"
    scipy.io.savemat(path, {"fts": COUNTS, "labels": LABELS}, do_compression=compressed)
    whole = path.read_bytes()
    for content in (b"", b"not MATLAB", *(whole[:length] for length in range(100, len(whole), 7))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"some\.mat is not a MATLAB file with fts and labels: ."):
            read_mat(path, "fts", "labels", 10)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"some\.mat is not a MATLAB file with fts and words: 'words'"):
        read_mat(path, "fts", "words", 10)
