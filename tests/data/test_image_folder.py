"""Folders of images, one a class: what counts, in which order, and that the items are those of a list."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from selectlib.data import image_folder, image_list
from selectlib.pool import ItemSource

FILES = ["house/b.PNG", "dog/10.jpg", "dog/9.jpeg", "house/a.png", "cat/only.jpg"]
IN_ORDER = ["cat/only.jpg", "dog/10.jpg", "dog/9.jpeg", "house/a.png", "house/b.PNG"]


def fill(root, names=FILES):
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
    return root


@pytest.fixture
def folder(tmp_path):
    """Three classes, and what is no image or no class."""
    fill(tmp_path, [*FILES, "dog/._10.jpg", ".hidden/a.jpg"])
    (tmp_path / "dog/Thumbs.db").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("")
    return tmp_path


def test_classes_and_images_are_in_alphabetical_order(folder):
    images = image_folder(folder, seed=100)
    assert [path.relative_to(folder).as_posix() for path in images.paths] == IN_ORDER
    assert images.labels.tolist() == [0, 1, 1, 2, 2] and images.labels.dtype == torch.int64
    assert isinstance(images, ItemSource) and len(images) == 5 and images.view == "labelled"
    assert [images.paths[i].parent.name for i in (0, 4)] == ["cat", "house"]


@pytest.mark.parametrize("view", ["labelled", "unlabelled", "test"])
def test_items_are_those_of_a_list(folder, view):
    images = image_folder(str(folder), view, seed=100, size=14, threads=2)
    (folder / "list.txt").write_text("\n".join(f"{name} 0" for name in IN_ORDER))
    expected = image_list(folder / "list.txt", folder, view, seed=100, size=14)
    order = torch.tensor([3, 0, 4, 4])
    assert torch.equal(images.fetch(order), expected.fetch(order))


def test_several_roots_follow_one_another(tmp_path):
    photo, sketch = (
        fill(tmp_path / domain, ["dog/a.jpg", "house/b.jpg", "house/c.jpg"]) for domain in ("photo", "sketch")
    )
    images = image_folder([sketch, photo], seed=100, exclude=["house/b.jpg"])
    assert images.paths == (sketch / "dog/a.jpg", sketch / "house/c.jpg", photo / "dog/a.jpg", photo / "house/c.jpg")
    assert images.labels.tolist() == [0, 1, 0, 1]
    (photo / "dog/a.jpg").rename(photo / "a.jpg")
    with pytest.raises(
        ValueError, match=r"root must name folders of the same classes: .*\['dog', 'house'\].*\['house'\]"
    ):
        image_folder([sketch, photo], seed=100)


def test_an_excluded_image_is_never_opened(folder):
    (folder / "dog/9.jpeg").write_bytes(b"broken")
    images = image_folder(folder, "test", seed=100, size=7, exclude=["dog/9.jpeg"])
    assert images.fetch(torch.arange(len(images))).shape == (4, 3, 7, 7)
    assert images.labels.tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"exclude": ["cat/none.jpg"]},
            ValueError,
            "exclude must name images below root, but there is no cat/none.jpg",
        ),
        ({"exclude": FILES}, ValueError, "exclude must leave at least one image"),
        ({"view": "train"}, ValueError, "view must be one of 'labelled', 'unlabelled', 'test', got 'train'"),
        ({"size": 225}, ValueError, "size must be a multiple of 7, got 225"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"seed": None}, TypeError, "seed must be an int"),
        ({"root": []}, ValueError, "root must name at least one folder, got none"),
    ],
)
def test_wrong_arguments_are_named(folder, options, error, message):
    with pytest.raises(error, match=message):
        image_folder(**{"root": folder, "seed": 100, **options})


def test_a_wrong_root_is_named(folder):
    for root in ("none", "list.txt"):
        with pytest.raises(NotADirectoryError, match=f"there is no folder .*{root}"):
            image_folder(folder / root, seed=100)
    with pytest.raises(
        ValueError, match=r"root must hold one folder a class with images of .jpeg, .jpg, .png; .*empty"
    ):
        image_folder(folder / "empty", seed=100)


def test_without_pillow_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"image_folder needs pillow: pip install 'what-to-keep\[book\]'"):
        image_folder(folder, seed=100)
