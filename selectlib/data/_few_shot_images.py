import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from selectlib._checks import check_int


@dataclass(frozen=True, eq=False)
class FewShotImages:
    """Photographs or drawings with their classes, and the classes' split for few-shot learning.

    Attributes
    ----------
    images : Tensor of uint8, shape (n, 3, size, size)
        Red, green and blue, on the CPU.
    labels : Tensor of int64, shape (n,)
        The class of each image.
    classes : tuple of c str
        Names of the classes.
    train_classes, validation_classes, test_classes : Tensors of int64
        Classes to learn from, to choose settings on, and to test on: disjoint, each in ascending order.
    description, licence, source : str
        What the data is, under which terms, and from where.

    Examples
    --------
    .. code-block:: python

        mini = load_mini_imagenet("mini-imagenet", threads=16)
        rows = torch.isin(mini.labels, mini.test_classes)
    """

    images: UInt8[Tensor, "n 3 size size"]
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]
    train_classes: Int64[Tensor, "c1"]
    validation_classes: Int64[Tensor, "c2"]
    test_classes: Int64[Tensor, "c3"]
    description: str
    licence: str
    source: str


def decoded(
    rows: Sequence[tuple[Any, int]],
    classes: Sequence[str],
    split: Sequence[int],
    options: tuple[int, int | None, int],
    *,
    description: str,
    licence: str,
    source: str,
) -> FewShotImages:
    """Decode the images of (image or its file, class); classes are numbered in the order of the split."""
    size, per_class, threads = options
    seen = [0] * len(classes)
    kept = []
    for image, label in rows:
        seen[label] += 1
        if per_class is None or seen[label] <= per_class:
            kept.append((image, label))
    images = torch.empty(len(kept), 3, size, size, dtype=torch.uint8)
    square: Callable[[Any], np.ndarray] = partial(_square, size=size)
    with ThreadPoolExecutor(threads) as executor:
        for i, pixels in enumerate(executor.map(square, (image for image, _ in kept))):
            images[i] = torch.from_numpy(pixels).movedim(2, 0)
    train, validation, test = torch.arange(len(classes)).split(list(split))
    return FewShotImages(
        images=images,
        labels=torch.tensor([label for _, label in kept]),
        classes=tuple(classes),
        train_classes=train,
        validation_classes=validation,
        test_classes=test,
        description=description,
        licence=licence,
        source=source,
    )


def _square(image: Path | np.ndarray, size: int) -> np.ndarray:
    """The largest centred square of an image or its file, resized: (size, size, 3) of uint8."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("images are read with pillow: pip install 'what-to-keep[book]'") from error
    opened = Image.fromarray(image) if isinstance(image, np.ndarray) else Image.open(io.BytesIO(image.read_bytes()))
    with opened as picture:
        return np.array(ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BILINEAR))


def check_decoding(size: int, per_class: int | None, threads: int) -> None:
    """Raise a clear error before any file is opened."""
    check_int("size", size, 8)
    if per_class is not None:
        check_int("per_class", per_class, 1)
    check_int("threads", threads, 1)
