import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from selectlib._checks import check_generator, check_images

_GREY = (0.299, 0.587, 0.114)  # luma of red, green and blue


def random_affine(images: Float[Tensor, "b c h w"], *, generator: torch.Generator) -> Float[Tensor, "b c h w"]:
    """Turn, scale and move each image a little, differently: training images of a digit stay that digit.

    Turned by -15 to 15 degrees, scaled by 0.85 to 1.15, moved by up to 12 % of the width and of the height, each drawn
    uniformly; sampled bilinearly, with black from outside.

    Parameters
    ----------
    images : Tensor of floats, shape (b, c, h, w)
        Any number of channels.
    generator : torch.Generator
        Source of the draws, on any device.

    Returns
    -------
    Tensor of floats, shape (b, c, h, w)
        On the images' device, in their order and dtype; its range is theirs, with 0.

    Raises
    ------
    TypeError
        If `images` holds no floats or `generator` is no torch generator.
    ValueError
        If `images` is not 4-D.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> images = torch.rand(6, 1, 16, 16, generator=generator(100))
    >>> random_affine(images, generator=generator(100)).shape
    torch.Size([6, 1, 16, 16])
    """
    check_images(images)
    check_generator(generator)
    turn, scale, right, down = _uniform(images, generator, (-1, 1), (0.85, 1.15), (-0.24, 0.24), (-0.24, 0.24))
    angle = math.radians(15) * turn
    cos, sin = angle.cos() / scale, angle.sin() / scale  # where a pixel comes from: hence the division
    # Grid coordinates count half sides; a turn of images that are not square needs their ratio.
    ratio = images.shape[-2] / images.shape[-1]
    return _sample(images, cos, -ratio * sin, right, sin / ratio, cos, down)


def affine_views(images: Float[Tensor, "b c h w"], *, generator: torch.Generator) -> Float[Tensor, "b c h w"]:
    """Make a view of each image for self-supervision of grey images: `random_affine`, then light and noise.

    After the affine part values are multiplied by a contrast of 0.7 to 1.3, a brightness of -0.15 to 0.15 is added,
    both drawn uniformly for each image, and Gaussian noise of standard deviation 0.05 for each value; the result is
    cut to [0, 1].

    Parameters
    ----------
    images : Tensor of floats, shape (b, c, h, w)
        Values from 0 to 1.
    generator : torch.Generator
        Source of the draws, on any device.

    Returns
    -------
    Tensor of floats, shape (b, c, h, w)
        Values from 0 to 1, on the images' device, in their order and dtype.

    Raises
    ------
    TypeError
        If `images` holds no floats or `generator` is no torch generator.
    ValueError
        If `images` is not 4-D.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> images = torch.rand(6, 1, 16, 16, generator=generator(100))
    >>> views = affine_views(images, generator=generator(100))
    >>> views.shape, bool((views >= 0).all() and (views <= 1).all())
    (torch.Size([6, 1, 16, 16]), True)
    """
    moved = random_affine(images, generator=generator)
    contrast, brightness = _uniform(images, generator, (0.7, 1.3), (-0.15, 0.15))
    noise = torch.randn(images.shape, generator=generator, device=generator.device).to(images)
    return moved.mul_(contrast).add_(brightness).add_(noise, alpha=0.05).clamp_(0, 1)


