"""What was measured, as it lies on disk: executed notebooks, and the runs that recorded/ keeps."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ledger import CHAPTERS, SCALES, LedgerError

from selectlib.claims import Measurement, read_measurements

# The first run kept of a notebook and scale is `<chapter>.<notebook>.<scale>.json`; a further seed adds its number.
_FURTHER = re.compile(r"(?P<first>.+)\.seed(?P<seed>\d+)\.json")


@dataclass(frozen=True)
class Run:
    """What one execution of a notebook measured; `further` marks a recorded run that repeats another at a new seed."""

    name: str
    scale: str
    recorded: bool  # read from recorded/ and not from a notebook of this build
    further: bool
    provenance: dict[str, Any]
    measurements: tuple[Measurement, ...]

    @property
    def seed(self) -> int | None:
        return self.provenance.get("seed")


def all_runs(source: Path) -> list[Run]:
    """Every run under `source` in the order in which they decide: recorded ones, their further seeds, this build's."""
    recorded = sorted(_recorded(source), key=lambda run: (run.further, run.seed if run.further else 0, run.name))
    return [*recorded, *_built(source)]


def recording(notebook: Path) -> dict[str, Any]:
    """What recorded/ keeps of an executed notebook: its scale, how it was made, and its measurements."""
    run = _executed(notebook)
    return {
        "scale": run.scale,
        "provenance": run.provenance,
        "measurements": [asdict(m) for m in run.measurements],
    }


def changed_parameters(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What two runs were told differently, by their provenance: names of both whose values differ, seed apart.

    A parameter that only one of them names came to the notebook, or left it, between the runs.
    """
    ours, theirs = one.get("parameters", {}), other.get("parameters", {})
    return sorted(name for name in (ours.keys() & theirs.keys()) - {"seed", "device"} if ours[name] != theirs[name])


def _built(source: Path) -> list[Run]:
    paths = [path for chapter in CHAPTERS for path in sorted((source / chapter).glob("*.ipynb"))]
    return [_executed(path) for path in paths if _measurements(path)]


def _executed(path: Path) -> Run:
    """A run from its notebook, which says in its metadata how it was made."""
    name = f"{path.parent.name}/{path.name}"
    made = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("selectlib", {})
    if made.get("scale") not in SCALES:
        raise LedgerError(f"{name}: no scale in its metadata (selectlib.scale)")
    return Run(name, made["scale"], False, False, made, tuple(_measurements(path)))


def _measurements(path: Path) -> list[Measurement]:
    """A notebook's measurements; they are claims of this notebook, as their ids say."""
    name, owner = f"{path.parent.name}/{path.name}", f"{path.parent.name}/{path.stem}/"
    try:
        measurements = read_measurements(path)
    except (ValueError, TypeError) as error:
        raise LedgerError(f"{name}: {error}") from None
    for m in measurements:
        if not m.id.startswith(owner):
            raise LedgerError(f"{name} measures {m.id}: an id begins with its own notebook, {owner}")
    return measurements


def _recorded(source: Path) -> list[Run]:
    return [_kept(path) for path in (source / "recorded").glob("*.json")]


def _kept(path: Path) -> Run:
    """A run from recorded/. A further seed says so in its name, and stands beside the run that it repeats."""
    name = f"recorded/{path.name}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scale, provenance = content["scale"], content["provenance"]
        measurements = tuple(Measurement(**row) for row in content["measurements"])
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerError(f"{name} cannot be read: {type(error).__name__}: {error}") from None
    if scale not in SCALES:
        raise LedgerError(f"{name}: scale must be one of {', '.join(SCALES)}; got {scale!r}")
    further = _FURTHER.fullmatch(path.name)
    if further and provenance.get("seed") != int(further["seed"]):
        raise LedgerError(f"{name}: its provenance names seed {provenance.get('seed')}")
    if further and not path.with_name(f"{further['first']}.json").exists():
        raise LedgerError(f"{name} repeats a run that is not there: recorded/{further['first']}.json")
    return Run(name, scale, True, bool(further), provenance, measurements)
