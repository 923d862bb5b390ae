from pathlib import Path
from typing import Literal

import torch

from selectlib.data._download import local_copy
from selectlib.data._images import LabeledImages


def load_usps(part: Literal["train", "test"] = "train") -> LabeledImages:
    """Load a part of the USPS digits, from the data folder or the network.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. A file that is there with
    the right checksum is used without network.

    Parameters
    ----------
    part : {"train", "test"}, default "train"
        7,291 or 2,007 images.

    Returns
    -------
    LabeledImages
        Images of shape (7291, 16, 16) or (2007, 16, 16), from 0 to 1; labels from 0 to 9.

    Raises
    ------
    ImportError
        If pooch, which looks after the file, or h5py, which reads it, is not installed: the extra ``book`` brings
        both.
    OSError
        If the file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If `part` is no part.

    Examples
    --------
    .. code-block:: python

        usps = load_usps("test")
        usps.images[usps.labels == 7]  # the sevens
    """
    if part not in ("train", "test"):
        raise ValueError(f"part must be 'train' or 'test', got {part!r}")
    return read_usps(local_copy("usps.h5"), part)


def read_usps(path: Path, part: str) -> LabeledImages:
    """Read a part of the HDF5 file: the data sets ``data`` (n, 256) from 0 to 1 and ``target`` (n,) from 0 to 9.

    Raises
    ------
    ImportError
        If h5py is not installed.
    ValueError
        If the file is not HDF5, lacks a data set, or holds other shapes or values.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path.name} is read with h5py: pip install 'what-to-keep[book]'") from error
    try:
        with h5py.File(path, "r") as file:
            images = torch.from_numpy(file[part]["data"][()]).float()
            labels = torch.from_numpy(file[part]["target"][()]).long()
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not an HDF5 file with {part}/data and {part}/target: {error}") from error
    if images.ndim != 2 or images.shape[1] != 256 or labels.shape != images.shape[:1]:
        shapes = f"{tuple(images.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"{path} must hold images (n, 256) and labels (n,), got {shapes}")
    if not ((images >= 0) & (images <= 1)).all() or not ((labels >= 0) & (labels <= 9)).all():
        raise ValueError(f"{path} must hold brightness from 0 to 1 and labels from 0 to 9")
    return LabeledImages(
        images=images.reshape(-1, 16, 16),
        labels=labels,
        description=f"the {len(labels):,} {part} images of USPS: handwritten digits of 16 x 16 pixels",
        licence="public research data; no licence stated",
        source="J. J. Hull: A database for handwritten text recognition research, IEEE TPAMI 16(5), 1994",
    )
