import builtins

import numpy as np
import pytest
import sklearn.datasets
import torch

from selectlib.data import photo_patches
from selectlib.pool import ItemSource, Pool
from selectlib.seeding import generator, uniform_indices


@pytest.fixture(scope="module")
def photos():
    return sklearn.datasets.load_sample_images().images


@pytest.mark.oracle
def test_patches_are_those_of_the_photographs(photos):
    source = photo_patches()
    idx = torch.cat(
        [
            torch.tensor([0, 632, 633, 265_859, 265_860, 531_719]),
            uniform_indices(531_720, 500, generator=generator(100)),
        ]
    )
    for item, (photo, row, column) in zip(source.fetch(idx), source.locate(idx).tolist(), strict=True):
        expected = photos[photo][row : row + 8, column : column + 8] / 255
        np.testing.assert_allclose(item.reshape(8, 8, 3).numpy(), expected, atol=1e-7)


@pytest.mark.oracle
@pytest.mark.parametrize("size", [1, 8, 427])
def test_every_place_is_there_once(size):
    source = photo_patches(size)
    rows, columns = 427 - size + 1, 640 - size + 1
    assert len(source) == 2 * rows * columns
    places = source.locate(torch.arange(len(source)))
    axes = [torch.arange(length) for length in (2, rows, columns)]
    assert torch.equal(places, torch.cartesian_prod(*axes))


def test_number_of_patches():
    assert len(photo_patches()) == 531_720
    assert photo_patches().fetch(torch.arange(3)).shape == (3, 192)


def test_dtype_and_batches():
    idx = uniform_indices(531_720, 100, generator=generator(100))
    narrow, wide = photo_patches().fetch(idx), photo_patches(dtype=torch.float64).fetch(idx)
    assert (narrow.dtype, wide.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(narrow.double(), wide, atol=1e-7, rtol=0)
    assert torch.equal(torch.cat([photo_patches().fetch(part) for part in idx.split(7)]), narrow)
    assert photo_patches().fetch(idx[:0]).shape == (0, 192)


@pytest.mark.cuda
def test_patches_on_cuda():
    idx = uniform_indices(531_720, 100, generator=generator(100))
    there = photo_patches(device="cuda").fetch(idx)
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), photo_patches().fetch(idx))


def test_it_is_a_source_for_a_pool():
    source = photo_patches()
    assert isinstance(source, ItemSource)
    assert len(Pool(source)) == 531_720
    assert source.description and source.licence == "CC BY 2.0" and source.source


def test_wrong_indices_are_named():
    with pytest.raises(ValueError, match="idx must be from 0 to 531719, got 531720"):
        photo_patches().fetch(torch.tensor([531_720]))
    with pytest.raises(TypeError, match="idx must be a 1-D int64 tensor"):
        photo_patches().locate([0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 0}, ValueError, "size must be from 1 to 427"),
        ({"size": 428}, ValueError, "size must be from 1 to 427"),
        ({"size": 8.0}, TypeError, "size must be an int"),
        ({"dtype": torch.uint8}, TypeError, "dtype must be a torch float type"),
        ({"device": "nowhere"}, ValueError, "device must be"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        photo_patches(**arguments)


def test_without_pillow_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without_pillow(name, *rest):
        if name.partition(".")[0] == "PIL":
            raise ImportError(f"no module named {name}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ImportError, match=r"pillow: pip install 'what-to-keep\[book\]'"):
        photo_patches()
