"""Image lists: the format, the three views by another road, and draws that depend on nothing but what they should."""

import colorsys
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from selectlib.data import image_list
from selectlib.data._image_lists import _jittered, _turned
from selectlib.nets import Bottleneck
from selectlib.pool import ItemSource
from selectlib.queries import EADA, AdaptationTask, Arm, LabelOracle, run_study

SIZE = 28  # resized to 32, or to 36 for tests
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SHAPES = [(50, 40), (40, 50), (32, 32), (90, 30)]  # width, height


def photograph(width, height, seed):
    """A smooth picture: noise enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    """Four pictures in folders a class, and their list; one name has a space in it."""
    names = ["mug/first.png", "mug/second one.png", "pen/first.png", "pen/second.jpg"]
    for seed, (name, shape) in enumerate(zip(names, SHAPES, strict=True)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photograph(*shape, seed).save(tmp_path / name)
    (tmp_path / "list.txt").write_text("\n".join(f"{name} {i // 2}" for i, name in enumerate(names)) + "\n\n")
    return tmp_path


def listed(folder, view="labelled", **options):
    return image_list(folder / "list.txt", folder, view, **{"seed": 100, "size": SIZE, **options})


def pixels(items):
    """Back to numbers from 0 to 255, shape (b, h, w, 3)."""
    return (items.permute(0, 2, 3, 1).double().numpy() * DEVIATION + MEAN) * 255


def windows(picture):
    """All crops of a picture, shape (rows, columns, 28, 28, 3)."""
    crops = np.lib.stride_tricks.sliding_window_view(np.asarray(picture, dtype=np.float64), (SIZE, SIZE), (0, 1))
    return crops.transpose(0, 1, 3, 4, 2)


def test_a_list_is_a_source(folder):
    images = listed(folder)
    assert isinstance(images, ItemSource) and len(images) == 4
    assert images.labels.tolist() == [0, 0, 1, 1] and images.labels.dtype == torch.int64
    items = images.fetch(torch.tensor([3, 0, 3]))
    assert items.shape == (3, 3, SIZE, SIZE) and items.dtype == torch.float32
    assert images.fetch(torch.empty(0, dtype=torch.int64)).shape == (0, 3, SIZE, SIZE)
    assert images.visits.tolist() == [1, 0, 0, 2]


@pytest.mark.oracle
def test_the_test_view_is_the_middle_of_the_resized_picture(folder):
    images = listed(folder, "test")
    items = pixels(images.fetch(torch.arange(4)))
    for item, path in zip(items, images.paths, strict=True):
        whole = np.asarray(Image.open(path).convert("RGB").resize((36, 36), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(item, whole[4:32, 4:32], atol=1e-3)
    torch.testing.assert_close(images.fetch(torch.arange(4)), images.fetch(torch.arange(4)), rtol=0, atol=0)


@pytest.mark.oracle
def test_the_unlabelled_view_is_a_crop_that_keeps_the_picture_s_shape(folder):
    images = listed(folder, "unlabelled")
    resized = [(40, 32), (32, 40), (32, 32), (96, 32)]
    for i, shape in enumerate(resized):
        whole = Image.open(images.paths[i]).convert("RGB").resize(shape, Image.Resampling.BILINEAR)
        crops = windows(whole)
        places = set()
        for item in pixels(images.fetch(torch.full((60,), i))):
            rows, columns = np.nonzero(np.abs(crops - item).max((2, 3, 4)) < 1e-3)
            assert len(rows) == 1
            places.add((rows[0], columns[0]))
        tops, lefts = (set(axis) for axis in zip(*places, strict=True))
        assert {0, shape[1] - SIZE} <= tops and len(tops) == min(shape[1] - SIZE + 1, 13)
        assert len(lefts) > 4 and max(lefts) > 0.8 * (shape[0] - SIZE)


@pytest.mark.oracle
def test_the_labelled_view_is_a_crop_of_the_square_in_other_colours(folder, monkeypatch):
    images = listed(folder)
    colourful = pixels(images.fetch(torch.full((8,), 3)))
    images.visits.zero_()
    monkeypatch.setattr("selectlib.data._image_lists._jittered", lambda picture, draws: picture)
    plain = pixels(images.fetch(torch.full((8,), 3)))
    crops = windows(Image.open(images.paths[3]).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    for item, changed in zip(plain, colourful, strict=True):
        assert (np.abs(crops - item).max((2, 3, 4)) < 1e-3).sum() == 1
        assert np.abs(item - changed).mean() > 2
        assert np.corrcoef(item.mean(-1).ravel(), changed.mean(-1).ravel())[0, 1] > 0.8


class Fixed(np.random.Generator):
    """Draws that are known: three factors, a turn, an order."""

    def __new__(cls, *known):
        return super().__new__(cls, np.random.PCG64(0))

    def __init__(self, factors, turn, order):
        super().__init__(np.random.PCG64(0))
        self.answers = [np.array(factors), turn]
        self.order = order

    def uniform(self, low, high, size=None):
        assert (low, high) == ((0.6, 1.4) if size == 3 else (-0.1, 0.1))
        return self.answers.pop(0)

    def permutation(self, n):
        return np.array(self.order)


@pytest.mark.oracle
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1], [3, 1, 0, 2]])
def test_the_colours_change_as_their_names_say(order):
    """By another road: formulas on floats, with pillow's grey of ITU-R 601."""
    picture = photograph(20, 20, seed=3).point(lambda level: 60 + level // 3)  # nothing is cut off at 0 or 255
    factors, turn = (0.8, 1.3, 0.7), 0.0625
    x = np.asarray(picture, dtype=np.float64)
    for change in order:
        grey = (x @ [0.299, 0.587, 0.114])[..., None]
        if change == 0:
            x = factors[0] * x
        elif change == 1:
            x = grey.mean() + factors[1] * (x - grey.mean())
        elif change == 2:
            x = grey + factors[2] * (x - grey)
        else:
            hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in x.reshape(-1, 3)]
            x = np.array([colorsys.hsv_to_rgb(h + turn, s, v) for h, s, v in hsv]).reshape(x.shape)
    jittered = np.asarray(_jittered(picture, Fixed(factors, turn, order)), dtype=np.float64)
    assert np.abs(jittered - x).mean() < 1.5 and np.abs(jittered - x).max() < 7  # levels of 255, rounded at each step


