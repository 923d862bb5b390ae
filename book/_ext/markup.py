"""The HTML of the scorecard: badges, counts, and the cells of a claim's row."""

from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape

from ledger import SCALES, Claim, Paper
from runs import changed_parameters
from seeds import CONTRADICTORY, DEPENDS, SAME
from verdicts import FIGURE, MECHANISM, Entry, Evidence

from selectlib.claims import breakable, format_number

# A verdict is said by its word, its sign and its colour, so that it can do without any one of them.
_SIGNS = {
    "supported": "✓",
    "contradicted": "✗",
    "inconclusive": "?",
    "not yet measured": "○",
    "matched": "✓",
    "not matched": "✗",
    "untested": "○",
    "no figure known": "–",
}
_DIFFERS = {DEPENDS: "depends", CONTRADICTORY: "contradictory"}
LABELS = ("Claim", "The paper’s figure", "Our test", "Verdicts")


def badge(verdict: str, count: int | None = None) -> str:
    """A verdict as a small label, with how often it was reached where a count is given."""
    kind, words = verdict.replace(" ", "-"), escape(verdict if count is None else f"{count} {verdict}")
    return f'<span class="verdict verdict-{kind}"><span aria-hidden="true">{_SIGNS[verdict]}</span> {words}</span>'


def seeds_flag(entry: Entry, scale: str) -> str:
    """The warning beside a verdict that differs between seeds at this scale; empty when none does."""
    agreement = entry.agreement(scale)
    return _flag(agreement, agreement, entry.seeds_in_words(scale)) if agreement in _DIFFERS else ""


def _flag(agreement: str, words: str, title: str) -> str:
    return (
        f'<span class="verdict verdict-{_DIFFERS[agreement]}" title="{escape(title)}">'
        f'<span aria-hidden="true">≠</span> {words}</span>'
    )


def mechanism_counts(entries: Iterable[Entry]) -> str:
    """One badge for each verdict on the mechanism that occurs, with its count; then how many depend on the seed."""
    entries = list(entries)
    counts = _counts(Counter(entry.mechanism for entry in entries), MECHANISM)
    seeds = Counter(entry.seeds for entry in entries)
    if depending := seeds[DEPENDS] + seeds[CONTRADICTORY]:
        title = "another seed gave another verdict; the first confirming run decides"
        words = f"{depending} of these depend{'s' if depending == 1 else ''} on the seed"
        counts += " " + _flag(DEPENDS, words, title)
    if seeds[CONTRADICTORY]:
        title = "supported at one seed, contradicted at another"
        counts += " " + _flag(CONTRADICTORY, f"{seeds[CONTRADICTORY]} {CONTRADICTORY}", title)
    return counts


def figure_counts(entries: Iterable[Entry]) -> str:
    """One badge for each verdict on the papers' figures that occurs, with its count."""
    return _counts(Counter(entry.figure for entry in entries if entry.figure), FIGURE)


def _counts(counts: Counter[str], verdicts: Iterable[str]) -> str:
    return " ".join(badge(verdict, counts[verdict]) for verdict in verdicts if counts[verdict])


def anchor(claim: Claim) -> str:
    """The claim's place on a page that lists it."""
    return "claim-" + claim.id.replace("/", "-").replace("_", "-")


def condition(claim: Claim) -> str:
    """The threshold in words, and the smallest scale at which it decides."""
    if claim.holds_if is None:
        return "No threshold yet: it is written down before the run that tests it."
    text = claim.holds_if.text.replace("<=", "≤").replace(">=", "≥")
    return f"Holds if <strong>{escape(text)}</strong>, from scale {claim.scale} on."


def evidence(entry: Entry) -> str:
    """What was measured, the largest scale first, and under each value those of other seeds; empty when nothing was."""
    several = len(entry.evidence) > 1 or bool(entry.further)
    items = [_item(entry, e, several) for e in reversed(entry.evidence.values())]
    return f'<ul class="scorecard-measured">{"".join(items)}</ul>' if items else ""


def _source(paper: Paper) -> str:
    """Where the figure stands and which source was read; once where both say the same."""
    if paper.where is None or paper.provenance == f"[{paper.where}]":
        return paper.provenance
    return f"{paper.where} · {paper.provenance}"


def _item(entry: Entry, e: Evidence, several: bool) -> str:
    made = [f"scale {e.scale}"]
    if e.seed is not None:
        made.append(f"seed {e.seed}")
    if device := e.provenance.get("device"):
        made.append(str(device))
    if commit := e.provenance.get("git"):
        made.append(f"commit {commit}")
    if e.recorded:
        made.append("recorded")
    if e.mechanism == "not yet measured":
        made.append("too small a scale to decide")
    further = "".join(_further(e, other) for other in entry.further.get(e.scale, ()))
    return f"<li>{_value(e, several)}<br><small>{escape(' · '.join(made))}</small>{further}</li>"


