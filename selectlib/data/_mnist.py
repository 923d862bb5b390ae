import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selectlib.data._download import local_copy
from selectlib.data._images import LabeledImages

_BYTES = 0x08  # the idx format's code for unsigned bytes


def load_mnist_test() -> LabeledImages:
    """Load the 10,000 test images of MNIST, from the data folder or the network.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. Files that are there with
    the right checksum are used without network.

    Returns
    -------
    LabeledImages
        Images of shape (10000, 28, 28), from 0 to 1; labels from 0 to 9.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.

    Examples
    --------
    .. code-block:: python

        mnist = load_mnist_test()
        mnist.images[mnist.labels == 7]  # the sevens
    """
    return LabeledImages(
        images=read_idx(local_copy("t10k-images-idx3-ubyte.gz"), ndim=3).float() / 255,
        labels=read_idx(local_copy("t10k-labels-idx1-ubyte.gz"), ndim=1).long(),
        description="the 10,000 test images of MNIST: handwritten digits of 28 x 28 pixels",
        licence="CC BY-SA 3.0",
        source="Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits",
    )


def read_idx(path: Path, *, ndim: int) -> Tensor:
    """Read a gzipped idx file of bytes: two zeros, the code of the type, the number of axes, their lengths, the data.

    Raises
    ------
    ValueError
        If the file is not gzipped, not idx, of another type or number of axes, or not as long as it says.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error
    header = 4 + 4 * ndim
    if len(content) < header or content[:4] != bytes([0, 0, _BYTES, ndim]):
        raise ValueError(f"{path} is not an idx file of bytes with {ndim} axes: it begins with {content[:4].hex()}")
    shape = np.frombuffer(content[4:header], dtype=">u4").tolist()
    if len(content) - header != math.prod(shape):
        raise ValueError(f"{path} holds {len(content) - header} bytes of data, but its header says {shape}")
    return torch.tensor(np.frombuffer(content, np.uint8, offset=header).reshape(shape))
