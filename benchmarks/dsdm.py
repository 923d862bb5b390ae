"""DsDm: `selectlib.corpora` beside traker 0.3.2 and data-selection 1.0.3, correctness first.

python benchmarks/dsdm.py                          every case; writes benchmarks/results/dsdm-cpu.{json,md}
python benchmarks/dsdm.py --cases forward counts   some of them; writes to _build/benchmarks
python benchmarks/dsdm.py --quick                  tiny sizes, to see that it works; writes to _build/benchmarks

The digits come from `selectlib.data`: downloaded once, or read from the folder that SELECTLIB_DATA names.
"""

import sys
import time

import torch
from _dsdm_counts import count_differences, counts
from _dsdm_races import SEED, Setting, estimate, forward
from _dsdm_traker import Traker
from _harness import command_line
from _record import machine, peaks, today, versions, write
from threadpoolctl import threadpool_limits

from selectlib.corpora import CorrectClassMargin, DatamodelEstimator, JLProjector
from selectlib.nets import ConvNet

CASES = {"estimate": estimate, "forward": forward, "counts": counts}


def correctness(setting: Setting) -> dict[str, dict]:
    """What must agree before anything is timed.

    Raises
    ------
    RuntimeError
        If something does not.
    """
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        network = ConvNet((1, 16, 16), (4,), 8)
    state = {name: value.detach() for name, value in network.state_dict().items()}
    pool = tuple(part[:100] for part in setting.pool)
    targets = tuple(part[:20] for part in setting.targets)

    estimator = DatamodelEstimator(network, CorrectClassMargin(), projector=None).fit([state], pool)
    peer = Traker(network, pool, targets, k=0, seed=SEED)
    peer.features_to_scores(0, state)
    ours, theirs = estimator.score(targets), peer.scores(0.1)
    theirs = theirs * float((ours * theirs).sum() / theirs.square().sum())  # its scores have no scale

    sketched = DatamodelEstimator(network, CorrectClassMargin(), projector=JLProjector(64, kind="sjlt", seed=SEED))
    sketched.fit([state], pool)
    explicit, tangent = (sketched.score_mean(pool, targets, mode=mode).scores for mode in ("project", "jvp"))

    compared, different = count_differences(setting)
    checks = {
        "traker": difference("ours and traker, without projection", ours, theirs, 1e-3),
        "forward": difference("forward mode and explicit scores", tangent, explicit, 1e-5),
        "counts": {"label": "n-gram counts, ours and data-selection", "n": compared, "error": different, "allowed": 0},
    }
    for check in checks.values():
        if not check["error"] <= check["allowed"]:
            raise RuntimeError(f"{check['label']} differ by {check['error']:.3g}; nothing is timed")
    return checks


def difference(label: str, a: torch.Tensor, b: torch.Tensor, allowed: float) -> dict:
    """Largest difference, relative to the largest number."""
    error = float((a - b).abs().max() / b.abs().max())
    return {"label": label, "n": a.numel(), "error": error, "allowed": allowed}


def measurements(cases: dict[str, dict], checks: dict[str, dict]) -> dict[str, dict]:
    """Values of the claims that rest on these cases, by the claim's id."""
    found = {}
    if "estimate" in cases:
        (part,) = cases["estimate"]["parts"]
        found["traker_speed"] = part["rows"]["traker"]["over"]["sjlt"]
        if part["lds"]:
            found["traker_lds"] = {end: part["lds"][end] for end in ("value", "low", "high", "n")}
    if "forward" in cases:
        tables = {part["name"]: part["rows"] for part in cases["forward"]["parts"]}
        for name, case in (("forward_speed", "small GPT"), ("forward_speed_images", "convolutional network")):
            found[name] = tables[case]["sjlt"]["over"]["jvp"]
    if "counts" in cases:
        rows = cases["counts"]["parts"][0]["rows"]
        found["dsir_counts_speed"] = rows["data_selection"]["over"]["ours"]
        error, n = checks["counts"]["error"], checks["counts"]["n"]
        found["dsir_count_mismatches"] = {"value": error, "low": error, "high": error, "n": n}
    return {f"dsdm/at_scale/{claim}": value for claim, value in found.items()}


def main() -> None:
    start = time.perf_counter()
    given = command_line(
        __doc__, list(CASES), devices=["cpu"], device_help="traker's fast path needs CUDA; here both use the CPU"
    )
    with threadpool_limits(given.threads):
        about = machine(given.device, given.threads)
        setting = Setting(given.device, given.quick, peaks(given.device, 512 if given.quick else 2048, torch.float32))
        checks = correctness(setting)
        cases = {name: CASES[name](setting) for name in given.cases}
    results = {
        "benchmark": "dsdm",
        "title": "Datamodels beside traker, n-grams beside data-selection",
        "device": given.device.type,
        "quick": given.quick,
        "date": today(),
        "seconds": time.perf_counter() - start,
        "machine": about,
        "versions": versions("what-to-keep", "traker", "data-selection", "torch", "numpy"),
        "peaks": setting.peaks,
        "correctness_note": "Small network, 100 images, 20 targets; scores relative to the largest, traker's scaled "
        "to ours, as it divides each kernel by a number of its own. Where a difference is too large nothing is timed.",
        "correctness": checks,
        "cases": cases,
        "measurements": measurements(cases, checks),
    }
    print(f"{write(results, given.folder)}: {results['seconds']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