def test_a_whole_circle_of_hue_changes_nothing():
    picture = photograph(20, 20, seed=4)
    there_and_back = _turned(_turned(picture, 0.25), 0.75)
    straight = _turned(picture, 0.0)
    assert np.abs(np.asarray(there_and_back, dtype=int) - np.asarray(straight, dtype=int)).max() <= 12
    assert np.abs(np.asarray(_turned(picture, 0.25), dtype=int) - np.asarray(picture, dtype=int)).mean() > 20


@pytest.mark.oracle
@pytest.mark.parametrize("view", ["labelled", "unlabelled"])
def test_draws_depend_on_seed_index_and_visit_alone(folder, view):
    first = listed(folder, view)
    together = first.fetch(torch.tensor([0, 1, 2, 3, 1]))
    assert not torch.equal(together[1], together[4])
    second = listed(folder, view, threads=3)
    assert torch.equal(second.fetch(torch.tensor([3, 1])), together[[3, 1]])
    assert torch.equal(second.fetch(torch.tensor([1, 0, 2])), together[[4, 0, 2]])
    other = listed(folder, view, seed=101).fetch(torch.arange(4))
    assert not any(torch.equal(a, b) for a, b in zip(other, together, strict=False))
    first.visits.zero_()
    assert torch.equal(first.fetch(torch.arange(4)), together[:4])


def test_a_part_of_a_list_in_another_view(folder):
    images = listed(folder)
    part = images.take(torch.tensor([2, 0]), "test")
    assert len(part) == 2 and part.labels.tolist() == [1, 0]
    assert torch.equal(part.fetch(torch.arange(2)), listed(folder, "test").fetch(torch.tensor([2, 0])))
    assert images.take(torch.tensor([2])).view == "labelled" and images.visits.sum() == 0
    with pytest.raises(ValueError, match="view must be one of 'labelled', 'unlabelled', 'test', got 'train'"):
        images.take(torch.tensor([2]), "train")
    with pytest.raises(ValueError, match="idx must be from 0 to 3, got 4"):
        images.take(torch.tensor([4]))


