import csv
from os import PathLike
from pathlib import Path

import torch

from selectlib.data._few_shot_images import FewShotImages, check_decoding, decoded
from selectlib.data._image_folder import image_folder
from selectlib.seeding import generator

_SKETCHES = 180, 65, 100  # classes to learn from, to choose settings on, and to test on


def load_mini_imagenet(
    folder: str | PathLike[str], *, size: int = 224, per_class: int | None = None, threads: int = 1
) -> FewShotImages:
    """Load miniImageNet from a folder with images and the three lists of its split; nothing is downloaded.

    Parameters
    ----------
    folder : path
        Holds ``train.csv``, ``val.csv`` and ``test.csv``, each a table with the columns ``filename`` and ``label``, and
        the images of which they tell, below ``images/``. The pickled form of the data is not read: unpickling a file
        runs what it says.
    size : int, default 224
        Height and width of the images [pixels], at least 8: the largest centred square, resized.
    per_class : int, optional
        Images of a class, the first in the lists, at least 1; by default all.
    threads : int, default 1
        Images decoded at a time, at least 1.

    Returns
    -------
    FewShotImages
        Of 64, 16 and 20 classes with 600 images each: 9 GB at 224 pixels.

    Raises
    ------
    ImportError
        If pillow, which reads the images, is not installed: the extra ``book`` brings it.
    OSError
        If a list or an image is missing or broken.
    TypeError
        If a number is not an int.
    ValueError
        If a number is out of range, a list has other columns or no row, or a class is in two lists.

    Notes
    -----
    Source: O. Vinyals et al., "Matching networks for one shot learning", NIPS 2016, in the split of S. Ravi and
    H. Larochelle, ICLR 2017. tieredImageNet with lists of the same form is read alike.

    Examples
    --------
    .. code-block:: python

        mini = load_mini_imagenet("mini-imagenet", threads=16)
        mini.images.shape  # (60000, 3, 224, 224)
    """
    check_decoding(size, per_class, threads)
    root = Path(folder)
    parts = [_read_list(root / f"{name}.csv") for name in ("train", "val", "test")]
    names = [sorted({label for _, label in part}) for part in parts]
    classes = [name for part in names for name in part]
    if len(set(classes)) < len(classes):
        raise ValueError(f"the lists in {root} must have no class in common: they are a split of the classes")
    number = {name: i for i, name in enumerate(classes)}
    rows = [(root / "images" / file, number[label]) for part in parts for file, label in part]
    return decoded(
        rows,
        classes,
        [len(part) for part in names],
        (size, per_class, threads),
        description=f"{root.name}: photographs of {len(classes)} classes of ImageNet",
        licence="ImageNet's terms of access: research and education, not commercial",
        source="O. Vinyals et al.: Matching networks for one shot learning, NIPS 2016; split of Ravi and Larochelle",
    )


def load_domainnet_sketch(
    folder: str | PathLike[str],
    *,
    seed: int = 100,
    size: int = 224,
    per_class: int | None = None,
    threads: int = 1,
) -> FewShotImages:
    """Load the sketches of DomainNet from their folder, and split the classes at random; nothing is downloaded.

    Parameters
    ----------
    folder : path
        DomainNet's ``sketch``, with one folder for each of the 345 classes.
    seed : int, default 100
        Chooses the split, from 0 to 2**32 - 1.
    size, per_class, threads : int
        As in `load_mini_imagenet`; the first images of a class are those in alphabetical order.

    Returns
    -------
    FewShotImages
        180 classes to learn from, 65 to choose settings on, 100 to test on.

    Raises
    ------
    ImportError
        If pillow, which reads the images, is not installed: the extra ``book`` brings it.
    OSError
        If the folder is missing or an image is broken.
    TypeError
        If a number is not an int.
    ValueError
        If a number is out of range, or the folder does not hold 345 classes.

    Notes
    -----
    The sizes of the split are those of Xu et al. (2024); which classes are where in theirs, the seed does not tell.
    Source: X. Peng et al., "Moment matching for multi-source domain adaptation", ICCV 2019.

    Examples
    --------
    .. code-block:: python

        sketches = load_domainnet_sketch("domainnet/sketch", per_class=100, threads=16)
    """
    check_decoding(size, per_class, threads)
    found = image_folder(folder, "test", seed=0)
    by_folder = {path.parent.name: label for path, label in zip(found.paths, found.labels.tolist(), strict=True)}
    if len(by_folder) != sum(_SKETCHES):
        raise ValueError(
            f"folder must hold the {sum(_SKETCHES)} classes of DomainNet, got {len(by_folder)} in {folder}"
        )
    # Classes are numbered in the order of the split, as in the other sets, and by name within a part.
    order = torch.randperm(len(by_folder), generator=generator(seed)).split(_SKETCHES)
    names = sorted(by_folder)
    classes = [names[i] for part in order for i in part.sort().values.tolist()]
    number = {name: i for i, name in enumerate(classes)}
    return decoded(
        [(path, number[path.parent.name]) for path in found.paths],
        classes,
        _SKETCHES,
        (size, per_class, threads),
        description="DomainNet, domain sketch: drawings of 345 classes",
        licence="DomainNet's fair use notice: research only",
        source="X. Peng et al.: Moment matching for multi-source domain adaptation, ICCV 2019",
    )


def _read_list(path: Path) -> list[tuple[str, str]]:
    """(file, class) of each row of a list of a split."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if not {"filename", "label"} <= set(table.fieldnames or ()):
            raise ValueError(f"{path} must have the columns filename and label, got {table.fieldnames}")
        rows = [(row["filename"], row["label"]) for row in table]
    if not rows:
        raise ValueError(f"{path} must name at least one image, got none")
    return rows
