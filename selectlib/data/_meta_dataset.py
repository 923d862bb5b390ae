from os import PathLike
from pathlib import Path

import numpy as np

from selectlib.data._few_shot_images import FewShotImages, check_decoding, decoded


def load_meta_dataset(
    folder: str | PathLike[str],
    *,
    split: tuple[int, int, int],
    size: int = 224,
    per_class: int | None = None,
    threads: int = 1,
) -> FewShotImages:
    """Load one source of Meta-Dataset from its conversion to HDF5; nothing is downloaded.

    Parameters
    ----------
    folder : path
        One source, such as ``omniglot``: a file ``<number>.h5`` for each class, in which the groups ``0``, ``1``, ...
        each hold an ``image`` of shape (h, w, 3) in uint8.
    split : tuple of three ints
        How many classes are to learn from, to choose settings on, and to test on, in the order of their numbers: what
        the source's ``dataset_spec.json`` says. Their sum is the number of files.
    size, per_class, threads : int
        As in `load_mini_imagenet`; the first images of a class are those of its first groups.

    Returns
    -------
    FewShotImages
        Classes are named by their numbers.

    Raises
    ------
    ImportError
        If h5py or pillow is not installed: the extra ``book`` brings both.
    OSError
        If a file is missing or is not HDF5.
    TypeError
        If a number is not an int.
    ValueError
        If a number is out of range, `split` does not fit the files, or a file holds no images of that form.

    Notes
    -----
    Source: E. Triantafillou et al., "Meta-Dataset: a dataset of datasets for learning to learn from few examples", ICLR
    2020. Its sources keep their own licences.

    Examples
    --------
    .. code-block:: python

        aircraft = load_meta_dataset("meta_dataset/aircraft", split=(70, 15, 15), per_class=60)
    """
    check_decoding(size, per_class, threads)
    files = sorted((file for file in Path(folder).glob("*.h5") if file.stem.isdigit()), key=lambda file: int(file.stem))
    if len(split) != 3 or min(split) < 0 or not 0 < sum(split) == len(files):
        raise ValueError(
            f"split must be three counts with the sum {len(files)} of the classes in {folder}, got {split}"
        )
    rows = [(image, label) for label, file in enumerate(files) for image in _read_group(file, per_class)]
    return decoded(
        rows,
        [file.stem for file in files],
        split,
        (size, per_class, threads),
        description=f"Meta-Dataset, source {Path(folder).name}",
        licence="the source's own",
        source="E. Triantafillou et al.: Meta-Dataset, ICLR 2020",
    )


def _read_group(path: Path, per_class: int | None) -> list[np.ndarray]:
    """The images of a class in HDF5, the first `per_class` of them."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path.name} is read with h5py: pip install 'what-to-keep[book]'") from error
    with h5py.File(path, "r") as file:
        try:
            images = [file[str(i)]["image"][()] for i in range(min(len(file), per_class or len(file)))]
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} must hold groups 0, 1, ... with an image each: {error}") from error
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"{path} must hold images (h, w, 3) of uint8, got {image.shape} of {image.dtype}")
    return images
