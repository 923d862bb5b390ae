import gzip
import tarfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from selectlib.data._download import local_copy
from selectlib.data._images import LabeledImages

_MEMBERS = {
    "train": tuple(f"cifar-10-batches-bin/data_batch_{batch}.bin" for batch in range(1, 6)),
    "test": ("cifar-10-batches-bin/test_batch.bin",),
}
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, the green and the blue plane, row by row


def load_cifar10(part: Literal["train", "test"] = "train") -> LabeledImages:
    """Load a part of CIFAR-10, from the data folder or the network.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. A file that is there with
    the right checksum is used without network. It is the binary version (170 MB), read straight from its archive:
    nothing is unpacked or unpickled.

    Parameters
    ----------
    part : {"train", "test"}, default "train"
        50,000 or 10,000 images.

    Returns
    -------
    LabeledImages
        Images of shape (50000, 3, 32, 32) or (10000, 3, 32, 32), from 0 to 1; labels from 0 to 9: airplane,
        automobile, bird, cat, deer, dog, frog, horse, ship, truck.

    Raises
    ------
    ImportError
        If pooch, which looks after the file, is not installed: the extra ``book`` brings it.
    OSError
        If the file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If `part` is no part.

    Notes
    -----
    The training part takes 614 MB of memory, and 1.1 GB while it is made.

    Examples
    --------
    .. code-block:: python

        cifar = load_cifar10("test")
        cifar.images[cifar.labels == 8]  # the ships
    """
    if part not in _MEMBERS:
        raise ValueError(f"part must be 'train' or 'test', got {part!r}")
    return read_cifar10(local_copy("cifar-10-binary.tar.gz"), part)


def read_cifar10(path: Path, part: str) -> LabeledImages:
    """Read a part of the archive: files of records of 3,073 bytes, a label and three planes of 32 x 32 pixels each.

    Raises
    ------
    ValueError
        If the file is not a whole gzipped tar archive, lacks a file of the part, or a file is not made of such records.
    """
    contents = _read_members(path, _MEMBERS[part])
    for name, content in contents.items():
        if not content or len(content) % _RECORD:
            raise ValueError(f"{name} in {path} must hold records of {_RECORD} bytes, got {len(content)} bytes")
    records = np.frombuffer(b"".join(contents.values()), np.uint8).reshape(-1, _RECORD)
    labels = torch.tensor(records[:, 0]).long()
    if labels.max() > 9:
        raise ValueError(f"{path} must hold labels from 0 to 9, got {labels.max()}")
    return LabeledImages(
        images=torch.tensor(records[:, 1:]).reshape(-1, *_SHAPE).float().div_(255),
        labels=labels,
        description=f"the {len(labels):,} {part} images of CIFAR-10: colour photographs of 32 x 32 pixels",
        licence="public research data; no licence stated",
        source="A. Krizhevsky: Learning multiple layers of features from tiny images, 2009",
    )


def _read_members(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Read the named files of the archive, in one pass over it."""
    contents = {}
    try:
        with gzip.open(path, "rb") as unpacked:
            with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                for member in archive:
                    if member.name in names and (file := archive.extractfile(member)) is not None:
                        contents[member.name] = file.read()
            while unpacked.read(2**20):  # gzip's checksum comes after everything else
                pass
    except (gzip.BadGzipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzipped tar archive: {error}") from error
    if missing := [name for name in names if name not in contents]:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    return {name: contents[name] for name in names}
