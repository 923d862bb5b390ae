"""Sphinx extension: tables of claims with their verdicts, and roles that quote them in prose.

```{scorecard}            all claims, folded by notebook, with a filter; `:chapter: kdpp` gives one chapter's
{claim}`kdpp/exactness/tv`            the measured value with its interval, linked to the notebook
{claim}`kdpp/exactness/tv@gpu:value`  at a named scale; parts: value, interval, n, verdict, figure (the paper's)
{claim}`kdpp/exactness/tv:seeds`      the verdict of each seed, in words
{verdicts}`kdpp`                      how many of a chapter's claims are supported, contradicted, ...; or of `all`
{verdicts}`all/paper:supported`       one number; `/paper` or `/ours` narrows to one source; tally.py lists the parts
"""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import markup
from docutils import nodes
from docutils.parsers.rst import directives
from ledger import CHAPTERS, LedgerError
from links import page_link
from roles import ClaimRole, VerdictsRole, entries_of
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from tally import PARTS
from verdicts import Entry, build_ledger

RECIPE = ("contributing", "filling-in-a-papers-figure")  # how to supply a figure that no source was read for


class Scorecard(SphinxDirective):
    """Claims folded by notebook: a chapter's, or those of all chapters."""

    option_spec: ClassVar = {"chapter": lambda name: directives.choice(name, tuple(CHAPTERS))}

    def run(self) -> list[nodes.Node]:
        chapter = self.options.get("chapter")
        entries = [e for e in entries_of(self.env).values() if chapter in (None, e.claim.chapter)]
        if not entries:
            return [nodes.paragraph("", "No claims are listed yet.")]
        self._nodes: list[nodes.Node] = []
        self._html('<div class="scorecard">' if chapter else '<div class="scorecard" data-filter>')
        self._html(f'<p class="scorecard-counts">The mechanism: {markup.mechanism_counts(entries)}</p>')
        if figures := markup.figure_counts(entries):
            self._html(f'<p class="scorecard-counts">The paper’s figure: {figures}</p>')
        if replicated := PARTS["replicated"](entries):
            self._html(
                f'<p class="scorecard-small">{replicated} of {PARTS["measured"](entries)} verdicts were tried again'
                f" with another seed; {replicated - PARTS['depends'](entries)} came out the same.</p>"
            )
        data = "../" * self.env.docname.count("/") + "_static/scorecard.json"
        self._html(
            '<p class="scorecard-small">Measured: value [95 % interval], n samples.'
            f' All claims of the book <a href="{data}">as data</a> (JSON).</p>'
        )
        for name in [chapter] if chapter else CHAPTERS:
            if own := [e for e in entries if e.claim.chapter == name]:
                self._html(f'<section class="scorecard-part" data-chapter="{name}">')
                if not chapter:
                    self._html('<p class="scorecard-chapter">')
                    self._nodes.append(page_link(self.env, f"{name}/index", CHAPTERS[name]))
                    self._html("</p>")
                for notebook, group in _by_notebook(own).items():
                    self._fold(notebook.replace("_", " "), group)
                self._html("</section>")
        self._html("</div>")
        return self._nodes

    def _fold(self, title: str, entries: list[Entry]) -> None:
        claims = "1 claim" if len(entries) == 1 else f"{len(entries)} claims"
        headings = "".join(f'<th role="columnheader" scope="col">{label}</th>' for label in markup.LABELS)
        self._html(
            f'<details class="scorecard-group"><summary>{title}: {claims}'
            f' <span class="scorecard-counts">{markup.mechanism_counts(entries)}</span></summary>'
            f'<table class="scorecard-table" role="table" aria-label="Claims of {title}">'
            f'<thead role="rowgroup"><tr role="row">{headings}</tr></thead><tbody role="rowgroup">'
        )
        for entry in entries:
            self._row(entry)
        self._html("</tbody></table></details>")

    def _row(self, entry: Entry) -> None:
        for kind, text in markup.row(entry):
            if kind == "html":
                self._html(text)
            elif kind == "recipe":
                self._nodes.append(page_link(self.env, RECIPE[0], text, place=RECIPE[1]))
            else:  # a node, so that the site's search finds the words
                self._nodes.append(nodes.paragraph("", text))

    def _html(self, text: str) -> None:
        self._nodes.append(nodes.raw("", text, format="html"))


def _by_notebook(entries: list[Entry]) -> dict[str, list[Entry]]:
    """A chapter's claims by the notebook that measures them, in the order of their first rows."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.claim.id.split("/")[1], []).append(entry)
    return groups


def load(app: Sphinx) -> None:
    """Reach all verdicts before any page is read."""
    try:
        entries = build_ledger(Path(app.srcdir))
    except LedgerError as error:
        raise ExtensionError(str(error)) from None
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    digest = hashlib.sha256(code + repr(entries).encode()).hexdigest()
    app.env.scorecard_changed = getattr(app.env, "scorecard_digest", None) != digest
    app.env.scorecard_digest, app.env.scorecard_entries = digest, entries
    if not hasattr(app.env, "scorecard_pages"):
        app.env.scorecard_pages = set()


def outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """The pages that quote claims, when a claim, a measurement, this code or the list of pages to link to changed."""
    return sorted(env.scorecard_pages - removed) if env.scorecard_changed or added or removed else []


def purge(app: Sphinx, env: BuildEnvironment, page: str) -> None:
    env.scorecard_pages.discard(page)


def merge(app: Sphinx, env: BuildEnvironment, pages: set[str], other: BuildEnvironment) -> None:
    """Take over what a parallel reader noted of its pages."""
    env.scorecard_pages |= other.scorecard_pages & set(pages)


def write_json(app: Sphinx, error: Exception | None) -> None:
    """All entries as data, beside the site's other static files."""
    if error is None and app.builder.format == "html":
        rows = [entry.as_json() for entry in app.env.scorecard_entries.values()]
        path = Path(app.outdir) / "_static" / "scorecard.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("scorecard", Scorecard)
    app.add_role("claim", ClaimRole())
    app.add_role("verdicts", VerdictsRole())
    app.connect("builder-inited", load)
    app.connect("env-get-outdated", outdated)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("build-finished", write_json)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
