"""k-DPP sampling: `selectlib.subsets` beside DPPy 0.3.3, correctness first.

python benchmarks/kdpp.py                         every case; writes benchmarks/results/kdpp-cpu.{json,md}
python benchmarks/kdpp.py --cases first further   some of them; writes to _build/benchmarks
python benchmarks/kdpp.py --quick                 tiny sizes, to see that it works; writes to _build/benchmarks
"""

import io
import itertools
import sys
import time
import warnings
from collections import Counter
from contextlib import redirect_stdout

import _dppy
import numpy as np
import sklearn.datasets
import torch
from _harness import command_line, fastest, interval_of_medians, ratio, reason, slope
from _kdpp_races import LABELS, NARROW, SEED, WIDE, Setting, dense, first, further, large
from _record import machine, peaks, today, versions, write
from scipy.optimize import brentq
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from selectlib.seeding import generator, replicate_seeds
from selectlib.stats import chi_square_fit, proportion_interval
from selectlib.subsets import KDPP, RBF, CallableKernel


def hard(setting: Setting) -> dict:
    """Kernels that strain the samplers: how many of the calls raise, and with which words."""
    rows = np.random.default_rng(SEED).choice(1797, 200, replace=False)
    array = sklearn.datasets.load_digits().data[rows] / 16
    X, k = torch.from_numpy(array).to(setting.device), 5
    kernels = [
        ("ill-posed", 1e6, scale_for(array, 1e6, 4 * k), "sigma² = 10⁶, scaled to an effective dimension of 20"),
        ("well-posed", NARROW, scale_for(array, NARROW, 4 * k), "sigma² = 6.15, scaled to the same"),
        ("below k", WIDE, scale_for(array, WIDE, k / 2), "sigma² = 192, scaled to a dimension of 2.5, below k"),
        ("tiny", NARROW, 1e-3, "sigma² = 6.15, divided by 1,000: a trace of 0.2"),
    ]
    parts = []
    for name, sigma2, scale, said in kernels:
        rbf = RBF(1 / sigma2)
        kernel = CallableKernel(
            lambda A, B, rbf=rbf, scale=scale: scale * rbf(A, B),
            scale,
            lambda A, rbf=rbf, scale=scale: scale * rbf.diag(A),
        )
        calls = {
            f"DPPy {mode}": lambda seed, mode=mode, sigma2=sigma2, scale=scale: _dppy.Sampler(
                array, _dppy.RBFKernel(1 / sigma2, scale), k, seed, mode
            ).sample()
            for mode in ("alpha", "vfx")
        } | {
            LABELS[method]: lambda seed, method=method, kernel=kernel: (
                KDPP(X, kernel, k, method=method, generator=generator(seed, X.device)).fit().sample()
            )
            for method in ("alpha", "direct", "spectral")
        }
        bar = tqdm(calls.items(), desc=f"calls that raise, {name}", unit="sampler")
        table = {label: outcomes(label, call, setting.repeats(20)) for label, call in bar}
        parts.append({"heading": said, "name": name, "n": 200, "k": k, "sigma2": sigma2, "scale": scale, "rows": table})
    return {
        "title": "Calls that raise",
        "note": "200 digits, k = 5; each call is a new sampler with a seed of its own. A k-DPP does not change when "
        "its kernel is scaled. The well-posed kernel is the control: the effective dimension is the same.",
        "parts": parts,
    }


def scale_for(X: np.ndarray, sigma2: float, dimension: float) -> float:
    """Factor that gives the kernel this effective dimension, tr L (I + L)⁻¹."""
    w = np.maximum(np.linalg.eigvalsh(_dppy.RBFKernel(1 / sigma2)(X)), 0)
    return float(np.exp(brentq(lambda a: (w / (w + np.exp(-a))).sum() - dimension, -60, 60)))


def outcomes(label: str, call, number: int) -> dict:
    errors = Counter()
    for seed in replicate_seeds(SEED, number):
        try:
            call(seed)
        except Exception as error:
            errors[reason(error)] += 1
    return {"label": label, "calls": number, "raised": sum(errors.values()), "errors": errors}


CASES = {"first": first, "further": further, "large": large, "dense": dense, "hard": hard}
PEERS = [*_dppy.FEW_LOOKS.values(), ("GS", lambda k: {}, "DPPy GS"), ("GS_bis", lambda k: {}, "DPPy GS_bis")]