def colour_views(images: Float[Tensor, "b 3 h w"], *, generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Make a view of each colour image for self-supervision, all of a batch at once on its device.

    In this order, each for each image by its own draws: with probability 0.3 brightness, contrast and saturation times
    0.2 to 1.8 and a turn of the hue by up to a fifth of the circle either way; with probability 0.2 grey; with
    probability 0.5 mirrored left to right; with probability 0.2 a 3 x 3 Gaussian blur of standard deviation 1 to 2
    pixels; a crop of 8 to 100 % of the area, with a ratio of sides of 3/4 to 4/3 times the image's, resized to the
    whole.

    Parameters
    ----------
    images : Tensor of floats, shape (b, 3, h, w)
        Red, green and blue, from 0 to 1.
    generator : torch.Generator
        Source of the draws, on any device.

    Returns
    -------
    Tensor of floats, shape (b, 3, h, w)
        Values from 0 to 1, on the images' device, in their order and dtype.

    Raises
    ------
    TypeError
        If `images` holds no floats or `generator` is no torch generator.
    ValueError
        If `images` is not 4-D with 3 channels.

    Notes
    -----
    These are the defaults of the BYOL package whose names the official code of SelectNAdapt uses, with three
    differences that spare passes over the images: the changes of colour come in a fixed order and are cut to [0, 1]
    once, at their end; hue turns about the grey axis (in YIQ) instead of in HSV; a crop's side that would be longer
    than the image's is cut to it instead of drawn anew. Normalisation to a mean of 0 is left to the model.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> photos = torch.rand(4, 3, 32, 32, generator=generator(100))
    >>> views = colour_views(photos, generator=generator(100))
    >>> views.shape, bool((views >= 0).all() and (views <= 1).all())
    (torch.Size([4, 3, 32, 32]), True)
    """
    check_images(images)
    check_generator(generator)
    if images.shape[1] != 3:
        raise ValueError(f"images must have 3 channels, got shape {tuple(images.shape)}")
    return _crop(_blur(_recolour(images, generator), generator), generator)


def _recolour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Colour jitter and greying: a linear map of the colours of each image, and for the contrast an offset."""
    factors = (0.2, 1.8)
    brightness, contrast, saturation, hue, jitter, grey = (
        draw.view(-1, 1, 1)
        for draw in _uniform(images, generator, factors, factors, factors, (-0.2, 0.2), (0, 1), (0, 1))
    )
    same = torch.eye(3).to(images)
    luma = torch.tensor(_GREY).to(images).expand(3, 3)  # each row takes a colour to its grey
    mean = (images.mean((2, 3)) @ luma[0]).view(-1, 1, 1)
    to_yiq = torch.tensor([_GREY, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)]).to(images)
    turned = _turn_hue(2 * math.pi * hue, to_yiq)
    jittered = turned @ (luma + saturation * (same - luma)) * (brightness * contrast)
    chosen = jitter < 0.3
    matrix = torch.where(chosen, jittered, same)
    offset = torch.where(chosen, brightness * (1 - contrast) * mean, 0)  # grey: saturation and hue leave it alone
    matrix = torch.where(grey < 0.2, luma @ matrix, matrix)
    return (matrix @ images.flatten(2) + offset).clamp_(0, 1).view_as(images)


def _turn_hue(angle: Tensor, to_yiq: Tensor) -> Tensor:
    """Maps of colours, shape (b, 3, 3), that turn the plane of I and Q."""
    cos, sin, still = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [torch.cat(row, 2) for row in ((still + 1, still, still), (still, cos, -sin), (still, sin, cos))]
    return torch.linalg.inv(to_yiq) @ torch.cat(rows, 1) @ to_yiq


def _blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian weights 1 : e^(-1/2σ²) over three pixels along either side; a weight of 0 leaves an image as it is."""
    chosen, sigma = _uniform(images, generator, (0, 1), (1, 2))
    side = torch.where(chosen < 0.2, (-0.5 / sigma**2).exp(), 0)
    middle, side = 1 / (1 + 2 * side), side / (1 + 2 * side)
    rows = pad(images, (0, 0, 1, 1), mode="replicate")
    images = middle * images + side * (rows[:, :, 2:] + rows[:, :, :-2])
    columns = pad(images, (1, 1, 0, 0), mode="replicate")
    return middle * images + side * (columns[..., 2:] + columns[..., :-2])


def _crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror and resized crop."""
    log = math.log(4 / 3)
    area, ratio, right, down, mirror = _uniform(images, generator, (0.08, 1), (-log, log), (-1, 1), (-1, 1), (0, 1))
    width = (area.sqrt() * (ratio / 2).exp()).clamp(max=1)
    height = (area.sqrt() * (-ratio / 2).exp()).clamp(max=1)
    still = torch.zeros_like(area)
    mirrored = torch.where(mirror < 0.5, -width, width)
    return _sample(images, mirrored, still, right * (1 - width), still, height, down * (1 - height), outside="border")


def _uniform(images: Tensor, generator: torch.Generator, *ranges: tuple[float | int, float | int]) -> list[Tensor]:
    """For each range one number an image, shape (b, 1, 1, 1)."""
    draws = torch.rand(len(ranges), len(images), 1, 1, 1, generator=generator, device=generator.device).to(images)
    return [low + (high - low) * draw for draw, (low, high) in zip(draws, ranges, strict=True)]


def _sample(images: Tensor, *entries: Tensor, outside: str = "zeros") -> Tensor:
    """Each image through its own map of coordinates, the rows of a 2 x 3 matrix that says where a pixel comes from."""
    grid = affine_grid(torch.cat(entries, 3).view(-1, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode=outside, align_corners=False)
