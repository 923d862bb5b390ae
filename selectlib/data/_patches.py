from dataclasses import dataclass

import sklearn.datasets
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from selectlib.data._indices import check_indices
from selectlib.device import pick_device


@dataclass(frozen=True, eq=False)
class PhotoPatches:
    """A random-access source of all square patches of some photographs; made by `photo_patches`.

    Parameters
    ----------
    photos : Tensor of uint8, shape (p, h, w, 3)
        The photographs, red, green and blue from 0 to 255.
    size : int
        Height and width of a patch [pixels].
    dtype : torch.dtype
        Of the items.
    description, licence, source : str
        What the data is, under which terms, and from where.

    Examples
    --------
    >>> patches = photo_patches(size=16)
    >>> len(patches), patches.photos.shape
    (515000, torch.Size([2, 427, 640, 3]))
    """

    photos: UInt8[Tensor, "p h w 3"]
    size: int
    dtype: torch.dtype
    description: str
    licence: str
    source: str

    def __len__(self) -> int:
        """Return the number of patches."""
        rows, columns = self._places
        return len(self.photos) * rows * columns

    @property
    def device(self) -> torch.device:
        """Where the items come out."""
        return self.photos.device

    @property
    def _places(self) -> tuple[int, int]:
        return self.photos.shape[1] - self.size + 1, self.photos.shape[2] - self.size + 1

    def locate(self, idx: Int64[Tensor, "b"]) -> Int64[Tensor, "b 3"]:
        """Say where the patches `idx` are.

        Parameters
        ----------
        idx : Tensor of int64, shape (b,)
            Indices from 0 to ``len(self) - 1``.

        Returns
        -------
        Tensor of int64, shape (b, 3)
            For each patch its photograph, and the row and the column of its upper left pixel.

        Raises
        ------
        TypeError
            If `idx` is not a 1-D int64 tensor.
        ValueError
            If an index is out of range.

        Examples
        --------
        >>> import torch
        >>> photo_patches().locate(torch.tensor([0, 634, 265_860])).tolist()
        [[0, 0, 0], [0, 1, 1], [1, 0, 0]]
        """
        check_indices(idx, len(self))
        rows, columns = self._places
        idx = idx.to(self.device)
        place = idx % (rows * columns)
        return torch.stack([idx // (rows * columns), place // columns, place % columns], dim=1)

    def fetch(self, idx: Int64[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Cut out the patches `idx`.

        Parameters
        ----------
        idx : Tensor of int64, shape (b,)
            Indices from 0 to ``len(self) - 1``, in any order, repeats allowed.

        Returns
        -------
        Tensor of floats, shape (b, 3 size**2)
            Values from 0 to 1; ``.reshape(-1, size, size, 3)`` makes pictures of them.

        Raises
        ------
        TypeError
            If `idx` is not a 1-D int64 tensor.
        ValueError
            If an index is out of range.

        Examples
        --------
        >>> import torch
        >>> patches = photo_patches()
        >>> picture = patches.fetch(torch.tensor([0])).reshape(8, 8, 3)
        >>> torch.equal(picture, patches.photos[0, :8, :8].float() / 255)
        True
        """
        photo, row, column = self.locate(idx).view(-1, 3, 1, 1).unbind(1)
        steps = torch.arange(self.size, device=self.device)
        patches = self.photos[photo, row + steps.view(1, -1, 1), column + steps.view(1, 1, -1)]
        return patches.flatten(1).to(self.dtype) / 255


def photo_patches(
    size: int = 8, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> PhotoPatches:
    """Make a source of all square patches of scikit-learn's two sample photographs, cut out on access.

    Patches overlap: one starts at every pixel where it fits. At size 8 that makes 2 x 420 x 633 = 531,720 items of
    192 features.

    Parameters
    ----------
    size : int, default 8
        Height and width of a patch [pixels], from 1 to 427.
    dtype : torch.dtype, default torch.float32
        Of the items.
    device : str or torch.device, default "cpu"
        Where the photographs are kept; names as in `selectlib.device.pick_device`.

    Returns
    -------
    PhotoPatches
        A source with ``__len__``, ``fetch(idx)`` and ``locate(idx)``.

    Raises
    ------
    ImportError
        If pillow, which reads the photographs, is not installed: the extra ``book`` brings it.
    TypeError
        If `size` is not an int, or `dtype` not a float type.
    ValueError
        If `size` is out of range, or `device` not available.

    Examples
    --------
    >>> import torch
    >>> patches = photo_patches()
    >>> len(patches), patches.fetch(torch.tensor([0, 531_719])).shape
    (531720, torch.Size([2, 192]))
    """
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"size must be an int, got {type(size).__name__}")
    if not 1 <= size <= 427:
        raise ValueError(f"size must be from 1 to 427 pixels, the photographs' height, got {size}")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a torch float type, got {dtype}")
    where = pick_device(device)
    try:
        images = sklearn.datasets.load_sample_images().images
    except ImportError as error:
        raise ImportError("photo_patches needs pillow: pip install 'what-to-keep[book]'") from error
    return PhotoPatches(
        photos=torch.stack([torch.tensor(image) for image in images]).to(where),
        size=size,
        dtype=dtype,
        description=f"all {size} x {size} patches of two colour photographs, a Chinese temple and a flower",
        licence="CC BY 2.0",
        source="china.jpg by danielbuechele and flower.jpg by vultilion, as bundled with scikit-learn",
    )
