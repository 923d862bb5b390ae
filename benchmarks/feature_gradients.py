"""Feature Gradients: `selectlib.features` beside the authors' order of arithmetic, abess 0.4.11 and scikit-learn.

python benchmarks/feature_gradients.py                           every case; writes to benchmarks/results
python benchmarks/feature_gradients.py --cases arithmetic whole  some of them; writes to _build/benchmarks
python benchmarks/feature_gradients.py --quick                   tiny sizes, to see that it works; writes there too
python benchmarks/feature_gradients.py --device cuda             dense arithmetic and searches on the GPU

Runs on one thread unless told otherwise. Where abess is not installed its rows are left out.
"""

import sys
import time
import warnings

import torch
from _feature_gradients_checks import correctness
from _feature_gradients_races import PEER, arithmetic, linear_peers, sparse_rows, whole
from _harness import command_line
from _record import machine, peaks, today, versions, write
from _setting import Setting
from threadpoolctl import threadpool_limits

CASES = {"arithmetic": arithmetic, "sparse": sparse_rows, "whole": whole, "linear_peers": linear_peers}


def measurements(device: torch.device, cases: dict[str, dict]) -> dict[str, dict]:
    """Values of the claims that rest on these cases, by the claim's id."""
    rows = {
        (name, part["n"], part["d"]): part["rows"]
        for name, case in cases.items()
        for part in case["parts"]
        if device.type == "cpu"
    }
    found = {}
    if ("whole", 16_000, 1_000) in rows:
        found["search_over_scan_seconds"] = rows["whole", 16_000, 1_000]["scan"]["over"]["search"]
    if PEER and ("linear_peers", 4_000, 200) in rows:
        found["abess_over_ours_seconds"] = rows["linear_peers", 4_000, 200]["abess"]["over"]["order_4"]
    return {f"feature_gradients/scaling/{claim}": value for claim, value in found.items()}


def main() -> None:
    start = time.perf_counter()
    given = command_line(__doc__, list(CASES), device_help="of our dense arithmetic; default: cpu", threads=1)
    warnings.simplefilter("ignore")  # the peers'
    with threadpool_limits(given.threads):
        about = machine(given.device, given.threads)
        reached = peaks(given.device, 512 if given.quick else 4096, torch.float32)
        setting = Setting(given.device, given.quick, given.threads, reached)
        checks = correctness(setting)
        cases = {name: CASES[name](setting) for name in given.cases}
    results = {
        "benchmark": "feature_gradients",
        "title": "Feature Gradients beside the authors' arithmetic, abess and scikit-learn",
        "device": given.device.type,
        "quick": given.quick,
        "date": today(),
        "seconds": time.perf_counter() - start,
        "machine": about,
        "versions": versions("what-to-keep", *["abess"] * PEER, "torch", "numpy", "scikit-learn"),
        "peaks": setting.peaks,
        "correctness_note": "Largest differences: of a value relative to itself, of a gradient in length relative "
        "to its own. What differs by more than is allowed ends the run before anything is timed.",
        "correctness": checks,
        "cases": cases,
        "measurements": measurements(given.device, cases),
    }
    print(f"{write(results, given.folder)}: {results['seconds']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
