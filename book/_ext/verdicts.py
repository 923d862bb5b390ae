"""From claims and what was measured of them to two verdicts a claim."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from conditions import Condition
from ledger import SCALES, Claim, LedgerError, load_claims
from runs import all_runs, changed_parameters
from seeds import agreement, in_words

from selectlib.claims import Measurement
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

    @property
    def seed(self) -> int | None:
        return self.provenance.get("seed")


@dataclass(frozen=True)
class Entry:
    """A claim with its evidence by scale, ascending: at each scale the run that decides; `further` holds the others."""

    claim: Claim
    evidence: dict[str, Evidence] = field(default_factory=dict)
    further: dict[str, tuple[Evidence, ...]] = field(default_factory=dict)

    @property
    def headline(self) -> Evidence | None:
        """The evidence shown first: of the largest scale. It decides only if that is the row's scale or above."""
        return next(reversed(self.evidence.values()), None)

    @property
    def mechanism(self) -> str:
        return self.headline.mechanism if self.headline else "not yet measured"

    def replications(self, scale: str) -> list[Evidence]:
        """Runs that repeat the deciding one of a scale with another seed and otherwise as it was."""
        first = self.evidence[scale]
        return [
            e
            for e in self.further.get(scale, ())
            if e.seed != first.seed and not changed_parameters(first.provenance, e.provenance)
        ]

    def agreement(self, scale: str) -> str | None:
        """Whether the verdict at a scale is the same at every seed; None where one seed, or none, has decided."""
        if scale not in self.evidence or self.evidence[scale].mechanism == "not yet measured":
            return None
        return agreement([e.mechanism for e in (self.evidence[scale], *self.replications(scale))])

    def seeds_in_words(self, scale: str) -> str:
        """The verdict of each seed at a measured scale."""
        runs = [self.evidence[scale], *self.replications(scale)]
        return in_words([(e.mechanism, f"{e.seed}" if e.recorded else f"{e.seed} (this build)") for e in runs])

    @property
    def seeds(self) -> str | None:
        """Whether the claim's verdict is the same at every seed, at the scale that decides it."""
        return self.agreement(self.headline.scale) if self.headline else None

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
                **_facts(e),
                "seeds": self.agreement(scale),
                "further": [
                    {**_facts(other), "replication": other in self.replications(scale)}
                    for other in self.further.get(scale, ())
                ],
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
            "seeds": self.seeds,
            "figure": self.figure,
            "measured": measured,
        }


def _facts(e: Evidence) -> dict[str, Any]:
    measured = {key: value for key, value in asdict(e.measurement).items() if key != "id"}
    made = {"adjusted_p": e.adjusted_p, "mechanism": e.mechanism, "recorded": e.recorded, "seed": e.seed}
    return measured | made


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
    """Merge claims.yml, recorded/*.json and executed notebooks (`<chapter>/*.ipynb`) under `source`; entries by id.

    At each scale one run decides a claim: the recorded one, which confirmed or refuted it first; one of this build
    where none is recorded. All others are kept apart and never pooled with it.
    """
    claims = load_claims(source / "claims.yml")
    found: dict[str, dict[str, list[Evidence]]] = {id: {} for id in claims}
    for run in all_runs(source):
        for m in run.measurements:
            at = found[check_listed(claims, m, run.name).id].setdefault(run.scale, [])
            if run.recorded and at and (not run.further or run.seed in {e.seed for e in at}):
                raise LedgerError(
                    f"{run.name}: {m.id} is recorded twice at scale {run.scale}"
                    " (a further seed is kept in <name of the first>.seed<number>.json)"
                )
            at.append(Evidence(m, run.scale, run.recorded, run.provenance))
    _judge(claims, found)
    return {
        id: Entry(
            claims[id],
            {s: found[id][s][0] for s in SCALES if s in found[id]},
            {s: tuple(found[id][s][1:]) for s in SCALES if found[id].get(s, ())[1:]},
        )
        for id in claims
    }


def check_listed(claims: dict[str, Claim], measurement: Measurement, where: str) -> Claim:
    """The measured claim; LedgerError when claims.yml does not list it or names no condition for it."""
    claim = claims.get(measurement.id)
    if claim is None:
        raise LedgerError(f"{where} measures {measurement.id}, which claims.yml does not list")
    if claim.holds_if is None:
        raise LedgerError(f"{where} measures {measurement.id}, whose holds_if is null: write the threshold first")
    return claim


def _judge(claims: dict[str, Claim], found: dict[str, dict[str, list[Evidence]]]) -> None:
    """Give each measurement its verdict, in place; the p-values of one family are corrected together.

    The runs that decide a chapter's claims at one scale are a family; each further seed's runs are one of their own.
    """
    families: dict[tuple, list[tuple[str, int]]] = {}
    for id, scales in found.items():
        for scale, runs in scales.items():
            for place, e in enumerate(runs):
                which = (e.seed, e.recorded) if place else "decides"
                families.setdefault((claims[id].chapter, scale, which), []).append((id, place))
    for (_, scale, _), members in families.items():
        with_p = [(id, place) for id, place in members if found[id][scale][place].measurement.p is not None]
        adjusted = holm([found[id][scale][place].measurement.p for id, place in with_p])
        p_of = {member: float(p) for member, p in zip(with_p, adjusted, strict=True)}
        for id, place in members:
            e, claim, p = found[id][scale][place], claims[id], p_of.get((id, place))
            large_enough = SCALES.index(scale) >= SCALES.index(claim.scale)
            verdict = mechanism_verdict(claim.holds_if, e.measurement, p) if large_enough else "not yet measured"
            found[id][scale][place] = replace(e, adjusted_p=p, mechanism=verdict)
