"""The recorded benchmark of Lion: that its claims follow from its cases. No peer is needed."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from selectlib.optim import Lion

ROOT = Path(__file__).parents[1]
RECORDED = sorted((ROOT / "benchmarks/results").glob("lion-*.json"))
LIONS = {"lion_pytorch", "lion_pytorch_foreach", "pytorch_optimizer", "pytorch_optimizer_foreach"}


@pytest.fixture(params=RECORDED, ids=lambda path: path.stem)
def results(request) -> dict:
    return json.loads(request.param.read_text())


@pytest.fixture
def modules(monkeypatch) -> dict:
    """The modules of the benchmark; peers are imported only where they are installed."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = {"checks": "_lion_checks", "races": "_lion_races", "setting": "_setting", "lion": "lion"}
    return {short: importlib.import_module(name) for short, name in names.items()}


def seconds(part: dict) -> dict[str, float]:
    return {name: float(np.median(row["seconds"])) for name, row in part["rows"].items()}


def test_speeds_are_those_over_the_fastest_path_of_both_peers(results):
    part = results["cases"]["step"]["parts"][0]
    assert part["threads"] == results["machine"]["threads"] == 1
    took = seconds(part)
    theirs = {name: value for name, value in took.items() if name not in ("fused", "foreach", "adamw")}
    assert set(theirs) >= LIONS
    expected = {"cpu_speed": "foreach", "cpu_speed_fused": "fused", "cuda_speed": "fused"}
    measured = {name.split("/")[-1]: value["value"] for name, value in results["measurements"].items()}
    for name, ours in expected.items():
        if name.startswith(f"{results['device']}_"):
            assert measured[name] == pytest.approx(min(theirs.values()) / took[ours])
    versus = "cpu_fused_vs_adamw" if results["device"] == "cpu" else "cuda_vs_adamw"
    assert measured[versus] == pytest.approx(took["adamw"] / took["fused"])


def test_weights_are_as_many_as_the_claim_says(results):
    part = results["cases"]["step"]["parts"][0]
    low, high = (10e6, 50e6) if results["device"] == "cpu" else (100e6, 1e9)
    assert low <= part["n"] <= high


def test_floor_follows_from_bytes(results):
    for part in results["cases"]["step"]["parts"]:
        floor = part["floor"]
        assert floor["bytes"] == 20 * part["n"]
        assert floor["seconds"] == pytest.approx(floor["bytes"] / results["peaks"]["gbytes_per_second"] / 1e9)
        assert floor["distance"] == pytest.approx(seconds(part)["fused"] / floor["seconds"])


def test_state_is_half_of_adamws_and_a_quarter_with_a_short_momentum(results):
    part = results["cases"]["step"]["parts"][0]
    state = {name: row["state"][0] for name, row in part["rows"].items()}
    assert {state[name] for name in (*LIONS, "fused", "foreach")} == {4 * part["n"] / 1e6}
    assert state["adamw"] == pytest.approx(8 * part["n"] / 1e6, rel=1e-3)  # and its counts of steps
    rows = results["cases"]["precision"]["parts"][0]["rows"]
    assert rows["momentum"]["state"] == rows["all"]["state"]
    assert rows["float32"]["state"][0] == 2 * rows["all"]["state"][0]


def test_rates_of_programs_follow_from_the_seconds(results):
    for part in results["cases"].get("programs", {"parts": []})["parts"]:
        for name, value in seconds(part).items():
            assert part["rate"][name]["value"] == pytest.approx(1 / value)


def test_all_lions_were_checked(results):
    assert set(results["correctness"]) >= LIONS | {"fused", "foreach", "loop"}


@pytest.mark.oracle
@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"foreach": False}], ids=str)
def test_checks_find_nothing_wrong(modules, options):
    check = modules["checks"].against_reference(
        "ours", lambda params: Lion(params, **options, **modules["races"].SETTINGS), torch.device("cpu")
    )
    assert check["n"] >= 100_000
    assert check["error"] == 0


def test_checks_find_what_is_wrong(modules):
    """Betas in the wrong order, decay of the wrong size."""
    settings = modules["races"].SETTINGS
    for wrong in ({"betas": (0.99, 0.9)}, {"weight_decay": 0.2}):
        check = modules["checks"].against_reference(
            "wrong", lambda params, wrong=wrong: Lion(params, **settings | wrong), torch.device("cpu")
        )
        assert check["error"] > check["n"] / 10


def test_the_list_is_realistic(modules):
    params = modules["races"].parameters(torch.device("cpu"), quick=False)
    assert 10e6 <= modules["races"].count(params) <= 50e6
    assert len(params) > 40 and all(p.grad.shape == p.shape for p in params)


def test_claims_need_the_step_alone(modules):
    rows = {
        "fused": {"peer": False, "seconds": [1.0]},
        "adamw": {"peer": True, "over": {"fused": {"value": 1.5}, "foreach": {"value": 0.5}}},
        "a": {"peer": True, "over": {"fused": {"value": 4.0}, "foreach": {"value": 1.1}}},
        "b": {"peer": True, "over": {"fused": {"value": 3.0}, "foreach": {"value": 1.2}}},
    }
    cases = {"step": {"parts": [{"rows": rows, "floor": {"seconds": 0.8}}]}}
    found = modules["lion"].measurements(cases, {}, "cpu")
    values = {name.removeprefix("lion/training/"): value["value"] for name, value in found.items()}
    assert values == {"cpu_fused_vs_adamw": 1.5, "cpu_speed": 1.1, "cpu_speed_fused": 3.0}
    found = modules["lion"].measurements(cases, {"fused": {"error": 0, "n": 500}}, "cuda")
    values = {name.removeprefix("lion/training/"): value["value"] for name, value in found.items()}
    assert values == {"cuda_vs_adamw": 1.5, "cuda_speed": 3.0, "cuda_floor": 1.25, "cuda_mismatches": 0}
    assert modules["lion"].measurements({}, {}, "cpu") == {}
