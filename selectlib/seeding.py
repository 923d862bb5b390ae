"""Random numbers: every draw of the library comes from a generator that the caller made from a seed."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from selectlib.device import pick_device

_SEEDS = 2**32  # torch's CPU generator drops the higher bits, so that larger seeds would repeat each other's streams
_BITS = 62


def generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Make a torch generator from a seed.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    device : str or torch.device, default "cpu"
        Where the generator draws; names as in `selectlib.device.pick_device`.

    Returns
    -------
    torch.Generator
        A new generator, seeded.

    Raises
    ------
    TypeError
        If `seed` is not an int.
    ValueError
        If `seed` is out of range, or `device` is not available.

    Examples
    --------
    >>> import torch
    >>> first, second = (torch.rand(3, generator=generator(100)) for _ in range(2))
    >>> torch.equal(first, second)
    True
    """
    _check_seed(seed)
    return torch.Generator(device=pick_device(device)).manual_seed(seed)


def replicate_seeds(seed: int, replicates: int) -> list[int]:
    """Make one seed for each replicate of an experiment.

    Replicate ``r`` gets the first word of ``numpy.random.SeedSequence(seed).spawn(replicates)[r]``, so that its seed
    stays the same when more replicates are added.

    Parameters
    ----------
    seed : int
        The experiment's seed, from 0 to 2**32 - 1.
    replicates : int
        How many seeds, at least 1.

    Returns
    -------
    list of int
        `replicates` seeds from 0 to 2**32 - 1, each good for `generator` and `numpy.random.default_rng`.

    Raises
    ------
    TypeError
        If an argument is not an int.
    ValueError
        If `seed` is out of range or `replicates` is below 1.

    Examples
    --------
    >>> replicate_seeds(100, 5)[:2] == replicate_seeds(100, 2)
    True
    """
    _check_seed(seed)
    _check_int("replicates", replicates)
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1, got {replicates}")
    return [int(child.generate_state(1)[0]) for child in np.random.SeedSequence(seed).spawn(replicates)]


def uniform_indices(n: int, size: int, *, generator: torch.Generator) -> Int[Tensor, "size"]:
    """Draw indices below `n` uniformly and independently, with replacement.

    `torch.randint` takes a 32-bit number modulo `n` when `n` is below 2**28, which favours the small indices by a
    relative ``n / 2**32`` (6 % near the end of that range). Here the number has 62 bits, and the excess is at most
    ``n / 2**62``.

    Parameters
    ----------
    n : int
        Number of items, from 1 to 2**62.
    size : int
        How many draws, at least 0.
    generator : torch.Generator
        Source of the draws.

    Returns
    -------
    Tensor of int64, shape (size,)
        Indices from 0 to ``n - 1``, on the generator's device.

    Raises
    ------
    TypeError
        If `generator` is not a `torch.Generator`, or `n` or `size` is not an int.
    ValueError
        If `n` or `size` is out of range.

    Examples
    --------
    >>> uniform_indices(10**8, 5, generator=generator(100)).shape
    torch.Size([5])
    """
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    _check_int("n", n)
    _check_int("size", size)
    if not 1 <= n <= 2**_BITS:
        raise ValueError(f"n must be from 1 to 2**{_BITS}, got {n}")
    if size < 0:
        raise ValueError(f"size must be at least 0, got {size}")
    return torch.randint(2**_BITS, (size,), generator=generator, device=generator.device).remainder_(n)


def _check_seed(seed: int) -> None:
    _check_int("seed", seed)
    if not 0 <= seed < _SEEDS:
        raise ValueError(f"seed must be from 0 to 2**32 - 1, got {seed}")


def _check_int(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
