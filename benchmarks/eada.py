"""EADA: `selectlib.queries` beside scikit-activeml 1.0.1, correctness first.

python benchmarks/eada.py                        every case; writes benchmarks/results/eada-cpu.{json,md}
python benchmarks/eada.py --cases core_set badge some of them; writes to _build/benchmarks
python benchmarks/eada.py --quick                tiny sizes, to see that it works; writes to _build/benchmarks
python benchmarks/eada.py --device cuda          our side on the GPU; writes benchmarks/results/eada-cuda.{json,md}

The peer runs on the CPU always. Where it is not installed its rows are left out.
"""

import sys
import time
import warnings

import torch
from _eada_checks import correctness
from _eada_races import MISSING, PEER, badge, core_set, pieces, scores
from _eada_scale import STRATEGIES, TEN_MILLION, scale
from _harness import command_line, interval_of_medians
from _record import machine, peaks, today, versions, write
from _setting import Setting
from threadpoolctl import threadpool_limits

CASES = {"core_set": core_set, "badge": badge, "scores": scores, "pieces": pieces, "scale": scale}


def measurements(device: torch.device, cases: dict[str, dict], checks: dict[str, dict]) -> dict[str, dict]:
    """Values of the claims that rest on these cases, by the claim's id; of the peer's precisions the better counts."""
    found = {}
    for case, ours in (("core_set", "core_set"), ("badge", "badge")) if device.type == "cpu" and PEER else ():
        parts = [p for p in cases[case]["parts"] if p["n"] == 10_000] if case in cases else []
        if parts:
            over = [p["rows"]["skactiveml"]["over"][ours] for p in parts]
            found[f"{case}_speed"] = min(over, key=lambda m: m["value"])
    if "core_set_peer" in checks and device.type == "cpu":
        wrong = checks["core_set_peer"]["error"]
        found["core_set_peer_mismatches"] = {
            "value": wrong,
            "low": wrong,
            "high": wrong,
            "n": checks["core_set_peer"]["n"],
        }
    tables = {p["n"]: p["rows"] for p in cases["scale"]["parts"]} if "scale" in cases else {}
    for name in STRATEGIES:
        n = TEN_MILLION if device.type == "cuda" and name == "eada" else 1_000_000
        if n not in tables:
            continue
        row, size = tables[n][name], "ten_million" if n == TEN_MILLION else "million"
        claim = f"{size}_{name}" if device.type == "cpu" else f"cuda_{size}_{name}"
        found[f"{claim}_seconds"] = interval_of_medians(lambda m: m, row["seconds"])
        if device.type == "cpu":
            found[f"{claim}_gigabytes"] = interval_of_medians(lambda m: m, row["gigabytes"])
    return {f"eada/pool_at_scale/{claim}": value for claim, value in found.items()}


def main() -> None:
    start = time.perf_counter()
    given = command_line(__doc__, list(CASES), device_help="of our side; default: cpu")
    warnings.simplefilter("ignore")  # the peer's
    with threadpool_limits(given.threads):
        about = machine(given.device, given.threads)
        reached = peaks(given.device, 512 if given.quick else 4096, torch.float32)
        setting = Setting(given.device, given.quick, given.threads, reached)
        checks = correctness(setting)
        cases = {name: CASES[name](setting) for name in given.cases}
    results = {
        "benchmark": "eada",
        "title": "Query strategies beside scikit-activeml",
        "device": given.device.type,
        "quick": given.quick,
        "date": today(),
        "seconds": time.perf_counter() - start,
        "machine": about,
        "versions": versions("what-to-keep", *["scikit-activeml"] * PEER, "torch", "numpy", "scikit-learn"),
        "peaks": setting.peaks,
        "correctness_note": "Picks that differ; and samplers of BADGE by their second and third pick out of thirty "
        "items, against probabilities from the gradient embeddings written out. Where picks differ, or p is below "
        f"0.0001, nothing is timed.{MISSING}",
        "correctness": checks,
        "cases": cases,
        "measurements": measurements(given.device, cases, checks),
    }
    print(f"{write(results, given.folder)}: {results['seconds']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
