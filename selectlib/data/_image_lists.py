from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from selectlib.data._indices import check_indices

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

View = Literal["labelled", "unlabelled", "test"]

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # of ImageNet's red, green and blue
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
_LIGHT = 0.4  # brightness, contrast and saturation are multiplied by 1 - 0.4 to 1 + 0.4
_HUE = 0.1  # of the colour circle, at most, to either side


class ListedImages:
    """A random-access source of image files, decoded and augmented when they are asked for.

    Made by `image_list` and `image_folder`, which check the arguments.

    Parameters
    ----------
    paths, labels, view, size
        The attributes of these names.
    seed : int
        Chooses the augmentations.
    threads : int
        Images decoded at a time.

    Attributes
    ----------
    paths : tuple of Path
        The n files.
    labels : Tensor of int64, shape (n,)
        The class of each image.
    view : {"labelled", "unlabelled", "test"}
        How images are prepared; see `image_list`.
    size : int
        Height and width of the items [pixels].
    visits : Tensor of int64, shape (n,)
        How often each image has been fetched. An item's augmentation depends on the seed, its index and this number
        alone: setting it to zero repeats the augmentations, storing and restoring it continues them.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (40, 30), "white").save(folder / "mug.png")
    >>> _ = (folder / "train.txt").write_text("mug.png 3")
    >>> images = image_list(folder / "train.txt", folder, size=28, seed=100)
    >>> images.fetch(torch.tensor([0, 0])).shape, images.labels, images.visits
    (torch.Size([2, 3, 28, 28]), tensor([3]), tensor([2]))
    """

    def __init__(
        self, paths: Sequence[Path], labels: Int64[Tensor, "n"], view: View, size: int, seed: int, threads: int
    ):
        self.paths = tuple(paths)
        self.labels = labels
        self.view = view
        self.size = size
        self.visits = torch.zeros(len(paths), dtype=torch.int64)
        self._seed = seed
        self._threads = threads

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def take(self, idx: Int64[Tensor, "b"], view: View | None = None) -> "ListedImages":
        """Make a source of the images `idx` alone, none of them fetched yet.

        Parameters
        ----------
        idx : Tensor of int64, shape (b,)
            Indices from 0 to ``len(self) - 1``: the new source's images, in that order.
        view : {"labelled", "unlabelled", "test"}, optional
            How its images are prepared; by default as here.

        Returns
        -------
        ListedImages
            With the size, the seed and the threads of this one.

        Raises
        ------
        TypeError
            If `idx` is not a 1-D int64 tensor.
        ValueError
            If an index is out of range, or `view` unknown.

        Examples
        --------
        .. code-block:: python

            order = torch.randperm(len(art), generator=generator(seed))
            pool, test = art.take(order[500:], "unlabelled"), art.take(order[:500], "test")
        """
        check_indices(idx, len(self))
        _check_view(view := view or self.view)
        idx = idx.cpu()
        paths = [self.paths[i] for i in idx.tolist()]
        return ListedImages(paths, self.labels[idx], view, self.size, self._seed, self._threads)

    def fetch(self, idx: Int64[Tensor, "b"]) -> Float32[Tensor, "b 3 h w"]:
        """Read and prepare the images `idx`.

        Parameters
        ----------
        idx : Tensor of int64, shape (b,)
            Indices from 0 to ``len(self) - 1``, in any order; repeats are augmented one by one.

        Returns
        -------
        Tensor of float32, shape (b, 3, size, size)
            On the CPU: red, green and blue, less ImageNet's mean and over its standard deviation.

        Raises
        ------
        OSError
            If a file is gone, or not a whole image.
        TypeError
            If `idx` is not a 1-D int64 tensor.
        ValueError
            If an index is out of range.
        """
        check_indices(idx, len(self))
        jobs = []
        for i in idx.tolist():
            jobs.append((self.paths[i], np.random.default_rng((self._seed, i, int(self.visits[i])))))
            self.visits[i] += 1
        if self._threads == 1 or len(jobs) < 2:
            items = [self._prepare(*job) for job in jobs]
        else:
            with ThreadPoolExecutor(self._threads) as executor:
                items = list(executor.map(lambda job: self._prepare(*job), jobs))
        return torch.stack(items) if items else torch.empty(0, 3, self.size, self.size)

    def _prepare(self, path: Path, draws: np.random.Generator) -> Tensor:
        from PIL import Image

        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except OSError as error:
            raise OSError(f"{path} is not a whole image that pillow reads: {error}") from error
        if self.view == "unlabelled":
            picture = _random_crop(_resized(picture, _shorter(picture, self.size * 8 // 7)), self.size, draws)
        elif self.view == "labelled":
            square = self.size * 8 // 7
            picture = _jittered(_random_crop(_resized(picture, (square, square)), self.size, draws), draws)
        else:
            square = self.size * 9 // 7
            picture = _crop(_resized(picture, (square, square)), self.size, 0.5, 0.5)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        return (pixels / 255 - _MEAN) / _DEVIATION


def image_list(
    list_file: str | PathLike[str],
    root: str | PathLike[str],
    view: View = "labelled",
    *,
    seed: int,
    size: int = 224,
    threads: int = 1,
) -> ListedImages:
    """Make a source of the images that a list names: the format in which Office-31, Office-Home and VisDA-2017 come.

    Each line of the list is a path below `root`, white space and the number of the class. Images are prepared as in the
    official code of energy-based active domain adaptation, here for its size of 224 pixels:

    * ``"labelled"``: resized to 256 x 256 whatever their shape, a random crop of 224 x 224, then brightness, contrast
      and saturation by a factor of 0.6 to 1.4 each and the hue by up to a tenth of the circle, in random order.
    * ``"unlabelled"``: the shorter side resized to 256, a random crop of 224 x 224.
    * ``"test"``: resized to 288 x 288, the central 224 x 224. Nothing is random.

    Parameters
    ----------
    list_file : path
        The list, in UTF-8; empty lines are skipped.
    root : path
        The folder that the list's paths start from.
    view : {"labelled", "unlabelled", "test"}, default "labelled"
        How images are prepared.
    seed : int
        Chooses the augmentations, at least 0. Lists that are used together should have different ones.
    size : int, default 224
        Height and width of the items [pixels], a multiple of 7; images are resized to 8/7 of it, or 9/7 for tests.
    threads : int, default 1
        Images decoded at a time, at least 1; the items are the same for every number.

    Returns
    -------
    ListedImages
        A source with ``__len__``, ``fetch(idx)``, ``labels`` and ``take(idx, view)``.

    Raises
    ------
    ImportError
        If pillow, which reads the images, is not installed: the extra ``book`` brings it.
    OSError
        If the list or a file that it names is missing.
    TypeError
        If `seed`, `size` or `threads` is not an int.
    ValueError
        If a line is not a path and a class of at least 0, the list is empty, `view` is unknown, or a number is out
        of range.

    Notes
    -----
    Nothing is decoded before it is fetched, and nothing is kept. A photograph takes a few milliseconds of one core;
    threads share them out. The datasets are for research and are not downloaded here: Office-31 (K. Saenko et al.,
    ECCV 2010), Office-Home (H. Venkateswara et al., CVPR 2017), VisDA-2017 (X. Peng et al., 2017).

    Examples
    --------
    .. code-block:: python

        art = image_list("OfficeHome/Art.txt", "OfficeHome", seed=100, threads=16)
        art.fetch(torch.arange(32))  # (32, 3, 224, 224)
    """
    check_options("image_list", view, seed=seed, size=size, threads=threads)
    paths, labels = _read(Path(list_file), Path(root))
    return ListedImages(paths, labels, view, size, seed, threads)


def _read(list_file: Path, root: Path) -> tuple[list[Path], Tensor]:
    """Paths and classes that a list names."""
    paths, labels = [], []
    for number, line in enumerate(list_file.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        *name, label = line.strip().rsplit(maxsplit=1)
        if not name or not label.isdecimal():
            raise ValueError(f"{list_file}, line {number}, must be a path and a class of at least 0, got {line!r}")
        if not (path := root / name[0]).is_file():
            raise FileNotFoundError(f"{list_file}, line {number}: there is no file {path}; is root the right folder?")
        paths.append(path)
        labels.append(int(label))
    if not paths:
        raise ValueError(f"{list_file} must name at least one image")
    return paths, torch.tensor(labels)


def check_options(caller: str, view: str, *, seed: int, size: int, threads: int) -> None:
    """Raise a clear error unless images can be prepared so; `caller` is the function to name."""
    _check_view(view)
    for name, value, low in (("seed", seed, 0), ("size", size, 7), ("threads", threads, 1)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, got {type(value).__name__}")
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
    if size % 7:
        raise ValueError(f"size must be a multiple of 7, got {size}")
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{caller} needs pillow: pip install 'what-to-keep[book]'") from error


def _check_view(view: str) -> None:
    if view not in get_args(View):
        raise ValueError(f"view must be one of {', '.join(map(repr, get_args(View)))}, got {view!r}")


def _shorter(picture: "Picture", length: int) -> tuple[int, int]:
    """Width and height of the picture once its shorter side has this length."""
    width, height = picture.size
    short = min(width, height)
    return width * length // short, height * length // short


def _resized(picture: "Picture", size: tuple[int, int]) -> "Picture":
    from PIL import Image

    return picture.resize(size, Image.Resampling.BILINEAR)


def _random_crop(picture: "Picture", size: int, draws: np.random.Generator) -> "Picture":
    return _crop(picture, size, *draws.random(2))


def _crop(picture: "Picture", size: int, right: float, down: float) -> "Picture":
    """Cut out a square, placed at shares of the room there is: (0.5, 0.5) is the middle."""
    left, top = (int(share * (length - size + 1)) for share, length in zip((right, down), picture.size, strict=True))
    return picture.crop((left, top, left + size, top + size))


def _jittered(picture: "Picture", draws: np.random.Generator) -> "Picture":
    """Change brightness, contrast, saturation and hue, in random order."""
    from PIL import ImageEnhance

    factors = draws.uniform(1 - _LIGHT, 1 + _LIGHT, size=3)
    turn = draws.uniform(-_HUE, _HUE)
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for change in draws.permutation(4):
        picture = kinds[change](picture).enhance(factors[change]) if change < 3 else _turned(picture, turn)
    return picture


def _turned(picture: "Picture", turn: float) -> "Picture":
    """Move every hue by this share of the colour circle."""
    from PIL import Image

    hue, saturation, value = picture.convert("HSV").split()
    moved = hue.point([(level + round(turn * 256)) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")
