from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from selectlib.data._digits import load_digits
from selectlib.data._domain_shift import DomainShift
from selectlib.data._images import LabeledImages
from selectlib.data._mnist import load_mnist_test
from selectlib.data._usps import load_usps
from selectlib.seeding import generator

_SOURCES = ("digits", "mnist")


def digit_domains(
    source: Literal["digits", "mnist"] = "digits",
    *,
    seed: int,
    size: Literal[8, 16] = 8,
    n_source: int = 1400,
    n_pool: int = 1400,
    n_test: int = 2000,
) -> DomainShift:
    """Draw a source domain from one set of handwritten digits, and the target from another, USPS.

    A shift that nobody made up: two collections, scanned and scaled by different people. The pool is drawn from the
    training part of USPS and the test set from its test part; the source is drawn from scikit-learn's digits or from
    the test images of MNIST, and its test set from what is left of them. Images are brought to one size by averaging
    over areas, USPS from 16 x 16 pixels and MNIST from 28 x 28, in whole frames: the digits of USPS fill theirs, those
    of MNIST have a margin, which is part of the shift. scikit-learn's digits are 8 x 8 as they are.

    Parameters
    ----------
    source : {"digits", "mnist"}, default "digits"
        Where the source comes from: `load_digits` or `load_mnist_test`. The target is `load_usps`.
    seed : int
        Chooses the images, from 0 to 2**32 - 1.
    size : {8, 16}, default 8
        Height and width of the images [pixels]; 8 for the source ``"digits"``.
    n_source : int, default 1400
        Images of the source, at least 1; at most 1,796 of the digits or 9,999 of MNIST, so that one is left for its
        test set.
    n_pool : int, default 1400
        Images of the pool, from 1 to 7,291.
    n_test : int, default 2000
        Images of the target's test set, from 1 to 2,007; the source's test set has as many, or what is left.

    Returns
    -------
    DomainShift
        Images of shape (., 1, size, size) on the CPU; all of the pool is of the target's domain.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, or h5py, which reads one, is not installed: the extra ``book`` brings
        both.
    OSError
        If a file is neither in the data folder nor to be fetched.
    TypeError
        If `seed` or a number of images is not an int.
    ValueError
        If `source` is unknown, `size` does not fit it, or a number of images is out of range.

    Notes
    -----
    Distinct images go into distinct sets, but both parts of USPS and both of each source were written by people of
    whom nothing is told: a writer may occur on both sides of a split.

    Examples
    --------
    .. code-block:: python

        shift = digit_domains("mnist", size=16, seed=100)
        shift.source.shape, shift.pool.shape  # (1400, 1, 16, 16) both
    """
    if source not in _SOURCES:
        raise ValueError(f"source must be 'digits' or 'mnist', got {source!r}")
    if size not in (8, 16) or (source == "digits" and size != 8):
        raise ValueError(f"size must be 8, or with the source 'mnist' 8 or 16, got {size} with {source!r}")
    draws = generator(seed)
    from_source = load_digits() if source == "digits" else load_mnist_test()
    usps, usps_test = load_usps("train"), load_usps("test")
    _check("n_source", n_source, len(from_source.labels) - 1)
    _check("n_pool", n_pool, len(usps.labels))
    _check("n_test", n_test, len(usps_test.labels))
    order = torch.randperm(len(from_source.labels), generator=draws)
    chosen, left = order[:n_source], order[n_source : n_source + n_test]
    pool, pool_labels = _drawn(usps, n_pool, draws)
    test, test_labels = _drawn(usps_test, n_test, draws)
    return DomainShift(
        source=_sized(from_source.images[chosen], size),
        source_labels=from_source.labels[chosen],
        source_test=_sized(from_source.images[left], size),
        source_test_labels=from_source.labels[left],
        pool=_sized(pool, size),
        pool_labels=pool_labels,
        pool_shifted=torch.ones(n_pool, dtype=torch.bool),
        test=_sized(test, size),
        test_labels=test_labels,
        description=f"source: {from_source.description}; target: USPS; all at {size} x {size} pixels",
        licence=f"source: {from_source.licence}; target: {usps.licence}",
        provenance=f"source: {from_source.source}; target: {usps.source}",
    )


def _drawn(data: LabeledImages, n: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    chosen = torch.randperm(len(data.labels), generator=draws)[:n]
    return data.images[chosen], data.labels[chosen]


def _sized(images: Tensor, size: int) -> Tensor:
    return adaptive_avg_pool2d(images.unsqueeze(1), size)


def _check(name: str, value: int, largest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if not 1 <= value <= largest:
        raise ValueError(f"{name} must be from 1 to {largest:,}, got {value}")
