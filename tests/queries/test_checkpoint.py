"""Checkpoints: a run that was killed ends as if nothing had happened, and no other run takes its file."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from small_nets import make_net, make_task

from selectlib.pool import Random
from selectlib.queries import BADGE, EADA, ActiveDA, Arm, CoreSet, FreeEnergy, Then, run_study
from selectlib.queries._checkpoint import Checkpoint, describe

SETTINGS = {"epochs": 5, "rounds": (1, 2, 4), "budget": 0.4, "batch_size": 4}
ADADELTA = partial(torch.optim.Adadelta, lr=0.5)


class Mortal(Random):
    """Random choice, in a process that dies at the n-th."""

    calls = 0

    def select(self, pool, k, *, generator):
        Mortal.calls += 1
        if Mortal.calls == int(os.environ.get("DIES_AT", -1)):
            os.kill(os.getpid(), 9)
        return super().select(pool, k, generator=generator)


def run(kind, path=None):
    """One of the two kinds of run, as plain containers."""
    if kind == "study":
        tasks, arms = [make_task(100), make_task(101)], [Arm(Mortal(), 0.5), Arm(EADA()), Arm(Mortal(), bn="target")]
        study = run_study(
            make_net, tasks, arms, seeds=[100, 101], optimizer=ADADELTA, checkpoint=path, at_once=2, **SETTINGS
        )
        return [[vars(outcome) | {"history": vars(outcome.history)} for outcome in row] for row in study]
    torch.manual_seed(100)
    task, model = make_task(), make_net()
    model.head = torch.nn.Sequential(torch.nn.Dropout(0.5), model.head)
    fit = ActiveDA(model, Mortal(), seed=100, align=0.5, checkpoint=path, **SETTINGS).fit
    history = fit(task.source, task.target, task.oracle, test=task.test, source_test=task.source_test)
    return [vars(history), model.state_dict(), {"queried": task.oracle.queried}]


def assert_identical(first, second):
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        first, second = list(first.values()), list(second.values())
    if isinstance(first, list):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_identical(a, b)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second or (first != first and second != second)


def die(folder):
    """Let runs of both kinds be killed, the study twice; a fork of this process is spared the seconds of imports."""
    for kind, dies_at in (("study", "4"), ("study", "2"), ("active", "3")):
        child = os.fork()
        if child == 0:
            os.environ["DIES_AT"] = dies_at
            run(kind, Path(folder) / kind / "run.pt")
            os._exit(0)  # it has outlived its death
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
        assert [file.name for file in (Path(folder) / kind).iterdir()] == ["run.pt"]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """For each kind, what a run gives that was killed and went on, and the path of its file."""
    folder = tmp_path_factory.mktemp("killed")
    for kind in ("study", "active"):
        (folder / kind).mkdir()
    # A process of its own, since one that has computed in threads must not fork. Any optimiser imports torch._dynamo.
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    script += f"import torch._dynamo, test_checkpoint\ntest_checkpoint.die({str(folder)!r})"
    subprocess.run([sys.executable, "-c", script], timeout=240, check=True)
    return {kind: (run(kind, folder / kind / "run.pt"), folder / kind / "run.pt") for kind in ("study", "active")}


@pytest.mark.parametrize("kind", ["study", "active"])
def test_a_killed_run_goes_on_to_the_same_end(resumed, kind):
    assert_identical(resumed[kind][0], run(kind))


@pytest.mark.parametrize("kind", ["study", "active"])
def test_a_finished_study_is_read_and_not_run(resumed, kind):
    first, path = resumed[kind]
    written = path.read_bytes()
    calls = Mortal.calls
    second = run(kind, path)
    assert Mortal.calls == calls
    assert_identical(first, second)
    assert kind == "active" or path.read_bytes() == written


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 6}, "epochs: 5 there, 6 here"),
        ({"rounds": (1, 2, 3)}, r"rounds: \(1, 2, 4\) there, \(1, 2, 3\) here"),
        ({"seeds": [101]}, r"seeds: \[100\] there, \[101\] here"),
        ({"arms": [Arm(EADA(alpha1=0.25))]}, r"arms: .*alpha1=0.5.* there, .*alpha1=0.25.* here"),
        ({"arms": [Arm(EADA(), 0.5)]}, "arms: "),
    ],
)
def test_a_file_of_another_run_is_refused(tmp_path, change, words):
    given = {"arms": [Arm(EADA())], "seeds": [100], "checkpoint": tmp_path / "run.pt", **SETTINGS}
    run_study(make_net, [make_task()], **given)
    written = (tmp_path / "run.pt").read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint .*run.pt is of another run .*{words}"):
        run_study(make_net, [make_task()], **{**given, **change})
    assert (tmp_path / "run.pt").read_bytes() == written


def test_the_folder_must_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint must be in a folder that is there, got .*none"):
        run_study(make_net, [make_task()], [Arm(EADA())], seeds=[100], checkpoint=tmp_path / "none" / "a", **SETTINGS)


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Checkpoint(None, {}).save({"a": 1})
    assert Checkpoint(None, {}).load() is None
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_the_file(tmp_path):
    file = Checkpoint(tmp_path / "run.pt", {"seed": 100})
    file.save({"a": torch.arange(3)})
    with pytest.raises((AttributeError, TypeError)):
        file.save({"a": lambda: 0})
    assert file.load()["a"].tolist() == [0, 1, 2]


def test_strategies_are_told_apart_by_class_and_options():
    strategies = [Random(), EADA(), EADA(0.25), BADGE(), CoreSet(), Then(FreeEnergy(), 0.5, BADGE())]
    strategies += [Then(FreeEnergy(), 0.25, BADGE()), Then(FreeEnergy(), 0.5, CoreSet())]
    assert len({describe(strategy) for strategy in strategies}) == len(strategies)
    assert describe(EADA()) == describe(EADA())
    assert "0x" not in "".join(describe(strategy) for strategy in strategies)
