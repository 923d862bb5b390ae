"""A thousand picks of up to ten million items: seconds, memory, and how both grow."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from _eada_pools import CLASSES, Items, items, select
from _harness import Contestant, slope
from _setting import Setting, floor_remark, part

STRATEGIES = {"eada": "EADA", "core_set": "CoreSet", "badge": "BADGE"}
SIZES = (10_000, 100_000, 1_000_000)
TEN_MILLION = 10_000_000
CHILD = Path(__file__).with_name("_eada_child.py")


def scale(setting: Setting) -> dict:
    """1,000 picks, d = 64, C = 10."""
    sizes, k, d = ((1_000, 4_000), 100, 16) if setting.quick else (SIZES, 1_000, 64)
    make = in_process if setting.device.type == "cuda" else in_child
    parts = []
    for n in sizes:
        repeats = setting.repeats(3 if n >= 1_000_000 and setting.device.type == "cpu" else 5)
        contestants = [make(setting, name, n, d, k, repeats) for name in STRATEGIES]
        parts.append(table(setting, setting.race(contestants, f"{k:,} of {n:,}"), n, d, k))
    if setting.device.type == "cuda" and not setting.quick:
        rows = setting.race([make(setting, "eada", TEN_MILLION, d, k, 5)], f"{k:,} of {TEN_MILLION:,}")
        parts.append(table(setting, rows, TEN_MILLION, d, k))
    growth = {name: slope(sizes, *(p["rows"][name]["seconds"] for p in parts[: len(sizes)])) for name in STRATEGIES}
    said = ", ".join(
        f"{STRATEGIES[name]} {g['value']:.2f} ({g['low']:.2f} to {g['high']:.2f})" for name, g in growth.items()
    )
    parts[len(sizes) - 1]["growth"] = growth
    parts[len(sizes) - 1]["remarks"].append(f"Slope of log seconds on log n from n = {sizes[0]:,}: {said}.")
    where = (
        "Memory: the most that the device had allocated, pool included; extra: above the pool."
        if setting.device.type == "cuda"
        else "Each in a process of its own. Memory: the most that the process had in memory, pool, torch and Python "
        "included; extra: above what it had before the call."
    )
    return {
        "title": "Large pools",
        "note": f"Seconds a call, from arrays in memory to picks, float32. {where} The floor: what must be read is "
        "read once, and of CoreSet and BADGE each item is compared with at least one pick.",
        "parts": parts,
    }


def table(setting: Setting, rows: dict[str, dict], n: int, d: int, k: int) -> dict:
    """A part of the case, with a floor for each strategy."""
    made = part(f"n = {n:,}, d = {d}, C = {CLASSES}, k = {k:,}", rows, n=n, d=d, k=k)
    widths = {"eada": (CLASSES, 0), "core_set": (d, d), "badge": (d + CLASSES, d + CLASSES)}
    floors = {}
    for name, row in rows.items():
        read, compared = widths[name]
        floors[name] = setting.floor(4 * n * read, 2 * n * compared, row)
    remarks = [floor_remark(rows[name]["label"], floor) for name, floor in floors.items()]
    return made | {"facts": {"gigabytes": "memory [GB]", "extra": "extra [GB]"}, "floors": floors, "remarks": remarks}


def in_child(setting: Setting, name: str, n: int, d: int, k: int, repeats: int) -> Contestant:
    """The selection in a process that is started, and has its pool, before the clock starts."""

    def prepare(seed: int) -> subprocess.Popen:
        words = [sys.executable, str(CHILD), name, *map(str, (n, d, k, seed, setting.threads))]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        answer(process)
        return process

    def run(process: subprocess.Popen) -> tuple[subprocess.Popen, str]:
        print(file=process.stdin, flush=True)
        return process, answer(process)

    def facts(answered: tuple[subprocess.Popen, str]) -> dict[str, float]:
        process, line = answered
        process.communicate()
        return json.loads(line)

    return Contestant(name, f"{STRATEGIES[name]} (ours)", prepare, run, repeats, facts)


def answer(process: subprocess.Popen) -> str:
    """The next line of a child."""
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{' '.join(process.args)} ended with {process.wait()}")
    return line


def in_process(setting: Setting, name: str, n: int, d: int, k: int, repeats: int) -> Contestant:
    """The selection here, on the GPU."""

    def prepare(seed: int) -> tuple[Items, int]:
        made = items(n, d, seed, setting.device)
        select(name, items(2 * k, d, seed, setting.device), k, seed)
        torch.cuda.reset_peak_memory_stats(setting.device)
        return made, seed

    def run(state: tuple[Items, int]) -> int:
        select(name, state[0], k, state[1])
        return sum(tensor.nbytes for tensor in vars(state[0]).values())

    def facts(pool: int) -> dict[str, float]:
        most = torch.cuda.max_memory_allocated(setting.device)
        return {"gigabytes": most / 1e9, "extra": (most - pool) / 1e9}

    return Contestant(name, f"{STRATEGIES[name]} (ours)", prepare, run, repeats, facts)
