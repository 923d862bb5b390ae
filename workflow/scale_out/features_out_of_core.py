"""Feature Gradients over a table that is never in memory: ten million rows in a file, read a block at a time.

    python workflow/scale_out/features_out_of_core.py            # writes 2.6 GB, and removes them again
    python workflow/scale_out/features_out_of_core.py --quick

The target is carried by six columns and noise. One of the six, the nuisance in another, says nothing of the target by
itself: no filter that looks at columns one by one can find it. Prints one line of JSON; `--record` keeps it for the
book.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from measured import Stopwatch, peak_mb, report

from selectlib.features import FeatureGradientSelector, learnability

COLUMNS, EXPLAINED = 64, 0.2
ORDER = 12  # of the estimate: so many rows leave it little noise, and a high order has little bias
CARRIERS, HIDDEN, SPOILT = [3, 17, 29, 55, 60], 40, 3  # column 40 is the nuisance that is mixed into column 3
TRUE = sorted([*CARRIERS, HIDDEN])

Block = tuple[np.ndarray, np.ndarray]


def write(folder: Path, rows: int, block: int, seed: int) -> None:
    """Make the table and its target, a block at a time."""
    rng = np.random.default_rng(seed)
    with (folder / "X.f32").open("wb") as X_file, (folder / "y.f32").open("wb") as y_file:
        for start in range(0, rows, block):
            X = rng.standard_normal((min(block, rows - start), COLUMNS), dtype=np.float32)
            noise = rng.standard_normal(len(X), dtype=np.float32)
            signal = X[:, CARRIERS].sum(1) / math.sqrt(len(CARRIERS))
            y = math.sqrt(EXPLAINED) * signal + math.sqrt(1 - EXPLAINED) * noise
            X[:, SPOILT] += X[:, HIDDEN]
            X.tofile(X_file)
            y.astype(np.float32).tofile(y_file)


def blocks(folder: Path, block: int) -> Iterator[Block]:
    """Read the table from the start, a block at a time: what you replace by a reader of your own."""
    with (folder / "X.f32").open("rb") as X_file, (folder / "y.f32").open("rb") as y_file:
        while len(y := np.fromfile(y_file, np.float32, block)):
            yield np.fromfile(X_file, np.float32, len(y) * COLUMNS).reshape(-1, COLUMNS), y


def search(folder: Path, block: int, seed: int) -> dict[str, object]:
    """One pass to search, one to estimate what the columns can explain; what each column does alone comes along."""
    selector = FeatureGradientSelector(task="regression", device="cpu", random_state=seed)
    alone = np.zeros(COLUMNS)
    watch = Stopwatch()
    for X, y in blocks(folder, block):
        selector.partial_fit(X, y)
        alone += y.astype(float) @ X
    searched = watch.read()
    watch = Stopwatch()
    z = learnability(blocks(folder, block), task="regression", order=ORDER)
    return {
        "true_columns": TRUE,
        "found_columns": selector.get_support(indices=True).tolist(),
        "best_columns_alone": sorted(np.argsort(-np.abs(alone))[: len(TRUE)].tolist()),
        "steps": selector.n_iter_,
        "penalty": selector.penalty_,
        "explained_true": EXPLAINED,
        "explained": round(z.value, 5),
        "explained_standard_error": round(z.standard_error, 5),
        "learnability_seconds": watch.read()["seconds"],
        "learnability_cpu_seconds": watch.read()["cpu_seconds"],
        "seconds": searched["seconds"],
        "cpu_seconds": searched["cpu_seconds"],
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument(
        "--block", type=int, default=100_000, help="rows in memory at a time; the first block chooses the penalty"
    )
    arguments.add_argument(
        "--folder", type=Path, help="where the table is written; default: the folder of temporary files"
    )
    arguments.add_argument("--seed", type=int, default=200)
    arguments.add_argument("--quick", action="store_true", help="100,000 rows in blocks of 20,000")
    arguments.add_argument("--record", action="store_true", help="keep the result in book/scale_out")
    given = arguments.parse_args()
    rows, block = (100_000, 20_000) if given.quick else (given.rows, given.block)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        start_mb = peak_mb()
        write(Path(folder), rows, block, given.seed)
        found = search(Path(folder), block, given.seed)
    right = set(found["found_columns"]) & set(TRUE)
    wrong = set(found["found_columns"]) - set(TRUE)
    found |= {
        "rows": rows,
        "columns": COLUMNS,
        "table_gb": 4 * rows * COLUMNS / 1e9,
        "block_rows": block,
        "seed": given.seed,
        "start_mb": round(start_mb, 1),
        "peak_mb": round(peak_mb(), 1),
        "result": f"penalty {found['penalty']:g}: {len(right)} of the {len(TRUE)} true columns found, "
        f"{len(wrong)} others; "
        f"explained: {found['explained']:.4f} ± {found['explained_standard_error']:.4f}, true {EXPLAINED}",
    }
    report(f"features_out_of_core_{block}_seed{given.seed}", found, record=given.record)


if __name__ == "__main__":
    main()
