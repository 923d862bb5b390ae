"""The benchmark of Feature Gradients: rows, checks, and that claims follow from its cases. No peer is needed."""

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from selectlib.features import value_and_grad

ROOT = Path(__file__).parents[1]
RECORDED = sorted((ROOT / "benchmarks/results").glob("feature_gradients-*.json"))
CLAIMS = {
    "search_over_scan_seconds": ("whole", 16_000, 1_000, "scan", "search"),
    "abess_over_ours_seconds": ("linear_peers", 4_000, 200, "abess", "order_4"),
}


@pytest.fixture(params=RECORDED, ids=lambda path: path.stem)
def results(request) -> dict:
    return json.loads(request.param.read_text())


@pytest.fixture
def modules(monkeypatch) -> dict:
    """The modules of the benchmark."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return {name: importlib.import_module(f"_feature_gradients_{name}") for name in ("rows", "scan", "checks", "races")}


def test_claims_are_ratios_of_medians_of_their_cases(results):
    if results["device"] != "cpu":
        assert not results["measurements"]
        return
    assert results["machine"]["threads"] == 1
    for name, (case, n, d, theirs, ours) in CLAIMS.items():
        (rows,) = (part["rows"] for part in results["cases"][case]["parts"] if (part["n"], part["d"]) == (n, d))
        over = np.median(rows[theirs]["seconds"]) / np.median(rows[ours]["seconds"])
        assert results["measurements"][f"feature_gradients/scaling/{name}"]["value"] == pytest.approx(over)


def test_both_sides_computed_the_same(results):
    for part in results["cases"]["arithmetic"]["parts"] + results["cases"]["sparse"]["parts"]:
        values = [row["value"] for row in part["rows"].values()]
        assert np.allclose(values, values[0], rtol=1e-3)
    for part in results["cases"]["whole"]["parts"]:
        steps = part["rows"]["search"]["steps"]
        assert steps == part["rows"]["scan"]["steps"] == [part["n"] // 1_000] * len(steps)
        assert np.mean(part["rows"]["search"]["recall"]) == pytest.approx(
            np.mean(part["rows"]["scan"]["recall"]), abs=0.1
        )


def test_floors_follow_from_bytes_and_operations(results):
    peaks = results["peaks"]
    for part in results["cases"]["arithmetic"]["parts"]:
        floor, row = part["floor"], part["rows"]["chunk"]
        least = max(floor["bytes"] / peaks["gbytes_per_second"], floor["flops"] / peaks["gflops_float32"]) / 1e9
        assert floor["bytes"] == 8 * part["n"] * part["d"]
        assert floor["seconds"] == pytest.approx(least)
        assert floor["distance"] == pytest.approx(np.median(row["seconds"]) / least)
        assert floor["distance"] >= 1


def test_the_scan_of_columns_is_the_scan(modules):
    step = modules["rows"].dense(30, 7, 100, torch.float64, order=3)
    ours = modules["scan"].scan_of_columns(modules["scan"].columns_first(step))
    for a, b in zip(ours, value_and_grad(*step, backend="scan"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def test_sparse_rows_and_written_out_rows_are_the_same(modules):
    step = modules["rows"].sparse(40, 60, 8, 100, torch.float64)
    assert (np.diff(step.X.indptr) == 8).all()
    again = (torch.from_numpy(step.X.toarray()) - step.mean) / step.scale
    torch.testing.assert_close(step.rows, again)
    often, seldom = step.X[:, :10].nnz, step.X[:, -10:].nnz
    assert often > seldom


def test_the_lasso_stops_at_as_many_features_as_are_planted(modules):
    state = modules["races"].design(300, 40, 100)
    chosen, support = modules["races"].lasso(state)
    assert len(chosen) == len(support) == 10
    assert modules["races"].recall(chosen, support) == len(np.intersect1d(chosen, support)) / 10 > 0.5


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["sparse_rows", "published"])
def test_checks_find_nothing_wrong(name, modules):
    check = getattr(modules["checks"], name)()
    assert check["n"] >= 15
    assert 0 <= check["error"] <= check["allowed"]


def test_a_difference_is_found(modules):
    right = torch.tensor(2.0), torch.tensor([3.0, 4.0])
    wrong = torch.tensor(2.0), torch.tensor([3.0, 4.5])
    assert modules["checks"].off(right, right) == 0
    assert math.isclose(modules["checks"].off(wrong, right), 0.1, rel_tol=1e-6)
