"""Random views: what they keep, what they change, and by how much."""

import math

import pytest
import torch
from torch.nn.functional import interpolate

from selectlib.seeding import generator
from selectlib.support import _views, affine_views, colour_views, random_affine

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
VIEWS = [random_affine, affine_views, colour_views]


@pytest.fixture(params=VIEWS, ids=lambda views: views.__name__)
def views(request):
    return request.param


def photos(n=16, side=12, dtype=torch.float32, device="cpu"):
    """Smooth random colour images, from 0 to 1."""
    coarse = torch.rand(n, 3, 4, 4, generator=generator(100), dtype=dtype)
    return interpolate(coarse, (side, side), mode="bilinear").to(device)


def drawn(monkeypatch, **fixed):
    """Let the n-th call of `_uniform` give fixed numbers, where `fixed` has them as ``_n``."""
    real, calls = _views._uniform, []

    def uniform(images, generator, *ranges):
        calls.append(ranges)
        numbers = real(images, generator, *ranges)
        values = fixed.get(f"_{len(calls)}", [None] * len(ranges))
        return [
            number if value is None else torch.full_like(number, value)
            for number, value in zip(numbers, values, strict=True)
        ]

    monkeypatch.setattr(_views, "_uniform", uniform)


# What all have in common.


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_type_device_and_range_stay(views, dtype, device):
    images = photos(dtype=dtype, device=device)
    before = images.clone()
    for draws in (generator(100), generator(100, device)):
        seen = views(images, generator=draws)
        assert seen.shape == images.shape and seen.dtype == dtype and seen.device == images.device
        assert 0 <= float(seen.min()) and float(seen.max()) <= 1
    assert torch.equal(images, before)


@pytest.mark.oracle
def test_the_generator_alone_decides(views):
    torch.manual_seed(1)
    first = views(photos(), generator=generator(100))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(views(photos(), generator=generator(100)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(views(photos(), generator=generator(101)), first)


@pytest.mark.oracle
def test_a_view_is_of_its_own_image_alone(views):
    """With the same draws, another image elsewhere in the batch changes nothing here: no statistic is of the batch."""
    images = photos()
    changed = images.clone()
    changed[3] = changed[3].flip(-1)
    first, second = (views(batch, generator=generator(100)) for batch in (images, changed))
    same = [i for i in range(len(images)) if torch.equal(first[i], second[i])]
    assert same == [i for i in range(len(images)) if i != 3]


@pytest.mark.oracle
def test_equal_images_get_different_views(views):
    seen = views(photos(1).expand(8, -1, -1, -1), generator=generator(100))
    assert torch.pdist(seen.flatten(1)).min() > 0


@pytest.mark.oracle
def test_views_stay_nearer_to_their_own_image_than_to_another():
    images = photos(12, 16)
    for seen in (random_affine(images, generator=generator(100)), affine_views(images, generator=generator(101))):
        centred = [(batch - batch.mean((1, 2, 3), keepdim=True)).flatten(1) for batch in (seen, images)]
        assert torch.cdist(*centred).argmin(1).tolist() == list(range(12))


def test_not_square_and_a_single_channel():
    images = torch.rand(3, 1, 6, 10, generator=generator(100))
    for views in (random_affine, affine_views):
        assert views(images, generator=generator(100)).shape == images.shape
    assert colour_views(torch.rand(3, 3, 6, 10), generator=generator(100)).shape == (3, 3, 6, 10)


# The affine part, against known moves.


@pytest.mark.oracle
def test_no_move_is_no_change(monkeypatch):
    drawn(monkeypatch, _1=(0, 1, 0, 0))
    torch.testing.assert_close(random_affine(photos(), generator=generator(100)), photos(), atol=1e-5, rtol=0)


@pytest.mark.oracle
def test_a_dot_goes_where_it_should(monkeypatch):
    """A turn by 15 degrees and a scale of 1.15 about the centre, in pixels, whatever the sides."""
    height, width = 41, 61
    x, y = 10.0, 6.0  # from the centre, to the right and down
    rows, columns = torch.meshgrid(torch.arange(height) - 20.0, torch.arange(width) - 30.0, indexing="ij")
    images = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4).view(1, 1, height, width)
    drawn(monkeypatch, _1=(1, 1.15, 0, 0))
    seen = random_affine(images, generator=generator(100))[0, 0]
    centre = (float((seen * columns).sum() / seen.sum()), float((seen * rows).sum() / seen.sum()))
    angle = math.radians(15)
    turned = (
        1.15 * (x * math.cos(angle) + y * math.sin(angle)),
        1.15 * (-x * math.sin(angle) + y * math.cos(angle)),
    )
    assert centre == pytest.approx(turned, abs=0.02)


@pytest.mark.oracle
def test_a_move_is_a_share_of_the_side(monkeypatch):
    images = torch.zeros(1, 1, 50, 50)
    images[0, 0, 25, 25] = 1
    drawn(monkeypatch, _1=(0, 1, -0.24, 0.24))
    seen = random_affine(images, generator=generator(100))
    assert seen[0, 0].argmax().item() == (25 - 6) * 50 + 25 + 6  # 12 % of 50 pixels, to the right and up


@pytest.mark.oracle
def test_light_is_linear(monkeypatch):
    drawn(monkeypatch, _1=(0, 1, 0, 0), _2=(1.2, -0.1))
    images = photos(400, 6) * 0.6 + 0.2
    rest = affine_views(images, generator=generator(100)) - (1.2 * images - 0.1)
    assert abs(float(rest.mean())) < 0.002 and float(rest.std()) == pytest.approx(0.05, rel=0.03)


# Colour.


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("draws", "expected"),
    [
        ((1, 1, 1, 0, 0, 1), lambda x: x),
        ((0.5, 1, 1, 0, 0, 1), lambda x: 0.5 * x),
        ((0.2, 1, 1, 0, 0.3, 1), lambda x: x),  # not chosen for jitter
        ((1, 0.4, 1, 0, 0, 1), lambda x: 0.4 * x + 0.6 * luma(x).mean((2, 3), keepdim=True)),
        ((1, 1, 0.3, 0, 0, 1), lambda x: 0.3 * x + 0.7 * luma(x)),
        ((0.5, 0.4, 1, 0, 0, 1), lambda x: 0.5 * (0.4 * x + 0.6 * luma(x).mean((2, 3), keepdim=True))),
        ((1, 1, 1, 0, 1, 0), lambda x: luma(x).expand_as(x)),
        ((0.6, 1, 1, 0.1, 0, 0), lambda x: 0.6 * luma(x).expand_as(x)),  # a turn of the hue keeps the luma
    ],
)
def test_colours_are_mapped_as_documented(monkeypatch, draws, expected):
    drawn(monkeypatch, _1=draws)
    images = photos(dtype=torch.float64)
    seen = _views._recolour(images, generator(100))
    torch.testing.assert_close(seen, expected(images), atol=1e-6, rtol=0)


