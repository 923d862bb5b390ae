from dataclasses import dataclass

from jaxtyping import Float32, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Images with their classes, and where they come from.

    Parameters
    ----------
    images : Tensor of float32, shape (n, h, w), or (n, 3, h, w) in colour
        Brightness from 0 (background) to 1; in colour, of red, green and blue.
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

    images: Float32[Tensor, "n *chw"]
    labels: Int64[Tensor, "n"]
    description: str
    licence: str
    source: str
