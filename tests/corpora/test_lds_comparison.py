"""Comparisons agree with the score of each estimate by itself, and their intervals cover."""

import pytest
import torch

from selectlib.corpora import compare_lds, draw_subsets, linear_datamodeling_score
from selectlib.seeding import generator, uniform_indices


def _problem(s=30, seeds=2, n=40, m=6, noise=3.0, seed=100):
    draws = generator(seed)
    effects = torch.randn(n, m, dtype=torch.float64, generator=draws)
    subsets = draw_subsets(n, s, generator=draws)
    shape = (s, seeds, m)
    outputs = (subsets.double() @ effects)[:, None] + noise * torch.randn(shape, dtype=torch.float64, generator=draws)
    return effects, subsets, outputs


def _blurred(effects, noise, seed):
    return effects + noise * torch.randn(effects.shape, dtype=torch.float64, generator=generator(seed))


def _compare(estimates, subsets, outputs, resamples=50, seed=100):
    return compare_lds(estimates, subsets, outputs, resamples=resamples, generator=generator(seed))


@pytest.mark.oracle
def test_scores_and_ceiling_are_those_of_each_estimate_by_itself():
    effects, subsets, outputs = _problem()
    estimates = {"sharp": _blurred(effects, 0.5, 101), "blurred": _blurred(effects, 2.0, 102)}
    found = _compare(estimates, subsets, outputs)
    for name, scores in estimates.items():
        alone = linear_datamodeling_score(scores, subsets, outputs, resamples=2, generator=generator(100))
        assert found.values[name] == pytest.approx(alone.mean, abs=1e-12)
        assert found.values["ceiling"] == pytest.approx(alone.ceiling, abs=1e-12)


@pytest.mark.oracle
def test_draws_are_the_scores_of_resampled_subsets():
    effects, subsets, outputs = _problem(s=9)
    found = _compare({"a": effects}, subsets, outputs, resamples=3, seed=7)
    drawn = uniform_indices(9, 27, generator=generator(7)).reshape(3, 9)
    for rows, draw in zip(drawn, found.draws["a"], strict=True):
        alone = linear_datamodeling_score(effects, subsets[rows], outputs[rows], resamples=1, generator=generator(1))
        assert float(draw) == pytest.approx(alone.mean, abs=1e-12)


def test_a_difference_is_paired():
    """Two estimates that share most of their error share the noise of the subsets: it leaves their difference."""
    effects, subsets, outputs = _problem(s=60, m=30)
    sharp = _blurred(effects, 0.6, 101)
    found = _compare({"a": sharp, "b": _blurred(sharp, 0.2, 102)}, subsets, outputs, 400)
    difference, *alone = (found.interval(*names) for names in (("a", "b"), ("a",), ("b",)))
    assert difference.value == pytest.approx(found.values["a"] - found.values["b"])
    assert difference.high - difference.low < 0.5 * min(interval.high - interval.low for interval in alone)
    assert found.interval("a", "a").low == found.interval("a", "a").high == 0


def test_several_names_are_averaged():
    effects, subsets, outputs = _problem()
    found = _compare({str(i): _blurred(effects, i, i) for i in range(1, 4)}, subsets, outputs)
    assert found.interval(["1", "2"]).value == pytest.approx((found.values["1"] + found.values["2"]) / 2)
    wide, narrow = found.interval("1", "3", level=0.99), found.interval("1", "3", level=0.9)
    assert wide.low < narrow.low <= narrow.high < wide.high and wide.level == 0.99


@pytest.mark.oracle
def test_intervals_cover_the_score_on_all_subsets():
    effects, subsets, outputs = _problem(s=20_000, m=10)
    estimates = {"a": _blurred(effects, 1.0, 101), "b": _blurred(effects, 1.6, 102)}
    truth = _compare(estimates, subsets, outputs, resamples=1).values
    covered = {"a": 0, "difference": 0, "gap": 0}
    for r in range(100):
        draws = generator(200 + r)
        some = torch.randperm(20_000, generator=draws)[:50]
        found = compare_lds(estimates, subsets[some], outputs[some], resamples=200, generator=draws)
        intervals = found.interval("a"), found.interval("a", "b"), found.interval("ceiling", "a")
        aims = truth["a"], truth["a"] - truth["b"], truth["ceiling"] - truth["a"]
        for name, interval, aim in zip(covered, intervals, aims, strict=True):
            covered[name] += interval.low <= aim <= interval.high
    # Of 100 intervals that hold at 0.95, fewer than 84 hold once in 10^5 times.
    assert min(covered.values()) >= 84


def test_one_seed_has_no_ceiling():
    effects, subsets, outputs = _problem(seeds=1)
    assert set(_compare({"a": effects}, subsets, outputs).values) == {"a"}
    assert set(_compare({"a": effects}, subsets, outputs[:, 0]).values) == {"a"}


def test_bad_arguments():
    effects, subsets, outputs = _problem()
    with pytest.raises(ValueError, match="at least one estimate"):
        _compare({}, subsets, outputs)
    with pytest.raises(ValueError, match="ceiling"):
        _compare({"ceiling": effects}, subsets, outputs)
    with pytest.raises(ValueError, match=r"estimates\['a'\] of shape \(40, 5\)"):
        _compare({"a": effects[:, :5]}, subsets, outputs)
    with pytest.raises(ValueError, match="resamples"):
        _compare({"a": effects}, subsets, outputs, resamples=0)
    with pytest.raises(TypeError, match="generator"):
        compare_lds({"a": effects}, subsets, outputs, generator=None)
    with pytest.raises(ValueError, match="level"):
        _compare({"a": effects}, subsets, outputs).interval("a", level=1.0)
    with pytest.raises(KeyError):
        _compare({"a": effects}, subsets, outputs).interval("b")
