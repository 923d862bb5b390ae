"""Digits under a made shift: nothing on both sides of a split, and each corruption is what its description says."""

import math

import pytest
import torch
from scipy import ndimage, stats

from selectlib.data import _shifted_digits as module
from selectlib.data import load_digits, shifted_digits
from selectlib.seeding import generator

SHIFTS = ["turn", "texture", "smear"]
FIELDS = ("source", "source_test", "pool", "test")


def same(images, *arguments):
    return images


def rows(images):
    return {tuple(row) for row in images.flatten(1).tolist()}


@pytest.fixture
def uncorrupted(monkeypatch):
    """Images as they were before the corruptions."""
    monkeypatch.setattr(module, "_jitter", same)
    monkeypatch.setattr(module, "_SHIFTS", {shift: same for shift in SHIFTS})


@pytest.mark.oracle
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_no_digit_is_on_both_sides_of_a_split(uncorrupted, share):
    made = shifted_digits(seed=100, shifted_share=share)
    source, source_test, pool, test = (rows(getattr(made, field)) for field in FIELDS)
    assert len(rows(load_digits().images)) == 1797  # every digit is told from the others by its pixels
    assert source_test == test
    assert len(source) == len(pool) == 700 and len(test) == 397
    assert len(source | pool | test) == 1797


@pytest.mark.oracle
def test_labels_go_with_their_images(uncorrupted):
    made = shifted_digits(seed=100)
    digits = load_digits()
    label = dict(zip((tuple(row) for row in digits.images.flatten(1).tolist()), digits.labels.tolist(), strict=True))
    for field in FIELDS:
        expected = [label[tuple(row)] for row in getattr(made, field).flatten(1).tolist()]
        assert getattr(made, f"{field}_labels").tolist() == expected


@pytest.mark.parametrize("shift", SHIFTS)
def test_shapes_and_values(shift):
    made = shifted_digits(shift, seed=100)
    assert made.source.shape == (700, 1, 8, 8) and made.source_test.shape == (397, 1, 8, 8)
    assert made.pool.shape == (1400, 1, 8, 8) and made.test.shape == (794, 1, 8, 8)
    for field in FIELDS:
        images = getattr(made, field)
        assert images.dtype == torch.float32 and 0 <= images.min() and 0.9 < images.max() <= 1
        assert len(rows(images)) == len(images)  # copies of a digit differ
    assert made.pool_shifted.all()
    assert shift in made.description and made.licence == "CC BY 4.0" and "scikit-learn" in made.provenance


def test_the_seed_chooses_everything_and_the_source_does_not_depend_on_the_shift():
    first, again, other = (shifted_digits("turn", seed=seed) for seed in (100, 100, 101))
    for field in FIELDS:
        assert torch.equal(getattr(first, field), getattr(again, field))
        assert not torch.equal(getattr(first, field), getattr(other, field))
    for shift in SHIFTS:
        made = shifted_digits(shift, 0.3, seed=100, shifted_share=0.4)
        assert torch.equal(made.source, first.source) and torch.equal(made.source_test, first.source_test)
        assert torch.equal(made.pool_labels, first.pool_labels) and torch.equal(made.test_labels, first.test_labels)


@pytest.mark.oracle
def test_a_contaminated_pool_mixes_images_of_both_looks(monkeypatch):
    monkeypatch.setattr(module, "_jitter", lambda images, draws: images * 0 + 0.25)
    monkeypatch.setattr(module, "_SHIFTS", {"turn": lambda images, severity, draws: images * 0 + 0.75})
    for share, count in ((0.0, 0), (0.5, 700), (0.1, 140), (1.0, 1400)):
        made = shifted_digits(seed=100, shifted_share=share)
        assert made.pool_shifted.sum() == count
        assert torch.equal(made.pool.flatten(1).mean(1) == 0.75, made.pool_shifted)
        assert (made.test == 0.75).all() and (made.source == 0.25).all() and (made.source_test == 0.25).all()
    halves = shifted_digits(seed=100, shifted_share=0.5).pool_shifted.view(700, 2).sum(1).bincount()
    assert halves.min() > 100  # digits with no, one and two shifted copies: which are, is drawn image by image


@pytest.mark.oracle
def test_a_warp_equals_scipys():
    images = load_digits().images[:20].unsqueeze(1)
    draws = generator(100)
    angle, shear, right, down = (module._uniform(-0.5, 0.5, images, draws) for _ in range(4))
    warped = module._warp(images, angle, shear, right, down)[:, 0]
    for i in range(20):
        cos, sin, s = math.cos(angle[i]), math.sin(angle[i]), float(shear[i])
        # In (row, column) order, the output's pixels to the input's.
        backward = torch.tensor([[cos + sin * s, sin], [cos * s - sin, cos]], dtype=torch.float64).numpy()
        centre, shift = torch.full((2,), 3.5).numpy(), 4 * torch.tensor([down[i], right[i]]).numpy()
        expected = ndimage.affine_transform(
            images[i, 0].double().numpy(), backward, centre - backward @ centre + shift, order=1, mode="grid-constant"
        )
        torch.testing.assert_close(warped[i].double(), torch.from_numpy(expected), atol=1e-5, rtol=0)


