"""Pairs of digits: what an image is made of, what the splits keep apart, and that views and domains are as told."""

import numpy as np
import pytest
import torch
from scipy import stats

from selectlib.data import _digit_pairs as module
from selectlib.data import digit_pair_views, load_digits, make_digit_pairs, transform_domain
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
DOMAINS = ["upright", "vertical flip", "negative", "permuted", "quarter turn", "horizontal flip", "edges"]
SPLITS = {
    ("combo", "beside"): (50, 10, 40),
    ("digit", "beside"): (26, 10, 16),
    ("combo", "overlaid"): (25, 10, 20),
    ("digit", "overlaid"): (11, 10, 10),
}


def rows(images):
    return [tuple(row) for row in images.flatten(1).tolist()]


@pytest.mark.oracle
def test_an_image_shows_its_two_digits_and_halves_share_none():
    digits = load_digits()
    label = dict(zip(rows(digits.images), digits.labels.tolist(), strict=True))
    made = make_digit_pairs(seed=100, per_class=30)
    sides = [rows(half) for half in made.images.squeeze(1).split(8, dim=2)]
    assert [[label[row] for row in side] for side in sides] == made.pairs[made.labels].T.tolist()
    train, other = (
        {side[i] for side in sides for i in part.nonzero().flatten()} for part in (made.train_rows, ~made.train_rows)
    )
    assert not train & other
    assert len(train) == 899 and len(other) == 898  # with 600 of each digit at each place all are used


@pytest.mark.oracle
@pytest.mark.parametrize("pair", [(3, 8), (4, 4)])
def test_an_overlaid_image_is_the_brighter_of_two_different_digits(pair):
    digits = load_digits()
    made = make_digit_pairs(arrangement="overlaid", seed=100, per_class=25)
    of_class = made.images[made.labels == made.pairs.tolist().index(list(pair))]
    one, two = (digits.images[digits.labels == digit] for digit in pair)
    both = torch.maximum(one.unsqueeze(1), two)
    if pair[0] == pair[1]:
        both = both[~torch.eye(len(one), dtype=torch.bool)]
    assert set(rows(of_class)) <= set(rows(both.view(-1, 8, 8)))


@pytest.mark.parametrize(("split", "arrangement"), SPLITS)
def test_shapes_and_numbers(split, arrangement):
    made = make_digit_pairs(split, arrangement=arrangement, seed=100, per_class=7)
    classes, width = (100, 16) if arrangement == "beside" else (55, 8)
    assert made.images.shape == (classes * 14, 1, 8, width) and made.images.dtype == torch.float32
    assert 0 <= made.images.min() and made.images.max() == 1
    assert made.labels.bincount().tolist() == [14] * classes == (2 * made.labels[made.train_rows].bincount()).tolist()
    assert len(set(rows(made.images))) == len(made.images)  # no image twice
    parts = made.train_classes, made.validation_classes, made.test_classes
    assert tuple(map(len, parts)) == SPLITS[split, arrangement]
    assert len(torch.cat(parts).unique()) == sum(map(len, parts)) and torch.cat(parts).max() < classes
    assert all(torch.equal(part, part.sort().values) for part in parts)
    assert made.licence == "CC BY 4.0" and "scikit-learn" in made.source and made.description


@pytest.fixture(params=["beside", "overlaid"])
def arrangement(request):
    return request.param


@pytest.fixture
def pairs(arrangement):
    return make_digit_pairs(arrangement=arrangement, seed=100, per_class=1).pairs


@pytest.mark.oracle
def test_a_combo_split_covers_every_digit_at_every_place(pairs, arrangement):
    tested = torch.zeros(len(pairs))
    for seed in range(100, 300):
        train, _, test = module._split_combos(pairs, arrangement, generator(seed))
        for place in pairs[train].T if arrangement == "beside" else [pairs[train]]:
            assert set(place.flatten().tolist()) == set(range(10))
        tested[test] += 1
    assert stats.chisquare(tested.numpy()).pvalue > 1e-3


@pytest.mark.oracle
def test_a_digit_split_tests_on_digits_that_were_never_seen(pairs, arrangement):
    unseen = torch.zeros(10)
    for seed in range(100, 300):
        train, validation, test = module._split_digits(pairs, arrangement, generator(seed))
        known, new = (set(pairs[part].flatten().tolist()) for part in (torch.cat([train, validation]), test))
        assert len(known) == 6 and len(new) == 4 and not known & new
        unseen[list(new)] += 1
    assert stats.chisquare(unseen.numpy()).pvalue > 1e-3


def test_a_split_that_misses_a_digit_is_drawn_again(monkeypatch):
    pairs = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    left_nine_last = torch.arange(100)  # the first 50 have left digits 0 to 4 alone
    orders = [left_nine_last, left_nine_last.view(10, 10).T.flatten()[left_nine_last], None]
    real = torch.randperm

    def randperm(n, generator):
        order = orders.pop(0)
        return real(n, generator=generator) if order is None else order

    monkeypatch.setattr(torch, "randperm", randperm)
    module._split_combos(pairs, "beside", generator(100))
    assert not orders


