import gzip
import struct

import pytest
import torch

from selectlib.data import load_mnist_test
from selectlib.data._mnist import read_idx

PIXELS = bytes(range(0, 240, 10))  # two images of 3 x 4


def idx(shape, data, start=b"\0\0\x08"):
    return gzip.compress(start + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data, mtime=0)


def test_a_small_set_in_the_same_format(folder, register):
    files = {
        "t10k-images-idx3-ubyte.gz": idx((2, 3, 4), PIXELS),
        "t10k-labels-idx1-ubyte.gz": idx((2,), bytes([7, 2])),
    }
    for name, content in files.items():
        register(name, content)
        (folder / name).write_bytes(content)
    mnist = load_mnist_test()
    assert mnist.images.dtype == torch.float32
    assert torch.equal((mnist.images * 255).round().int(), torch.arange(0, 240, 10).reshape(2, 3, 4).int())
    assert mnist.labels.tolist() == [7, 2] and mnist.labels.dtype == torch.int64
    assert mnist.description and mnist.licence and mnist.source


def test_the_real_set(real_data):
    mnist = load_mnist_test()
    assert mnist.images.shape == (10_000, 28, 28)
    assert mnist.images.min() == 0 and mnist.images.max() == 1
    assert mnist.images.double().mean().item() == pytest.approx(0.1325, abs=1e-4)
    assert mnist.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


WHOLE = idx((2,), b"\1\2")
DAMAGES = {
    "not gzip": (b"not gzip", "is not a whole gzip file"),
    "cut": (WHOLE[:-9], "is not a whole gzip file"),
    "altered": (WHOLE[:12] + b"\xff\xff" + WHOLE[14:], "is not a whole gzip file"),
    "empty": (gzip.compress(b""), "is not an idx file of bytes with 1 axes: it begins with $"),
    "header cut": (gzip.compress(b"\0\0\x08\x01\0\0"), "is not an idx file .* begins with 00000801"),
    "floats": (idx((2,), b"\1\2", start=b"\0\0\x0d"), "is not an idx file .* begins with 00000d01"),
    "two axes": (idx((1, 2), b"\1\2"), "is not an idx file .* begins with 00000802"),
    "too short": (idx((3,), b"\1\2"), r"holds 2 bytes of data, but its header says \[3\]"),
    "too long": (idx((1,), b"\1\2"), r"holds 2 bytes of data, but its header says \[1\]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(tmp_path, damage):
    content, message = DAMAGES[damage]
    (tmp_path / "labels.gz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"labels\.gz {message}"):
        read_idx(tmp_path / "labels.gz", ndim=1)


def test_no_images_at_all(tmp_path):
    (tmp_path / "images.gz").write_bytes(idx((0, 28, 28), b""))
    assert read_idx(tmp_path / "images.gz", ndim=3).shape == (0, 28, 28)
