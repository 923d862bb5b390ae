"""How far a model sees the target from the source."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from selectlib.queries import free_energy, shift_report
from selectlib.queries._auroc import auroc
from selectlib.queries._shift import _area, _counts, _gap
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
SCORES = {"free energy", "largest logit", "largest probability", "entropy", "margin"}


def logits(n, scale, seed, c=5):
    return scale * torch.randn(n, c, generator=generator(seed))


def report(source, target, *, seed=100, resamples=199, **settings):
    return shift_report(source, target, generator=generator(seed), resamples=resamples, **settings)


def sklearn_area(source, target):
    labels = [0] * len(source) + [1] * len(target)
    return roc_auc_score(labels, torch.cat([source, target]).cpu())


# The area under the ROC curve.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("levels", [3, 10**6], ids=["ties", "distinct"])
def test_the_area_is_scikit_learns_and_the_mann_whitney_statistic(levels, device):
    draws = generator(100)
    source, target = (torch.randint(levels, (n,), generator=draws).to(device).float() for n in (37, 50))
    assert float(auroc(source, target)) == pytest.approx(sklearn_area(source, target), abs=1e-6)
    pairs = stats.mannwhitneyu(target.cpu(), source.cpu()).statistic / (37 * 50)
    assert float(auroc(source, target)) == pytest.approx(pairs, abs=1e-6)


@pytest.mark.oracle
def test_the_area_of_stacked_scores_is_that_of_each():
    source, target = torch.randn(3, 20, generator=generator(100)), torch.randn(3, 30, generator=generator(101))
    each = torch.stack([auroc(*pair) for pair in zip(source, target, strict=True)])
    assert torch.equal(auroc(source, target), each)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rounded", [False, True], ids=["distinct", "ties"])
def test_weights_mean_repeated_images(rounded, device):
    draws = generator(100)
    source, target = torch.randn(25, generator=draws), 1 + torch.randn(40, generator=draws)
    if rounded:
        source, target = source.round(), target.round()
    drawn = [torch.randint(n, (6, n), generator=draws) for n in (25, 40)]
    weights = [_counts(indices.to(device), indices.shape[1]) for indices in drawn]
    areas = _area(source.to(device), target.to(device))(*weights)
    gaps = _gap(source.to(device), target.to(device))(*weights)
    for i in range(6):
        x, y = source[drawn[0][i]], target[drawn[1][i]]
        assert float(areas[i]) == pytest.approx(sklearn_area(x, y), abs=1e-5)
        assert float(gaps[i]) == pytest.approx(float((y.mean() - x.mean()) / x.std()), rel=1e-4)


# The report.


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("T", [1.0, 2.5])
def test_areas_and_gaps_are_those_of_the_images(T, device):
    source, target = logits(60, 4, 100).to(device), logits(90, 2, 101).to(device)
    found = report(source, target, T=T)
    energies = [free_energy(f, T=T).cpu() for f in (source, target)]
    assert found.auroc.value == pytest.approx(sklearn_area(*energies), abs=1e-6)
    assert found.gap.value == pytest.approx(float((energies[1].mean() - energies[0].mean()) / energies[0].std()), 1e-5)
    centred = [free_energy(f, T=T, center=True).cpu() for f in (source, target)]
    expected = float((centred[1].mean() - centred[0].mean()) / centred[0].std())
    assert found.gap_centred.value == pytest.approx(expected, 1e-5)
    p = [f.softmax(1).sort(1).values.cpu() for f in (source, target)]
    by_hand = {
        "free energy": energies,
        "largest logit": [-f.amax(1) for f in (source, target)],
        "largest probability": [1 - q[:, -1] for q in p],
        "entropy": [-(q * q.log()).sum(1) for q in p],
        "margin": [q[:, -2] - q[:, -1] for q in p],
    }
    assert set(found.auroc_by_score) == set(by_hand) == SCORES
    for name, scores in by_hand.items():
        assert found.auroc_by_score[name].value == pytest.approx(sklearn_area(*scores), abs=2e-4), name
    assert found.auroc == found.auroc_by_score["free energy"]


@pytest.mark.oracle
def test_the_intervals_of_areas_are_as_wide_as_delongs():
    """DeLong's variance of the area, from the placements of each image among the other domain's."""
    source, target = logits(150, 4, 100), logits(200, 2, 101)
    x, y = (free_energy(f).numpy() for f in (source, target))
    wins = (y[:, None] > x[None, :]).mean(1), (y[:, None] > x[None, :]).mean(0)
    error = math.sqrt(wins[0].var(ddof=1) / len(y) + wins[1].var(ddof=1) / len(x))
    found = report(source, target, resamples=1999).auroc
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert found.n == 350 and found.level == 0.95


@pytest.mark.oracle
def test_the_intervals_of_overlaps_are_as_wide_as_their_spread_over_data():
    """Random halves spread as much as samples of the whole size drawn anew."""
    anew = [report(logits(200, 4, 2 * i), logits(200, 2, 2 * i + 1), resamples=49).overlap for i in range(200)]
    spread = np.std([found.value for found in anew])
    widths = np.mean([found.high - found.low for found in anew])
    assert widths / (2 * 1.96) == pytest.approx(spread, rel=0.2)


@pytest.mark.oracle
@pytest.mark.parametrize("sizes", [(60, 61), (41, 90), (90, 20)])
def test_overlaps_are_means_over_random_halves(sizes):
    source, target = logits(sizes[0], 4, 100), logits(sizes[1], 2, 101)
    found = report(source, target, bins=7, resamples=999)
    x, y = (free_energy(f).numpy() for f in (source, target))
    edges = np.linspace(min(x.min(), y.min()), max(x.max(), y.max()), 8)
    half = min(len(x) // 2, len(y) // 2)
    draws = np.random.default_rng(100)
    overlaps, controls = [], []
    for _ in range(999):
        a, b, c = (
            np.histogram(part, edges)[0] / half
            for part in (*np.split(draws.permutation(x)[: 2 * half], 2), draws.permutation(y)[:half])
        )
        overlaps.append(np.minimum(a, c).sum())
        controls.append(np.minimum(a, b).sum())
    for interval, expected in ((found.overlap, overlaps), (found.overlap_control, controls)):
        assert interval.value == pytest.approx(np.mean(expected), abs=4 * np.std(expected) / math.sqrt(999))
        assert interval.high - interval.low == pytest.approx(np.ptp(np.quantile(expected, [0.025, 0.975])), rel=0.15)


def test_without_a_shift_the_overlap_is_its_control_and_below_one():
    found = report(logits(400, 4, 100), logits(400, 4, 101))
    assert found.overlap.value == pytest.approx(found.overlap_control.value, abs=0.03)
    assert found.overlap_control.value < 0.9
    assert found.auroc.low < 0.5 < found.auroc.high


def test_domains_that_do_not_touch():
    source, target = logits(50, 0.1, 100) + 20, logits(50, 0.1, 101)
    found = report(source, target)
    assert (found.auroc.low, found.auroc.value, found.auroc.high) == (1, 1, 1)
    assert found.overlap.value == 0 and found.gap.value > 10
    assert abs(found.gap_centred.value) < 1  # they differ by their offset alone


def test_one_energy_for_all_fills_one_bin():
    found = report(torch.zeros(10, 3), torch.zeros(10, 3), bins=5)
    assert found.auroc.value == 0.5 and found.overlap.value == 1


@pytest.mark.oracle
def test_the_order_of_images_does_not_matter_beyond_the_resamples():
    source, target = logits(60, 4, 100), logits(90, 2, 101)
    found, other = report(source, target), report(source.flip(0), target.flip(0))
    for name in ("auroc", "gap", "gap_centred"):
        assert getattr(found, name).value == pytest.approx(getattr(other, name).value, rel=1e-5)


def test_the_generator_alone_decides():
    source, target = logits(60, 4, 100), logits(90, 2, 101)
    assert report(source, target) == report(source, target)
    assert report(source, target).auroc.low != report(source, target, seed=101).auroc.low


def test_blocks_of_resamples_give_what_one_block_gives(monkeypatch):
    source, target = logits(60, 4, 100), logits(90, 2, 101)
    whole = report(source, target)
    monkeypatch.setattr("selectlib.queries._shift._BLOCK", 150 * 20)
    blocks = report(source, target)
    for name in ("auroc", "gap", "overlap", "overlap_control"):
        one, many = getattr(whole, name), getattr(blocks, name)
        assert one.value == pytest.approx(many.value, abs=0.01)
        assert one.high - one.low == pytest.approx(many.high - many.low, rel=0.5)


# Warnings.


def test_it_warns_where_free_energy_tells_nothing():
    (warning,) = report(logits(80, 4, 100), logits(80, 4, 101)).warnings
    assert "does not tell the target from the source" in warning
    assert report(logits(80, 4, 100), logits(80, 2, 101)).warnings == ()


@pytest.mark.oracle
def test_it_warns_where_two_models_disagree():
    source, target, other = logits(80, 4, 100), logits(80, 2, 101), logits(80, 2, 102)
    found = report(source, target, logits_target_other=other)
    share = float((other.argmax(1) == target.argmax(1)).double().mean())
    assert found.agreement.value == share and found.agreement.n == 80
    (warning,) = found.warnings
    assert f"agree on {share:.0%}" in warning and share < 0.4
    alike = report(source, target, logits_target_other=2 * target)
    assert alike.agreement.value == 1 and alike.warnings == ()
    assert report(source, target).agreement is None


# What is refused.


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"logits_source": logits(3, 1, 0)}, ValueError, r"logits_source must have shape .* got \(3, 5\)"),
        ({"logits_target": logits(9, 1, 0, c=1)}, ValueError, r"logits_target must have shape .* got \(9, 1\)"),
        ({"logits_target": logits(9, 1, 0, c=4)}, ValueError, "the same classes, got 5 and 4"),
        ({"logits_target": torch.ones(9, 5).long()}, TypeError, "logits_target must be a tensor of floats"),
        ({"logits_source": torch.full((9, 5), math.nan)}, ValueError, "logits_source must be finite"),
        ({"logits_target_other": logits(8, 1, 0)}, ValueError, r"the shape of logits_target, \(9, 5\), got \(8, 5\)"),
        ({"bins": 0}, ValueError, "bins must be at least 1, got 0"),
        ({"resamples": 0}, ValueError, "resamples must be at least 1, got 0"),
        ({"T": -1.0}, ValueError, "T must be a finite positive number, got -1.0"),
        ({"generator": None}, TypeError, "generator must be a torch.Generator, got NoneType"),
    ],
)
def test_bad_arguments_are_refused(given, error, message):
    usual = {"logits_source": logits(9, 1, 0), "logits_target": logits(9, 1, 1), "generator": generator(100)}
    with pytest.raises(error, match=message):
        shift_report(**{**usual, **given})


def test_a_report_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        report(logits(9, 1, 0), logits(9, 1, 1)).gap = None