def correctness(setting: Setting) -> dict[str, dict]:
    """Each sampler's law against the enumerated one, on ten digits (six of them zeros), k = 3; 120 sets.

    Raises
    ------
    RuntimeError
        If a law is off (p < 1e-4): then nothing is timed.
    """
    digits, draw = sklearn.datasets.load_digits(), np.random.default_rng(SEED)
    zeros = draw.choice(np.flatnonzero(digits.target == 0), 6, replace=False)
    others = draw.choice(np.flatnonzero(digits.target != 0), 4, replace=False)
    array, sigma2, k = digits.data[np.concatenate([zeros, others])] / 16, 50.0, 3
    X = torch.from_numpy(array).to(setting.device)
    L = RBF(1 / sigma2)(X, X).cpu()
    peer_kernel = _dppy.RBFKernel(1 / sigma2, scale_for(array, sigma2, 2 * k))  # it refuses k above this dimension
    if not np.allclose(peer_kernel(array), peer_kernel.scale * L.numpy(), rtol=1e-12):
        raise RuntimeError("the two sides have different kernels")
    sets = list(itertools.combinations(range(len(X)), k))
    weights = torch.stack([torch.linalg.det(L[list(S)][:, list(S)]) for S in sets])
    number, calls = (2_000, 500) if setting.quick else (20_000, 2_000)

    def ours(method: str):
        sampler = KDPP(X, RBF(1 / sigma2), k, method=method, generator=generator(SEED, X.device))
        return sampler.fit().sample(number).tolist()

    def theirs(mode: str, settings):
        return _dppy.Sampler(array, peer_kernel, k, SEED, mode, **settings(k)).sample(calls)

    samplers = {LABELS[method]: lambda method=method: ours(method) for method in LABELS}
    samplers |= {label: lambda peer=(mode, settings): theirs(*peer) for mode, settings, label in PEERS}
    laws = {}
    for label, sample in tqdm(samplers.items(), desc="correctness", unit="sampler"):
        counts = Counter(tuple(sorted(S)) for S in sample())
        fit = chi_square_fit([counts.pop(S, 0) for S in sets], (weights / weights.sum()).numpy())
        if counts:
            raise RuntimeError(f"{label} returned what is no set of {k} of the items: {next(iter(counts))}")
        if fit.p < 1e-4:
            raise RuntimeError(f"{label} does not follow the k-DPP: chi-square p = {fit.p:.2g}; nothing is timed")
        laws[label] = {"label": label, "n": fit.n, "p": fit.p, "statistic": fit.statistic, "cells": fit.cells}
    return laws


def measurements(cases: dict[str, dict]) -> dict[str, dict]:
    """Values of the claims that rest on these cases, by the claim's id; of the peer the fastest setting counts."""
    found = {}
    if "first" in cases:
        at = {part["n"]: part["rows"] for part in cases["first"]["parts"]}
        if 100_000 in at:
            rows = at[100_000]
            vfx, alpha = fastest(rows, _dppy.VFX), fastest(rows, _dppy.ALPHA)
            for claim, theirs, ours in (
                ("vfx_over_alpha_seconds", vfx, "alpha"),
                ("vfx_over_direct_seconds", vfx, "direct"),
                ("dppy_alpha_over_direct_seconds", alpha, "direct"),
            ):
                found[claim] = ratio(rows[theirs]["seconds"], rows[ours]["seconds"])
            sizes = [10_000, 30_000, 100_000]
            found["vfx_first_time_slope_n"] = slope(sizes, *(at[n]["dppy_vfx"]["seconds"] for n in sizes))
    if "further" in cases:
        rows = cases["further"]["parts"][0]["rows"]
        vfx = fastest(rows, _dppy.VFX)
        found["vfx_over_direct_next_seconds"] = ratio(rows[vfx]["seconds"], rows["direct"]["seconds"])
    if "large" in cases:
        seconds = cases["large"]["parts"][0]["rows"]["direct"]["seconds"]
        found["k_fifty_seconds"] = interval_of_medians(lambda m: m, seconds)
    if "dense" in cases:
        rows = cases["dense"]["parts"][-1]["rows"]
        peer = fastest(rows, [name for name in rows if name != "spectral"])
        found["dppy_spectral_over_ours_seconds"] = ratio(rows[peer]["seconds"], rows["spectral"]["seconds"])
    if "hard" in cases:
        tables = {part["name"]: part["rows"] for part in cases["hard"]["parts"]}
        ill = tables["ill-posed"]
        found["dppy_ill_posed_failures"] = share_difference(ill["DPPy alpha"], ill["DPPy vfx"])
        row = tables["below k"]["DPPy alpha"]
        refused = sum(count for words, count in row["errors"].items() if "expected sample size is smaller" in words)
        share = proportion_interval(refused, row["calls"])
        found["dppy_size_refusals"] = {key: getattr(share, key) for key in ("value", "low", "high", "n")}
    return {f"kdpp/few_looks/{claim}": value for claim, value in found.items()}


def share_difference(a: dict, b: dict) -> dict[str, float]:
    """Difference of two shares of calls that raised, with Newcombe's interval."""
    p, q = (row["raised"] / row["calls"] for row in (a, b))
    (p_low, p_high), (q_low, q_high) = (
        binomtest(row["raised"], row["calls"]).proportion_ci(method="wilson") for row in (a, b)
    )
    return {
        "value": p - q,
        "low": p - q - float(np.hypot(p - p_low, q_high - q)),
        "high": p - q + float(np.hypot(p_high - p, q - q_low)),
        "n": a["calls"] + b["calls"],
    }


def main() -> None:
    start = time.perf_counter()
    given = command_line(__doc__, list(CASES), device_help="of our side; default: cpu")
    warnings.simplefilter("ignore")  # the peer's of numpy's changes, ours of pools that are too small for few looks
    with threadpool_limits(given.threads), redirect_stdout(io.StringIO()):  # the peer prints how it made its kernel
        about = machine(given.device, given.threads)
        setting = Setting(given.device, given.quick, peaks(given.device, 512 if given.quick else 2048))
        laws = correctness(setting)
        cases = {name: CASES[name](setting) for name in given.cases}
    results = {
        "benchmark": "kdpp",
        "title": "k-DPP sampling beside DPPy",
        "device": given.device.type,
        "quick": given.quick,
        "date": today(),
        "seconds": time.perf_counter() - start,
        "machine": about,
        "versions": versions("what-to-keep", "dppy", "torch", "numpy", "scipy"),
        "peaks": setting.peaks,
        "correctness_note": "Ten digits (six of them zeros), k = 3, sigma² = 50: the sets of each sampler against the "
        "120 enumerated probabilities. Below p = 0.0001 nothing is timed.",
        "correctness": laws,
        "cases": cases,
        "measurements": measurements(cases),
    }
    print(f"{write(results, given.folder)}: {results['seconds']:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
