"""The recorded benchmark of multitask finetuning: that its claims follow from its cases. No peer is needed."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
RECORDED = sorted((ROOT / "benchmarks/results").glob("multitask_finetuning-*.json"))
METHODS = ("simple_shot", "prototypical")


@pytest.fixture(params=RECORDED, ids=lambda path: path.stem)
def results(request) -> dict:
    return json.loads(request.param.read_text())


@pytest.fixture(params=[path for path in RECORDED if path.stem.endswith("-cpu")], ids=lambda path: path.stem)
def on_cpu(request) -> dict:
    return json.loads(request.param.read_text())


@pytest.fixture
def modules(monkeypatch) -> dict:
    """The modules of the benchmark that need no peer."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return {name: importlib.import_module(f"_multitask_finetuning_{name}") for name in ("selection", "races", "checks")}


def measured(results: dict, name: str) -> dict:
    return results["measurements"][f"multitask_finetuning/{name}"]


def of_tasks(results: dict, n_tasks: int, n_query: int) -> dict:
    parts = results["cases"]["accuracy"]["parts"]
    wanted = {"n_tasks": n_tasks, "n_way": 15, "n_shot": 1, "n_query": n_query}
    (rows,) = (part["rows"] for part in parts if wanted.items() <= part.items() and "gram" in part["rows"])
    return rows


def medians(rows: dict, *names: str) -> list[float]:
    return [float(np.median(rows[name]["seconds"])) for name in names]


def test_speed_is_that_over_the_faster_method_of_the_peer(on_cpu):
    assert on_cpu["machine"]["threads"] == 1
    for n_query, name in ((10, "easyfsl_speed"), (15, "easyfsl_speed_15_queries")):
        rows = of_tasks(on_cpu, 10_000, n_query)
        ours, *theirs = medians(rows, "gram", *METHODS)
        assert measured(on_cpu, f"does_it_help/{name}")["value"] == pytest.approx(min(theirs) / ours)


def test_both_sides_classified_the_same_tasks_equally(on_cpu):
    rows = of_tasks(on_cpu, 10_000, 10)
    theirs = rows["simple_shot"]["accuracy"]  # of the first repeats
    gaps = np.abs(np.subtract(rows["gram"]["accuracy"][: len(theirs)], theirs))
    assert measured(on_cpu, "does_it_help/easyfsl_accuracy_gap")["value"] == pytest.approx(gaps.max())
    assert 0.3 < min(rows["gram"]["accuracy"]) <= max(rows["gram"]["accuracy"]) < 0.95


def test_gram_and_dense_accuracies_are_equal(results):
    for part in results["cases"]["accuracy"]["parts"]:
        if "gram" in part["rows"]:
            np.testing.assert_allclose(*(part["rows"][name]["accuracy"] for name in ("gram", "dense")), atol=1e-5)


def test_selection_kept_the_same_tasks_and_was_timed_on_all(results):
    (part,) = results["cases"]["selection"]["parts"]
    assert part["n_tasks"] == 200
    rows = part["rows"]
    repeats = len(rows["anew"]["kept"])
    assert rows["anew"]["kept"] == rows["merged"]["kept"][:repeats]
    assert min(rows["merged"]["kept"]) > 1
    if results["device"] == "cpu":
        theirs, ours = medians(rows, "anew", "merged")
        assert measured(results, "choosing_tasks/incremental_speed")["value"] == pytest.approx(theirs / ours)


def test_floors_follow_from_bytes_and_operations(results):
    peaks, compared = results["peaks"], 0
    for part in results["cases"]["accuracy"]["parts"]:
        if "floor" in part:
            floor = part["floor"]
            least = max(floor["bytes"] / peaks["gbytes_per_second"], floor["flops"] / peaks["gflops_float32"]) / 1e9
            assert floor["seconds"] == pytest.approx(least)
            assert floor["distance"] == pytest.approx(medians(part["rows"], "gram")[0] / least)
            assert floor["distance"] >= 1
            compared += 1
    assert compared == 3


def test_sentences_are_of_classes_that_hold_every_task(modules):
    races = modules["races"]
    made = races.sentences(torch.device("cpu"))
    sizes = made.labels.bincount()
    assert int(sizes.min()) >= races.LEAST == 20
    assert len(made.features) == len(made.labels) == len(made.domains) == int(sizes.sum())
    tasks, target = races.candidates(made, 3, 100)
    assert tasks.shape == (3, 150, 384)
    among = (tasks.flatten(0, 1)[:50, None] == target[None]).all(2)
    assert not among.any()  # the target is no candidate


def test_rule_written_out_gives_the_case_by_hand(modules, monkeypatch):
    tasks = torch.tensor([[[1.0], [3.0]], [[2.0], [4.0]]])
    monkeypatch.setattr(modules["selection"], "SHRINKAGE", 0.0)
    selected, path = modules["selection"].select(tasks, torch.zeros(1, 1), patience=2)
    assert selected == [0]
    assert path == pytest.approx([0.5, 4 / 15])


@pytest.mark.oracle
def test_checks_find_nothing_wrong(modules):
    checks = modules["checks"]
    made = modules["races"].sentences(torch.device("cpu"))
    found = [checks.gram(made, 1), checks.gram(made, 5), checks.law("classes"), checks.law("items")]
    for check in found:
        assert check["n"] >= 100
        assert check["p"] >= 1e-4 if "p" in check else check["error"] <= check["allowed"]
