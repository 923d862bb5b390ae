"""The recorded benchmarks: what notebooks read from them, and the tables that people read. No peer is needed."""

import hashlib
import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "benchmarks/results").glob("*.json"))
# What notebooks read, by recorded result: the notebook and its measures.
NEEDED = {
    "kdpp-cpu": (
        "kdpp/few_looks",
        {
            "vfx_over_alpha_seconds",
            "vfx_over_direct_seconds",
            "vfx_over_direct_next_seconds",
            "dppy_alpha_over_direct_seconds",
            "dppy_spectral_over_ours_seconds",
            "k_fifty_seconds",
            "vfx_first_time_slope_n",
            "dppy_ill_posed_failures",
            "dppy_size_refusals",
        },
    ),
    "dsdm-cpu": (
        "dsdm/at_scale",
        {
            "forward_speed",
            "forward_speed_images",
            "traker_speed",
            "traker_lds",
            "dsir_count_mismatches",
            "dsir_counts_speed",
        },
    ),
    "specattn-cpu": ("specattn/does_it_pay", {"assisted_speed"}),
    "eada-cpu": (
        "eada/pool_at_scale",
        {
            "core_set_speed",
            "core_set_peer_mismatches",
            "badge_speed",
            "million_eada_seconds",
            "million_core_set_seconds",
            "million_badge_seconds",
            "million_eada_gigabytes",
            "million_core_set_gigabytes",
            "million_badge_gigabytes",
        },
    ),
    "selectnadapt-cpu": ("selectnadapt/selection", {"class_kmeans_speed", "peer_distinct"}),
    "feature_gradients-cpu": (
        "feature_gradients/scaling",
        {"search_over_scan_seconds", "abess_over_ours_seconds"},
    ),
    "multitask_finetuning-cpu": (
        "multitask_finetuning",
        {
            "does_it_help/easyfsl_speed",
            "does_it_help/easyfsl_speed_15_queries",
            "does_it_help/easyfsl_accuracy_gap",
            "choosing_tasks/incremental_speed",
        },
    ),
    "lion-cpu": ("lion/training", {"cpu_speed", "cpu_speed_fused", "cpu_fused_vs_adamw"}),
    "lion-cuda": ("lion/training", {"cuda_floor", "cuda_vs_adamw", "cuda_speed", "cuda_mismatches"}),
    "multitask_finetuning-cuda": ("multitask_finetuning", set()),
    "eada-cuda": (
        "eada/pool_at_scale",
        {"cuda_ten_million_eada_seconds", "cuda_million_core_set_seconds", "cuda_million_badge_seconds"},
    ),
}


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


harness, record = load("_harness"), load("_record")


@pytest.fixture(params=RESULTS, ids=lambda path: path.stem)
def results(request) -> dict:
    return json.loads(request.param.read_text())


@pytest.fixture(params=[path for path in RESULTS if path.stem.startswith("kdpp")], ids=lambda path: path.stem)
def kdpp(request) -> dict:
    return json.loads(request.param.read_text())


@pytest.fixture(params=[path for path in RESULTS if path.stem.startswith("dsdm-")], ids=lambda path: path.stem)
def dsdm(request) -> dict:
    return json.loads(request.param.read_text())


@pytest.fixture(params=[path for path in RESULTS if path.stem.startswith("specattn-")], ids=lambda path: path.stem)
def specattn(request) -> dict:
    return json.loads(request.param.read_text())


@pytest.fixture(params=[path for path in RESULTS if path.stem.startswith("eada-")], ids=lambda path: path.stem)
def eada(request) -> dict:
    return json.loads(request.param.read_text())


def timed_rows(results: dict):
    for case in results["cases"].values():
        for part in case["parts"]:
            yield from ((part, row) for row in part["rows"].values() if "seconds" in row)


@pytest.mark.parametrize("name", [name for name in NEEDED if name.endswith("-cpu")])
def test_each_benchmark_is_recorded_on_cpu(name):
    assert name in [path.stem for path in RESULTS]


def test_table_is_made_from_the_results(results):
    path = ROOT / f"benchmarks/results/{results['benchmark']}-{results['device']}.md"
    assert path.read_text() == record.markdown(results)


