"""What a run took, where it was made, and the table of all such runs that the page shows."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from selectlib.device import processor_name

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "book" / "scale_out"
MEGABYTE = 10**6
ROWS = {  # how the names of files start -> what the table says of them
    "features_out_of_core": "Feature Gradients, {rows:,} rows by {columns} columns ({table_gb:.2f} GB), "
    "{block_rows:,} rows at a time, seed {seed}",
    "kdpp_hundred_million": "k-DPP, {samples} sets of {k} of {items:,} items",
    "score_torchrun": "DsDm's scores of {rows:,} texts, two processes under `torchrun`",
}


def peak_mb() -> float:
    """The most memory that this process has held so far [MB]."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


class Stopwatch:
    """Wall and processor seconds from its making on; those of finished child processes count too."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), self._spent()

    @staticmethod
    def _spent() -> float:
        return sum(os.times()[:4])

    def read(self) -> dict[str, float]:
        return {
            "seconds": round(time.perf_counter() - self._wall, 2),
            "cpu_seconds": round(self._spent() - self._cpu, 2),
        }


def provenance() -> dict[str, object]:
    """The machine, the versions, the commit and the day; no name and no path of the machine."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_at_end": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "numpy", "what-to-keep")},
        "git": head.stdout.strip() or None,
        "date": datetime.now(UTC).date().isoformat(),
    }


def report(name: str, found: dict[str, object], *, record: bool, page: Path = PAGE) -> None:
    """Print one line of JSON; with `record` keep it for the page, and make the page's table anew."""
    row = {"name": name, **found, "provenance": provenance()}
    print(json.dumps(row))
    if record:
        page.mkdir(parents=True, exist_ok=True)
        (page / f"{name}.json").write_text(json.dumps(row, indent=1) + "\n")
        (page / "table.md").write_text(table(page))


def table(page: Path = PAGE) -> str:
    """What the kept runs took, as Markdown."""
    lines = [
        "| what | result | wall [s] | processor [s] | peak memory [MB] | of which before the first row [MB] |",
        "|---|---|---:|---:|---:|---:|",
    ]
    made = set()
    for path, title in [(path, title) for name, title in ROWS.items() for path in sorted(page.glob(f"{name}*.json"))]:
        row = json.loads(path.read_text())
        numbers = [f"{row[key]:,.0f}" for key in ("seconds", "cpu_seconds", "peak_mb", "start_mb")]
        lines.append("| " + " | ".join([title.format(**row), row["result"], *numbers]) + " |")
        where = row["provenance"]
        made.add(
            f"{where['processor']}, {where['cores']} cores, {where['threads']} thread"
            f"{'s' if where['threads'] > 1 else ''} a process, "
            f"torch {where['versions']['torch']}, Python {where['python']}, {where['date']}"
        )
    return "\n".join(lines) + "\n\nMade on: " + "; ".join(sorted(made)) + ".\n"
