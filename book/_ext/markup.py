"""The HTML of the scorecard: badges, counts, and the cells of a claim's row."""

from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape

from ledger import Claim, Paper
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
LABELS = ("Claim", "The paper’s figure", "Our test", "Verdicts")


def badge(verdict: str, count: int | None = None) -> str:
    """A verdict as a small label, with how often it was reached where a count is given."""
    kind, words = verdict.replace(" ", "-"), escape(verdict if count is None else f"{count} {verdict}")
    return f'<span class="verdict verdict-{kind}"><span aria-hidden="true">{_SIGNS[verdict]}</span> {words}</span>'


def mechanism_counts(entries: Iterable[Entry]) -> str:
    """One badge for each verdict on the mechanism that occurs, with its count."""
    return _counts(Counter(entry.mechanism for entry in entries), MECHANISM)


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
    """What was measured, the largest scale first; empty when nothing was."""
    items = [_item(e, several=len(entry.evidence) > 1) for e in reversed(entry.evidence.values())]
    return f'<ul class="scorecard-measured">{"".join(items)}</ul>' if items else ""


def _source(paper: Paper) -> str:
    """Where the figure stands and which source was read; once where both say the same."""
    if paper.where is None or paper.provenance == f"[{paper.where}]":
        return paper.provenance
    return f"{paper.where} · {paper.provenance}"


def _item(e: Evidence, several: bool) -> str:
    m = e.measurement
    facts = [f"n\u00a0=\u00a0{m.n:,}"]
    if m.low != m.high and m.level != 0.95:
        facts.append(f"interval at {format_number(100 * m.level)} %")
    if m.p is not None:
        facts.append(f"p\u00a0=\u00a0{m.p:.2g}, {e.adjusted_p:.2g} corrected")
    made = [f"scale {e.scale}"]
    if device := e.provenance.get("device"):
        made.append(str(device))
    if commit := e.provenance.get("git"):
        made.append(f"commit {commit}")
    if e.recorded:
        made.append("recorded")
    verdict = ""
    if e.mechanism == "not yet measured":
        made.append("too small a scale to decide")
    elif several:
        verdict = f" {badge(e.mechanism)}"
    return (
        f"<li><strong>{escape(m.estimate)}</strong>, {escape(', '.join(facts))}{verdict}"
        f"<br><small>{escape(' · '.join(made))}</small></li>"
    )


def row(entry: Entry) -> Iterator[tuple[str, str]]:
    """A claim's table row as pieces in their order: ("html", HTML as it is) or ("text", words of claims.yml)."""
    claim, paper = entry.claim, entry.claim.paper
    place = anchor(claim)
    yield (
        "html",
        f'<tr id="{place}" role="row" data-chapter="{claim.chapter}" data-mechanism="{entry.mechanism}"'
        f' data-figure="{entry.figure or "ours"}">{_cell(0)}',
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
    yield "html", f"</td>{_cell(2)}"
    yield "text", claim.measure
    yield "html", f"<p>{condition(claim)}</p>{evidence(entry)}</td>{_cell(3)}"
    yield "html", f'<p><span class="scorecard-small">Mechanism</span><br>{badge(entry.mechanism)}</p>'
    if entry.figure:
        yield "html", f'<p><span class="scorecard-small">Figure</span><br>{badge(entry.figure)}</p>'
    yield "html", "</td></tr>"


def _cell(column: int) -> str:
    return f'<td role="cell" data-label="{LABELS[column]}">'
