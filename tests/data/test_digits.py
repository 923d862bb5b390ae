import numpy as np
import pytest
import sklearn.datasets
import torch
from scipy import ndimage, stats

from selectlib.data import infinite_digits, load_digits
from selectlib.pool import ItemSource, Pool
from selectlib.seeding import generator, uniform_indices

MASK = 2**64 - 1


def mix(word):
    """SplitMix64's output function, on Python's exact integers."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)


def numbers(i, seed):
    start = mix(seed)
    words = [mix(start + (5 * i + lane + 1) * 0x9E3779B97F4A7C15 & MASK) for lane in range(5)]
    return [(word >> 40) / 2**24 for word in words]


def deformed(i, seed):
    """Item i by another road: exact integers, scipy's interpolation, one item at a time."""
    spin, zoom, right, down, light = numbers(i, seed)
    angle, scale = np.deg2rad(30 * spin - 15), 0.9 + 0.2 * zoom
    # Rows grow downwards: a turn in (row, column) order, its inverse taking the output's pixels to the input's.
    forward = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    backward = np.linalg.inv(forward)
    centre, shift = np.full(2, 3.5), np.array([1.5 * down - 0.75, 1.5 * right - 0.75])
    image = sklearn.datasets.load_digits().images[i % 1797] / 16
    moved = ndimage.affine_transform(
        image, backward, offset=centre - backward @ (centre + shift), order=1, mode="grid-constant"
    )
    return (0.85 + 0.15 * light) * moved.ravel()


def test_digits_are_scikit_learns():
    digits = load_digits()
    bunch = sklearn.datasets.load_digits()
    assert digits.images.shape == (1797, 8, 8) and digits.images.dtype == torch.float32
    np.testing.assert_array_equal(digits.images.double().numpy() * 16, bunch.images)
    np.testing.assert_array_equal(digits.labels.numpy(), bunch.target)
    assert digits.description and digits.licence == "CC BY 4.0" and "scikit-learn" in digits.source


@pytest.mark.oracle
@pytest.mark.parametrize("seed", [0, 100, 2**32 - 1])
def test_items_are_the_deformed_digits_of_the_definition(seed):
    indices = [0, 1, 2, 1796, 1797, 12_345, 999_999_999]
    items = infinite_digits(10**9, seed=seed).fetch(torch.tensor(indices))
    expected = np.stack([deformed(i, seed) for i in indices])
    np.testing.assert_allclose(items.numpy(), expected, atol=2e-6)


@pytest.mark.oracle
def test_an_item_does_not_depend_on_its_batch_or_the_order():
    source = infinite_digits(10**9)
    idx = uniform_indices(10**9, 20_000, generator=generator(100))
    together = source.fetch(idx)
    assert torch.equal(source.fetch(idx.flip(0)).flip(0), together)
    assert torch.equal(torch.cat([source.fetch(part) for part in idx.split(4999)]), together)
    alone = torch.cat([source.fetch(idx[i : i + 1]) for i in range(200)])
    assert torch.equal(alone, together[:200])
    assert torch.equal(infinite_digits(10**12).fetch(idx), together)


@pytest.mark.cuda
def test_an_item_is_the_same_on_cuda():
    idx = uniform_indices(10**9, 20_000, generator=generator(100))
    there = infinite_digits(10**9, device="cuda").fetch(idx)
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), infinite_digits(10**9).fetch(idx), atol=1e-5, rtol=0)


def test_float64_holds_the_same_values():
    idx = torch.arange(100)
    wide = infinite_digits(1000, dtype=torch.float64).fetch(idx)
    assert wide.dtype == torch.float64
    assert torch.equal(wide, infinite_digits(1000).fetch(idx).double())


def test_seeds_and_items_differ():
    idx = torch.arange(1797)
    items = infinite_digits(10**6).fetch(torch.cat([idx, idx + 1797]))
    assert len(items.unique(dim=0)) == len(items)
    assert not torch.equal(infinite_digits(10**6, seed=101).fetch(idx), items[:1797])


def test_values_are_brightness():
    items = infinite_digits(10**6).fetch(torch.arange(20_000))
    assert items.shape == (20_000, 64)
    assert 0 <= items.min() and 0.9 < items.max() <= 1


@pytest.mark.oracle
def test_the_five_numbers_are_uniform_and_unrelated():
    from selectlib.data._infinite import _uniform

    drawn = torch.cat([_uniform(torch.arange(20_000), seed, draws=5) for seed in (100, 101)]).double().numpy()
    assert all(stats.kstest(row, "uniform").pvalue > 1e-6 for row in drawn)
    related = np.abs(np.corrcoef(np.concatenate([drawn, np.roll(drawn, 1, axis=1)])) - np.eye(20))
    assert related.max() < 6 / np.sqrt(20_000)  # 190 pairs, six standard errors


def test_it_is_a_source_for_a_pool():
    source = infinite_digits(10**9)
    assert isinstance(source, ItemSource)
    assert len(Pool(source)) == len(source) == 10**9
    assert source.fetch(torch.empty(0, dtype=torch.int64)).shape == (0, 64)
    assert source.description and source.licence and source.source


@pytest.mark.parametrize(
    ("idx", "error", "message"),
    [
        (torch.tensor([3, 10]), ValueError, "idx must be from 0 to 9, got 10"),
        (torch.tensor([-1, 3]), ValueError, "idx must be from 0 to 9, got -1"),
        (torch.tensor([1.0]), TypeError, "idx must be a 1-D int64 tensor, got torch.float32"),
        (torch.tensor(1), TypeError, r"idx must be a 1-D int64 tensor, got torch.int64 of shape \(\)"),
        ([1, 2], TypeError, "idx must be a 1-D int64 tensor, got list"),
    ],
)
def test_wrong_indices_are_named(idx, error, message):
    with pytest.raises(error, match=message):
        infinite_digits(10).fetch(idx)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be from 1"),
        ({"n": 2**40 + 1}, ValueError, "n must be from 1"),
        ({"n": 1e6}, TypeError, "n must be an int, got float"),
        ({"n": 10, "seed": -1}, ValueError, "seed must be from 0"),
        ({"n": 10, "seed": None}, TypeError, "seed must be an int"),
        ({"n": 10, "dtype": torch.int64}, TypeError, "dtype must be a torch float type"),
        ({"n": 10, "dtype": float}, TypeError, "dtype must be a torch float type"),
        ({"n": 10, "device": "nowhere"}, ValueError, "device must be"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        infinite_digits(**arguments)
