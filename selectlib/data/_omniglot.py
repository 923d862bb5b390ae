import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from selectlib._checks import check_int
from selectlib.data._download import local_copy
from selectlib.data._images import LabeledImages

_ARCHIVES = "omniglot/images_background_small1.zip", "omniglot/images_background_small2.zip"
_LARGEST = 105  # pixels, as drawn


@dataclass(frozen=True, eq=False)
class Characters(LabeledImages):
    """Images of characters, with the alphabet of each class; made by `load_omniglot_small`.

    Attributes
    ----------
    images : Tensor of float32, shape (n, 1, size, size)
        Share of ink, from 0 to 1.
    labels : Tensor of int64, shape (n,)
        The character of each image.
    classes : tuple of c str
        Names of the characters, ``"Greek/character01"``.
    domains : tuple of c str
        The alphabet of each character.
    description, licence, source : str
        What the data is, under which terms, and from where.

    Examples
    --------
    .. code-block:: python

        characters = load_omniglot_small()
        greek = [i for i, alphabet in enumerate(characters.domains) if alphabet == "Greek"]
    """

    classes: tuple[str, ...]
    domains: tuple[str, ...]

    @property
    def alphabets(self) -> Int64[Tensor, "n"]:
        """The alphabet of each image, numbered in alphabetical order."""
        numbers = torch.tensor([sorted(set(self.domains)).index(alphabet) for alphabet in self.domains])
        return numbers[self.labels]


def load_omniglot_small(size: int = 28) -> Characters:
    """Load the two small background sets of Omniglot, from the data folder or the network.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. Files that are there with
    the right checksum are used without network.

    Parameters
    ----------
    size : int, default 28
        Height and width of the images [pixels], from 8 to 105, the size in which they were drawn; a smaller size
        averages over areas.

    Returns
    -------
    Characters
        20 drawings of each of 242 characters of 8 alphabets; the 50 characters of Greek and Latin, which both sets
        have, come once.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, or pillow, which reads them, is not installed: the extra ``book`` brings
        both.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.
    TypeError
        If `size` is not an int.
    ValueError
        If `size` is out of range.

    Examples
    --------
    .. code-block:: python

        load_omniglot_small().images.shape  # (4840, 1, 28, 28)
    """
    check_int("size", size, 8, _LARGEST)
    return read_drawings([local_copy(name) for name in _ARCHIVES], size)


def read_drawings(archives: list[Path], size: int) -> Characters:
    """Read zip files with ``.../alphabet/character/drawing.png``: black ink on white. Files of one name come once.

    Raises
    ------
    ImportError
        If pillow is not installed.
    ValueError
        If a file is no zip file, or has no drawing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("drawings are read with pillow: pip install 'what-to-keep[book]'") from error
    found: dict[tuple[str, str], np.ndarray] = {}
    for path in archives:
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".png") and name.count("/") >= 2]
                for name in names:
                    *_, alphabet, character, drawing = name.split("/")
                    if (f"{alphabet}/{character}", drawing) in found:
                        continue
                    with Image.open(io.BytesIO(archive.read(name))) as picture:
                        grey = picture.convert("L").resize((size, size), Image.Resampling.BOX)
                    found[f"{alphabet}/{character}", drawing] = 1 - np.asarray(grey, dtype=np.float32) / 255
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is not a zip file: {error}") from error
        if not names:
            raise ValueError(f"{path} must hold drawings, alphabet/character/drawing.png, got none")
    classes = sorted({name for name, _ in found})
    number = {name: i for i, name in enumerate(classes)}
    keys = sorted(found)
    return Characters(
        images=torch.from_numpy(np.stack([found[key] for key in keys])).unsqueeze(1),
        labels=torch.tensor([number[name] for name, _ in keys]),
        description=f"Omniglot, the two small background sets: drawings of {len(classes)} characters",
        licence="MIT",
        source="B. Lake, R. Salakhutdinov and J. Tenenbaum: Human-level concept learning through probabilistic program "
        "induction, Science 350, 2015",
        classes=tuple(classes),
        domains=tuple(name.split("/")[0] for name in classes),
    )
