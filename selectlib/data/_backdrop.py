import math

import torch
from scipy.ndimage import gaussian_filter
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from selectlib.data._digits import LICENCE, SOURCE, load_digits
from selectlib.data._domain_shift import DomainShift
from selectlib.data._shifted_digits import _warp
from selectlib.seeding import generator


def backdrop_digits(
    turn: float | int = 30.0,
    strength: float | int = 0.3,
    *,
    seed: int,
    size: int = 16,
    n_source: int = 600,
    n_pool: int = 800,
    n_test: int = 397,
) -> DomainShift:
    """Split scikit-learn's digits into a clean source and a target that is turned, in front of smooth clutter.

    The 1,797 digits are enlarged bilinearly and split at random into three sets, one copy of each, so that no digit is
    on both sides of a split. Every image of the target is turned anticlockwise by the same angle, and becomes its
    absolute difference from a backdrop of its own: uniform noise, blurred by a Gaussian of 1 pixel and stretched to
    [0, 1], times `strength`. Images of the source are left as they are.

    Parameters
    ----------
    turn : float, default 30.0
        Angle by which the target's digits are turned anticlockwise [degrees].
    strength : float, default 0.3
        Brightness of the backdrops where they are brightest, from 0 to 1.
    seed : int
        Chooses the split and the backdrops, from 0 to 2**32 - 1. The same seed gives the same splits and backdrops for
        every angle and strength.
    size : int, default 16
        Height and width of the images, at least 8 [pixels].
    n_source, n_pool, n_test : int, default 600, 800 and 397
        Digits in each set, at least 1 and together at most 1,797.

    Returns
    -------
    DomainShift
        Images of shape (., 1, size, size) on the CPU, values from 0 to 1. The source's test set holds the digits of
        the target's test set, clean.

    Raises
    ------
    TypeError
        If a size or `seed` is not an int.
    ValueError
        If an argument is out of range.

    Notes
    -----
    The setting is ours, for the chapter on choosing a support set: at the defaults a small network that is right about
    nearly all of the source is right about half of the target. Angles beyond some 45 degrees begin to take digits to
    other classes.

    Examples
    --------
    >>> digits = backdrop_digits(seed=100)
    >>> digits.source.shape, digits.pool.shape, digits.test.shape
    (torch.Size([600, 1, 16, 16]), torch.Size([800, 1, 16, 16]), torch.Size([397, 1, 16, 16]))
    """
    counts = {"n_source": n_source, "n_pool": n_pool, "n_test": n_test}
    _check(turn, strength, {"size": (size, 8), **{name: (count, 1) for name, count in counts.items()}})
    draws = generator(seed)
    digits = load_digits()
    if (asked := sum(counts.values())) > len(digits.labels):
        raise ValueError(f"n_source, n_pool and n_test must sum to at most {len(digits.labels)}, got {asked}")
    order = torch.randperm(len(digits.labels), generator=draws)
    of_source, of_pool, of_test = order[:asked].split(list(counts.values()))
    images = interpolate(digits.images.unsqueeze(1), (size, size), mode="bilinear", align_corners=False)
    return DomainShift(
        source=images[of_source],
        source_labels=digits.labels[of_source],
        source_test=images[of_test],
        source_test_labels=digits.labels[of_test],
        pool=_shifted(images[of_pool], turn, strength, draws),
        pool_labels=digits.labels[of_pool],
        pool_shifted=torch.ones(n_pool, dtype=torch.bool),
        test=_shifted(images[of_test], turn, strength, draws),
        test_labels=digits.labels[of_test],
        description=f"handwritten digits of {size} x {size} pixels; others turned by {turn:g} degrees, "
        f"before backdrops of strength {strength:g}",
        licence=LICENCE,
        provenance=f"{SOURCE}; enlarged and shifted here",
    )


def _shifted(images: Tensor, turn: float | int, strength: float | int, draws: Generator) -> Tensor:
    still = images.new_zeros(len(images), 1, 1, 1)
    turned = _warp(images, still + math.radians(turn), still, still, still)
    return (turned - strength * _backdrops(images.shape, draws)).abs()


def _backdrops(shape: torch.Size, draws: Generator) -> Tensor:
    """Smooth noise, each image from 0 to 1."""
    noise = torch.rand(shape, generator=draws)
    smooth = torch.from_numpy(gaussian_filter(noise.numpy(), sigma=(0, 0, 1, 1)))
    low, high = smooth.amin((2, 3), keepdim=True), smooth.amax((2, 3), keepdim=True)
    return (smooth - low) / (high - low)


def _check(turn: float | int, strength: float | int, sizes: dict[str, tuple[int, int]]) -> None:
    """Raise a clear error before any work; sizes come with the least that is allowed."""
    if not math.isfinite(turn):
        raise ValueError(f"turn must be a finite number of degrees, got {turn}")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be from 0 to 1, got {strength}")
    for name, (value, least) in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, got {type(value).__name__}")
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
