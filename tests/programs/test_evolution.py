"""Regularised evolution: a queue of ages, one evaluation a key, and one history whatever interrupts it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from selectlib.programs import ADAMW, LION, Mutation, Mutator, Program, RandomPrograms, RegularizedEvolution

ROOT = Path(__file__).parents[2]


class Wanted:
    """A made-up task: counts what a few steps of a program come to, and remembers what it was asked."""

    def __init__(self, interrupt_at=None):
        self.asked, self.seeds, self.interrupt_at = [], None, interrupt_at

    def evaluate(self, program, seeds):
        if len(self.asked) == self.interrupt_at:
            self.interrupt_at = None
            raise KeyboardInterrupt
        self.asked.append(program)
        self.seeds = seeds
        return score(program)


def score(program):
    """More functions are better, to a degree that depends on which; the same for programs of one key."""
    if not program.live_slots():
        return float("nan")
    functions = [s.function for s, live in zip(program.statements, program.live(), strict=True) if live]
    return sum(len(set(map(ord, f))) for f in functions) % 17 - 0.01 * len(functions)


def results(search):
    """All that does not depend on the clock."""
    history = {name: column.tolist() for name, column in search.history_.items() if name != "seconds"}
    return history, search.statistics_, search.population_, search.archive_, search.improvements_


def evolve(seed, population, tournament, batch, children):
    """The algorithm on its own, without keys: every child is evaluated."""

    def fitness(program):
        value = score(program)
        return value if np.isfinite(value) else -10.0

    rng, mutator = np.random.default_rng(seed), Mutator(max_length=40)
    members, waiting = [(ADAMW, fitness(ADAMW))] * population, []
    for number in range(children):
        while len(waiting) < batch:
            drawn = []
            while len(drawn) < tournament:
                slot = int(rng.random() * population)
                if slot not in drawn:
                    drawn.append(slot)
            parent = max(drawn, key=lambda slot: members[slot][1])
            waiting.append(mutator(members[parent][0], rng).program)
        child = waiting.pop(0)
        members[number % population] = child, fitness(child)
    oldest = children % population
    return members[oldest:] + members[:oldest]


@pytest.mark.oracle
@pytest.mark.parametrize(("tournament", "batch"), [(2, 1), (3, 4), (12, 1)])
def test_it_is_the_algorithm_without_its_cache(tournament, batch):
    search = RegularizedEvolution(Wanted(), population=12, tournament=tournament, batch=batch, seed=100)
    search.fit(evaluations=150)
    expected = evolve(100, 12, tournament, batch, search.statistics_["generated"])
    assert [(member.program, member.fitness) for member in search.population_] == expected


@pytest.mark.oracle
def test_ages_are_a_queue():
    search = RegularizedEvolution(Wanted(), population=10, seed=100)
    for evaluations in (40, 41, 60):
        search.fit(evaluations=evaluations)
        newest = search.statistics_["generated"]
        assert [member.generated for member in search.population_] == list(range(newest - 9, newest + 1))


@pytest.mark.oracle
def test_a_tournament_of_all_is_greedy():
    def mutator(program, rng):
        best = max(member.fitness for member in search.population_)
        assert program in [member.program for member in search.population_ if member.fitness == best]
        return Mutator()(program, rng)

    search = RegularizedEvolution(Wanted(), population=8, tournament=8, batch=1, mutator=mutator, seed=100)
    search.fit(evaluations=1)
    search.fit(evaluations=60)


@pytest.mark.oracle
def test_one_evaluation_a_key_and_what_is_counted():
    drawn = []

    def mutator(program, rng):
        drawn.append(Mutator()(program, rng))
        return drawn[-1]

    task = Wanted()
    search = RegularizedEvolution(task, population=20, mutator=mutator, replicas=3, seed=100).fit(evaluations=200)
    statistics, history = search.statistics_, search.history_
    inserted = drawn[: statistics["generated"]]
    assert len(drawn) == len(inserted) + 1  # of the two drawn ahead, one is in
    assert statistics["invalid"] == sum(child.tries - 1 for child in inserted) > 0
    keys = {program.key() for program in task.asked}
    assert len(task.asked) == len(keys) == statistics["evaluated"] == 200
    assert len(task.seeds) == len(set(task.seeds)) == 3
    assert statistics["hit_rate"] == pytest.approx(1 - 199 / statistics["generated"])
    within_step = {ADAMW.key(False)} | {child.program.key(False) for child in inserted}
    assert statistics["hit_rate_within_step"] == pytest.approx(1 - (len(within_step) - 1) / len(inserted))
    assert statistics["hit_rate_within_step"] < statistics["hit_rate"] - 0.01
    assert history["evaluated"].tolist() == list(range(1, 201))
    assert history["generated"][-1] == statistics["generated"]
    fitness = np.nan_to_num([score(program) for program in task.asked], nan=-10.0)
    assert -10.0 in fitness
    np.testing.assert_array_equal(history["fitness"], fitness)
    np.testing.assert_array_equal(history["best"], np.maximum.accumulate(fitness))
    assert (search.best_, search.best_fitness_) == (task.asked[fitness.argmax()], fitness.max())
    fittest = np.argsort(-fitness, kind="stable")[:100]
    assert [scored.program for scored in search.archive_] == [task.asked[i] for i in fittest]
    better = [0, *np.flatnonzero(np.diff(history["best"]) > 0) + 1]
    assert [scored.program for scored in search.improvements_] == [task.asked[i] for i in better]
    members = [member.program for member in search.population_]
    for name, cross_step in (("redundancy", True), ("redundancy_within_step", False)):
        dead = sum(not live for member in members for live in member.live(cross_step))
        assert history[name][-1] == dead / sum(map(len, members))


@pytest.mark.oracle
def test_workers_change_nothing_but_the_time():
    searches = [
        RegularizedEvolution(Wanted(), population=20, batch=6, workers=workers, seed=100).fit(evaluations=60)
        for workers in (1, 2)
    ]
    assert results(searches[0]) == results(searches[1])
    assert (np.diff(searches[1].history_["seconds"]) > 0).all()


@pytest.mark.oracle
def test_a_search_goes_on_as_if_it_had_not_stopped(tmp_path):
    def search(checkpoint=None, **changes):
        settings = {"population": 15, "mutator": Mutator((1, 1, 1, 1), max_length=20), "seed": 100} | changes
        return RegularizedEvolution(Wanted(), checkpoint=checkpoint, **settings)

    straight = search().fit(evaluations=150)
    assert results(search().fit(evaluations=40).fit(evaluations=30).fit(evaluations=150)) == results(straight)
    file = tmp_path / "search.json"
    first = search(file).fit(evaluations=70)
    again = search(file).fit(evaluations=1)
    assert results(again) == results(first)
    np.testing.assert_array_equal(again.history_["seconds"], first.history_["seconds"])
    assert results(search(file).fit(evaluations=150)) == results(straight)
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]
    for name, value in {"population": 16, "seed": 101, "init": LION, "mutator": Mutator(), "tournament": 3}.items():
        with pytest.raises(ValueError, match=f"^{name} is .* but the checkpoint's search had "):
            search(file, **{name: value}).fit(evaluations=150)


def test_an_interrupted_search_keeps_what_it_has(tmp_path):
    straight = RegularizedEvolution(Wanted(), population=10, seed=100).fit(evaluations=50)
    file = tmp_path / "search.json"
    search = RegularizedEvolution(Wanted(interrupt_at=20), population=10, seed=100, checkpoint=file)
    with pytest.raises(KeyboardInterrupt):
        search.fit(evaluations=50)
    assert search.statistics_["evaluated"] == 20
    assert len(json.loads(file.read_text())["fitness"]) == 20
    assert results(search.fit(evaluations=50)) == results(straight)


SCRIPT = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_evolution import Wanted
from selectlib.programs import RegularizedEvolution, _evolution

class Slow(Wanted):
    def evaluate(self, program, seeds):
        Path({folder!r}, f"{{os.getpid()}}.pid").touch()
        time.sleep(0.02)
        return super().evaluate(program, seeds)

if __name__ == "__main__":
    _evolution._SAVE_EVERY = 0
    search = RegularizedEvolution(Slow(), population=12, batch=4, workers=2, seed=100, checkpoint={file!r})
    search.fit(evaluations=10**6)
"""


