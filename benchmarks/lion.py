"""Lion: `selectlib.optim` beside lion-pytorch 0.2.5, pytorch-optimizer 4.1.0 and torch's AdamW, correctness first.

python benchmarks/lion.py                      every case; writes benchmarks/results/lion-cpu.{json,md}
python benchmarks/lion.py --cases step         some of them; writes to _build/benchmarks
python benchmarks/lion.py --device cuda        the same on the GPU, and captured steps; writes ...-cuda.{json,md}
python benchmarks/lion.py --quick              tiny sizes, to see that it works; writes to _build/benchmarks

Runs on one thread unless told otherwise. Where a peer is not installed its rows are left out.
"""

import sys
import time

import torch
from _harness import command_line, interval_of_medians
from _lion_checks import correctness
from _lion_races import MISSING, PACKAGES, capture, precision, programs, step
from _record import machine, peaks, today, versions, write
from _setting import Setting
from threadpoolctl import threadpool_limits

CASES = {"step": step, "precision": precision, "capture": capture, "programs": programs}
ELSEWHERE = {"cpu": {"capture"}, "cuda": {"programs"}}  # cases that a device does not have


def measurements(cases: dict[str, dict], checks: dict[str, dict], device: str) -> dict[str, dict]:
    """Values of the claims that rest on these cases, by the claim's id; of the peers' Lions the fastest counts."""
    if "step" not in cases:
        return {}
    first = cases["step"]["parts"][0]
    rows = first["rows"]
    lions = [row["over"] for name, row in rows.items() if row["peer"] and name != "adamw"]

    def least(ours: str) -> dict:
        return min((over[ours] for over in lions), key=lambda ratio: ratio["value"])

    adamw = rows["adamw"]["over"]["fused"]
    if device == "cpu":
        found = {"cpu_fused_vs_adamw": adamw}
        if lions:
            found |= {"cpu_speed": least("foreach"), "cpu_speed_fused": least("fused")}
    else:
        floor, wrong = first["floor"]["seconds"], checks["fused"]
        found = {
            "cuda_vs_adamw": adamw,
            "cuda_floor": interval_of_medians(lambda seconds: seconds / floor, rows["fused"]["seconds"]),
            "cuda_mismatches": dict.fromkeys(("value", "low", "high"), wrong["error"]) | {"n": wrong["n"]},
        }
        if lions:
            found["cuda_speed"] = least("fused")
    return {f"lion/training/{claim}": value for claim, value in found.items()}


def main() -> None:
    start = time.perf_counter()
    given = command_line(__doc__, list(CASES), device_help="all sides run there; default: cpu", threads=1)
    device = given.device.type
    with threadpool_limits(given.threads):
        about = machine(given.device, given.threads)
        reached = peaks(given.device, 512 if given.quick else 4096, torch.float32)
        setting = Setting(given.device, given.quick, given.threads, reached)
        checks = correctness(setting)
        cases = {name: CASES[name](setting) for name in given.cases if name not in ELSEWHERE[device]}
    results = {
        "benchmark": "lion",
        "title": "Lion beside other Lions and torch's AdamW",
        "device": device,
        "quick": given.quick,
        "date": today(),
        "seconds": time.perf_counter() - start,
        "machine": about,
        "versions": versions("what-to-keep", *PACKAGES, "torch", "numpy"),
        "peaks": setting.peaks,
        "correctness_note": "After 20 steps, weights that differ in any bit (on CUDA: by more than one rounding a "
        "step) from a reference in which every product and every sum is rounded; of those weights only whose mean was "
        "never so near to 0 that rounding decides its sign. What differs by more than is allowed ends the run before "
        f"anything is timed.{MISSING}",
        "correctness": checks,
        "cases": cases,
        "measurements": measurements(cases, checks, device),
    }
    print(f"{write(results, given.folder)}: {results['seconds']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
