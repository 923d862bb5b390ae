"""Digits before backdrops: nothing on both sides of a split, and the shift is what its description says."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from selectlib.data import _backdrop as module
from selectlib.data import backdrop_digits, load_digits
from selectlib.seeding import generator

FIELDS = ("source", "source_test", "pool", "test")


def rows(images):
    return {tuple(row) for row in (256 * images).round().flatten(1).tolist()}


def enlarged():
    """By another road: bilinear on half-pixel centres, one axis after the other."""
    x = (np.arange(16) + 0.5) / 2 - 0.5
    low = np.clip(np.floor(x).astype(int), 0, 7)
    high, share = np.clip(np.floor(x).astype(int) + 1, 0, 7), x - np.floor(x)
    images = load_digits().images.double().numpy()
    images = images[:, low] * (1 - share[:, None]) + images[:, high] * share[:, None]
    return images[:, :, low] * (1 - share) + images[:, :, high] * share


@pytest.mark.oracle
def test_no_digit_is_on_both_sides_of_a_split():
    made = backdrop_digits(0, 0, seed=100)
    source, source_test, pool, test = (rows(getattr(made, field)) for field in FIELDS)
    assert (len(source), len(pool), len(test)) == (600, 800, 397)
    assert source_test == test and len(source | pool | test) == 1797


@pytest.mark.oracle
def test_without_a_shift_images_are_enlarged_digits_with_their_labels():
    made = backdrop_digits(0, 0, seed=100)
    digits = enlarged()
    for field in FIELDS:
        images, labels = getattr(made, field)[:100, 0].double(), getattr(made, f"{field}_labels")[:100]
        distances = torch.cdist(images.flatten(1), torch.from_numpy(digits).flatten(1))
        assert distances.amin(1).max() < 1e-4
        assert torch.equal(labels, load_digits().labels[distances.argmin(1)])


@pytest.mark.oracle
@pytest.mark.parametrize("angle", [20, -35.5])
def test_the_turn_equals_scipys(angle):
    straight, turned = backdrop_digits(0, 0, seed=100), backdrop_digits(angle, 0, seed=100)
    for field in ("pool", "test"):
        expected = [
            ndimage.rotate(image, angle, reshape=False, order=1, mode="grid-constant")
            for image in getattr(straight, field)[:20, 0].double().numpy()
        ]
        torch.testing.assert_close(
            getattr(turned, field)[:20, 0].double(), torch.tensor(np.array(expected)), atol=1e-5, rtol=0
        )
    assert torch.equal(turned.source, straight.source) and torch.equal(turned.source_test, straight.source_test)


@pytest.mark.oracle
def test_the_target_is_the_difference_from_its_backdrop():
    plain, made = backdrop_digits(20, 0, seed=100), backdrop_digits(20, 0.3, seed=100)
    dark = plain.pool == 0
    assert dark.float().mean() > 0.2
    backdrops = (made.pool / 0.3)[dark]
    assert 0 <= backdrops.min() and 0.99 < backdrops.max() <= 1 + 1e-6
    twice = backdrop_digits(20, 0.6, seed=100)  # the same backdrops
    torch.testing.assert_close(twice.pool[dark], 2 * made.pool[dark])
    bright = plain.pool > 0.6
    torch.testing.assert_close(
        twice.pool[bright] + made.pool[bright], 2 * plain.pool[bright] - 3 * (plain.pool - made.pool)[bright]
    )
    assert made.pool_shifted.all()


@pytest.mark.oracle
def test_a_backdrop_is_blurred_noise_stretched_to_the_unit_interval():
    made = module._backdrops(torch.Size((300, 1, 16, 16)), generator(100))
    assert torch.equal(made.amin((1, 2, 3)), torch.zeros(300)) and torch.equal(made.amax((1, 2, 3)), torch.ones(300))
    noise = torch.rand(300, 1, 16, 16, generator=generator(100)).double()
    kernel = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(noise[:, 0].numpy(), ((0, 0), (4, 4), (4, 4)), mode="symmetric")
    smooth = sum(w * padded[:, i : i + 16] for i, w in enumerate(kernel))
    smooth = sum(w * smooth[:, :, i : i + 16] for i, w in enumerate(kernel))
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    np.testing.assert_allclose(made[:, 0].numpy(), (smooth - low) / (high - low), atol=1e-4)


def test_shapes_values_and_words():
    made = backdrop_digits(seed=100, size=20, n_source=11, n_pool=12, n_test=13)
    assert [len(getattr(made, field)) for field in FIELDS] == [11, 13, 12, 13]
    for field in FIELDS:
        images = getattr(made, field)
        assert images.shape[1:] == (1, 20, 20) and images.dtype == torch.float32
        assert 0 <= images.min() and images.max() <= 1
        assert len(getattr(made, f"{field}_labels")) == len(images)
    assert "turned by 30 degrees, before backdrops of strength 0.3" in made.description
    assert made.licence == "CC BY 4.0" and "scikit-learn" in made.provenance


def test_the_seed_chooses_the_split_and_the_backdrops():
    first, again, other = (backdrop_digits(seed=seed) for seed in (100, 100, 101))
    for field in FIELDS:
        assert torch.equal(getattr(first, field), getattr(again, field))
        assert not torch.equal(getattr(first, field), getattr(other, field))
    mild = backdrop_digits(5, 0.1, seed=100)
    assert torch.equal(mild.pool_labels, first.pool_labels) and torch.equal(mild.source, first.source)


def test_a_class_is_drawn_as_often_as_it_occurs():
    shares = sum(
        backdrop_digits(seed=seed, n_source=100, n_pool=800).pool_labels.bincount() for seed in range(100, 105)
    )
    assert stats.chisquare(shares, 4000 * load_digits().labels.bincount() / 1797).pvalue > 1e-3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"turn": float("nan")}, ValueError, "turn must be a finite number of degrees, got nan"),
        ({"strength": 1.1}, ValueError, "strength must be from 0 to 1, got 1.1"),
        ({"strength": float("nan")}, ValueError, "strength must be from 0 to 1, got nan"),
        ({"size": 7}, ValueError, "size must be at least 8, got 7"),
        ({"n_source": 0}, ValueError, "n_source must be at least 1, got 0"),
        ({"n_pool": 8.0}, TypeError, "n_pool must be an int, got float"),
        ({"n_test": 398}, ValueError, "n_source, n_pool and n_test must sum to at most 1797, got 1798"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
        ({"seed": None}, TypeError, "seed must be an int"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        backdrop_digits(**{"seed": 100, **arguments})
