"""SpecAttn: `selectlib.kernels` and `selectlib.attention` beside torch and transformers, correctness first.

python benchmarks/specattn.py                          every case; writes benchmarks/results/specattn-cpu.{json,md}
python benchmarks/specattn.py --cases masks decoding   some of them; writes to _build/benchmarks
python benchmarks/specattn.py --quick                  tiny sizes, to see that it works; writes to _build/benchmarks

FlashInfer takes part in the race of the masks on CUDA, where it is installed.
"""

import sys
import time

import torch
from _harness import command_line, ratio
from _record import machine, peaks, today, versions, write
from _specattn_decoding import Text, decoding, greedy_disagreements, one_pass, one_pass_difference
from _specattn_kernels import (
    P,
    Setting,
    Step,
    attention,
    attention_rows,
    attention_ways,
    by_sorting,
    mask_methods,
    masks,
)
from threadpoolctl import threadpool_limits

CASES = {"masks": masks, "attention": attention, "one_pass": one_pass, "decoding": decoding}


def correctness(setting: Setting) -> dict[str, dict]:
    """What must agree before anything is timed.

    Raises
    ------
    RuntimeError
        If something does not.
    """
    methods, ways = mask_methods(setting.device), attention_ways(setting.device)
    checks = {}
    for name in ("radix", "bits_exact"):
        wrong, seen = 0, 0
        for length in (257, 2048, 8192):
            for sink in (False, True):
                weights = attention_rows(length, sink, length, setting.device)
                wrong += int((methods[name][1](weights) != by_sorting(weights, P, torch.float64)).sum())
                seen += weights.numel()
        checks[name] = check(f"{methods[name][0]}, against sorting in float64", seen, wrong, 0)
    step = Step.make(2048, 100, setting.device)
    gathered, masked = (ways[name][1](step) for name in ("gather", "masked"))
    error = float((gathered - masked).abs().max() / masked.abs().max())
    checks["attention"] = check("attention, gathered and masked", masked.numel(), error, 1e-5)
    text = Text.load(setting)
    checks["one_pass"] = check("logits, one pass and loop", *one_pass_difference(text), 1e-4)
    for name, (seen, wrong) in greedy_disagreements(text).items():
        checks[name] = check(f"greedy tokens, plain and {name}", seen, wrong, 0)
    return checks


def check(label: str, n: int, error: float, allowed: float) -> dict:
    if not error <= allowed:
        raise RuntimeError(f"{label}: a difference of {error:.3g}, {allowed:.3g} allowed; nothing is timed")
    return {"label": label, "n": n, "error": error, "allowed": allowed}


def measurements(cases: dict[str, dict]) -> dict[str, dict]:
    """Values of the claims that rest on these cases, by the claim's id."""
    if "decoding" not in cases:
        return {}
    rows = cases["decoding"]["parts"][0]["rows"]
    return {"specattn/does_it_pay/assisted_speed": ratio(rows["assisted"]["seconds"], rows["dense"]["seconds"])}


def main() -> None:
    start = time.perf_counter()
    given = command_line(__doc__, list(CASES), device_help="of all sides; default: cpu", threads=1)
    with threadpool_limits(given.threads):
        about = machine(given.device, given.threads)
        setting = Setting(given.device, given.quick, peaks(given.device, 512 if given.quick else 2048, torch.float32))
        checks = correctness(setting)
        cases = {name: CASES[name](setting) for name in given.cases}
    others = ["flashinfer-python"] if "flashinfer" in mask_methods(given.device) else []
    results = {
        "benchmark": "specattn",
        "title": "Top-p masks, sparse attention and speculative decoding beside torch and transformers",
        "device": given.device.type,
        "quick": given.quick,
        "date": today(),
        "seconds": time.perf_counter() - start,
        "machine": about,
        "versions": versions("what-to-keep", "transformers", "torch", "numpy", *others),
        "peaks": setting.peaks,
        "correctness_note": "Entries of masks that differ, differences of attention relative to the largest number, of "
        "logits as they are, and tokens that differ. Where a difference is too large nothing is timed.",
        "correctness": checks,
        "cases": cases,
        "measurements": measurements(cases),
    }
    print(f"{write(results, given.folder)}: {results['seconds']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