def test_recorded_run_is_whole_and_was_right(results):
    assert not results["quick"]
    for check in results["correctness"].values():
        assert check["n"] >= 100
        assert check["p"] >= 1e-4 if "p" in check else check["error"] <= check["allowed"]


def test_measurements_are_claims_of_the_book(results):
    notebook, names = NEEDED[f"{results['benchmark']}-{results['device']}"]
    assert {f"{notebook}/{name}" for name in names} == set(results["measurements"])
    listed = {row["id"] for row in yaml.safe_load((ROOT / "book/claims.yml").read_text())}
    assert set(results["measurements"]) <= listed
    for value in results["measurements"].values():
        assert np.isfinite(list(value.values())).all()
        assert value["low"] <= value["value"] <= value["high"]
        assert value["n"] >= 1


def test_ratios_follow_from_the_repeats(results):
    compared = 0
    for part, row in timed_rows(results):
        for name, over in row.get("over", {}).items():
            ours = part["rows"][name]["seconds"]
            assert over["value"] == pytest.approx(np.median(row["seconds"]) / np.median(ours))
            assert over["n"] == len(row["seconds"]) + len(ours)
            compared += 1
    assert compared


def test_claimed_ratios_take_the_peers_fastest_setting(kdpp):
    part = next(part for part in kdpp["cases"]["first"]["parts"] if part["n"] == 100_000)
    rows = part["rows"]
    for peer, ours in (("vfx", "alpha"), ("vfx", "direct"), ("alpha", "direct")):
        named = f"vfx_over_{ours}_seconds" if peer == "vfx" else f"dppy_alpha_over_{ours}_seconds"
        fastest = min(np.median(row["seconds"]) for name, row in rows.items() if name.startswith(f"dppy_{peer}"))
        claimed = kdpp["measurements"][f"kdpp/few_looks/{named}"]["value"]
        assert claimed == pytest.approx(fastest / np.median(rows[ours]["seconds"]))


def test_our_side_never_failed(results):
    for _, row in timed_rows(results):
        assert row["peer"] or (row["seconds"] and not row["timeouts"] and not row["errors"])
    for part in results["cases"].get("hard", {"parts": []})["parts"]:
        assert not sum(row["raised"] for row in part["rows"].values() if "(ours)" in row["label"])


def test_claims_of_dsdm_follow_from_its_cases(dsdm):
    cases = {name: case["parts"] for name, case in dsdm["cases"].items()}
    measured = {id.split("/")[-1]: value["value"] for id, value in dsdm["measurements"].items()}

    def ratio(rows, slow, fast):
        return np.median(rows[slow]["seconds"]) / np.median(rows[fast]["seconds"])

    estimate = cases["estimate"][0]["rows"]
    assert measured["traker_speed"] == pytest.approx(ratio(estimate, "traker", "sjlt"))
    assert measured["traker_lds"] == pytest.approx(estimate["sjlt"]["lds"][0] - estimate["traker"]["lds"][0])
    gpt, images = (part["rows"] for part in cases["forward"])
    assert measured["forward_speed"] == pytest.approx(ratio(gpt, "sjlt", "jvp"))
    assert measured["forward_speed_images"] == pytest.approx(ratio(images, "sjlt", "jvp"))
    assert measured["dsir_counts_speed"] == pytest.approx(ratio(cases["counts"][0]["rows"], "data_selection", "ours"))
    assert measured["dsir_count_mismatches"] == dsdm["correctness"]["counts"]["error"] == 0


def test_claim_of_specattn_follows_from_its_case_and_all_sides_made_the_same_tokens(specattn):
    rows = specattn["cases"]["decoding"]["parts"][0]["rows"]
    measured = specattn["measurements"]["specattn/does_it_pay/assisted_speed"]["value"]
    assert measured == pytest.approx(np.median(rows["assisted"]["seconds"]) / np.median(rows["dense"]["seconds"]))
    assert [specattn["correctness"][name]["error"] for name in ("assisted", "dense")] == [0, 0]
    assert rows["dense"]["saved"] == [0] * len(rows["dense"]["seconds"])
    assert min(rows["sparse"]["saved"]) > 0


