"""What a benchmark leaves behind: results with every repeat as JSON, and the same as a table for people."""

import json
import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from selectlib.device import processor_name


def machine(device: torch.device, threads: int) -> dict[str, object]:
    """What the benchmark runs on, and how busy it was at the start."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(memory / 1e9),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "load_at_start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of `packages`."""
    return {package: version(package) for package in packages}


def peaks(device: torch.device, size: int = 2048, dtype: torch.dtype = torch.float64) -> dict[str, float]:
    """What the device reaches at its best, measured: matrix products; bytes read and written by a copy or in place.

    A copy alone is no limit: on many processors its target is read before it is written.
    """
    a = torch.rand(size, size, dtype=dtype, device=device)
    big = torch.rand(size * size * 8, dtype=torch.float64, device=device)
    copy = torch.empty_like(big)

    def best(work) -> float:
        seconds = []
        for _ in range(6):
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    return {
        f"gflops_{str(dtype).removeprefix('torch.')}": 2 * size**3 / best(lambda: a @ a) / 1e9,
        "gbytes_per_second": max(
            2 * big.nbytes / best(lambda: copy.copy_(big)),
            2 * big.nbytes / best(lambda: big.mul_(1.0)),
            3 * big.nbytes / best(lambda: copy.add_(big)),
        )
        / 1e9,
    }


def today() -> str:
    """The date, as in 2030-12-31."""
    return datetime.now(UTC).date().isoformat()


def write(results: dict, folder: Path) -> Path:
    """Write ``<folder>/<benchmark>-<device>.json`` and its table, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{results['benchmark']}-{results['device']}.json"
    replace(target, json.dumps(results, indent=1, default=float) + "\n")
    replace(target.with_suffix(".md"), markdown(results))
    return target


def replace(target: Path, text: str) -> None:
    partial = target.with_suffix(target.suffix + ".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)


def markdown(results: dict) -> str:
    """The results as Markdown, made from nothing else: one heading, so that a page may fold what is below it."""
    made = results["machine"]
    parts = [
        f"## {results['title']}",
        f"{made['processor']}, {made['cores']} cores, {made['threads']} thread{'s' if made['threads'] > 1 else ''}, "
        f"{made['memory_gb']} GB; device {made['device']}; Python {made['python']}, "
        + ", ".join(f"{package} {number}" for package, number in results["versions"].items())
        + f". Made on {results['date']} in {results['seconds'] / 60:.0f} min; load at the start "
        f"{made['load_at_start']}." + (" A smoke run: its numbers mean nothing." if results["quick"] else ""),
        "**Correctness**",
        results["correctness_note"],
        _correctness(results),
    ]
    for case in results["cases"].values():
        parts += [f"**{case['title']}**", case["note"], *(block for part in case["parts"] for block in _part(part))]
    return "\n\n".join(parts) + "\n"


def _correctness(results: dict) -> str:
    """Of samplers the fit of their law; of other checks the largest difference beside the allowed one."""
    laws = [row for row in results["correctness"].values() if "p" in row]
    others = [row for row in results["correctness"].values() if "p" not in row]
    tables = []
    if others:
        lines = [[row["label"], f"{row['n']:,}", f"{row['error']:.2g}", f"{row['allowed']:.2g}"] for row in others]
        tables.append(table(["check", "numbers", "largest difference", "allowed"], lines))
    if laws:
        lines = [[row["label"], f"{row['n']:,}", f"{row['p']:.3g}"] for row in laws]
        tables.append(table(["sampler", "sets", "chi-square p"], lines))
    return "\n\n".join(tables)


def _part(part: dict) -> list[str]:
    """One table of a case: times, or calls that raised."""
    rows = part["rows"].values()
    if "calls" in next(iter(rows)):
        header = [part["heading"], "calls", "raised", "messages"]
        lines = [[row["label"], str(row["calls"]), str(row["raised"]), _messages(row["errors"])] for row in rows]
        return [table(header, lines)]
    facts = part.get("facts", {})
    mine = [name for name in part["rows"] if any(name in row.get("over", {}) for row in rows)]
    header = [part["heading"], "median [s]", "quartiles [s]", "runs", *(fact for fact in facts.values())]
    lines = [
        [
            row["label"],
            *_times(row),
            _runs(row),
            *(number(np.mean(row[fact])) if row.get(fact) else "–" for fact in facts),
            *(_ratio(row.get("over", {}).get(name)) for name in mine),
        ]
        for row in rows
    ]
    return [table([*header, *(f"over {name}" for name in mine)], lines), *part.get("remarks", [])]


def _times(row: dict) -> list[str]:
    if not row["seconds"]:
        return ["–", "–"]
    low, middle, high = np.quantile(row["seconds"], [0.25, 0.5, 0.75])
    return [f"{middle:.3g}", f"{low:.3g} to {high:.3g}"]


def _runs(row: dict) -> str:
    text = str(len(row["seconds"]))
    if row["timeouts"]:
        text += f"; {row['timeouts']} stopped at {row['limit']:g} s"
    return text + (f"; raised: {_messages(row['errors'])}" if row["errors"] else "")


def _ratio(over: dict[str, float] | None) -> str:
    return f"{over['value']:.3g} ({over['low']:.3g} to {over['high']:.3g})" if over else "–"


def _messages(errors: dict[str, int]) -> str:
    return "; ".join(f"{count} x {text.replace('|', '/')}" for text, count in errors.items()) or "–"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    numeric = [all(cell == "–" or cell[:1].isdigit() for cell in column) for column in zip(*rows, strict=True)]
    lines = [list(header), ["---:" if right else "---" for right in numeric], *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
