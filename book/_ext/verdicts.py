"""From claims and what was measured of them to two verdicts a claim."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from conditions import Condition
from ledger import CHAPTERS, SCALES, Claim, LedgerError, load_claims

from selectlib.claims import Measurement, read_measurements
from selectlib.stats import holm

MECHANISM = ("supported", "contradicted", "inconclusive", "not yet measured")
FIGURE = ("matched", "not matched", "untested", "no figure known")


@dataclass(frozen=True)
class Evidence:
    """One measurement of a claim at one scale: where it comes from, and what it says about the mechanism."""

    measurement: Measurement
    scale: str
    recorded: bool  # read from book/recorded/ and not from a notebook of this build
    provenance: dict[str, Any]
    adjusted_p: float | None = None
    mechanism: str = "not yet measured"  # at a scale below the row's own a measurement decides nothing


@dataclass(frozen=True)
class Entry:
    """A claim with its evidence by scale, ascending."""

    claim: Claim
    evidence: dict[str, Evidence] = field(default_factory=dict)

    @property
    def headline(self) -> Evidence | None:
        """The evidence shown first: of the largest scale. It decides only if that is the row's scale or above."""
        return next(reversed(self.evidence.values()), None)

    @property
    def mechanism(self) -> str:
        return self.headline.mechanism if self.headline else "not yet measured"

    @property
    def figure(self) -> str | None:
        """The verdict on the paper's figure; None for a claim of this book's own."""
        if self.claim.paper is None:
            return None
        at_paper = self.evidence.get("paper")
        return figure_verdict(
            self.claim.paper.figure, self.claim.paper.matches_if, at_paper.measurement if at_paper else None
        )

    def as_json(self) -> dict[str, Any]:
        """The entry in `_static/scorecard.json`."""
        paper = self.claim.paper
        measured = {
            scale: {
                **{key: value for key, value in asdict(e.measurement).items() if key != "id"},
                "adjusted_p": e.adjusted_p,
                "mechanism": e.mechanism,
                "recorded": e.recorded,
            }
            for scale, e in self.evidence.items()
        }
        return {
            "id": self.claim.id,
            "chapter": self.claim.chapter,
            "claim": self.claim.claim,
            "source": self.claim.source,
            "statement": self.claim.statement,
            "paper_figure": paper.figure if paper else None,
            "measure": self.claim.measure,
            "holds_if": self.claim.holds_if.text if self.claim.holds_if else None,
            "scale": self.claim.scale,
            "mechanism": self.mechanism,
            "figure": self.figure,
            "measured": measured,
        }


def mechanism_verdict(condition: Condition, measurement: Measurement, adjusted_p: float | None = None) -> str:
    """Where the whole interval lies; a corrected p above the test's level leaves no claim supported."""
    if condition.misses(measurement.low, measurement.high):
        return "contradicted"
    if not condition.covers(measurement.low, measurement.high):
        return "inconclusive"
    if adjusted_p is not None and adjusted_p > round(1 - measurement.level, 12):  # 1 - 0.9 is a little below 0.1
        return "inconclusive"
    return "supported"


def figure_verdict(figure: str | None, matches_if: Condition | None, at_paper: Measurement | None) -> str:
    """Whether the value measured in the paper's setting is the paper's; a figure without a number stays untested."""
    if figure is None:
        return "no figure known"
    if at_paper is None or matches_if is None:
        return "untested"
    return "matched" if matches_if.covers(at_paper.value, at_paper.value) else "not matched"


def build_ledger(source: Path) -> dict[str, Entry]:
    """Merge claims.yml, executed notebooks (`<chapter>/*.ipynb`) and recorded/*.json under `source`; entries by id."""
    claims = load_claims(source / "claims.yml")
    found: dict[str, dict[str, Evidence]] = {id: {} for id in claims}
    # A run of this build stands before one recorded at the same scale.
    for e, where in [*_runs(source), *_recorded(source)]:
        at = found[check_listed(claims, e.measurement, where).id]
        if e.scale not in at:
            at[e.scale] = e
        elif e.recorded and at[e.scale].recorded:
            raise LedgerError(f"recorded/{where}: {e.measurement.id} is recorded twice at scale {e.scale}")
    entries = {id: Entry(claims[id], {s: found[id][s] for s in SCALES if s in found[id]}) for id in claims}
    for chapter in CHAPTERS:
        for scale in SCALES:
            _judge([entry for entry in entries.values() if entry.claim.chapter == chapter], scale)
    return entries


def check_listed(claims: dict[str, Claim], measurement: Measurement, where: str) -> Claim:
    """The measured claim; LedgerError when claims.yml does not list it or names no condition for it."""
    claim = claims.get(measurement.id)
    if claim is None:
        raise LedgerError(f"{where} measures {measurement.id}, which claims.yml does not list")
    if claim.holds_if is None:
        raise LedgerError(f"{where} measures {measurement.id}, whose holds_if is null: write the threshold first")
    return claim


def recording(notebook: Path) -> dict[str, Any]:
    """What `book/recorded/` keeps of an executed notebook: its scale, how it was made, and its measurements."""
    made = _made(notebook)
    measurements = [asdict(m) for m in _read(notebook)]
    return {"scale": made["scale"], "provenance": made, "measurements": measurements}


def _judge(entries: list[Entry], scale: str) -> None:
    """Correct the p-values of one chapter at one scale together, and give each measurement its verdict."""
    measured = [entry for entry in entries if scale in entry.evidence]
    with_p = [entry for entry in measured if entry.evidence[scale].measurement.p is not None]
    adjusted = holm([entry.evidence[scale].measurement.p for entry in with_p])
    p_of = {entry.claim.id: float(p) for entry, p in zip(with_p, adjusted, strict=True)}
    for entry in measured:
        e, claim = entry.evidence[scale], entry.claim
        p = p_of.get(claim.id)
        large_enough = SCALES.index(scale) >= SCALES.index(claim.scale)
        verdict = mechanism_verdict(claim.holds_if, e.measurement, p) if large_enough else "not yet measured"
        entry.evidence[scale] = Evidence(e.measurement, e.scale, e.recorded, e.provenance, p, verdict)


def _runs(source: Path) -> Iterable[tuple[Evidence, str]]:
    for chapter in CHAPTERS:
        for path in sorted((source / chapter).glob("*.ipynb")):
            name = f"{chapter}/{path.name}"
            measurements = _read(path)
            for m in measurements:
                made = _made(path)
                yield Evidence(m, made["scale"], False, made), name


def _read(path: Path) -> list[Measurement]:
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


def _made(path: Path) -> dict[str, Any]:
    """How a notebook was made, from its metadata."""
    made = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("selectlib", {})
    if made.get("scale") not in SCALES:
        raise LedgerError(f"{path.parent.name}/{path.name}: no scale in its metadata (selectlib.scale)")
    return made


def _recorded(source: Path) -> Iterable[tuple[Evidence, str]]:
    for path in sorted((source / "recorded").glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            scale, provenance = content["scale"], content["provenance"]
            measurements = [Measurement(**row) for row in content["measurements"]]
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerError(f"recorded/{path.name} cannot be read: {type(error).__name__}: {error}") from None
        if scale not in SCALES:
            raise LedgerError(f"recorded/{path.name}: scale must be one of {', '.join(SCALES)}; got {scale!r}")
        for m in measurements:
            yield Evidence(m, scale, True, provenance), path.name
