import math
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from selectlib.data._digits import LICENCE, SOURCE, load_digits
from selectlib.data._domain_shift import DomainShift
from selectlib.seeding import generator

_SALT = 0.05  # share of pixels that turn white
_BLUR_STEPS = 9  # pictures that a motion blur averages


def shifted_digits(
    shift: Literal["turn", "texture", "smear"] = "turn",
    severity: float | int = 1.0,
    *,
    seed: int,
    n_source: int = 700,
    n_pool: int = 700,
    n_test: int = 397,
    per_image: int = 2,
    shifted_share: float | int = 1.0,
) -> DomainShift:
    """Split scikit-learn's digits into a source and a target domain, and shift the target's look.

    The 1,797 digits are split at random into three sets before anything is done to them, so that no digit has a copy
    on both sides of a split. Source images are jittered: turned by up to 6 degrees to either side, sheared by up to
    0.05, moved by up to 0.06 of half the width along each axis, with noise of standard deviation 0.02. The target's
    images are shifted in one of three ways:

    * ``"turn"``: turned anticlockwise by 10 to 60 degrees times `severity`, sheared by -0.1 to 0.3 times `severity`,
      moved by up to 0.1; contrast 0.5 to 1 and an added light of 0 to 0.25; noise 0.04.
    * ``"texture"``: the absolute difference from a smooth texture, 2 x 2 uniform numbers enlarged bilinearly, times
      `severity`.
    * ``"smear"``: blurred along a random direction over 1 to 3 pixels times `severity`, then raised to a power of 0.5
      to 2, and 5 % of the pixels turned white.

    Every number above is drawn uniformly for each image, noise is Gaussian, and values are cut to [0, 1].

    Parameters
    ----------
    shift : {"turn", "texture", "smear"}, default "turn"
        How the target differs.
    severity : float, default 1.0
        How much of it, at least 0.
    seed : int
        Chooses the split and every draw, from 0 to 2**32 - 1. The same seed gives the same source and the same
        splits for every shift and severity.
    n_source, n_pool, n_test : int, default 700, 700 and 397
        Digits in each set, at least 1 and together at most 1,797.
    per_image : int, default 2
        Differently drawn copies of each digit in the pool and in the target's test set, at least 1; the source and
        its test set hold one of each.
    shifted_share : float, default 1.0
        Share of the pool's images that are shifted, from 0 to 1; the others, chosen at random, are jittered as the
        source is: a contaminated pool. The test set is always shifted.

    Returns
    -------
    DomainShift
        Images of shape (., 1, 8, 8) on the CPU: `n_source` of the source, `n_test` held-out ones like it (of the
        digits of the target's test set), ``n_pool * per_image`` in the pool, ``n_test * per_image`` in the test set.

    Raises
    ------
    TypeError
        If a size or `seed` is not an int.
    ValueError
        If `shift` is unknown, or an argument is out of range.

    Notes
    -----
    ``"turn"`` and ``"texture"`` are the settings in which the chapter on energy-based active domain adaptation was
    explored; ``"smear"`` was left for its confirmation.

    Examples
    --------
    >>> digits = shifted_digits("texture", 0.7, seed=100)
    >>> digits.source.shape, digits.pool.shape, bool(digits.pool_shifted.all())
    (torch.Size([700, 1, 8, 8]), torch.Size([1400, 1, 8, 8]), True)
    >>> shifted_digits(seed=100, shifted_share=0.5).pool_shifted.sum()
    tensor(700)
    """
    sizes = {"n_source": n_source, "n_pool": n_pool, "n_test": n_test}
    _check(shift, severity, sizes, per_image, shifted_share)
    draws = generator(seed)
    digits = load_digits()
    if (asked := sum(sizes.values())) > len(digits.labels):
        raise ValueError(f"n_source, n_pool and n_test must sum to at most {len(digits.labels)}, got {asked}")
    order = torch.randperm(len(digits.labels), generator=draws)
    of_source, of_pool, of_test = order[:asked].split(list(sizes.values()))
    images = digits.images.unsqueeze(1)
    source, source_test = (_jitter(images[part], draws) for part in (of_source, of_test))
    test_copies, pool_copies = (part.repeat_interleave(per_image) for part in (of_test, of_pool))
    test = _SHIFTS[shift](images[test_copies], severity, draws)
    rank = torch.randperm(len(pool_copies), generator=draws)
    shifted = rank < round(shifted_share * len(pool_copies))
    alike = _jitter(images[pool_copies], draws)
    pool = torch.where(shifted.view(-1, 1, 1, 1), _SHIFTS[shift](images[pool_copies], severity, draws), alike)
    return DomainShift(
        source=source,
        source_labels=digits.labels[of_source],
        source_test=source_test,
        source_test_labels=digits.labels[of_test],
        pool=pool,
        pool_labels=digits.labels[pool_copies],
        pool_shifted=shifted,
        test=test,
        test_labels=digits.labels[test_copies],
        description=f"handwritten digits of 8 x 8 pixels, others under the shift {shift!r} of severity {severity:g}",
        licence=LICENCE,
        provenance=f"{SOURCE}; shifted here",
    )


