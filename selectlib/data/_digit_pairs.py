from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Generator, Tensor
from torch.nn.functional import pad

from selectlib._checks import check_choice, check_generator, check_images, check_int
from selectlib.data._digits import LICENCE, SOURCE, load_digits
from selectlib.seeding import generator as seeded

Arrangement = Literal["beside", "overlaid"]

_DIGITS = 10
_SEEN = 6  # digits of the training classes in the digit split
_VALIDATION = 10  # validation classes
_TRAINING = {"beside": 50, "overlaid": 25}  # training classes in the combo split
_MOVE = 1  # pixels
_GAIN = 0.6, 1.4
_DROPPED = 0.1  # share of the pixels
_NOISE = 0.1


@dataclass(frozen=True, eq=False)
class DigitPairs:
    """Images of two handwritten digits each, whose class is the pair; made by `make_digit_pairs`.

    Attributes
    ----------
    images : Tensor of float32, shape (n, 1, h, w)
        Brightness from 0 (background) to 1.
    labels : Tensor of int64, shape (n,)
        The class of each image, a row of `pairs`.
    pairs : Tensor of int64, shape (c, 2)
        The two digits of each class.
    train_rows : Tensor of bool, shape (n,)
        Which images are made of the training half of the digits. The others have no digit image in common with them.
    train_classes, validation_classes, test_classes : Tensors of int64
        Classes to learn from, to choose settings on, and to test on: disjoint, each in ascending order.
    description, licence, source : str
        What the data is, under which terms, and from where.

    Examples
    --------
    >>> from selectlib.data import make_digit_pairs
    >>> made = make_digit_pairs(seed=100, per_class=5)
    >>> made.pairs[47], made.images[(made.labels == 47) & made.train_rows].shape
    (tensor([4, 7]), torch.Size([5, 1, 8, 16]))
    """

    images: Float32[Tensor, "n 1 h w"]
    labels: Int64[Tensor, "n"]
    pairs: Int64[Tensor, "c 2"]
    train_rows: Bool[Tensor, "n"]
    train_classes: Int64[Tensor, "c1"]
    validation_classes: Int64[Tensor, "c2"]
    test_classes: Int64[Tensor, "c3"]
    description: str
    licence: str
    source: str


def make_digit_pairs(
    split: Literal["combo", "digit"] = "combo",
    *,
    arrangement: Arrangement = "beside",
    seed: int = 100,
    per_class: int = 100,
) -> DigitPairs:
    """Make images of two digits, and split their pairs into classes to learn from and classes to test on.

    A class is a set of features that other classes share: digits at their places. Whether the training classes cover
    the features of the test classes is what the two splits differ in:

    * ``"combo"``: pairs are split at random, so that each digit occurs, at each place, in some training class. Test
      classes are new combinations of known digits.
    * ``"digit"``: training and validation classes have both digits from 6 of the ten, test classes both from the
      other 4. Pairs that mix the two belong to no split.

    The 1,797 digits of scikit-learn are halved at random before anything is made of them: a pair's images of the
    training half and those of the other half share no digit image.

    Parameters
    ----------
    split : {"combo", "digit"}, default "combo"
        How classes are split.
    arrangement : {"beside", "overlaid"}, default "beside"
        ``"beside"``: 8 x 16 pixels, a left and a right digit; 100 classes, numbered ``10 * left + right``.
        ``"overlaid"``: 8 x 8 pixels, the brighter of two digits in each pixel; 55 unordered pairs, in lexicographic
        order.
    seed : int, default 100
        Chooses the halves, the classes and the images, from 0 to 2**32 - 1.
    per_class : int, default 100
        Images of each class from the training half, and as many from the other: from 1 to 1,000.

    Returns
    -------
    DigitPairs
        ``2 * per_class`` images of every class, in the order of the classes, those of the training half first.
        Training, validation and test classes number 50, 10, 40 (``"combo"``) or 26, 10, 16 (``"digit"``) beside each
        other, and 25, 10, 20 or 11, 10, 10 overlaid.

    Raises
    ------
    TypeError
        If `seed` or `per_class` is not an int.
    ValueError
        If an argument is unknown or out of range.

    Notes
    -----
    Images of a class differ in their pair of digit images. Time and memory grow with `per_class`: 10 MB for the
    default beside each other. Classes of the combo split share digits between training and test by design: that is
    what the digit split takes away.

    Examples
    --------
    >>> made = make_digit_pairs("digit", seed=100, per_class=20)
    >>> made.images.shape, len(made.train_classes), len(made.test_classes)
    (torch.Size([4000, 1, 8, 16]), 26, 16)
    >>> seen, new = (set(made.pairs[c].flatten().tolist()) for c in (made.train_classes, made.test_classes))
    >>> seen & new
    set()
    """
    check_choice("split", split, ("combo", "digit"))
    check_choice("arrangement", arrangement, tuple(_TRAINING))
    check_int("per_class", per_class, 1, 1000)
    draws = seeded(seed)
    beside = arrangement == "beside"
    pairs = torch.cartesian_prod(*[torch.arange(_DIGITS)] * 2)
    if not beside:
        pairs = pairs[pairs[:, 0] <= pairs[:, 1]]
    digits = load_digits()
    order = torch.randperm(len(digits.labels), generator=draws)
    halves = order.chunk(2)
    members = [[half[digits.labels[half] == digit] for digit in range(_DIGITS)] for half in halves]
    chosen = torch.stack(
        [
            _distinct_pairs(half[first], half[second], per_class, ordered=beside, draws=draws)
            for first, second in pairs.tolist()
            for half in members
        ]
    )
    one, two = digits.images[chosen.flatten(0, 1)].unbind(1)
    images = torch.cat([one, two], dim=2) if beside else torch.maximum(one, two)
    train, validation, test = (_split_combos if split == "combo" else _split_digits)(pairs, arrangement, draws)
    return DigitPairs(
        images=images.unsqueeze(1),
        labels=torch.arange(len(pairs)).repeat_interleave(2 * per_class),
        pairs=pairs,
        train_rows=torch.tensor([True, False]).repeat_interleave(per_class).repeat(len(pairs)),
        train_classes=train,
        validation_classes=validation,
        test_classes=test,
        description=f"pairs of handwritten digits, {'side by side' if beside else 'one over the other'}",
        licence=LICENCE,
        source=f"{SOURCE}; paired here",
    )


