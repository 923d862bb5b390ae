from dataclasses import dataclass

from jaxtyping import Float32, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Grey images with their classes, and where they come from.

    Parameters
    ----------
    images : Tensor of float32, shape (n, h, w)
        Brightness from 0 (background) to 1.
    labels : Tensor of int64, shape (n,)
        The class of each image.
    description, licence, source : str
        What the data is, under which terms, and from where.

    Examples
    --------
    >>> from selectlib.data import load_digits
    >>> digits = load_digits()
    >>> digits.images[digits.labels == 7].shape
    torch.Size([179, 8, 8])
    """

    images: Float32[Tensor, "n h w"]
    labels: Int64[Tensor, "n"]
    description: str
    licence: str
    source: str
