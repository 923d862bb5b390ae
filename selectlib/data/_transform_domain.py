from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from selectlib._checks import check_choice, check_images
from selectlib.seeding import generator

_PERMUTATION = 0  # seed of the one permutation of pixels


def transform_domain(
    images: Float[Tensor, "n c h w"],
    name: Literal["upright", "vertical flip", "negative", "permuted", "quarter turn", "horizontal flip", "edges"],
) -> Float[Tensor, "n c h w"]:
    """Bring images into another domain: the same classes, looking different.

    Parameters
    ----------
    images : Tensor of floats, shape (n, c, h, w)
        Values from 0 to 1.
    name : str
        What is done to every image, the same to all: ``"upright"``, nothing; ``"vertical flip"``, upside down;
        ``"negative"``, 1 minus the value; ``"permuted"``, the pixels in another order, one for each size of image;
        ``"quarter turn"``, each square cell of h x h pixels turned anticlockwise by 90 degrees in its place;
        ``"horizontal flip"``, left and right exchanged; ``"edges"``, the larger of the absolute differences to the
        pixel on the left and to the one above, 0 where there is none.

    Returns
    -------
    Tensor of floats, shape (n, c, h, w)
        Values from 0 to 1, on the images' device and in their dtype.

    Raises
    ------
    TypeError
        If `images` holds no floats.
    ValueError
        If `images` is not 4-D, `name` is unknown, or a quarter turn is asked for where w is no multiple of h.

    Examples
    --------
    >>> import torch
    >>> image = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]])
    >>> transform_domain(image, "quarter turn").squeeze()
    tensor([[0.5000, 0.2500],
            [0.0000, 1.0000]])
    """
    check_images(images)
    check_choice("name", name, tuple(_TRANSFORMS))
    return _TRANSFORMS[name](images)


def _permuted(images: Tensor) -> Tensor:
    h, w = images.shape[-2:]
    order = torch.randperm(h * w, generator=generator(_PERMUTATION)).to(images.device)
    return images.flatten(2)[..., order].view_as(images)


def _turned(images: Tensor) -> Tensor:
    h, w = images.shape[-2:]
    if w % h:
        raise ValueError(f"images must be a multiple of h wide for a quarter turn, got {h} x {w} pixels")
    cells = images.unflatten(3, (w // h, h)).transpose(2, 3)  # (n, c, cells, h, h)
    return torch.rot90(cells, dims=(3, 4)).transpose(2, 3).flatten(3)


def _edges(images: Tensor) -> Tensor:
    across, along = images.diff(dim=3).abs(), images.diff(dim=2).abs()
    return torch.maximum(pad(across, (1, 0)), pad(along, (0, 0, 1, 0)))


_TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "upright": lambda images: images.clone(),
    "vertical flip": lambda images: images.flip(2),
    "negative": lambda images: 1 - images,
    "permuted": _permuted,
    "quarter turn": _turned,
    "horizontal flip": lambda images: images.flip(3),
    "edges": _edges,
}
