"""Every race in one table and one picture, made from the recorded results and nothing else.

python benchmarks/_overview.py     writes benchmarks/results/overview.{md,svg}; `make bench` does so at its end
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from _record import number, replace, table

HERE = Path(__file__).parent
CHAPTERS: dict[str, dict] = yaml.safe_load((HERE / "races.yml").read_text())


@dataclass(frozen=True)
class Row:
    """One race at its largest size.

    Parameters
    ----------
    benchmark, job, size : str
        The chapter's script, what is done, and to how much.
    ours : str
        Label of our fastest row.
    seconds : float
        Its median.
    peer : str or None
        Label and version of the fastest peer; None where none took part or none ended.
    over : dict or None
        Its median over ours, with `low` and `high`.
    at_least : float or None
        Where every peer was stopped: the time that the most patient one was given over our median.
    floor : float or None
        Our median over the least time that the machine allows.
    measured : str
        Machine, threads and date.
    """

    benchmark: str
    job: str
    size: str
    ours: str
    seconds: float
    peer: str | None
    over: dict[str, float] | None
    at_least: float | None
    floor: float | None
    measured: str


def read(folder: Path, device: str) -> dict[str, dict]:
    """Results by benchmark, in the book's order, of those that are there."""
    paths = {name: folder / f"{name}-{device}.json" for name in CHAPTERS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def machines(*runs: dict[str, dict]) -> dict[str, str]:
    """The machines in words, each with its letter."""
    said = dict.fromkeys(_machine(results) for by_name in runs for results in by_name.values())
    return {words: chr(ord("A") + at) for at, words in enumerate(said)}


def _machine(results: dict) -> str:
    made = results["machine"]
    device = "" if made["device"] == "cpu" else f"{made['device']} in "
    return f"{device}{made['processor']}, {made['cores']} cores, {made['memory_gb']} GB, {made['system']}"


def rows(runs: dict[str, dict], letters: dict[str, str], like: Sequence[Row] = ()) -> list[Row]:
    """One row a race that was run, in the order of `races.yml`, at its largest size; or at the size that `like` has."""
    sizes = {(row.benchmark, row.job): row.size for row in like}
    races = [(name, race) for name in runs for race in CHAPTERS[name]["races"]]
    found = []
    for name, race in races:
        parts = [
            part for part in runs[name]["cases"].get(race["case"], {"parts": []})["parts"] if takes_part(race, part)
        ]
        alike = [part for part in parts if part["heading"] == sizes.get((name, race["job"]))]
        if parts:
            part = max(alike or parts, key=lambda part: _busy(race, part))
            found.append(_row(name, race, part, runs[name], letters))
    return found


def _row(benchmark: str, race: dict, part: dict, results: dict, letters: dict[str, str]) -> Row:
    ours, theirs = (_fastest(part, names) for names in (race["ours"], peers(race)))
    row = part["rows"][ours]
    seconds = float(np.median(row["seconds"]))
    stopped = [part["rows"][name]["limit"] for name in peers(race) if part["rows"].get(name, {}).get("timeouts")]
    made = results["machine"]
    threads = part.get("threads", made["threads"])
    return Row(
        benchmark=benchmark,
        job=race["job"],
        size=part["heading"],
        ours=row["label"].replace(" (ours)", ""),
        seconds=seconds,
        peer=_named(part["rows"][theirs]["label"], peers(race)[theirs], results["versions"]) if theirs else None,
        over=part["rows"][theirs]["over"][ours] if theirs else None,
        at_least=max(stopped) / seconds if stopped and not theirs else None,
        floor=_distance(race, part, ours, seconds),
        measured=f"{letters[_machine(results)]}, {threads} thread{'s' if threads > 1 else ''}, {results['date']}",
    )


def peers(race: dict) -> dict[str, str]:
    """The rows of others, with the package that each belongs to."""
    return {name: package for package, names in race["peers"].items() for name in names}


def takes_part(race: dict, part: dict) -> bool:
    """Whether a part of the case is of this race: ours does its job there."""
    return race.get("only", "") in part["heading"] and _fastest(part, race["ours"]) is not None


def _fastest(part: dict, names) -> str | None:
    ended = [name for name in names if part["rows"].get(name, {}).get("seconds")]
    return min(ended, key=lambda name: np.median(part["rows"][name]["seconds"]), default=None)


def _busy(race: dict, part: dict) -> float:
    """Seconds that the fastest of either side take together: the size of a part."""
    both = [_fastest(part, names) for names in (race["ours"], peers(race))]
    return sum(float(np.median(part["rows"][name]["seconds"])) for name in both if name)


def _named(label: str, package: str, versions: dict[str, str]) -> str:
    """The label with its package's version, and the package's name where the label does not say it."""
    if package == "re-implemented":
        return f"{label} (re-implemented)"
    label = label.removesuffix(f" ({package})")
    said = package.lower() in label.lower()
    return f"{label} ({versions[package]})" if said else f"{label} ({package} {versions[package]})"


def _distance(race: dict, part: dict, ours: str, seconds: float) -> float | None:
    if "floor" not in part or race.get("floor") != ours:
        return None
    return seconds / (part[race["per"]] if "per" in race else 1) / part["floor"]["seconds"]


def verdict(row: Row) -> str:
    """Who is faster: `ours`, `peer`, `level` where the interval covers 1, or `none` where no peer took part."""
    if row.over is None:
        return "ours" if row.at_least else "none"
    return "ours" if row.over["low"] > 1 else "peer" if row.over["high"] < 1 else "level"


def ratio_words(row: Row) -> str:
    if row.over:
        return f"{row.over['value']:.3g} ({row.over['low']:.3g} to {row.over['high']:.3g})"
    return f"above {row.at_least:.2g}" if row.at_least else "–"


def markdown(cpu: dict[str, dict], cuda: dict[str, dict]) -> str:
    """The overview as Markdown: who was faster how often, both tables, the machines."""
    letters = machines(cpu, cuda)
    races = rows(cpu, letters)
    count = {who: sum(verdict(row) == who for row in races) for who in ("ours", "peer", "level")}
    minutes = sum(results["seconds"] for results in cpu.values()) / 60
    smoke = any(results["quick"] for results in [*cpu.values(), *cuda.values()])
    blocks = [
        *["A smoke run: its numbers mean nothing."] * smoke,
        f"Of {len(races)} races on the CPU, ours is the faster in {count['ours']} and the peer in {count['peer']}; in "
        f"{count['level']} the interval covers 1.",
        table(HEADER, [_cells(row) for row in races]),
        "On a GPU:",
        table(HEADER, _gpu_cells(cuda, letters, races)),
        "Machines: " + "; ".join(f"**{letter}**, {words}" for words, letter in letters.items()) + ".",
        f"All scripts on the CPU, one after another, took {minutes:.0f} minutes.",
    ]
    return "\n\n".join(blocks) + "\n"


HEADER = ["job", "peer's time over ours", "ours [s]", "best peer", "times the floor", "measured"]
KEEP = str.maketrans({" ": "\u00a0"})  # a number and its interval stay on one line


def _cells(row: Row) -> list[str]:
    peer = row.peer or ("none ended in time" if row.at_least else "none installed")
    floor = number(row.floor) if row.floor else "–"
    details = [row.ours] * (row.ours != row.job) + [row.size.removeprefix(f"{row.job}, ")]
    job = f"{_link(row.benchmark)} · **{row.job}**: {'; '.join(details)}"
    ratio, measured = (words.translate(KEEP) for words in (ratio_words(row), row.measured))
    return [job, ratio, f"{row.seconds:.3g}", peer, floor, measured]


def _link(benchmark: str) -> str:
    title = CHAPTERS[benchmark]["title"]
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _gpu_cells(cuda: dict[str, dict], letters: dict[str, str], like: Sequence[Row]) -> list[list[str]]:
    cells = []
    for name, chapter in CHAPTERS.items():
        if name in cuda:
            cells += [_cells(row) for row in rows({name: cuda[name]}, letters, like)]
        else:
            said = "not yet measured" if chapter.get("gpu", True) else "no side on a GPU"
            cells.append([f"{_link(name)} · {said}", *["–"] * (len(HEADER) - 1)])
    return cells


def write(folder: Path) -> None:
    """Write ``<folder>/overview.md`` and ``overview.svg`` from the results there."""
    from _overview_picture import picture

    cpu, cuda = (read(folder, device) for device in ("cpu", "cuda"))
    if not cpu:
        raise SystemExit(f"no results of the CPU in {folder}")
    replace(folder / "overview.md", markdown(cpu, cuda))
    replace(folder / "overview.svg", picture(rows(cpu, machines(cpu, cuda))))
    print(f"{folder / 'overview.md'} and .svg", file=sys.stderr)


if __name__ == "__main__":
    write(HERE / "results")