def _further(first: Evidence, e: Evidence) -> str:
    """The value of a run that does not decide, and what it is beside the one that does."""
    what = [f"seed {e.seed}"]
    if e.seed == first.seed:
        what.append("again")
    if changed := changed_parameters(first.provenance, e.provenance):
        what.append(f"other {', '.join(changed)}: no replication")
    if not e.recorded:
        what.append("this build")
    return f'<p class="scorecard-small">{escape(", ".join(what))}: {_value(e, several=True)}</p>'


def _value(e: Evidence, several: bool) -> str:
    """A measured value with its interval and sample count; with its verdict where the row has several."""
    m = e.measurement
    facts = [f"n\u00a0=\u00a0{m.n:,}"]
    if m.low != m.high and m.level != 0.95:
        facts.append(f"interval at {format_number(100 * m.level)} %")
    if m.p is not None:
        facts.append(f"p\u00a0=\u00a0{m.p:.2g}, {e.adjusted_p:.2g} corrected")
    verdict = f" {badge(e.mechanism)}" if several and e.mechanism != "not yet measured" else ""
    return f"<strong>{escape(m.estimate)}</strong>, {escape(', '.join(facts))}{verdict}"


def by_scale(entry: Entry) -> str:
    """The verdict at each scale, side by side: at quick, full and, for a paper's claim, paper; at others where run."""
    always = {"quick", "full"} | ({"paper"} if entry.claim.paper else set())
    shown = [scale for scale in SCALES if scale in entry.evidence or scale in always]
    cells = "".join(f"<dt>{scale}</dt><dd>{_at(entry, scale)}</dd>" for scale in shown)
    return f'<dl class="by-scale">{cells}</dl>'


def _at(entry: Entry, scale: str) -> str:
    if scale not in entry.evidence:
        return "untested" if scale == "paper" else "not run"
    verdict = entry.evidence[scale].mechanism
    if verdict == "not yet measured":
        return "too small"
    others = [e for e in entry.replications(scale) if e.mechanism != verdict]
    differing = "".join(f"<br>≠ {badge(e.mechanism)} at seed {e.seed}" for e in others)
    return f"{badge(verdict)}{differing}"


def row(entry: Entry) -> Iterator[tuple[str, str]]:
    """A claim's table row as pieces in their order.

    ("html", HTML as it is), ("text", words of claims.yml), or ("recipe", words that lead to how a figure is filled in).
    """
    claim, paper = entry.claim, entry.claim.paper
    place = anchor(claim)
    yield (
        "html",
        f'<tr id="{place}" role="row" data-chapter="{claim.chapter}" data-mechanism="{entry.mechanism}"'
        f' data-figure="{entry.figure or "ours"}" data-seeds="{_seeds_answer(entry)}">{_cell(0)}',
    )
    yield "text", claim.statement
    yield (
        "html",
        f'<p class="scorecard-small"><a href="#{place}">{escape(claim.claim)}</a>'
        f" <code>{breakable(claim.id)}</code></p>"
        "<details><summary>What our test does not show</summary>",
    )
    yield "text", claim.note
    yield "html", f"</details></td>{_cell(1)}"
    if paper is None:
        yield "html", "<p>None: this claim is ours.</p>"
    else:
        yield ("text", paper.figure) if paper.figure else ("html", "<p>No figure is known.</p>")
        yield "html", f'<p class="scorecard-small">{escape(_source(paper))}</p>'
        if paper.setting:
            yield "html", "<details><summary>Its setting</summary>"
            yield "text", paper.setting
            yield "html", "</details>"
        if paper.matches_if is None:
            yield "html", '<p class="scorecard-small">'
            yield "recipe", "Fill in this figure" if paper.figure is None else "Fill in a number to match"
            yield "html", "</p>"
    yield "html", f"</td>{_cell(2)}"
    yield "text", claim.measure
    yield "html", f"<p>{condition(claim)}</p>{evidence(entry)}</td>{_cell(3)}"
    yield "html", f'<p><span class="scorecard-small">Mechanism</span><br>{badge(entry.mechanism)}{_seeds(entry)}</p>'
    if entry.figure:
        yield "html", f'<p><span class="scorecard-small">Figure</span><br>{badge(entry.figure)}</p>'
    yield "html", f'<p class="scorecard-small">By scale</p>{by_scale(entry)}</td></tr>'


def _seeds(entry: Entry) -> str:
    """What further seeds say of the verdict above it."""
    if entry.headline is None or entry.seeds is None:
        return ""
    scale = entry.headline.scale
    words = entry.seeds_in_words(scale)
    if entry.seeds == SAME:
        words = words.replace(entry.mechanism, "the same", 1)
    flag = seeds_flag(entry, scale)
    return f'{flag and f"<br>{flag}"}<br><span class="scorecard-small">{escape(words)}</span>'


def _seeds_answer(entry: Entry) -> str:
    """What the filter finds the row by: answers that all hold, apart by `;`."""
    if entry.seeds == CONTRADICTORY:
        return f"verdict {DEPENDS};{CONTRADICTORY}"
    return f"verdict {DEPENDS}" if entry.seeds == DEPENDS else entry.seeds or "one seed or none"


def _cell(column: int) -> str:
    return f'<td role="cell" data-label="{LABELS[column]}">'