def test_masks_of_specattn_were_exact_where_they_say_so(specattn):
    for part in specattn["cases"]["masks"]["parts"]:
        kept = {name: row["kept"] for name, row in part["rows"].items()}
        assert kept["radix"] == kept["bits_exact"]
        assert kept["sort"] == pytest.approx(kept["radix"], rel=1e-3)  # sums in float32 may move the last one
        assert np.mean(kept["radix"]) <= np.mean(kept["bits"])
        if part["length"] >= 2048:
            assert np.mean(kept["bits"]) <= 1.006 * np.mean(kept["radix"])


def test_claims_of_eada_follow_from_its_cases(eada):
    cases = {name: case["parts"] for name, case in eada["cases"].items()}
    measured = {id.split("/")[-1]: value["value"] for id, value in eada["measurements"].items()}
    large = {(part["n"], name): row for part in cases["scale"] for name, row in part["rows"].items()}
    cuda = eada["device"] == "cuda"
    for name in ("eada", "core_set", "badge"):
        ten = cuda and name == "eada"
        row = large[10**7 if ten else 10**6, name]
        claim = f"{'cuda_' * cuda}{'ten_' * ten}million_{name}"
        assert measured[f"{claim}_seconds"] == pytest.approx(np.median(row["seconds"]))
        assert cuda or measured[f"{claim}_gigabytes"] == pytest.approx(np.median(row["gigabytes"]))
    if not cuda:
        for name in ("core_set", "badge"):
            both = [part["rows"] for part in cases[name] if part["n"] == 10_000]  # in float64 and in float32
            ratios = [np.median(rows["skactiveml"]["seconds"]) / np.median(rows[name]["seconds"]) for rows in both]
            assert len(ratios) == 2
            assert measured[f"{name}_speed"] == pytest.approx(min(ratios))
        assert measured["core_set_peer_mismatches"] == eada["correctness"]["core_set_peer"]["error"] == 0


def test_core_set_of_eada_picked_the_same_on_both_sides(eada):
    for part in [*eada["cases"]["core_set"]["parts"], eada["cases"]["pieces"]["parts"][0]]:
        assert len({tuple(row["picked"]) for row in part["rows"].values()}) == 1


def test_floors_of_eada_follow_from_bytes_and_operations(eada):
    peaks = eada["peaks"]
    for case in ("core_set", "badge", "pieces"):
        for part in eada["cases"][case]["parts"]:
            floor, row = part["floor"], next(iter(part["rows"].values()))
            least = max(floor["bytes"] / peaks["gbytes_per_second"], floor["flops"] / peaks["gflops_float32"]) / 1e9
            assert floor["seconds"] == pytest.approx(least)
            assert floor["distance"] == pytest.approx(np.median(row["seconds"]) / least)
            assert floor["distance"] >= 1


def test_memory_of_eada_is_that_of_a_process_with_the_pool_in_it(eada):
    for part in eada["cases"]["scale"]["parts"]:
        pool = 4 * part["n"] * (part["d"] + 10) / 1e9
        for row in part["rows"].values():
            assert min(row["gigabytes"]) >= pool
            assert min(row["extra"]) >= 0
            assert max(np.subtract(row["gigabytes"], row["extra"])) >= pool


def test_tables_of_laws_and_of_other_checks_stand_side_by_side():
    checks = {
        "picks": {"label": "picks", "n": 600, "error": 0, "allowed": 0},
        "law": {"label": "law", "n": 500, "p": 0.5},
    }
    text = record._correctness({"correctness": checks})
    assert "| picks | 600 | 0 | 0 |" in text
    assert "| law | 500 | 0.5 |" in text


def test_ground_truth_is_whole_and_its_subsets_can_be_drawn_again():
    """Of the images themselves, which are downloaded, the benchmark checks the hashes."""
    study = load("_dsdm_study")
    with np.load(study.FILE) as file:
        outputs, provenance = file["outputs"], json.loads(str(file["provenance"]))
    assert outputs.shape == (study.SUBSETS, study.SEEDS, study.TARGETS)
    assert np.isfinite(outputs).all() and np.ptp(outputs, axis=0).min() > 0
    assert hashlib.sha256(outputs.tobytes()).hexdigest() == provenance["sha256"]
    masks = study.subsets()
    assert study.digest(masks) == provenance["masks"]
    assert masks.sum(1).tolist() == [5_000] * study.SUBSETS
    assert provenance["parameters"] == sum(p.numel() for p in study.network().parameters()) >= 1_000_000
    for name in ("epochs", "batch", "lr", "weight_decay", "seed", "alpha"):
        assert provenance[name] == getattr(study, name.upper())


