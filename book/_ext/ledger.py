"""The rows of claims.yml: what each claim says, where it stands, and what would confirm it here."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from conditions import Condition

# The book's chapters in their order, by the short name of the paper.
CHAPTERS = {
    "feature_gradients": "Feature Gradients",
    "kdpp": "k-DPP",
    "eada": "EADA",
    "selectnadapt": "SelectNAdapt",
    "dsdm": "DsDm",
    "multitask_finetuning": "Multitask finetuning",
    "specattn": "SpecAttn",
    "lion": "Lion",
    "tournament": "Tournament",
}
SCALES = ("quick", "full", "long", "gpu", "paper")  # ascending

ROW_KEYS = {"id", "chapter", "claim", "source", "statement", "measure", "holds_if", "scale", "note"}
PAPER_KEYS = {"figure", "where", "setting", "provenance", "matches_if"}

# Tags of sources that were read, and of numbers that are this book's own; a tag of anything else is never printed.
_READ = re.compile(r"abstract|abs|paper text|paper figure|(.+ )?repo|dev|NNI.*|secondary.*|sec-[TN]|[SFAB]|reviews")
_OURS = re.compile(r"derived|calc|measured|proto")
_NEVER = re.compile(r"\[[^\]]*\b(memory|mem|inferred)\b[^\]]*\]")


class LedgerError(ValueError):
    """Something in claims.yml, or between it and what was measured, that must be put right before the book is built."""


@dataclass(frozen=True)
class Paper:
    """What the paper reports for a claim, and the source that was read."""

    figure: str | None
    where: str | None
    setting: str | None
    provenance: str
    matches_if: Condition | None


@dataclass(frozen=True)
class Claim:
    """One measurable claim: a row of claims.yml. `paper` is None for a claim of this book's own."""

    id: str
    chapter: str
    claim: str
    source: str
    statement: str
    paper: Paper | None
    measure: str
    holds_if: Condition | None
    scale: str
    note: str


def load_claims(path: Path) -> dict[str, Claim]:
    """Read and check claims.yml; claims by id in their order. All problems are reported in one LedgerError."""
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LedgerError(f"there is no {path.name} beside the pages") from None
    except yaml.YAMLError as error:
        raise LedgerError(f"{path.name} is not YAML: {error}") from None
    if not isinstance(rows, list):
        raise LedgerError(f"{path.name}: a list of rows is needed, a row a claim; got {type(rows).__name__}")
    problems: list[str] = []
    claims: dict[str, Claim] = {}
    for number, row in enumerate(rows, start=1):
        name = row["id"] if isinstance(row, dict) and isinstance(row.get("id"), str) else f"row {number}"
        try:
            claim = _claim(row)
            if claim.id in claims:
                raise ValueError("the id is there twice")
            claims[claim.id] = claim
        except ValueError as error:
            problems.append(f"  {name}: {error}")
    if problems:
        raise LedgerError("\n".join([f"{path.name}: {len(problems)} row(s) must be put right", *problems]))
    return claims


def _claim(row: Any) -> Claim:
    if not isinstance(row, dict):
        raise ValueError(f"a row is a mapping; got {row!r}")
    source = row.get("source")
    if source not in ("paper", "ours"):
        raise ValueError(f"source must be 'paper' or 'ours'; got {source!r}")
    _check_keys(row, ROW_KEYS | {"paper"} if source == "paper" else ROW_KEYS, "the row")
    for key in ("id", "claim", "statement", "measure", "note"):
        _check_text(row[key], key)
    chapter, id = row["chapter"], row["id"]
    if chapter not in CHAPTERS:
        raise ValueError(
            f"unknown chapter {chapter!r}; one of {', '.join(CHAPTERS)}"
            " (a new chapter is named in CHAPTERS in book/_ext/ledger.py)"
        )
    if not re.fullmatch(r"[a-z0-9_]+/[a-z0-9_]+/[a-z0-9_]+", id):
        raise ValueError("id must be <chapter>/<notebook>/<measure> in lower case, digits and underscores")
    if id.split("/")[0] != chapter:
        raise ValueError(f"the id begins with {id.split('/')[0]!r} and chapter is {chapter!r}")
    if row["scale"] not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}; got {row['scale']!r}")
    return Claim(
        **{key: row[key] for key in ROW_KEYS - {"holds_if"}},
        holds_if=_condition(row["holds_if"], "holds_if"),
        paper=_paper(row["paper"]) if source == "paper" else None,
    )


def _paper(paper: Any) -> Paper:
    if not isinstance(paper, dict):
        raise ValueError(f"paper must be a mapping; got {paper!r}")
    _check_keys(paper, PAPER_KEYS, "paper")
    for key in ("figure", "where", "setting"):
        if paper[key] is not None:
            _check_text(paper[key], f"paper.{key}")
    _check_text(paper["provenance"], "paper.provenance")
    tags = re.findall(r"\[([^\]]+)\]", paper["provenance"])
    for tag in tags:
        if not (_READ.fullmatch(tag) or _OURS.fullmatch(tag)):
            raise ValueError(f"paper.provenance: unknown tag [{tag}]")
    if paper["figure"] is not None and not any(_READ.fullmatch(tag) for tag in tags):
        raise ValueError(
            f"paper.figure is printed only with a source that was read; paper.provenance is {paper['provenance']!r}"
        )
    if paper["figure"] is None and paper["matches_if"] is not None:
        raise ValueError("paper.matches_if needs a paper.figure")
    return Paper(**{**paper, "matches_if": _condition(paper["matches_if"], "paper.matches_if")})


def _check_keys(mapping: dict, needed: set[str], where: str) -> None:
    missing, unknown = needed - mapping.keys(), mapping.keys() - needed
    if missing:
        raise ValueError(f"{where} lacks {', '.join(sorted(missing))}")
    if unknown:
        raise ValueError(f"{where} has unknown {', '.join(sorted(map(str, unknown)))}")


def _check_text(value: Any, key: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be a text that is not empty; got {value!r}")
    if match := _NEVER.search(value):
        raise ValueError(f"{key} rests on {match[0]}, which is never printed: leave the figure out (null) and say so")


def _condition(text: Any, key: str) -> Condition | None:
    if text is None:
        return None
    try:
        return Condition.parse(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