def digit_pair_views(images: Float[Tensor, "b c h w"], *, generator: Generator) -> Float[Tensor, "b c h w"]:
    """Make a view of each image for self-supervision: moved, brighter or darker, with lost pixels and noise.

    An image is moved by -1, 0 or 1 pixel along each axis, with background from outside; multiplied by 0.6 to 1.4; a
    tenth of its pixels become 0; and Gaussian noise of standard deviation 0.1 is added to each value.

    Parameters
    ----------
    images : Tensor of floats, shape (b, c, h, w)
        Values from 0 to 1.
    generator : torch.Generator
        Source of the draws, on any device.

    Returns
    -------
    Tensor of floats, shape (b, c, h, w)
        On the images' device, in their order and dtype; the noise is not cut off at 0 or 1.

    Raises
    ------
    TypeError
        If `images` holds no floats or `generator` is no torch generator.
    ValueError
        If `images` is not 4-D.

    Examples
    --------
    >>> from selectlib.data import make_digit_pairs
    >>> from selectlib.seeding import generator
    >>> images = make_digit_pairs(seed=100, per_class=1).images
    >>> digit_pair_views(images, generator=generator(100)).shape
    torch.Size([200, 1, 8, 16])
    """
    check_images(images)
    check_generator(generator)
    b, _, h, w = images.shape
    device, where = images.device, generator.device
    down, right = torch.randint(2 * _MOVE + 1, (2, b, 1), generator=generator, device=where).to(device)
    gain, kept = torch.rand(b * (1 + h * w), generator=generator, device=where).to(images).split([b, b * h * w])
    noise = torch.randn(images.shape, generator=generator, device=where).to(images)
    rows, columns = down + torch.arange(h, device=device), right + torch.arange(w, device=device)
    framed = pad(images, [_MOVE] * 4).movedim(1, 3)
    moved = framed[torch.arange(b, device=device).view(-1, 1, 1), rows[:, :, None], columns[:, None]].movedim(3, 1)
    low, high = _GAIN
    gains = (low + (high - low) * gain).view(b, 1, 1, 1) * (kept.view(b, 1, h, w) >= _DROPPED)
    return noise.mul_(_NOISE).addcmul_(moved, gains)


def _distinct_pairs(first: Tensor, second: Tensor, count: int, *, ordered: bool, draws: Generator) -> Tensor:
    """`count` distinct pairs (a, b) of images, shape (count, 2); unordered ones of two different images if asked."""
    pairs = torch.cartesian_prod(first, second)
    if not ordered and first is second:
        pairs = torch.combinations(first)
    return pairs[torch.randperm(len(pairs), generator=draws)[:count]]


def _split_combos(pairs: Tensor, arrangement: Arrangement, draws: Generator) -> tuple[Tensor, ...]:
    """Classes at random, drawn again until the training classes have each digit at each place."""
    sizes = _TRAINING[arrangement], _VALIDATION, len(pairs) - _TRAINING[arrangement] - _VALIDATION
    while True:
        split = torch.randperm(len(pairs), generator=draws).split(sizes)
        places = pairs[split[0]].T if arrangement == "beside" else [pairs[split[0]]]
        if all(len(place.unique()) == _DIGITS for place in places):
            return tuple(part.sort().values for part in split)


def _split_digits(pairs: Tensor, arrangement: Arrangement, draws: Generator) -> tuple[Tensor, ...]:
    """Pairs of 6 digits for training and validation, pairs of the other 4 for the test."""
    seen = torch.zeros(_DIGITS, dtype=torch.bool)
    seen[torch.randperm(_DIGITS, generator=draws)[:_SEEN]] = True
    known, test = (flags.all(1).nonzero().flatten() for flags in (seen[pairs], ~seen[pairs]))
    shuffled = known[torch.randperm(len(known), generator=draws)]
    return shuffled[_VALIDATION:].sort().values, shuffled[:_VALIDATION].sort().values, test
