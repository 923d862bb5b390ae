"""Photographs and drawings for few-shot learning, on small stand-ins of the published forms."""

import h5py
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from selectlib.data import _few_shot_lists as lists
from selectlib.data import load_domainnet_sketch, load_meta_dataset, load_mini_imagenet

PARTS = {"train": ["n02", "n01"], "val": ["n04"], "test": ["n03", "n05"]}


def pixels(seed, shape=(20, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path)


def square(array, size):
    fitted = ImageOps.fit(Image.fromarray(array), (size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(fitted)).movedim(2, 0)


@pytest.fixture
def mini(tmp_path):
    """Two images of each class, some below folders of their classes."""
    seed = 0
    for part, classes in PARTS.items():
        rows = ["filename,label"]
        for i, name in enumerate(classes):
            for j in range(2):
                file = f"{name}/{j}.png" if i else f"{name}{j:013}.png"
                save(tmp_path / "images" / file, seed := seed + 1)
                rows.append(f"{file},{name}")
        (tmp_path / f"{part}.csv").write_text("\n".join(rows))
    return tmp_path


def test_mini_imagenet(mini):
    made = load_mini_imagenet(mini, size=16, threads=2)
    assert made.images.shape == (10, 3, 16, 16) and made.images.dtype == torch.uint8
    assert made.classes == ("n01", "n02", "n04", "n03", "n05")
    assert made.labels.tolist() == [1, 1, 0, 0, 2, 2, 3, 3, 4, 4]
    parts = made.train_classes, made.validation_classes, made.test_classes
    assert [part.tolist() for part in parts] == [[0, 1], [2], [3, 4]]
    for i, image in enumerate(made.images):
        assert torch.equal(image, square(pixels(i + 1), 16))  # the centred square of the image
    assert made.description == f"{mini.name}: photographs of 5 classes of ImageNet"


def test_fewer_images_of_a_class(mini):
    every, first = (load_mini_imagenet(mini, size=8, per_class=count) for count in (None, 1))
    assert torch.equal(first.images, every.images[::2]) and torch.equal(first.labels, every.labels[::2])


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("val", "filename,label\n", r"val.csv must name at least one image, got none"),
        ("val", "file,class\na,b\n", r"val.csv must have the columns filename and label, got \['file', 'class'\]"),
        ("test", "filename,label\nn01/0.png,n01\n", r"the lists in .* must have no class in common"),
    ],
)
def test_wrong_lists_are_named(mini, part, text, message):
    (mini / f"{part}.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_mini_imagenet(mini, size=8)


def test_what_is_missing_is_named(mini):
    (mini / "images/n01/0.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"n01/0.png"):
        load_mini_imagenet(mini, size=8)
    (mini / "train.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"train.csv"):
        load_mini_imagenet(mini, size=8)


def test_sketches_are_split_by_the_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(lists, "_SKETCHES", (4, 2, 3))
    for i in range(9):
        for j in range(2):
            save(tmp_path / f"class{i}/{j}.png", 10 * i + j)
    first, again, other = (load_domainnet_sketch(tmp_path, seed=seed, size=8) for seed in (100, 100, 101))
    assert first.classes == again.classes != other.classes and sorted(first.classes) == sorted(other.classes)
    assert [len(part) for part in (first.train_classes, first.validation_classes, first.test_classes)] == [4, 2, 3]
    for image, label, (i, j) in zip(first.images, first.labels, np.ndindex(9, 2), strict=True):
        assert first.classes[label] == f"class{i}" and torch.equal(image, square(pixels(10 * i + j), 8))
    assert len(load_domainnet_sketch(tmp_path, size=8, per_class=1).images) == 9


def test_sketches_have_345_classes(tmp_path):
    save(tmp_path / "cat/a.png", 0)
    with pytest.raises(ValueError, match="folder must hold the 345 classes of DomainNet, got 1 in"):
        load_domainnet_sketch(tmp_path)
    with pytest.raises(NotADirectoryError, match="folder"):
        load_domainnet_sketch(tmp_path / "none")


def write_class(path, arrays):
    with h5py.File(path, "w") as file:
        for i, array in enumerate(arrays):
            file.create_group(str(i)).create_dataset("image", data=array)


def test_meta_dataset(tmp_path):
    for i in (0, 1, 2, 10):  # in the order of the numbers, not of the names
        write_class(tmp_path / f"{i}.h5", [pixels(100 * i + j, (10 + j, 12, 3)) for j in range(11)])
    (tmp_path / "dataset_spec.json").write_text("{}")
    made = load_meta_dataset(tmp_path, split=(2, 0, 2), size=8, threads=2)
    assert made.classes == ("0", "1", "2", "10") and made.labels.bincount().tolist() == [11] * 4
    assert made.train_classes.tolist() == [0, 1] and made.test_classes.tolist() == [2, 3]
    assert len(made.validation_classes) == 0
    assert torch.equal(made.images[43], square(pixels(1010, (20, 12, 3)), 8))  # groups are in the order of numbers too
    few = load_meta_dataset(tmp_path, split=(4, 0, 0), size=8, per_class=3)
    assert torch.equal(few.images, made.images.view(4, 11, 3, 8, 8)[:, :3].flatten(0, 1))
    for split in ((2, 0, 1), (5, 0, -1), (4, 0)):
        with pytest.raises(ValueError, match="split must be three counts with the sum 4 of the classes in"):
            load_meta_dataset(tmp_path, split=split)


@pytest.mark.parametrize("array", [pixels(0, (10, 12)), pixels(0).astype(np.float32), pixels(0, (10, 12, 4))])
def test_other_arrays_are_refused(tmp_path, array):
    write_class(tmp_path / "0.h5", [array])
    with pytest.raises(ValueError, match=r"0.h5 must hold images \(h, w, 3\) of uint8, got"):
        load_meta_dataset(tmp_path, split=(1, 0, 0), size=8)


def test_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file.create_dataset("images", data=pixels(0))
    with pytest.raises(ValueError, match=r"0.h5 must hold groups 0, 1, ... with an image each"):
        load_meta_dataset(tmp_path, split=(1, 0, 0), size=8)
    (tmp_path / "0.h5").write_text("no HDF5")
    with pytest.raises(OSError, match="signature"):
        load_meta_dataset(tmp_path, split=(1, 0, 0), size=8)


@pytest.mark.parametrize("load", [load_mini_imagenet, load_domainnet_sketch, load_meta_dataset])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 7}, ValueError, "size must be at least 8, got 7"),
        ({"size": 8.0}, TypeError, "size must be an int, got float"),
        ({"per_class": 0}, ValueError, "per_class must be at least 1, got 0"),
        ({"threads": 0}, ValueError, "threads must be at least 1, got 0"),
    ],
)
def test_wrong_numbers_are_named(tmp_path, load, arguments, error, message):
    more = {"split": (1, 0, 0)} if load is load_meta_dataset else {}
    with pytest.raises(error, match=message):
        load(tmp_path, **more, **arguments)
