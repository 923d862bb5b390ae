import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn.functional import grid_sample

from selectlib.data._digits import LICENCE, SOURCE, load_digits
from selectlib.data._indices import check_indices
from selectlib.device import pick_device

_ROTATION = math.radians(15)  # at most, to either side
_SCALE = (0.9, 1.1)
_SHIFT = 0.75  # pixels, at most, along each axis
_BRIGHTNESS = (0.85, 1.0)
_BLOCK = 2**13  # items at a time: their working memory stays within a CPU's cache


@dataclass(frozen=True, eq=False)
class InfiniteDigits:
    """A random-access source of deformed digits; made by `infinite_digits`.

    Parameters
    ----------
    n : int
        Number of items.
    seed : int
        Chooses the deformations.
    images : Tensor of float32, shape (1797, 8, 8)
        The digits that are deformed.
    dtype : torch.dtype
        Of the items.
    description, licence, source : str
        What the data is, under which terms, and from where.

    Examples
    --------
    >>> digits = infinite_digits(10**6)
    >>> digits.device, digits.dtype
    (device(type='cpu'), torch.float32)
    """

    n: int
    seed: int
    images: Float32[Tensor, "m h w"]
    dtype: torch.dtype
    description: str
    licence: str
    source: str

    def __len__(self) -> int:
        """Return the number of items."""
        return self.n

    @property
    def device(self) -> torch.device:
        """Where the items come out."""
        return self.images.device

    def fetch(self, idx: Int64[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Make the items `idx`.

        Parameters
        ----------
        idx : Tensor of int64, shape (b,)
            Indices from 0 to ``n - 1``, in any order, repeats allowed.

        Returns
        -------
        Tensor of floats, shape (b, 64)
            An 8 x 8 image a row, from 0 to 1. Item i depends on i and the seed alone: not on its batch or on the
            order of requests, nor, but for rounding in float32, on the device.

        Raises
        ------
        TypeError
            If `idx` is not a 1-D int64 tensor.
        ValueError
            If an index is out of range.

        Examples
        --------
        >>> import torch
        >>> items = infinite_digits(10**6).fetch(torch.tensor([5, 1802, 5]))
        >>> torch.equal(items[0], items[2]), torch.equal(items[0], items[1])
        (True, False)
        """
        check_indices(idx, self.n)
        items = torch.empty(len(idx), self.images[0].numel(), dtype=self.dtype, device=self.device)
        for rows, block in zip(items.split(_BLOCK), idx.to(self.device).split(_BLOCK), strict=True):
            rows.copy_(self._make(block))
        return items

    def _make(self, idx: Tensor) -> Tensor:
        size = self.images.shape[-1]
        spin, zoom, right, down, light = _uniform(idx, self.seed, draws=5)
        angle = _ROTATION * (2 * spin - 1)
        scale = _between(_SCALE, zoom)
        # Where each pixel comes from, in pixels from the centre: the deformation backwards.
        ticks = torch.arange(size, device=self.device, dtype=torch.float32) - (size - 1) / 2
        x = ticks.view(1, 1, -1) - _SHIFT * (2 * right - 1).view(-1, 1, 1)
        y = ticks.view(1, -1, 1) - _SHIFT * (2 * down - 1).view(-1, 1, 1)
        cos, sin = ((turn / scale).view(-1, 1, 1) for turn in (angle.cos(), angle.sin()))
        grid = torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1) * (2 / (size - 1))
        images = self.images[idx % len(self.images)].unsqueeze(1)
        deformed = grid_sample(images, grid, align_corners=True)
        return deformed.flatten(1) * _between(_BRIGHTNESS, light).unsqueeze(1)


def infinite_digits(
    n: int, *, seed: int = 100, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> InfiniteDigits:
    """Make a source of `n` deformed digits, each of which exists only when it is asked for.

    Item i is digit ``i mod 1797`` of `load_digits`, turned by up to 15 degrees to either side, scaled by 0.9 to 1.1,
    shifted by up to 0.75 pixels along each axis, and dimmed to 0.85 to 1 of its brightness. The five numbers are
    uniform, from a hash of `seed` and i, so that any item can be made at once without the ones before it.

    Parameters
    ----------
    n : int
        Number of items, from 1 to 2**40; it costs nothing.
    seed : int, default 100
        Chooses the deformations, from 0 to 2**32 - 1.
    dtype : torch.dtype, default torch.float32
        Of the items; they are computed in float32, so that float64 holds the same values.
    device : str or torch.device, default "cpu"
        Where the items are made; names as in `selectlib.device.pick_device`.

    Returns
    -------
    InfiniteDigits
        A source with ``__len__`` and ``fetch(idx)``, whose items have 64 features.

    Raises
    ------
    TypeError
        If `n` or `seed` is not an int, or `dtype` not a float type.
    ValueError
        If `n` or `seed` is out of range, or `device` not available.

    Notes
    -----
    Time and memory O(b) for b items asked for, whatever n.

    Examples
    --------
    >>> import torch
    >>> digits = infinite_digits(10**9)
    >>> len(digits), digits.fetch(torch.tensor([0, 999_999_999])).shape
    (1000000000, torch.Size([2, 64]))
    """
    for name, value, low, high in (("n", n, 1, 2**40), ("seed", seed, 0, 2**32 - 1)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, got {type(value).__name__}")
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, got {value}")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a torch float type, got {dtype}")
    return InfiniteDigits(
        n=n,
        seed=seed,
        images=load_digits().images.to(pick_device(device)),
        dtype=dtype,
        description=f"{n:,} handwritten digits of 8 x 8 pixels, each a small deformation of one of 1,797",
        licence=LICENCE,
        source=f"{SOURCE}; deformed on access",
    )


def _between(bounds: tuple[float, float], share: Tensor) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _uniform(idx: Tensor, seed: int, *, draws: int) -> Tensor:
    """Give each index its own uniform numbers in [0, 1), shape (draws, b): SplitMix64's stream, read by position."""
    positions = idx * draws + torch.arange(draws, device=idx.device).unsqueeze(1)
    start = _mix(torch.tensor(seed, device=idx.device))
    bits = _mix(start + (positions + 1) * _signed(0x9E3779B97F4A7C15))
    return _shift_right(bits, 40).float() * 2.0**-24


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift_right(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shift_right(bits, 27)) * _signed(0x94D049BB133111EB)
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Shift as an unsigned number would: int64 alone would drag its sign along."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word