def luma(images):
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)


@pytest.mark.oracle
def test_hue_turns_about_the_grey_axis(monkeypatch):
    images = 0.4 + 0.2 * photos(dtype=torch.float64)
    grey = luma(images).expand_as(images)
    drawn(monkeypatch, _1=(1, 1, 1, 0.2, 0, 1), _2=(1, 1, 1, 0.2, 0, 1))
    assert torch.allclose(_views._recolour(grey, generator(100)), grey, atol=1e-3)
    once = _views._recolour(images, generator(100))
    assert (once - images).abs().max() > 0.02
    for _ in range(4):  # five turns by a fifth of the circle
        monkeypatch.undo()
        drawn(monkeypatch, _1=(1, 1, 1, 0.2, 0, 1))
        once = _views._recolour(once, generator(100))
    torch.testing.assert_close(once, images, atol=1e-9, rtol=0)


@pytest.mark.oracle
def test_blur_is_a_gaussian_of_three_pixels(monkeypatch):
    images = torch.zeros(1, 3, 7, 7, dtype=torch.float64)
    images[..., 3, 3] = 1
    drawn(monkeypatch, _1=(0, 1.5))
    seen = _views._blur(images, generator(100))
    side = math.exp(-1 / (2 * 1.5**2))
    weights = torch.tensor([side, 1, side], dtype=torch.float64) / (1 + 2 * side)
    torch.testing.assert_close(seen[0, 0, 2:5, 2:5], torch.outer(weights, weights))
    assert seen.sum().item() == pytest.approx(3)
    monkeypatch.undo()
    drawn(monkeypatch, _1=(0.2, 1.5))
    assert torch.equal(_views._blur(images, generator(100)), images)  # not chosen


@pytest.mark.oracle
def test_a_crop_is_a_part_of_the_image(monkeypatch):
    columns = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    drawn(monkeypatch, _1=(0.25, 0, -1, 0, 1))
    seen = _views._crop(columns, generator(100))[0, 0, 16]
    torch.testing.assert_close(seen[1:-1], torch.linspace(0, 0.5, 32)[1:-1], atol=0.02, rtol=0)  # the left half
    monkeypatch.undo()
    drawn(monkeypatch, _1=(1, 0, 0, 0, 0))
    mirrored = _views._crop(columns, generator(100))
    torch.testing.assert_close(mirrored, columns.flip(-1), atol=1e-5, rtol=0)


@pytest.mark.oracle
def test_chances_are_as_documented(monkeypatch):
    images = photos(1, 4).expand(4000, -1, -1, -1)
    changed = (_views._blur(images, generator(100)) != images).flatten(1).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.2, abs=0.03)
    seen = _views._recolour(images, generator(100))
    grey = (seen.max(1).values - seen.min(1).values).flatten(1).amax(1) < 1e-6
    assert float(grey.float().mean()) == pytest.approx(0.2, abs=0.03)
    same = (seen - images).flatten(1).abs().amax(1) < 1e-5
    assert float(same.float().mean()) == pytest.approx(0.7 * 0.8, abs=0.03)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), TypeError, "images must be a tensor of floats, got torch.uint8"),
        ([[1.0]], TypeError, "images must be a tensor of floats, got list"),
        (torch.zeros(3, 4, 4), ValueError, r"images must have shape \(b, c, h, w\), got \(3, 4, 4\)"),
    ],
)
def test_bad_images_are_named(views, images, error, message):
    with pytest.raises(error, match=message):
        views(images, generator=generator(100))


def test_grey_images_have_no_colour_views():
    with pytest.raises(ValueError, match="images must have 3 channels"):
        colour_views(torch.zeros(2, 1, 4, 4), generator=generator(100))


def test_anything_but_a_torch_generator_is_refused(views):
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        views(photos(), generator=100)