def _jitter(images: Tensor, draws: Generator) -> Tensor:
    """What every image of the source goes through."""
    angle, shear, right, down = (_uniform(-high, high, images, draws) for high in (math.radians(6), 0.05, 0.06, 0.06))
    return _noisy(_warp(images, angle, shear, right, down), 0.02, draws)


def _turn(images: Tensor, severity: float | int, draws: Generator) -> Tensor:
    angle = severity * _uniform(math.radians(10), math.radians(60), images, draws)
    shear = severity * _uniform(-0.1, 0.3, images, draws)
    right, down = (_uniform(-0.1, 0.1, images, draws) for _ in range(2))
    contrast, light = _uniform(0.5, 1, images, draws), _uniform(0, 0.25, images, draws)
    return _noisy(_warp(images, angle, shear, right, down) * contrast + light, 0.04, draws)


def _texture(images: Tensor, severity: float | int, draws: Generator) -> Tensor:
    coarse = torch.rand(len(images), 1, 2, 2, generator=draws)
    texture = severity * interpolate(coarse, images.shape[-2:], mode="bilinear", align_corners=False)
    return (images - texture).abs().clamp(0, 1)


def _smear(images: Tensor, severity: float | int, draws: Generator) -> Tensor:
    direction = _uniform(0, math.pi, images, draws)
    length = severity * _uniform(1, 3, images, draws)
    half = length / images.shape[-1]  # grid coordinates count half widths, from -1 to 1
    still = torch.zeros_like(direction)
    blurred = torch.stack(
        [
            _warp(images, still, still, along * half * direction.cos(), along * half * direction.sin())
            for along in torch.linspace(-1, 1, _BLUR_STEPS).tolist()
        ]
    ).mean(0)
    powered = blurred.clamp(0, 1) ** _uniform(0.5, 2, images, draws)
    salt = torch.rand(images.shape, generator=draws) < _SALT
    return powered.masked_fill(salt, 1.0)


_SHIFTS = {"turn": _turn, "texture": _texture, "smear": _smear}


def _uniform(low: float | int, high: float | int, images: Tensor, draws: Generator) -> Tensor:
    """One number an image, in a shape that multiplies it."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=draws)


def _warp(images: Tensor, angle: Tensor, shear: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Turn anticlockwise [rad], shear and move [half widths] each image; black comes in from outside."""
    cos, sin = angle.cos(), angle.sin()
    # Where a pixel comes from: rotation times shear, then the move.
    rows = torch.cat([cos, cos * shear - sin, right, sin, sin * shear + cos, down], dim=-1)
    grid = affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def _noisy(images: Tensor, deviation: float, draws: Generator) -> Tensor:
    return (images + deviation * torch.randn(images.shape, generator=draws)).clamp(0, 1)


def _check(shift: str, severity, sizes: dict[str, int], per_image: int, shifted_share) -> None:
    """Raise a clear error before any work."""
    if shift not in _SHIFTS:
        raise ValueError(f"shift must be one of {', '.join(map(repr, _SHIFTS))}, got {shift!r}")
    if not 0 <= severity < math.inf:
        raise ValueError(f"severity must be a finite number of at least 0, got {severity}")
    for name, value in {**sizes, "per_image": per_image}.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, got {type(value).__name__}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= shifted_share <= 1:
        raise ValueError(f"shifted_share must be from 0 to 1, got {shifted_share}")
