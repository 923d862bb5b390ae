"""What a build or a sweep will take, said before it starts, and what a batch system should set aside for a notebook.

A notebook's cost is that of its last run here, else of the recorded one (`book/recorded/`), else its scale's limit.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Seconds that a notebook may take at most at a scale, by the design; `paper` depends on who has the data.
LIMITS = {"quick": 25.0, "full": 180.0, "long": 3600.0, "gpu": 600.0}
UNMEASURED_MB = 1500  # counted for a notebook whose memory is not known
SITE_MB = 300  # the staged pages, the site, and Sphinx's store
RUN_MB = 0.5  # an executed notebook

# A word in the parameters -> the files of `selectlib.data` that it stands for, and their size in MB.
DATA = {
    "usps": (("usps.h5", "t10k-"), 4.6),
    "mnist": (("t10k-",), 1.7),
    "banking77": (("banking77/",), 1.1),
    "clinc150": (("clinc150/",), 2.5),
    "isolet": (("feature_selection/",), 4.4),
    "optdigits": (("optdigits/",), 0.6),
    "omniglot": (("omniglot/",), 2.9),
    "webcam_caltech": (("office_caltech_surf/",), 0.3),
    "madelon": (("madelon_",), 5.2),
    "arcene": (("arcene_",), 5.4),
    "shakespeare": (("tinyshakespeare.txt",), 1.1),
    "sentence_sets": (("sentences/",), 5.8),
    "mix": (("tinyshakespeare.txt", "books/", "wikitext-2/"), 8.1),
}


@dataclass(frozen=True)
class Cost:
    """What one notebook takes at one scale."""

    seconds: float | None  # of the slowest run that is known; None: nothing is known
    peak_mb: float | None
    origin: str  # "here", "recorded" or "limit"
    device: str | None = None
    fastest: float | None = None  # seconds of another run, where one was faster


def cost(notebook: str, scale: str, build: Path, recorded: Path = Path("book/recorded")) -> Cost:
    """The cost of `notebook` ("kdpp/exactness") at `scale`: measured here, else recorded, else the scale's limit."""
    run = build / "runs" / scale / f"{notebook}.ipynb"
    named = f"{notebook.replace('/', '.')}.{scale}"
    kept = [path for path in recorded.glob(f"{named}*.json") if path.name.startswith(f"{named}.")]
    for origin, files in (("here", [run]), ("recorded", kept)):
        made = [facts for facts in map(_provenance, files) if facts.get("seconds")]
        if made:
            slowest = max(made, key=lambda facts: facts["seconds"])
            peaks = [facts["peak_mb"] for facts in made if facts.get("peak_mb")]
            fastest = min(facts["seconds"] for facts in made) if len(made) > 1 else None
            return Cost(slowest["seconds"], max(peaks, default=None), origin, slowest.get("device"), fastest)
    return Cost(LIMITS.get(scale), None, "limit")