@pytest.mark.oracle
def test_a_turn_goes_one_way_by_ten_to_sixty_degrees_times_the_severity(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "_warp", lambda images, *warp: seen.append(warp) or images)
    images = torch.full((4000, 1, 8, 8), 0.5)
    for severity in (0.5, 1.0):
        light = module._turn(images, severity, generator(100))
        angle, shear, right, down = (values.flatten() for values in seen.pop())
        ranges = [(10 * severity, 60 * severity), (-0.1 * severity, 0.3 * severity), (-0.1, 0.1), (-0.1, 0.1)]
        for values, (low, high) in zip((angle.rad2deg(), shear, right, down), ranges, strict=True):
            assert stats.kstest(values.double().numpy(), "uniform", (low, high - low)).pvalue > 1e-3
        means = light.flatten(1).mean(1)  # .5 contrast + light, contrast from .5 to 1 and light from 0 to .25
        assert means.min() > 0.25 - 0.02 and means.max() < 0.75 + 0.02
        assert means.mean() == pytest.approx(0.5, abs=0.01)
        assert light.flatten(1).std(1).mean() == pytest.approx(0.04, rel=0.02)


@pytest.mark.oracle
def test_a_turn_is_anticlockwise():
    still = torch.zeros(1, 1, 1, 1)
    images = load_digits().images[:1].unsqueeze(1)
    turned = module._warp(images, still + math.pi / 2, still, still, still)
    torch.testing.assert_close(turned[0, 0], torch.rot90(images[0, 0]), atol=1e-5, rtol=0)


@pytest.mark.oracle
def test_the_jitter_stays_within_its_bounds(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "_warp", lambda images, *warp: seen.append(warp) or images)
    noisy = module._jitter(torch.full((4000, 1, 8, 8), 0.5), generator(100))
    angle, *others = (values.flatten() for values in seen.pop())
    for values, high in zip((angle.rad2deg(), *others), (6, 0.05, 0.06, 0.06), strict=True):
        assert stats.kstest(values.double().numpy(), "uniform", (-high, 2 * high)).pvalue > 1e-3
    assert noisy.std() == pytest.approx(0.02, rel=0.02) and noisy.mean() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.oracle
def test_a_texture_is_two_by_two_numbers_enlarged():
    dark = module._texture(torch.zeros(500, 1, 8, 8), 0.7, generator(100))[:, 0]
    corners = dark[:, [0, 0, 7, 7], [0, 7, 0, 7]]
    assert stats.kstest(corners.flatten().double().numpy(), "uniform", (0, 0.7)).pvalue > 1e-3
    weight = ((torch.arange(8) + 0.5) / 8 * 2 - 0.5).clamp(0, 1)  # half-pixel centres
    upper = corners[:, :1] * (1 - weight) + corners[:, 1:2] * weight
    lower = corners[:, 2:3] * (1 - weight) + corners[:, 3:] * weight
    expected = upper.unsqueeze(1) * (1 - weight.view(-1, 1)) + lower.unsqueeze(1) * weight.view(-1, 1)
    torch.testing.assert_close(dark, expected)
    digits = load_digits().images[:500].unsqueeze(1)
    torch.testing.assert_close(module._texture(digits, 0.7, generator(100))[:, 0], (digits[:, 0] - expected).abs())
    assert torch.equal(module._texture(digits, 0, generator(100)), digits)


@pytest.mark.oracle
def test_a_smear_averages_along_a_line_of_one_to_three_pixels(monkeypatch):
    moves = []

    def warp(images, angle, shear, right, down):
        assert not angle.any() and not shear.any()
        moves.append(4 * torch.stack([right.flatten(), down.flatten()], dim=1))  # in pixels
        return torch.full_like(images, len(moves) / 100)

    monkeypatch.setattr(module, "_warp", warp)
    monkeypatch.setattr(module, "_SALT", 0.0)
    monkeypatch.setattr(torch.Tensor, "__pow__", lambda base, exponent: base)
    smeared = module._smear(torch.zeros(4000, 1, 8, 8), 0.5, generator(100))
    torch.testing.assert_close(smeared, torch.full_like(smeared, 0.05))  # the mean of .01 to .09
    line = torch.stack(moves)
    steps = line.diff(dim=0)
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), atol=1e-5, rtol=0)
    torch.testing.assert_close(line[0], -line[-1])
    ends = line[-1] - line[0]
    for values, low, width in ((ends.norm(dim=1), 0.5, 1), (ends[:, 1].atan2(ends[:, 0]), 0, math.pi)):
        assert stats.kstest(values.double().numpy(), "uniform", (low, width)).pvalue > 1e-3


@pytest.mark.oracle
def test_salt_and_power_of_a_smear():
    salted = module._smear(torch.full((4000, 1, 8, 8), 0.25), 0, generator(100)).flatten(1)
    white = salted == 1
    assert white.float().mean() == pytest.approx(0.05, abs=0.002)
    powers = salted.masked_fill(white, -1).amax(1).log() / math.log(0.25)
    assert stats.kstest(powers.double().numpy(), "uniform", (0.5, 1.5)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shift": "blur"}, ValueError, "shift must be one of 'turn', 'texture', 'smear', got 'blur'"),
        ({"severity": -0.1}, ValueError, "severity must be a finite number of at least 0, got -0.1"),
        ({"severity": math.nan}, ValueError, "severity must be a finite number"),
        ({"severity": math.inf}, ValueError, "severity must be a finite number"),
        ({"n_source": 0}, ValueError, "n_source must be at least 1, got 0"),
        ({"n_pool": 7.0}, TypeError, "n_pool must be an int, got float"),
        ({"n_test": 398}, ValueError, "n_source, n_pool and n_test must sum to at most 1797, got 1798"),
        ({"per_image": True}, TypeError, "per_image must be an int, got bool"),
        ({"shifted_share": 1.1}, ValueError, "shifted_share must be from 0 to 1, got 1.1"),
        ({"shifted_share": math.nan}, ValueError, "shifted_share must be from 0 to 1, got nan"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
        ({"seed": None}, TypeError, "seed must be an int"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        shifted_digits(**{"seed": 100, **arguments})