def test_a_whole_run_replaces_the_results_and_any_other_does_not(monkeypatch, tmp_path):
    def given(*words, **settings):
        monkeypatch.setattr(sys, "argv", ["benchmark", *words])
        threads = torch.get_num_threads()
        try:
            found = harness.command_line("what it does", ["a", "b"], device_help="where", **settings)
            assert torch.get_num_threads() == found.threads
            return found
        finally:
            torch.set_num_threads(threads)

    whole = given("--threads", "1")
    assert (whole.folder, whole.cases, whole.quick) == (ROOT / "benchmarks/results", ["a", "b"], False)
    assert whole.device == torch.device("cpu")
    assert given("--quick").folder == given("--cases", "a").folder == ROOT / "_build/benchmarks"
    assert given("--out", str(tmp_path)).folder == tmp_path
    assert given(threads=1).threads == 1
    with pytest.raises(SystemExit):
        given("--device", "cuda", devices=["cpu"])


def contestant(name, run, repeats, **more):
    return harness.Contestant(name, name, lambda seed: seed, run, repeats, **more)


def race(*contestants):
    return harness.take_turns(contestants, seed=100, device=torch.device("cpu"), title="test")


def test_contestants_take_turns_with_the_same_seeds():
    order = []
    race(
        contestant("a", lambda seed: order.append(("a", seed)), 3),
        contestant("b", lambda seed: order.append(("b", seed)), 2),
    )
    assert order == [("a", 100), ("b", 100), ("a", 101), ("b", 101), ("a", 102)]


def test_seconds_are_of_the_run_alone_and_per_result():
    slow_start = harness.Contestant("a", "a", lambda seed: time.sleep(0.2), lambda _: time.sleep(0.05), 1, per=5)
    (seconds,) = race(slow_start)["a"]["seconds"]
    assert 0.01 <= seconds < 0.03


def test_a_peers_errors_are_counted_and_ours_end_the_run():
    def fail(seed):
        raise ValueError("no point selected")

    row = race(contestant("peer", fail, 2, peer=True))["peer"]
    assert row["errors"] == {"ValueError: no point selected": 2}
    assert row["seconds"] == []
    with pytest.raises(ValueError, match="no point"):
        race(contestant("ours", fail, 1))


def test_a_run_over_its_limit_is_a_timeout_and_the_next_run_is_not():
    rows = race(
        contestant("slow", lambda seed: time.sleep(30), 1, limit=0.05), contestant("fast", lambda s: time.sleep(0.1), 1)
    )
    assert (rows["slow"]["timeouts"], rows["slow"]["seconds"]) == (1, [])
    assert rows["fast"]["timeouts"] == 0
    assert len(rows["fast"]["seconds"]) == 1


def test_interval_of_a_ratio_covers_the_truth():
    draw = np.random.default_rng(100)
    covered = 0
    for _ in range(200):
        theirs, ours = np.exp(draw.normal(np.log(6), 0.3, 15)), np.exp(draw.normal(np.log(2), 0.3, 15))
        interval = harness.ratio(theirs, ours)
        covered += interval["low"] <= 3 <= interval["high"]
    assert 175 <= covered <= 200  # 190 expected; a binomial of 200 at 0.95 leaves these bounds once in 10^5


def test_slope_of_a_power_law_is_its_exponent():
    sizes = [10, 100, 1000]
    fit = harness.slope(sizes, *([2 * n**1.5] * 3 for n in sizes))
    assert (fit["low"], fit["value"], fit["high"]) == pytest.approx((1.5, 1.5, 1.5))


def test_results_are_replaced_whole(tmp_path, results):
    target = record.write(results, tmp_path)
    target.write_text("older")
    assert json.loads(record.write(results, tmp_path).read_text()) == results
    assert sorted(path.name for path in tmp_path.iterdir()) == [target.name, target.with_suffix(".md").name]