def _provenance(path: Path) -> dict:
    """How the results in an executed notebook or a recorded file were made; empty where that cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content.get("provenance") or content.get("metadata", {}).get("selectlib", {})


def duration(times: list[tuple[float, bool]], cores: int) -> float:
    """Seconds on `cores` cores: notebooks that measure time run alone, the others side by side, the longest first."""
    alone = sum(seconds for seconds, exclusive in times if exclusive)
    free = [0.0] * max(1, cores)
    for seconds in sorted((seconds for seconds, exclusive in times if not exclusive), reverse=True):
        free[free.index(min(free))] += seconds
    return alone + max(free)


def memory(costs: list[Cost], cores: int) -> float:
    """MB of the `cores` largest notebooks, as they may run side by side."""
    return sum(sorted((cost.peak_mb or UNMEASURED_MB for cost in costs), reverse=True)[: max(1, cores)])


def set_aside(cost: Cost, attempt: int = 1) -> dict[str, int]:
    """Memory in MB and minutes to ask a batch system for: twice what is known, more at each new attempt."""
    seconds = cost.seconds or LIMITS["long"]
    return {
        "mem_mb": attempt * max(2000, round(2 * (cost.peak_mb or UNMEASURED_MB))),
        "runtime": attempt * max(10, round(2 * seconds / 60)),
    }


@cache
def _files():
    """The module that lists the data files, without the import of torch that its package brings."""
    path = Path(__file__).parent.parent / "selectlib/data/_download.py"
    spec = importlib.util.spec_from_file_location("_download", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FILES


def _data_folder() -> Path:
    if os.environ.get("SELECTLIB_DATA"):
        return Path(os.environ["SELECTLIB_DATA"]).expanduser()
    import pooch

    return Path(pooch.os_cache("selectlib"))


def downloads(parameter_files: list[Path]) -> tuple[int, dict[str, float]]:
    """How many of these notebooks read data that is not on this machine, and those data: word -> MB."""
    folder, wanted, readers = _data_folder(), {}, 0
    for path in parameter_files:
        words = set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
        missing = {
            word: size
            for word, (prefixes, size) in DATA.items()
            if word in words and any(not (folder / file).exists() for file in _files() if file.startswith(prefixes))
        }
        wanted |= missing
        readers += bool(missing)
    return readers, wanted


def span(seconds: float) -> str:
    """A time as a person says it.

    >>> span(40), span(2700), span(9000)
    ('40 s', '45 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(mb: float) -> str:
    """Megabytes as a person says them."""
    return f"{mb:.0f} MB" if mb < 1000 else f"{mb / 1000:.1f} GB"


def report(
    jobs: list[tuple[str, str, bool]], cores: int, build: Path, site: bool, recorded: Path = Path("book/recorded")
) -> str:
    """The estimate of `jobs`, each (notebook, scale, whether it measures time), on `cores` cores of this machine."""
    costs = [(cost(notebook, scale, build, recorded), exclusive) for notebook, scale, exclusive in jobs]
    plain = [known for known, _ in costs]
    scales = ", ".join(
        f"{sum(scale == s for _, s, _ in jobs)} at {scale}" for scale in dict.fromkeys(s for _, s, _ in jobs)
    )
    need, disk = memory(plain, min(cores, len(jobs))), (SITE_MB if site else 0) + RUN_MB * len(jobs)
    slow = span(duration([(known.seconds or 0, exclusive) for known, exclusive in costs], cores))
    fast = span(duration([(known.fastest or known.seconds or 0, exclusive) for known, exclusive in costs], cores))
    time = f"{f'about {slow}' if fast == slow else f'{fast} to {slow}'} on {cores} core{'s' if cores > 1 else ''}"
    if all(known.seconds is None for known in plain):
        time = "a time that is not known"
    lines = [f"Notebooks to run: {scales}. They take {time}, {size(need)} of memory, {size(max(1, disk))} of disk."]
    for number, words in (
        (
            sum(known.origin == "limit" and known.seconds is not None for known in plain),
            "were not timed yet: counted at their scale's limit",
        ),
        (sum(known.seconds is None for known in plain), "have no known time: not counted"),
        (sum(known.peak_mb is None for known in plain), f"have no measured memory: counted at {size(UNMEASURED_MB)}"),
    ):
        if number:
            lines.append(f"  {number} {words}.")
    machines = sorted({known.device for known in plain if known.origin == "recorded" and known.device})
    if machines:
        lines.append(f"  Times recorded on {', '.join(machines)}; another machine takes more or less.")
    files = [path for nb, scale, _ in jobs if (path := Path(f"notebooks/{nb}.{scale}.yml")).exists()]
    readers, wanted = downloads(files)
    if wanted:
        named = ", ".join(f"{word} {megabytes} MB" for word, megabytes in wanted.items())
        lines.append(f"  {readers} read data that are not in {_data_folder()} and need the network: {named}.")
    return "\n".join([*lines, *warnings(need, disk, build)])


def warnings(need_mb: float, disk_mb: float, build: Path) -> list[str]:
    """Where this machine has less free memory or disk than the estimate."""
    said = []
    place = next(path for path in (build, *build.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free / 2**20
    if free < disk_mb:
        said.append(f"WARNING: only {size(free)} of disk are free at {place.absolute()}.")
    if platform.system() == "Linux":
        text = Path("/proc/meminfo").read_text()
        available = int(re.search(r"MemAvailable:\s+(\d+)", text)[1]) / 1024
        if available < need_mb:
            said.append(f"WARNING: only {size(available)} of memory are free; fewer cores (CORES=1) need less.")
    return said
