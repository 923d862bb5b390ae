"""The funnel: what is promoted, on which seeds and splits, and that both sides are tuned alike."""

import numpy as np
import pytest

from selectlib.programs import ADAMW, Funnel, MLPTask, Program
from selectlib.programs._funnel import scaled


class Bowl:
    """A stand-in: the loss grows with the distance of log2 of the product of all factors of the update from `best`."""

    def __init__(self, best=0.0, floor=None, noise=0.01):
        self.best, self.floor, self.noise, self.asked = best, floor or {}, noise, []

    def losses(self, program, seeds, split="validation"):
        self.asked += [(split, seed) for seed in seeds]
        distance = abs(np.log2(np.prod(program.constants())) - self.best)
        floor = self.floor.get(program.statements[0].function, 1.0)
        draws = [np.random.default_rng([seed, len(program.statements[0].function)]).normal() for seed in seeds]
        return floor + distance + self.noise * np.array(draws)

    def evaluate(self, program, seeds, split="validation"):
        return -float(self.losses(program, seeds, split).mean())


BASE = Program.parse("update = square(g)\nupdate = update * 1.0")
BETTER = Program.parse("update = sqrt(g)\nupdate = update * 4.0")
WORSE = Program.parse("update = sign(g)\nupdate = update * 1.0")
FLOORS = {"sqrt": 0.8, "sign": 1.2}
SEEDS = {"seeds": range(100, 108), "tuning_seeds": range(2)}


def test_only_what_beats_the_baseline_goes_on():
    last = Bowl(floor={"sqrt": 1.1})
    result = Funnel({"a": Bowl(floor=FLOORS), "b": Bowl(floor=FLOORS), "c": last}, BASE).select(
        [WORSE, BETTER], **SEEDS
    )
    assert {stage: sorted(result.at(stage)) for stage in "abc"} == {"a": [-1, 0, 1], "b": [-1, 1], "c": [-1, 1]}
    assert result.survivors == ()
    assert result.at("a")[1].gain.low == pytest.approx(0.2, abs=0.03) and result.at("c")[1].gain.high < 0
    assert Funnel({"a": Bowl(floor=FLOORS)}, BASE).select([WORSE, BETTER], **SEEDS).survivors == (1,)


def test_both_sides_are_tuned_on_validation_and_scored_on_test_with_fresh_seeds():
    task = Bowl(best=-1.0, floor=FLOORS)
    rows = Funnel({"a": task}, BASE).select([BETTER], **SEEDS).at("a")
    assert rows[-1].scale == 0.5 and rows[0].scale == 0.25  # 4 times 0.25 is nearest to the best 0.5 on this grid
    assert {seed for split, seed in task.asked if split == "validation"} == {0, 1}
    assert {seed for split, seed in task.asked if split == "test"} == set(range(100, 108))
    assert len(task.asked) == 2 * (5 * 2 + 8)


def test_every_program_can_be_taken_through_without_changing_the_verdict():
    stages = {"a": Bowl(floor=FLOORS), "b": Bowl(floor={"sign": 0.5, "sqrt": 0.9})}
    result = Funnel(stages, BASE).select([WORSE, BETTER], promote_all=True, **SEEDS)
    assert sorted(result.at("b")) == [-1, 0, 1] and result.survivors == (1,)
    assert result.at("b")[0].gain.low > 0 and not result.at("b")[0].kept


def test_noise_is_not_promoted_and_a_failure_counts_ten():
    equal = Program.parse("update = cbrt(g)\nupdate = update * 1.0")
    assert Funnel({"a": Bowl()}, BASE).select([equal], **SEEDS).survivors == ()
    inputs, labels = np.eye(3).repeat(10, axis=0), np.arange(3).repeat(10)
    task = MLPTask(inputs, labels, (10, 10, 10), sizes=(3, 3), steps=5)
    runaway = Program.parse("update = g * -1e9\nupdate = exp(update)")
    row = Funnel({"a": task}).select([runaway], **SEEDS).at("a")[0]
    assert row.losses.tolist() == [10.0] * 8 and not row.kept


def test_a_factor_scales_the_update_and_nothing_else():
    rng = np.random.default_rng(100)
    w, g, m, v = rng.standard_normal((4, 6), np.float32)
    once, half = (scaled(ADAMW, factor).compile()(w, g, m, v**2, 0.5) for factor in (1.0, 0.5))
    np.testing.assert_array_equal(half[0], once[0] / 2)
    np.testing.assert_array_equal(half[1], once[1])
    np.testing.assert_array_equal(half[2], once[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": {}}, "stages and retune must not be empty"),
        ({"retune": ()}, "stages and retune must not be empty"),
        ({"retune": (0.0,)}, "retune must be a finite positive number"),
        ({"level": 1.0}, "level must be between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Funnel(**({"stages": {"a": Bowl()}} | settings))


def test_seeds_that_do_not_fit_are_named():
    funnel = Funnel({"a": Bowl()}, BASE)
    with pytest.raises(ValueError, match=r"must not share any, got \[3\]"):
        funnel.select([BETTER], seeds=[3, 4], tuning_seeds=[3])
    with pytest.raises(ValueError, match="got 1 and 1"):
        funnel.select([BETTER], seeds=[4], tuning_seeds=[3])
