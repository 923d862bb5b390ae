import sys

import h5py
import numpy as np
import pytest
import torch

from selectlib.data import load_usps
from selectlib.data._usps import read_usps

IMAGES = np.linspace(0, 1, 3 * 256, dtype=np.float32).reshape(3, 256)
LABELS = np.array([9, 0, 4], dtype=np.int32)


def write(path, images=IMAGES, labels=LABELS, part="test"):
    with h5py.File(path, "w") as file:
        group = file.create_group(part)
        group.create_dataset("data", data=images)
        group.create_dataset("target", data=labels)


def test_a_small_set_in_the_same_format(folder, register):
    write(folder / "usps.h5")
    register("usps.h5", (folder / "usps.h5").read_bytes())
    usps = load_usps("test")
    assert usps.images.dtype == torch.float32
    np.testing.assert_array_equal(usps.images.flatten(1).numpy(), IMAGES)
    assert usps.images.shape == (3, 16, 16)
    assert usps.labels.tolist() == [9, 0, 4] and usps.labels.dtype == torch.int64
    assert usps.description == "the 3 test images of USPS: handwritten digits of 16 x 16 pixels"
    assert usps.licence and usps.source


@pytest.mark.parametrize(
    ("part", "counts"),
    [
        ("train", [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]),
        ("test", [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]),
    ],
)
def test_the_real_set(real_data, part, counts):
    usps = load_usps(part)
    assert usps.images.shape == (sum(counts), 16, 16)
    assert usps.images.min() == 0 and usps.images.max() == 1
    assert usps.labels.bincount().tolist() == counts


def test_train_is_the_default(real_data):
    assert len(load_usps().labels) == 7291


@pytest.mark.parametrize("part", ["validation", "", None])
def test_an_unknown_part_is_refused_before_anything_is_read(part):
    with pytest.raises(ValueError, match="part must be 'train' or 'test'"):
        load_usps(part)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": "train"}, "is not an HDF5 file with test/data"),
        ({"images": IMAGES[:, :255]}, r"images \(n, 256\) .* got \(3, 255\) and \(3,\)"),
        ({"images": IMAGES[:2]}, r"got \(2, 256\) and \(3,\)"),
        ({"images": 2 * IMAGES}, "brightness from 0 to 1"),
        ({"images": IMAGES * np.nan}, "brightness from 0 to 1"),
        ({"labels": LABELS + 1}, "labels from 0 to 9"),
    ],
)
def test_a_wrong_content_is_named(tmp_path, changes, message):
    write(tmp_path / "usps.h5", **changes)
    with pytest.raises(ValueError, match=rf"usps\.h5 .*{message}"):
        read_usps(tmp_path / "usps.h5", "test")


def test_a_damaged_file_is_named(tmp_path):
    write(tmp_path / "usps.h5")
    whole = (tmp_path / "usps.h5").read_bytes()
    for content in (b"", b"not HDF5", whole[:1000]):
        (tmp_path / "usps.h5").write_bytes(content)
        with pytest.raises(ValueError, match=r"usps\.h5 is not an HDF5 file"):
            read_usps(tmp_path / "usps.h5", "test")


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"usps.h5 is read with h5py: pip install 'what-to-keep\[book\]'"):
        read_usps(tmp_path / "usps.h5", "test")