@pytest.mark.oracle
def test_after_a_kill_it_goes_on_and_leaves_no_workers(tmp_path):
    file, script = tmp_path / "search.json", tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path), file=str(file)))
    run = subprocess.Popen([sys.executable, script], cwd=ROOT)
    try:
        wait_until(lambda: file.exists() and len(json.loads(file.read_text())["fitness"]) >= 30)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    search = RegularizedEvolution(Wanted(), population=12, batch=4, seed=100, checkpoint=file)
    search.fit(evaluations=1)
    reached = search.statistics_["evaluated"]
    assert reached >= 30
    search.fit(evaluations=reached + 40)
    straight = RegularizedEvolution(Wanted(), population=12, batch=4, seed=100).fit(evaluations=reached + 40)
    assert results(search) == results(straight)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert workers
    wait_until(lambda: not any(is_running(worker) for worker in workers))


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(process):
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_seconds_are_of_this_process_and_a_budget():
    class Busy(Wanted):
        def evaluate(self, program, seeds):
            end = time.process_time() + 0.005
            while time.process_time() < end:
                pass
            return super().evaluate(program, seeds)

    seconds = RegularizedEvolution(Busy(), population=10, seed=100).fit(seconds=0.1).history_["seconds"]
    assert 5 <= len(seconds) <= 20
    assert seconds[-2] < 0.1 and (np.diff(seconds) >= 0.005).all()


