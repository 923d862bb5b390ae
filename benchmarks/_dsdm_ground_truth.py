"""Retrain the benchmark's network on each subset and record its outputs on the targets: done once, in some ten minutes.

python benchmarks/_dsdm_ground_truth.py    goes on where it was stopped; writes benchmarks/results/dsdm-ground-truth.npz
"""

import hashlib
import json
import os
import time
from pathlib import Path

import _dsdm_study as study
import numpy as np
import torch
from _record import machine, today, versions
from tqdm import tqdm

PARTIAL = Path(__file__).parents[1] / "_build/benchmarks/dsdm-ground-truth.npz"


def main() -> None:
    torch.set_num_threads(1)
    pool, targets, masks = study.pool(), study.targets(), study.subsets()
    setting = study.setting(pool, targets)
    outputs, seconds = started(setting)
    jobs = [(j, r) for j in range(study.SUBSETS) for r in range(study.SEEDS) if np.isnan(outputs[j, r, 0])]
    for j, r in tqdm(jobs, desc="retraining", unit="network"):
        start = time.perf_counter()
        state = study.retrained(pool, masks[j], j, r)
        outputs[j, r] = study.margins([state], targets)[0].numpy()
        seconds += time.perf_counter() - start
        write(PARTIAL, outputs, {**setting, "seconds": seconds})
    provenance = {
        **setting,
        "sha256": hashlib.sha256(outputs.tobytes()).hexdigest(),
        "date": today(),
        "seconds": round(seconds),
        "machine": machine(torch.device("cpu"), 1),
        "versions": versions("what-to-keep", "torch", "numpy"),
    }
    write(study.FILE, outputs, provenance)
    PARTIAL.unlink(missing_ok=True)


def started(setting: dict) -> tuple[np.ndarray, float]:
    """Outputs so far, NaN where there is none yet, and the seconds that they took."""
    if PARTIAL.exists():
        with np.load(PARTIAL) as file:
            provenance = json.loads(str(file["provenance"]))
            seconds = provenance.pop("seconds")
            if provenance == setting:
                return file["outputs"], seconds
    return np.full((study.SUBSETS, study.SEEDS, study.TARGETS), np.nan, dtype=np.float32), 0.0


def write(path: Path, outputs: np.ndarray, provenance: dict) -> None:
    """Replace the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, outputs=outputs, provenance=json.dumps(provenance))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


if __name__ == "__main__":
    main()
