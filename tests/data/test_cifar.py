import gzip
import io
import tarfile

import numpy as np
import pytest
import torch

from selectlib.data import load_cifar10
from selectlib.data._cifar import read_cifar10

FOLDER = "cifar-10-batches-bin"


def record(label, value=0):
    return bytes([label]) + bytes([value]) * 3072


def archive(members):
    """A gzipped tar archive of the named contents; None is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            entry.size = len(content or b"")
            tar.addfile(entry, io.BytesIO(content or b""))
    return buffer.getvalue()


# Out of order, as nothing says that an archive's files are sorted.
WHOLE = {
    "batches.meta.txt": b"airplane\n",
    **{f"data_batch_{batch}.bin": record(batch, 10 * batch) + record(9) for batch in (1, 3, 2, 5, 4)},
    "readme.html": b"<html>",
    "test_batch.bin": record(7, 255),
}


@pytest.fixture
def small(folder, register):
    content = archive(WHOLE)
    register("cifar-10-binary.tar.gz", content)
    (folder / "cifar-10-binary.tar.gz").write_bytes(content)


@pytest.mark.parametrize(
    ("part", "labels", "levels"),
    [("train", [1, 9, 2, 9, 3, 9, 4, 9, 5, 9], [10, 0, 20, 0, 30, 0, 40, 0, 50, 0]), ("test", [7], [255])],
)
def test_a_small_set_in_the_same_format(small, part, labels, levels):
    cifar = load_cifar10(part)
    assert cifar.images.dtype == torch.float32 and cifar.images.shape == (len(labels), 3, 32, 32)
    assert cifar.labels.dtype == torch.int64 and cifar.labels.tolist() == labels
    expected = torch.tensor(levels, dtype=torch.float32).view(-1, 1, 1, 1) / 255
    torch.testing.assert_close(cifar.images, expected.expand_as(cifar.images), atol=1e-7, rtol=0)
    assert cifar.description == f"the {len(labels)} {part} images of CIFAR-10: colour photographs of 32 x 32 pixels"
    assert cifar.licence and cifar.source


def test_train_is_the_default(small):
    assert len(load_cifar10().labels) == 10


def test_planes_are_red_green_blue_and_row_by_row(tmp_path):
    pixels = np.random.default_rng(100).integers(
        0, 256, (2, 32, 32, 3), dtype=np.uint8
    )  # pictures as others store them
    planes = [b"".join(picture[:, :, colour].tobytes() for colour in range(3)) for picture in pixels]
    (tmp_path / "c.tar.gz").write_bytes(archive({"test_batch.bin": b"".join(b"\4" + plane for plane in planes)}))
    images = read_cifar10(tmp_path / "c.tar.gz", "test").images
    np.testing.assert_allclose(images.permute(0, 2, 3, 1).numpy(), pixels / 255, atol=1e-7)


@pytest.mark.parametrize("part", ["validation", "", None])
def test_an_unknown_part_is_refused_before_anything_is_read(part):
    with pytest.raises(ValueError, match="part must be 'train' or 'test'"):
        load_cifar10(part)


INCOMPRESSIBLE = archive({"test_batch.bin": b"\1" + np.random.default_rng(100).bytes(3072)})
DAMAGES = {
    "empty": (b"", "is not a whole gzipped tar archive"),
    "not gzip": (b"not gzip", "is not a whole gzipped tar archive"),
    "not tar": (gzip.compress(b"not tar" * 100), "is not a whole gzipped tar archive"),
    "cut": (INCOMPRESSIBLE[:1500], "is not a whole gzipped tar archive"),
    "altered": (INCOMPRESSIBLE[:200] + b"\xff" * 200 + INCOMPRESSIBLE[400:], "is not a whole gzipped tar archive"),
    "another archive": (archive({"data_batch_1.bin": record(1)}), f"lacks {FOLDER}/test_batch.bin"),
    "a folder of the name": (archive({"test_batch.bin": None}), f"lacks {FOLDER}/test_batch.bin"),
    "no records": (archive({"test_batch.bin": b""}), r"must hold records of 3073 bytes, got 0 bytes"),
    "too short": (archive({"test_batch.bin": record(1)[:-1]}), r"must hold records of 3073 bytes, got 3072 bytes"),
    "CIFAR-100": (archive({"test_batch.bin": b"\1" + record(1)}), r"must hold records of 3073 bytes, got 3074 bytes"),
    "labels": (archive({"test_batch.bin": record(1) + record(10)}), r"must hold labels from 0 to 9, got 10"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(tmp_path, damage):
    content, message = DAMAGES[damage]
    (tmp_path / "cifar.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"cifar\.tar\.gz {message}"):
        read_cifar10(tmp_path / "cifar.tar.gz", "test")
    assert [path.name for path in tmp_path.iterdir()] == ["cifar.tar.gz"]


def test_every_batch_of_the_training_part_is_needed(tmp_path):
    batches = {name: content for name, content in WHOLE.items() if name != "data_batch_3.bin"}
    (tmp_path / "cifar.tar.gz").write_bytes(archive(batches))
    with pytest.raises(ValueError, match=rf"cifar\.tar\.gz lacks {FOLDER}/data_batch_3\.bin$"):
        read_cifar10(tmp_path / "cifar.tar.gz", "train")
