"""Drawings of characters: the published files, and small ones of their form."""

import io
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from selectlib.data import load_omniglot_small
from selectlib.data._omniglot import _ARCHIVES, read_drawings


def picture(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(path, drawings):
    """A zip file with a drawing for each (alphabet, character, drawing): True is paper."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/", "")
        archive.writestr("set/notes.txt", "no drawing")
        for (alphabet, character, name), pixels in drawings.items():
            archive.writestr(f"set/{alphabet}/{character}/{name}.png", picture(pixels))


@pytest.fixture
def drawings():
    draws = np.random.default_rng(100)
    names = [("Greek", "character01"), ("Greek", "character02"), ("Latin", "character01")]
    return {(*name, f"000{i}_0{j}"): draws.random((105, 105)) < 0.9 for i, name in enumerate(names) for j in (1, 2)}


def test_small_sets_in_the_same_format(folder, register, drawings):
    keys = list(drawings)
    (folder / "omniglot").mkdir()
    for name, part in zip(_ARCHIVES, (keys[:4], keys[2:]), strict=True):  # a character is in both
        write(folder / name, {key: drawings[key] for key in part})
        register(name, (folder / name).read_bytes())
    made = load_omniglot_small(21)
    assert made.images.shape == (6, 1, 21, 21) and made.images.dtype == torch.float32
    assert made.classes == ("Greek/character01", "Greek/character02", "Latin/character01")
    assert made.domains == ("Greek", "Greek", "Latin")
    assert made.labels.tolist() == [0, 0, 1, 1, 2, 2] and made.alphabets.tolist() == [0, 0, 0, 0, 1, 1]
    for image, key in zip(made.images, keys, strict=True):
        ink = 1 - drawings[key].reshape(21, 5, 21, 5).mean((1, 3))
        np.testing.assert_allclose(image[0].numpy(), ink, atol=1 / 255)
    assert made.description == "Omniglot, the two small background sets: drawings of 3 characters"


def test_the_real_set(real_data):
    made = load_omniglot_small(8)
    assert made.images.shape == (4840, 1, 8, 8) and made.labels.bincount().tolist() == [20] * 242
    assert 0 <= made.images.min() < made.images.max() <= 1 and 0.05 < made.images.mean() < 0.12  # ink is sparse
    assert len(set(made.domains)) == 8 and made.domains.count("Greek") == 24 and made.domains.count("Latin") == 26
    assert made.alphabets.bincount().sum() == 4840 and made.licence == "MIT"


def test_a_drawing_keeps_its_size(tmp_path, drawings):
    write(tmp_path / "a.zip", drawings)
    made = read_drawings([tmp_path / "a.zip"], 105)
    assert torch.equal(made.images[0, 0] == 0, torch.from_numpy(next(iter(drawings.values()))))


def test_wrong_files_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(ValueError, match=r"a.zip is not a zip file"):
        read_drawings([tmp_path / "a.zip"], 28)
    write(tmp_path / "b.zip", {})
    with pytest.raises(ValueError, match=r"b.zip must hold drawings, alphabet/character/drawing.png, got none"):
        read_drawings([tmp_path / "b.zip"], 28)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'what-to-keep\[book\]'"):
        read_drawings([tmp_path / "b.zip"], 28)


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (7, ValueError, "size must be from 8 to 105, got 7"),
        (106, ValueError, "size must be from 8 to 105, got 106"),
        (28.0, TypeError, "size must be an int, got float"),
    ],
)
def test_wrong_sizes_are_named(size, error, message):
    with pytest.raises(error, match=message):
        load_omniglot_small(size)
