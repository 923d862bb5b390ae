"""Timing side by side: contestants take turns on the same inputs, every repeat is kept, ratios carry an interval."""

import argparse
import os
import signal
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from selectlib.device import pick_device

LEVEL = 0.95
REST = 0.3  # seconds before each timed run: the other side's idle BLAS threads spin for a while, on the same cores


def command_line(
    description: str,
    cases: Sequence[str],
    *,
    devices: Sequence[str] = ("cpu", "cuda"),
    device_help: str,
    threads: int | None = None,
) -> argparse.Namespace:
    """Read a benchmark's command line; torch then uses as many threads as it says, by default `threads` or one a core.

    Returns
    -------
    argparse.Namespace
        `device` (a `torch.device`), `cases` (names), `quick`, `threads`, and `folder`, where the results go: those of a
        whole run replace the recorded ones, any others go to `_build/benchmarks`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=devices, default="cpu", help=device_help)
    parser.add_argument("--cases", nargs="+", choices=cases, default=list(cases), help="default: all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, two repeats: a smoke run")
    said = "one a core" if threads is None else threads
    parser.add_argument(
        "--threads", type=int, default=threads or os.cpu_count(), help=f"of both sides; default: {said}"
    )
    parser.add_argument("--out", dest="folder", type=Path, help="folder of the results")
    given = parser.parse_args()
    root = Path(__file__).parent
    whole = not given.quick and given.cases == list(cases)
    given.folder = given.folder or (root / "results" if whole else root.parent / "_build/benchmarks")
    given.device = pick_device(given.device)
    torch.set_num_threads(given.threads)
    return given


@dataclass(frozen=True)
class Contestant:
    """One way to do the job.

    Parameters
    ----------
    name, label : str
        Its key in the results, and what readers see.
    run : callable
        ``run(state)`` is timed, whole call, and returns anything.
    prepare : callable
        ``prepare(seed)`` returns the state; not timed.
    facts : callable, optional
        ``facts(what run returned) -> dict`` of numbers to keep with the repeat; not timed.
    repeats : int
        How often it is run.
    per : int
        Results made by one run; seconds are divided by it.
    limit : float, optional
        Seconds after which preparing and running are broken off.
    peer : bool
        Whether it is somebody else's code: its errors are counted and reported; ours end the benchmark.
    """

    name: str
    label: str
    prepare: Callable[[int], Any]
    run: Callable[[Any], Any]
    repeats: int
    facts: Callable[[Any], dict[str, float]] | None = None
    per: int = 1
    limit: float | None = None
    peer: bool = False


def take_turns(contestants: Sequence[Contestant], *, seed: int, device: torch.device, title: str) -> dict[str, dict]:
    """Run the contestants in turn (A B A B), repeat r of each with the seed ``seed + r``.

    A timer that repeats one statement (as `torch.utils.benchmark` does) would repeat one draw of a random algorithm;
    here each repeat has a seed of its own.

    Returns
    -------
    dict
        By name: `label`, `seconds` (one a repeat that ended), `errors` (message -> count), `timeouts`, `limit`, and a
        list for each of the facts.
    """
    rows: dict[str, dict] = {
        c.name: {
            "label": c.label,
            "peer": c.peer,
            "seconds": [],
            "errors": Counter(),
            "timeouts": 0,
            "limit": c.limit,
        }
        for c in contestants
    }
    turns = [(r, c) for r in range(max(c.repeats for c in contestants)) for c in contestants if r < c.repeats]
    for r, c in tqdm(turns, desc=title, unit="run"):
        row = rows[c.name]
        try:
            with time_limit(c.limit):
                state = c.prepare(seed + r)
                synchronize(device)
                if device.type == "cpu":
                    time.sleep(REST)
                start = time.perf_counter()
                result = c.run(state)
                synchronize(device)
                seconds = time.perf_counter() - start
        except TimeoutError:
            row["timeouts"] += 1
        except Exception as error:
            if not c.peer:
                raise
            row["errors"][reason(error)] += 1
        else:
            row["seconds"].append(seconds / c.per)
            for name, value in (c.facts(result) if c.facts else {}).items():
                row.setdefault(name, []).append(value)
    return rows


def race(contestants: Sequence[Contestant], *, seed: int, device: torch.device, title: str) -> dict[str, dict]:
    """Let them take turns, and set each peer's seconds in relation to each of ours: `over`, by our name."""
    rows = take_turns(contestants, seed=seed, device=device, title=title)
    mine = {name: row["seconds"] for name, row in rows.items() if not row["peer"] and row["seconds"]}
    for row in rows.values():
        if row["peer"] and row["seconds"]:
            row["over"] = {name: ratio(row["seconds"], seconds) for name, seconds in mine.items()}
    return rows


def reason(error: Exception) -> str:
    """An error's first words, short enough for a table."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", 70, placeholder=" ...")


def synchronize(device: torch.device) -> None:
    """Wait for what the device was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError inside when `seconds` are over; a call into compiled code is left to end first."""

    def stop(signum: int, frame: Any) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def interval_of_medians(statistic: Callable[..., Any], *samples: Sequence[float]) -> dict[str, float]:
    """A function of the samples' medians, with its percentile bootstrap interval.

    Parameters
    ----------
    statistic : callable
        Takes one array of medians a sample, all of one shape, and returns an array of that shape.
    *samples : sequences of float
        Independent of each other.

    Returns
    -------
    dict
        `value`, `low`, `high`, and `n`, the number of observations in all samples.
    """
    draws = np.random.default_rng(100)
    medians = []
    for sample in map(np.asarray, samples):
        medians.append(np.median(draws.choice(sample, (9_999, len(sample))), axis=1))
    value = float(statistic(*(np.median(sample) for sample in samples)))
    low, high = np.quantile(statistic(*medians), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value), "n": sum(map(len, samples))}


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Their median over ours: above 1, ours is the smaller."""
    return interval_of_medians(lambda a, b: a / b, theirs, ours)


def slope(at: Sequence[float], *samples: Sequence[float]) -> dict[str, float]:
    """Least-squares slope of the log of the samples' medians on the log of `at`."""
    x = np.log(at) - np.log(at).mean()
    return interval_of_medians(lambda *m: np.tensordot(x, np.log(np.stack(m)), 1) / (x @ x), *samples)


def fastest(rows: dict[str, dict], names: Sequence[str]) -> str:
    """Name of the contestant with the smallest median among those that ended."""
    ended = [name for name in names if rows[name]["seconds"]]
    if not ended:
        raise RuntimeError(f"none of {', '.join(names)} ended")
    return min(ended, key=lambda name: np.median(rows[name]["seconds"]))
