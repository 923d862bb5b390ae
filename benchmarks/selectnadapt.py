"""SelectNAdapt: `selectlib.support` beside scikit-learn and scikit-activeml 1.0.1, correctness first.

python benchmarks/selectnadapt.py                      every case; writes benchmarks/results/selectnadapt-cpu.{json,md}
python benchmarks/selectnadapt.py --cases whole lccs   some of them; writes to _build/benchmarks
python benchmarks/selectnadapt.py --quick              tiny sizes, to see that it works; writes to _build/benchmarks

Runs on one thread unless told otherwise. Where scikit-activeml is not installed its rows are left out.
"""

import sys
import time
import warnings

import torch
from _harness import command_line
from _record import machine, peaks, today, versions, write
from _selectnadapt_checks import correctness
from _selectnadapt_races import MISSING, PEER, baselines, class_k_means, lccs, whole
from _setting import Setting
from threadpoolctl import threadpool_limits

CASES = {"class_kmeans": class_k_means, "whole": whole, "baselines": baselines, "lccs": lccs}


def measurements(cases: dict[str, dict]) -> dict[str, dict]:
    """Values of the claims that rest on these cases, by the claim's id; of the peer's precisions the better counts."""
    found = {}
    parts = [part for part in cases["class_kmeans"]["parts"] if part["n"] == 20_000] if "class_kmeans" in cases else []
    if parts:
        over = [part["rows"]["sklearn"]["over"]["class_kmeans"] for part in parts]
        found["class_kmeans_speed"] = min(over, key=lambda ratio: ratio["value"])
    if "baselines" in cases and PEER:
        part = cases["baselines"]["parts"][-1]
        distinct = part["rows"]["skactiveml_typi_clust"]["distinct"]
        share = min(distinct) / part["k"]
        found["peer_distinct"] = {"value": share, "low": share, "high": share, "n": len(distinct)}
    return {f"selectnadapt/selection/{claim}": value for claim, value in found.items()}


def main() -> None:
    start = time.perf_counter()
    given = command_line(__doc__, list(CASES), devices=("cpu",), device_help="the CPU; default: cpu", threads=1)
    warnings.simplefilter("ignore")  # the peers', of clusters that coincide
    with threadpool_limits(given.threads):
        about = machine(given.device, given.threads)
        reached = peaks(given.device, 512 if given.quick else 4096, torch.float32)
        setting = Setting(given.device, given.quick, given.threads, reached)
        checks = correctness(setting)
        cases = {name: CASES[name](setting) for name in given.cases}
    results = {
        "benchmark": "selectnadapt",
        "title": "Choosing a support set beside scikit-learn and scikit-activeml",
        "device": given.device.type,
        "quick": given.quick,
        "date": today(),
        "seconds": time.perf_counter() - start,
        "machine": about,
        "versions": versions("what-to-keep", *["scikit-activeml"] * PEER, "torch", "numpy", "scikit-learn"),
        "peaks": setting.peaks,
        "correctness_note": "Labels or picks that differ, and largest relative differences. In float32, restarts that "
        "end alike differ by rounding, so that another may be the best and number the clusters otherwise: there the "
        f"inertia is compared. What differs by more than is allowed ends the run before anything is timed.{MISSING}",
        "correctness": checks,
        "cases": cases,
        "measurements": measurements(cases),
    }
    print(f"{write(results, given.folder)}: {results['seconds']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
