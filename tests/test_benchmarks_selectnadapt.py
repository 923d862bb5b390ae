"""The recorded benchmark of SelectNAdapt: that its claims follow from its cases. No peer is needed."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
RECORDED = sorted((ROOT / "benchmarks/results").glob("selectnadapt-*.json"))


@pytest.fixture(params=RECORDED, ids=lambda path: path.stem)
def results(request) -> dict:
    return json.loads(request.param.read_text())


@pytest.fixture
def modules(monkeypatch) -> dict:
    """The modules of the benchmark that need no peer."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return {name: importlib.import_module(f"_selectnadapt_{name}") for name in ("pools", "pieces", "checks", "races")}


def of(results: dict, case: str) -> list[dict]:
    return [part["rows"] for part in results["cases"][case]["parts"]]


def measured(results: dict, name: str) -> float:
    return results["measurements"][f"selectnadapt/selection/{name}"]["value"]


def test_speed_is_that_of_the_precision_in_which_the_peer_does_better(results):
    parts = [part for part in results["cases"]["class_kmeans"]["parts"] if part["n"] == 20_000]
    assert [part["dtype"] for part in parts] == ["float64", "float32"]
    assert results["machine"]["threads"] == 1
    seconds = [[np.median(part["rows"][name]["seconds"]) for name in ("sklearn", "class_kmeans")] for part in parts]
    assert measured(results, "class_kmeans_speed") == pytest.approx(min(theirs / ours for theirs, ours in seconds))


def test_both_sides_clustered_equally_well(results):
    for rows in of(results, "class_kmeans"):
        assert rows["class_kmeans"]["inertia"] == pytest.approx(rows["sklearn"]["inertia"], rel=1e-6)
    for rows in of(results, "whole"):  # each side draws its own starts
        assert np.mean(rows["selectnadapt"]["inertia"]) <= 1.01 * np.mean(rows["sklearn"]["inertia"])


def test_peer_picked_items_twice_and_ours_did_not(results):
    *large, repeating = results["cases"]["baselines"]["parts"]
    for part in large:
        assert set(next(iter(part["rows"].values()))["distinct"]) == {part["k"]}
    theirs = repeating["rows"]["skactiveml_typi_clust"]["distinct"]
    assert len(theirs) == 10
    assert measured(results, "peer_distinct") == min(theirs) / repeating["k"]
    assert set(repeating["rows"]["typi_clust"]["distinct"]) == {repeating["k"]} == {8}


def test_floors_follow_from_bytes_and_operations(results):
    peaks, compared = results["peaks"], 0
    for case in results["cases"].values():
        for part in case["parts"]:
            if "floor" in part:
                floor, row = part["floor"], next(iter(part["rows"].values()))
                least = max(floor["bytes"] / peaks["gbytes_per_second"], floor["flops"] / peaks["gflops_float32"]) / 1e9
                assert floor["seconds"] == pytest.approx(least)
                assert floor["distance"] == pytest.approx(np.median(row["seconds"]) / least)
                assert floor["distance"] >= 1
                compared += 1
    assert compared >= 9


def test_pieces_start_where_they_are_told(modules):
    pools, pieces, races = modules["pools"], modules["pieces"], modules["races"]
    made = pools.classed(200, 4, 3, 100, torch.float64)
    init = pools.starts(made.classes, 3, 4, 5, 100)
    members, places = races.members_and_places(made, init)
    for c in range(3):
        assert torch.equal(torch.from_numpy(members[c][places[c]]), init[:, c])
    labels, inertia = pieces.cluster_each_class(made.features.numpy(), members, places)
    Z = made.features.numpy()
    for rows, found in zip(members, inertia, strict=True):
        centers = np.stack([Z[rows[labels[rows] == j]].mean(0) for j in range(4)])
        assert found == pytest.approx(np.square(Z[rows] - centers[labels[rows]]).sum())


def test_pools_are_what_the_tables_say(modules):
    pools = modules["pools"]
    sizes = torch.bincount(pools.classed(20_000, 2, 65, 100).classes, minlength=65)
    assert 0.5 <= sizes[0] / sizes[-1] / 65**0.5 <= 2
    rows = pools.repeated(100).features
    assert len(rows) == 12 and len(rows.unique(dim=0)) == 3


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["one_shot", "typi_clust", "prob_cover", "alphas_together"])
def test_checks_find_nothing_wrong(name, modules):
    check = getattr(modules["checks"], name)()
    assert check["n"] >= 100
    assert check["error"] <= check["allowed"]
