"""The datamodeling score is Spearman's, its interval covers, and its ceiling is where the true effects end up."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from selectlib.corpora._lds import draw_subsets, linear_datamodeling_score
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit


def _score(scores, subsets, outputs, resamples=50, seed=100):
    return linear_datamodeling_score(scores, subsets, outputs, resamples=resamples, generator=generator(seed))


def _problem(n=40, m=6, s=30, noise=3.0, seeds=None, seed=100):
    """A linear truth, subsets and noisy outputs."""
    draws = generator(seed)
    effects = torch.randn(n, m, dtype=torch.float64, generator=draws)
    subsets = draw_subsets(n, s, generator=draws)
    shape = (s, m) if seeds is None else (s, seeds, m)
    expected = subsets.double() @ effects
    outputs = (expected if seeds is None else expected[:, None]) + noise * torch.randn(
        shape, dtype=torch.float64, generator=draws
    )
    return effects, subsets, outputs


@pytest.mark.oracle
def test_the_true_effects_score_one_and_their_negative_minus_one():
    effects, subsets, outputs = _problem(noise=0.0)
    perfect = _score(effects, subsets, outputs)
    assert perfect.mean == 1.0 and perfect.per_target.tolist() == [1.0] * 6
    assert perfect.interval.low == pytest.approx(1.0) and perfect.interval.high == 1.0
    reversed_ = _score(-effects, subsets, outputs)
    assert reversed_.mean == -1.0 and reversed_.interval.high == pytest.approx(-1.0)


@pytest.mark.oracle
def test_an_example_by_hand():
    """Four examples, five subsets: predictions 3, 5, 6, 4, 7 and outputs in the order 1, 3, 2, 4, 5 of their size."""
    scores = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    subsets = [[0, 1], [0, 3], [1, 3], [0, 2], [2, 3]]
    outputs = torch.tensor([[-1.0], [0.4], [0.1], [0.7], [9.0]])
    # Ranks 1, 3, 4, 2, 5 and 1, 3, 2, 4, 5: squared differences 0, 0, 4, 4, 0, so 1 - 6 * 8 / (5 * 24) = 0.6.
    result = _score(scores, subsets, outputs)
    assert result.mean == pytest.approx(0.6, abs=1e-12)
    assert stats.spearmanr([3, 5, 6, 4, 7], outputs[:, 0])[0] == pytest.approx(result.mean, abs=1e-12)


@pytest.mark.oracle
@settings(deadline=None, max_examples=60)
@given(s=st.integers(3, 12), m=st.integers(1, 5), levels=st.integers(1, 4), seed=st.integers(100, 10**6))
def test_agrees_with_scipy_ties_included(s, m, levels, seed):
    draws = generator(seed)
    scores = torch.randint(levels + 1, (6, m), generator=draws).double()
    outputs = torch.randint(levels + 1, (s, m), generator=draws).double()
    subsets = torch.rand(s, 6, generator=draws) < 0.5
    predicted = (subsets.double() @ scores).numpy()
    constant = (np.ptp(predicted, 0) == 0) | (np.ptp(outputs.numpy(), 0) == 0)
    if constant.all():
        with pytest.raises(ValueError, match="nothing to correlate"):
            _score(scores, subsets, outputs)
        return
    result = _score(scores, subsets, outputs)
    assert result.dropped == constant.sum()
    assert (result.per_target.isnan().numpy() == constant).all()
    expected = [stats.spearmanr(predicted[:, j], outputs[:, j])[0] for j in np.flatnonzero(~constant)]
    assert result.per_target.numpy()[~constant] == pytest.approx(np.array(expected), abs=1e-12)
    assert result.mean == pytest.approx(np.mean(expected), abs=1e-12)
    assert -1 <= result.interval.low <= result.mean <= result.interval.high <= 1


@pytest.mark.oracle
def test_masks_and_indices_agree():
    effects, subsets, outputs = _problem()
    expected = _score(effects, subsets, outputs)
    rows = [mask.nonzero()[:, 0] for mask in subsets]
    for other in (
        rows,
        [row.flip(0).tolist() for row in rows],
        torch.stack(rows),
        [row.to(torch.uint8) for row in rows],
    ):
        result = _score(effects, other, outputs)
        assert result.interval == expected.interval and torch.equal(result.per_target, expected.per_target)


@pytest.mark.oracle
def test_subsets_of_several_sizes():
    draws = generator(100)
    scores, outputs = torch.randn(9, 2, generator=draws), torch.randn(4, 2, generator=draws)
    subsets = [[0], [1, 2, 3], [], [4, 8]]
    predicted = np.array([scores[subset].sum(0).numpy() for subset in subsets])
    expected = [stats.spearmanr(predicted[:, j], outputs[:, j])[0] for j in range(2)]
    assert _score(scores, subsets, outputs).per_target.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.oracle
def test_only_order_matters_and_constants_do_not():
    effects, subsets, outputs = _problem()
    expected = _score(effects, subsets, outputs)
    for scores, measured in [(3 * effects + 1, outputs), (effects, outputs.exp()), (effects, 5 + outputs / 7)]:
        result = _score(scores, subsets, measured)
        assert torch.allclose(result.per_target, expected.per_target, atol=1e-12)
        assert result.interval.low == pytest.approx(expected.interval.low, abs=1e-9)


@pytest.mark.oracle
def test_equal_scores_are_a_constant_column_in_spite_of_rounding():
    effects, subsets, outputs = _problem(n=500, s=60)
    effects[:, 2] = 0.1  # sums of 250 tenths, added in another order for each subset
    result = _score(effects, subsets, outputs)
    assert result.dropped == 1 and result.per_target[2].isnan()
    assert result.mean == pytest.approx(float(result.per_target[[0, 1, 3, 4, 5]].mean()))


@pytest.mark.oracle
def test_seeds_are_averaged():
    effects, subsets, outputs = _problem(seeds=4)
    several, averaged = _score(effects, subsets, outputs), _score(effects, subsets, outputs.mean(1))
    assert several.interval == averaged.interval
    assert averaged.ceiling is None
    assert _score(effects, subsets, outputs[:, :1]).ceiling is None


@pytest.mark.oracle
@pytest.mark.parametrize("seeds, half", [(2, 1), (4, 2), (3, 1), (5, 2)])
def test_the_ceiling_is_spearman_and_brown_s(seeds, half):
    effects, subsets, outputs = _problem(seeds=seeds)
    first, second = outputs[:, :half].mean(1), outputs[:, half : 2 * half].mean(1)
    rho = np.mean([stats.spearmanr(first[:, j], second[:, j])[0] for j in range(6)])
    reliability = 2 * rho / (1 + rho)
    if seeds % 2:  # lengthen by seeds / half instead of by two
        factor = seeds / half
        reliability = factor * rho / (1 + (factor - 1) * rho)
    assert _score(effects, subsets, outputs).ceiling == pytest.approx(np.sqrt(reliability), abs=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_the_ceiling_is_what_the_truth_reaches(seeds):
    effects, subsets, outputs = _problem(n=60, m=40, s=2000, noise=5.0, seeds=seeds)
    result = _score(effects, subsets, outputs, resamples=1)
    assert result.mean == pytest.approx(result.ceiling, abs=0.01)
    assert result.mean < 0.95


def test_the_ceiling_is_zero_when_seeds_disagree_and_none_when_nothing_can_be_said():
    effects, subsets, outputs = _problem(seeds=2)
    outputs[:, 1] = -outputs[:, 0] * torch.arange(1.0, 31)[:, None]
    assert _score(effects, subsets, outputs).ceiling == 0.0
    outputs[:, 1] = 1.0
    assert _score(effects, subsets, outputs).ceiling is None


@pytest.mark.oracle
def test_resamples_are_ranked_as_scipy_ranks_them():
    """One resample at a time, drawn again here: the mirrored ends of one bootstrap value."""
    effects, subsets, outputs = _problem(s=9)
    for seed in range(100, 120):
        result = _score(effects, subsets, outputs, resamples=1, seed=seed)
        drawn = torch.randint(2**62, (9,), generator=generator(seed)) % 9
        rows, measured = subsets[drawn].double() @ effects, outputs[drawn]
        value = np.mean([stats.spearmanr(rows[:, j], measured[:, j])[0] for j in range(6)])
        mirrored = np.tanh(2 * np.arctanh(result.mean) - np.arctanh(value))
        ends = sorted([mirrored, result.mean])
        assert (result.interval.low, result.interval.high) == pytest.approx(ends, abs=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_the_interval_covers_the_score_of_many_subsets(noise):
    """Plain percentiles cover 0.68 of the first case; an interval over the targets covers less still."""
    draws, runs = generator(100), 200
    effects = torch.randn(60, 10, dtype=torch.float64, generator=draws)
    scores = effects + noise * torch.randn(60, 10, dtype=torch.float64, generator=draws)

    def sample(s):
        subsets = draw_subsets(60, s, generator=draws)
        return subsets, subsets.double() @ effects

    many = linear_datamodeling_score(scores, *sample(20_000), resamples=1, generator=draws).mean
    intervals = [
        linear_datamodeling_score(scores, *sample(50), resamples=200, generator=draws).interval for _ in range(runs)
    ]
    covered = np.mean([interval.low <= many <= interval.high for interval in intervals])
    assert covered > 0.84  # about 0.93; from 200 runs four standard errors are 0.07
    assert {interval.n for interval in intervals} == {50} and {interval.level for interval in intervals} == {0.95}


@pytest.mark.oracle
def test_the_interval_narrows_with_subsets_and_not_with_targets():
    effects, subsets, outputs = _problem(n=60, m=20, s=400, noise=6.0)

    def width(s, copies=1):
        interval = _score(effects.repeat(1, copies), subsets[:s], outputs[:s].repeat(1, copies), 400).interval
        return interval.high - interval.low

    assert width(100) / width(400) == pytest.approx(2, rel=0.35)
    assert width(100, copies=5) == pytest.approx(width(100), rel=1e-9)


def test_blocks_change_nothing(monkeypatch):
    effects, subsets, outputs = _problem(s=12)
    expected = _score(effects, subsets, outputs, resamples=37)
    monkeypatch.setattr("selectlib.corpora._lds._BLOCK", 150)
    monkeypatch.setattr("selectlib.corpora._spearman._BLOCK", 150)
    result = _score(effects, subsets, outputs, resamples=37)
    assert torch.allclose(result.per_target, expected.per_target, atol=1e-14)
    assert result.interval.low == pytest.approx(expected.interval.low, abs=1e-12)


def test_three_equal_resamples_do_not_spoil_the_interval():
    """With three subsets one resample in nine has no correlation."""
    effects, subsets, outputs = _problem(s=3)
    interval = _score(effects, subsets, outputs, resamples=500).interval
    assert np.isfinite([interval.low, interval.high]).all()


@pytest.mark.oracle
@pytest.mark.parametrize("alpha, size", [(0.5, 5), (0.29, 3), (0.1, 1), (0.9, 9)])
def test_subsets_have_their_size_and_are_uniform(alpha, size):
    masks = draw_subsets(10, 20_000, alpha=alpha, generator=generator(100))
    assert masks.dtype == torch.bool and (masks.sum(1) == size).all()
    rate = masks.double().mean(0).numpy()
    assert np.abs(rate - size / 10).max() < 5 * np.sqrt(0.25 / 20_000)


@pytest.mark.oracle
def test_every_subset_is_as_likely():
    masks = draw_subsets(5, 20_000, alpha=0.4, generator=generator(100))
    names = (masks.long() * 2 ** torch.arange(5)).sum(1)
    _, counts = names.unique(return_counts=True)
    assert len(counts) == 10
    assert chi_square_fit(counts.tolist(), [0.1] * 10).p > 1e-4


def test_more_subsets_begin_with_the_same():
    few, many = (draw_subsets(20, count, generator=generator(100)) for count in (3, 8))
    assert torch.equal(few, many[:3])


GOOD = {"scores": torch.ones(4, 2).cumsum(0), "subsets": [[0, 1], [0, 2], [2, 3]], "outputs": torch.eye(3, 2)}


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"scores": torch.tensor([[1.0, torch.nan]] * 4)}, ValueError, "scores must be finite; 4 of 8 entries are not"),
        ({"outputs": torch.full((3, 2), torch.inf)}, ValueError, "outputs must be finite; 6 of 6 entries are not"),
        ({"scores": torch.ones(4)}, ValueError, "scores must have shape (n, m)"),
        ({"scores": torch.ones(0, 2)}, ValueError, "scores must have shape (n, m)"),
        ({"outputs": torch.ones(3, 3)}, ValueError, "outputs must have shape (3, 2) or (3, r, 2); got (3, 3)"),
        ({"outputs": torch.ones(2, 2)}, ValueError, "outputs must have shape"),
        ({"outputs": torch.ones(3, 0, 2)}, ValueError, "outputs must have shape"),
        ({"outputs": torch.ones(3)}, ValueError, "outputs must have shape"),
        ({"subsets": torch.ones(3, 5, dtype=torch.bool)}, ValueError, "subsets must be masks of shape (s, n) = (s, 4)"),
        ({"subsets": torch.ones(3, 4)}, TypeError, "subsets[0] must hold indices, got torch.float32"),
        ({"subsets": [[True, False], [0], [1]]}, TypeError, "subsets[0] must hold indices, got torch.bool"),
        ({"subsets": [[0], [4], [1]]}, ValueError, "subsets[1] must hold indices in [0, n) = [0, 4)"),
        ({"subsets": [[0], [1], [-1]]}, ValueError, "subsets[2] must hold indices in [0, n)"),
        ({"subsets": [[0, 0], [1], [2]]}, ValueError, "subsets[0] must not name an example twice"),
        ({"subsets": [[[0]], [1], [2]]}, ValueError, "subsets[0] must be a vector of indices"),
        ({"subsets": [[0], [1]]}, ValueError, "subsets must be at least 3; got 2"),
        ({"outputs": torch.ones(3, 2)}, ValueError, "nothing to correlate"),
        ({"resamples": 0}, ValueError, "resamples must be at least 1, got 0"),
        ({"generator": np.random.default_rng(100)}, TypeError, "generator must be a torch.Generator"),
    ],
)
def test_wrong_arguments_are_refused(changes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        linear_datamodeling_score(**({"generator": generator(100)} | GOOD | changes))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"n": 10, "count": 0}, "count must be at least 1, got 0"),
        ({"n": 10, "count": 1, "alpha": 0.01}, "is 0: it must lie in [1, n - 1]"),
        ({"n": 10, "count": 1, "alpha": 1.0}, "is 10: it must lie in [1, n - 1]"),
    ],
)
def test_impossible_subsets_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        draw_subsets(**arguments, generator=generator(100))
    with pytest.raises(TypeError, match="generator must be"):
        draw_subsets(10, 1, generator=np.random.default_rng(100))


@pytest.mark.cuda
def test_on_cuda():
    effects, subsets, outputs = _problem(seeds=2)
    expected = _score(effects, subsets, outputs)
    result = _score(effects.cuda(), subsets.cuda(), outputs.cuda())
    assert result.per_target.device.type == "cuda"
    assert torch.allclose(result.per_target.cpu(), expected.per_target, atol=1e-12)
    assert result.interval.low == pytest.approx(expected.interval.low, abs=1e-9)
    assert draw_subsets(10, 3, generator=generator(100, "cuda")).sum(1).tolist() == [5, 5, 5]