def test_grey_and_transparent_images_become_colour(tmp_path):
    Image.new("L", (40, 40), 255).save(tmp_path / "a.png")
    Image.new("RGBA", (40, 40), (255, 255, 255, 10)).save(tmp_path / "b.png")
    Image.new("P", (40, 40)).save(tmp_path / "c.png")
    (tmp_path / "list.txt").write_text("a.png 0\nb.png 0\nc.png 0")
    items = pixels(image_list(tmp_path / "list.txt", tmp_path, "test", size=7, seed=0).fetch(torch.arange(3)))
    np.testing.assert_allclose(items[:2], 255, atol=1e-3)
    np.testing.assert_allclose(items[2], 0, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "mug/first.png 0\nmug/first.png\n",
            ValueError,
            r"list.txt, line 2, must be a path and a class .* 'mug/first.png'",
        ),
        ("mug/first.png -1", ValueError, "line 1, must be a path and a class of at least 0"),
        ("mug/first.png one", ValueError, "line 1, must be a path and a class of at least 0"),
        ("\nmug/none.png 0", FileNotFoundError, r"line 2: there is no file .*mug/none.png; is root the right folder\?"),
        (" \n", ValueError, "list.txt must name at least one image"),
    ],
)
def test_a_wrong_list_is_named(folder, text, error, message):
    (folder / "list.txt").write_text(text)
    with pytest.raises(error, match=message):
        listed(folder)


def test_a_missing_list_and_a_damaged_image_are_named(folder):
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        image_list(folder / "none.txt", folder, seed=0)
    images = listed(folder)
    whole = images.paths[0].read_bytes()
    for content in (b"", b"no image", whole[:200]):
        images.paths[0].write_bytes(content)
        with pytest.raises(OSError, match=r"first\.png is not a whole image that pillow reads"):
            images.fetch(torch.tensor([1, 0]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"view": "train"}, ValueError, "view must be one of"),
        ({"size": 225}, ValueError, "size must be a multiple of 7, got 225"),
        ({"size": 0}, ValueError, "size must be at least 7"),
        ({"size": 224.0}, TypeError, "size must be an int, got float"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": None}, TypeError, "seed must be an int"),
    ],
)
def test_wrong_arguments_are_named(folder, options, error, message):
    with pytest.raises(error, match=message):
        listed(folder, **options)


def test_without_pillow_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"image_list needs pillow: pip install 'what-to-keep\[book\]'"):
        listed(folder)


def test_a_network_adapts_from_lists(tmp_path):
    """What the runs on published lists do, on two small ones: fetch, train a ResNet's bottleneck, ask, test."""
    import transformers

    for domain in ("art", "real"):
        (tmp_path / domain).mkdir()
        names = [f"{domain}/{i}.png {i % 3}" for i in range(24)]
        for i in range(24):
            photograph(40, 40, seed=i % 3 + (10 if domain == "real" else 0)).save(tmp_path / f"{domain}/{i}.png")
        (tmp_path / f"{domain}.txt").write_text("\n".join(names))
    art = image_list(tmp_path / "art.txt", tmp_path, seed=100, size=SIZE)
    real = image_list(tmp_path / "real.txt", tmp_path, "unlabelled", seed=101, size=SIZE, threads=2)
    pool, test = real.take(torch.arange(18)), real.take(torch.arange(18, 24), "test")
    task = AdaptationTask((art, art.labels), pool, LabelOracle(pool.labels, budget=4), test=(test, test.labels))
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")

    def network():
        return Bottleneck(transformers.ResNetModel(config), 16, classes=3, hidden=8)

    settings = {"seeds": [100], "epochs": 4, "rounds": (1, 2), "budget": 4 / 18, "batch_size": 6}
    [[outcome]] = run_study(network, [task], [Arm(EADA(), align=0.01)], **settings)
    picks = torch.cat(list(outcome.picks))
    assert len(picks.unique()) == 4 and outcome.test_logits.shape == (6, 3)
    assert len(outcome.history.test) == 3 and 0 <= outcome.history.test[-1] <= 1
    assert art.visits.min() >= 4 and pool.visits.min() >= 4
    assert test.visits.tolist() == [3] * 6