def test_random_search_and_own_mutators():
    search = RegularizedEvolution(Wanted(), population=5, mutator=RandomPrograms(6), seed=100).fit(evaluations=30)
    assert {len(member.program) for member in search.population_} == {6}

    def halve(program, rng):
        return Mutation(program.with_constants([x / 2 for x in program.constants()]), "halve", 1)

    search = RegularizedEvolution(Wanted(), population=3, mutator=halve, seed=100).fit(evaluations=10)
    assert all(s.program.statements[1].args[2] < 0.9 for s in search.population_)


def test_progress_hears_of_each_evaluation():
    heard = []

    def progress(steps):
        for step in steps:
            heard.append(step)
            yield step

    RegularizedEvolution(Wanted(), population=10, seed=100).fit(evaluations=25, progress=progress)
    assert len(heard) == 24  # all but the first program's


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"population": 0}, "population must be at least 1"),
        ({"tournament": 11}, "tournament must be from 1 to 10"),
        ({"batch": 11}, "batch must be from 1 to 10"),
        ({"replicas": 0}, "replicas must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"seed": -1}, "seed must be from 0"),
        ({"init": Program.parse("m = sign(g)")}, "update must be a tree"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        RegularizedEvolution(Wanted(), **({"population": 10} | changes))


def test_bad_tasks_and_budgets(tmp_path):
    with pytest.raises(TypeError, match=r"task must have a method evaluate\(program, seeds\), got function"):
        RegularizedEvolution(score)
    with pytest.raises(TypeError, match="init must be a Program, got str"):
        RegularizedEvolution(Wanted(), init="update = sign(g)")
    with pytest.raises(TypeError, match="mutator must be callable, got tuple"):
        RegularizedEvolution(Wanted(), mutator=(1, 1, 1, 0))
    search = RegularizedEvolution(Wanted(), population=10, checkpoint=tmp_path / "no" / "search.json")
    with pytest.raises(AttributeError, match="before fit"):
        _ = search.best_
    with pytest.raises(ValueError, match="evaluations or seconds must be given"):
        search.fit()
    with pytest.raises(ValueError, match="evaluations must be at least 1"):
        search.fit(evaluations=0)
    with pytest.raises(ValueError, match="seconds must be a finite positive"):
        search.fit(seconds=0)
    with pytest.raises(FileNotFoundError):
        search.fit(evaluations=100)
    assert len(search.task.asked) == 1
