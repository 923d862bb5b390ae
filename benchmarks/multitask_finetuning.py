"""Multitask finetuning: `selectlib.tasks` beside easyfsl 1.5.0, correctness first.

python benchmarks/multitask_finetuning.py                      every case; writes
                                                               benchmarks/results/multitask_finetuning-cpu.{json,md}
python benchmarks/multitask_finetuning.py --cases accuracy     some of them; writes to _build/benchmarks
python benchmarks/multitask_finetuning.py --device cuda        our side on the GPU; writes ...-cuda.{json,md}
python benchmarks/multitask_finetuning.py --quick              tiny sizes, to see that it works; writes to _build

Runs on one thread unless told otherwise. Where easyfsl is not installed its rows are left out.
"""

import sys
import time

import torch
from _harness import command_line
from _multitask_finetuning_checks import correctness
from _multitask_finetuning_races import MISSING, PEER, accuracy, sampler, selection
from _multitask_finetuning_torchvision import REMARK
from _record import machine, peaks, today, versions, write
from _setting import Setting
from threadpoolctl import threadpool_limits

CASES = {"accuracy": accuracy, "sampler": sampler, "selection": selection}
METHODS = ("simple_shot", "prototypical")


def measurements(cases: dict[str, dict]) -> dict[str, dict]:
    """Values of the claims that rest on these cases, by the claim's id; of the peer's methods the faster counts."""
    found = {}
    for part in cases["accuracy"]["parts"] if "accuracy" in cases and PEER else []:
        if part["n_tasks"] == 10_000 and part["n_shot"] == 1:
            over = [part["rows"][name]["over"]["gram"] for name in METHODS]
            name = "easyfsl_speed" if part["n_query"] == 10 else "easyfsl_speed_15_queries"
            found[f"does_it_help/{name}"] = min(over, key=lambda ratio: ratio["value"])
            if part["n_query"] == 10:
                found["does_it_help/easyfsl_accuracy_gap"] = gap(part)
    for part in cases["selection"]["parts"] if "selection" in cases else []:
        if part["n_tasks"] == 200:
            found["choosing_tasks/incremental_speed"] = part["rows"]["anew"]["over"]["merged"]
    return {f"multitask_finetuning/{claim}": value for claim, value in found.items()}


def gap(part: dict) -> dict:
    """The largest difference of the accuracies of SimpleShot and ours on the same tasks, over the repeats."""
    ours, theirs = (part["rows"][name]["accuracy"] for name in ("gram", "simple_shot"))
    gaps = [abs(a - b) for a, b in zip(ours, theirs, strict=False)]  # the peer ran fewer repeats
    return {"value": max(gaps), "low": min(gaps), "high": max(gaps), "n": len(gaps)}


def main() -> None:
    start = time.perf_counter()
    about = "the CPU, or our side on the GPU; default: cpu"
    given = command_line(__doc__, list(CASES), device_help=about, threads=1)
    with threadpool_limits(given.threads):
        made_on = machine(given.device, given.threads)
        reached = peaks(given.device, 512 if given.quick else 4096, torch.float32)
        setting = Setting(given.device, given.quick, given.threads, reached)
        checks = correctness(setting)
        cases = {name: CASES[name](setting) for name in given.cases}
    results = {
        "benchmark": "multitask_finetuning",
        "title": "Few-shot tasks beside easyfsl",
        "device": given.device.type,
        "quick": given.quick,
        "date": today(),
        "seconds": time.perf_counter() - start,
        "machine": made_on,
        "versions": versions("what-to-keep", *["easyfsl"] * PEER, "torch", "numpy", "scipy"),
        "peaks": setting.peaks,
        "correctness_note": "Largest differences, or how many differ; and whether the sampler is uniform. What differs "
        "by more than is allowed ends the run before anything is timed. One query in ten thousand may be answered "
        f"otherwise, where rounding decides between two classes.{MISSING}{REMARK}",
        "correctness": checks,
        "cases": cases,
        "measurements": measurements(cases) if given.device.type == "cpu" else {},
    }
    print(f"{write(results, given.folder)}: {results['seconds']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