def test_the_seed_chooses_everything():
    first, again, other = (make_digit_pairs(seed=seed, per_class=3) for seed in (100, 100, 101))
    for field in ("images", "train_classes", "validation_classes", "test_classes"):
        assert torch.equal(getattr(first, field), getattr(again, field))
        assert not torch.equal(getattr(first, field), getattr(other, field))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "random"}, ValueError, "split must be one of combo, digit, got 'random'"),
        ({"arrangement": "above"}, ValueError, "arrangement must be one of beside, overlaid, got 'above'"),
        ({"per_class": 0}, ValueError, "per_class must be from 1 to 1000, got 0"),
        ({"per_class": 1001}, ValueError, "per_class must be from 1 to 1000, got 1001"),
        ({"per_class": 2.0}, TypeError, "per_class must be an int, got float"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        make_digit_pairs(**arguments)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_a_view_is_a_moved_image_times_a_gain(device, monkeypatch):
    monkeypatch.setattr(module, "_NOISE", 0.0)
    monkeypatch.setattr(module, "_DROPPED", 0.0)
    images = torch.rand(2000, 2, 5, 7, generator=generator(100)).to(device) + 0.1
    views = digit_pair_views(images, generator=generator(101))
    framed = torch.nn.functional.pad(images, [1] * 4)
    moves = [(down, right) for down in range(3) for right in range(3)]
    shifted = torch.stack([framed[..., d : d + 5, r : r + 7] for d, r in moves])
    gains = views.amax((1, 2, 3)) / shifted.amax((2, 3, 4))  # of each move and image
    fits = (views - gains[..., None, None, None] * shifted).abs().amax((2, 3, 4)) < 1e-5
    assert (fits.sum(0) == 1).all()
    assert stats.chisquare(fits.sum(1).cpu().numpy()).pvalue > 1e-3
    assert stats.kstest(gains[fits].cpu().double().numpy(), "uniform", (0.6, 0.8)).pvalue > 1e-3


@pytest.mark.oracle
def test_pixels_are_lost_one_by_one_and_noise_is_gaussian(monkeypatch):
    images = torch.ones(1000, 1, 8, 16)
    noise = digit_pair_views(images * 0, generator=generator(100))
    assert stats.kstest(noise.flatten().double().numpy()[::7], "norm", (0, 0.1)).pvalue > 1e-3
    monkeypatch.setattr(module, "_NOISE", 0.0)
    lost = digit_pair_views(images, generator=generator(100))[:, 0, 1:-1, 1:-1] == 0  # apart from what moved in
    assert lost.float().mean() == pytest.approx(0.1, abs=0.003)
    assert lost.float().mean(0).min() > 0.06 and lost.flatten(1).sum(1).float().var() < 2 * 84 * 0.09


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_views_keep_shape_and_type(dtype):
    images = torch.rand(3, 1, 8, 16, dtype=dtype)
    views = digit_pair_views(images, generator=generator(100))
    assert views.shape == images.shape and views.dtype == dtype


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(8, 16), (8, 8), (3, 3)])
def test_domains_spelled_out(size, device):
    images = torch.rand(6, 2, *size, generator=generator(100)).to(device)
    h, w = size
    plain = images.cpu().numpy()
    left, above = np.zeros_like(plain), np.zeros_like(plain)
    left[..., 1:] = np.abs(plain[..., 1:] - plain[..., :-1])
    above[..., 1:, :] = np.abs(plain[..., 1:, :] - plain[..., :-1, :])
    turned = np.concatenate([np.rot90(plain[..., i : i + h], axes=(2, 3)) for i in range(0, w, h)], axis=3)
    expected = {
        "upright": plain,
        "vertical flip": plain[..., ::-1, :],
        "horizontal flip": plain[..., ::-1],
        "negative": 1 - plain,
        "quarter turn": turned,
        "edges": np.maximum(left, above),
    }
    for name, its in expected.items():
        np.testing.assert_array_equal(transform_domain(images, name).cpu().numpy(), its)
    positions = torch.arange(h * w, dtype=torch.float32, device=device).view(1, 1, h, w)
    order = transform_domain(positions, "permuted").flatten().long()
    assert sorted(order.tolist()) == list(range(h * w)) != order.tolist()
    assert torch.equal(transform_domain(images, "permuted").flatten(2), images.flatten(2)[..., order])


@pytest.mark.parametrize("name", DOMAINS)
def test_a_domain_leaves_its_input_alone(name):
    images = make_digit_pairs(seed=100, per_class=1).images
    before = images.clone()
    changed = transform_domain(images, name)
    changed += 1
    assert torch.equal(images, before)
    assert 1 <= changed.min() and changed.max() <= 2 and changed.dtype == torch.float32


@pytest.mark.parametrize(
    ("images", "name", "error", "message"),
    [
        (torch.ones(1, 1, 8, 8), "mirrored", ValueError, "name must be one of upright, .*edges, got 'mirrored'"),
        (torch.ones(1, 1, 8, 12), "quarter turn", ValueError, "images must be a multiple of h wide .* got 8 x 12"),
        (torch.ones(1, 8, 8), "upright", ValueError, r"images must have shape \(b, c, h, w\), got \(1, 8, 8\)"),
        (torch.ones(1, 1, 8, 8).long(), "upright", TypeError, "images must be a tensor of floats, got torch.int64"),
        ([1.0], "upright", TypeError, "images must be a tensor of floats, got list"),
    ],
)
def test_wrong_images_and_domains_are_named(images, name, error, message):
    with pytest.raises(error, match=message):
        transform_domain(images, name)
    if name == "upright":
        with pytest.raises(error, match=message):
            digit_pair_views(images, generator=generator(100))


def test_views_need_a_generator():
    with pytest.raises(TypeError, match=r"generator must be a torch.Generator, got int"):
        digit_pair_views(torch.ones(1, 1, 8, 8), generator=100)
