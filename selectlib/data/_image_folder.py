from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path

import torch

from selectlib.data._image_lists import ListedImages, View, check_options

_SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))


def image_folder(
    root: str | PathLike[str] | Sequence[str | PathLike[str]],
    view: View = "labelled",
    *,
    seed: int,
    size: int = 224,
    threads: int = 1,
    exclude: Collection[str] = (),
) -> ListedImages:
    """Make a source of the images in a folder that has one folder a class: the form of PACS, Office-31, VisDA-2017.

    Classes are numbered in the alphabetical order of their folders' names, and images are in that of their paths:
    ``root/dog/a.jpg``, ``root/dog/b.png``, ``root/house/a.jpg``. Files that end in ``.jpg``, ``.jpeg`` or ``.png``
    count, in capitals too; anything else, and everything that starts with a dot, is passed over. Images are prepared as
    by `image_list`.

    Parameters
    ----------
    root : path, or sequence of paths
        The folder that holds the classes' folders. Several, which must have the same classes, follow one another:
        domains that are used together as one source.
    view : {"labelled", "unlabelled", "test"}, default "labelled"
        How images are prepared; see `image_list`.
    seed : int
        Chooses the augmentations, at least 0. Folders that are used together should have different ones.
    size : int, default 224
        Height and width of the items [pixels], a multiple of 7.
    threads : int, default 1
        Images decoded at a time, at least 1; the items are the same for every number.
    exclude : collection of str, default ()
        Images to leave out, such as broken ones: paths below a root with forward slashes, ``"dog/a.jpg"``.

    Returns
    -------
    ListedImages
        A source with ``__len__``, ``fetch(idx)``, ``labels``, ``paths`` and ``take(idx, view)``. The name of image i's
        class is ``paths[i].parent.name``.

    Raises
    ------
    ImportError
        If pillow, which reads the images, is not installed: the extra ``book`` brings it.
    OSError
        If a root is not a folder.
    TypeError
        If `seed`, `size` or `threads` is not an int.
    ValueError
        If there is no root, a root holds no image, roots differ in their classes, `exclude` names no image, `view` is
        unknown, or a number is out of range.

    Notes
    -----
    Nothing is decoded before it is fetched, and nothing is kept. The datasets are for research and are not downloaded
    here: PACS (D. Li et al., ICCV 2017), Office-31 (K. Saenko et al., ECCV 2010), VisDA-2017 (X. Peng et al., 2017).
    One file of PACS, in its domain ``sketch``, is broken and left out by common practice.

    Examples
    --------
    .. code-block:: python

        broken = ["dog/n02103406_4068-1.png"]
        target = image_folder("PACS/sketch", "test", seed=100, threads=16, exclude=broken)
        source = image_folder([f"PACS/{domain}" for domain in ("art_painting", "cartoon", "photo")], seed=101)
        amazon = image_folder("office31/amazon/images", seed=102)
    """
    check_options("image_folder", view, seed=seed, size=size, threads=threads)
    roots = [Path(root)] if isinstance(root, str | PathLike) else [Path(path) for path in root]
    if not roots:
        raise ValueError("root must name at least one folder, got none")
    found = {path: _classes(path) for path in roots}
    names = list(found[roots[0]])
    for path, classes in found.items():
        if list(classes) != names:
            raise ValueError(
                f"root must name folders of the same classes: {roots[0]} has {names}, {path} {list(classes)}"
            )
    files = [(file, root, names.index(name)) for root in roots for name in names for file in found[root][name]]
    unknown = set(exclude) - {file.relative_to(root).as_posix() for file, root, _ in files}
    if unknown:
        raise ValueError(f"exclude must name images below root, but there is no {min(unknown)}")
    kept = [(file, label) for file, root, label in files if file.relative_to(root).as_posix() not in exclude]
    if not kept:
        raise ValueError("exclude must leave at least one image, got all of them")
    paths, labels = zip(*kept, strict=True)
    return ListedImages(paths, torch.tensor(labels), view, size, seed, threads)


def _classes(root: Path) -> dict[str, list[Path]]:
    """The images of each class, both in alphabetical order; folders without an image are no classes."""
    if not root.is_dir():
        raise NotADirectoryError(f"root must be a folder with one folder a class; there is no folder {root}")
    found = {folder.name: _images(folder) for folder in sorted(root.iterdir()) if folder.is_dir()}
    found = {name: images for name, images in found.items() if images and not name.startswith(".")}
    if not found:
        raise ValueError(
            f"root must hold one folder a class with images of {', '.join(sorted(_SUFFIXES))}; {root} has none"
        )
    return found


def _images(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
    )
