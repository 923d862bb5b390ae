"""Roles that quote the scorecard in prose: measured values of a claim, and counts of verdicts."""

import re

import markup
import tally
from docutils import nodes
from ledger import CHAPTERS, SCALES
from links import page_link
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxRole
from verdicts import Entry

from selectlib.claims import format_number

PARTS = ("value", "interval", "n", "verdict", "seeds", "figure")
_REFERENCE = re.compile(rf"([^@:]+)(?:@({'|'.join(SCALES)}))?(?::({'|'.join(PARTS)}))?")
_COUNTED = re.compile(rf"(\w+)(?:/(paper|ours))?(?::({'|'.join(tally.PARTS)}))?")


class ClaimRole(SphinxRole):
    """A measured value in prose."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        entries = entries_of(self.env)
        match = _REFERENCE.fullmatch(self.text.strip())
        if match is None or match[1] not in entries:
            known = "is not in claims.yml" if match else f"is not <id>[@{'|'.join(SCALES)}][:{'|'.join(PARTS)}]"
            return _complain(self, f"claim role: {self.text!r} {known}")
        entry, scale, part = entries[match[1]], match[2], match[3] or "interval"
        if part == "figure":
            figure = entry.claim.paper.figure if entry.claim.paper else None
            if figure is None:
                return _complain(self, f"claim role: {self.text!r}: no figure of the paper is known")
            return [nodes.inline("", figure, classes=["claim-figure"])], []
        evidence = entry.evidence.get(scale) if scale else entry.headline
        if part == "verdict":
            verdict = evidence.mechanism if evidence else "not yet measured"
            flag = markup.seeds_flag(entry, evidence.scale) if evidence else ""
            return [nodes.raw("", f"{markup.badge(verdict)} {flag}".rstrip(), format="html")], []
        if part == "seeds" and evidence is not None:
            return [nodes.inline("", entry.seeds_in_words(evidence.scale), classes=["claim-seeds"])], []
        if evidence is None:
            return [nodes.inline("", "not yet measured", classes=["claim-unmeasured"])], []
        m = evidence.measurement
        text = {"value": format_number(m.value), "interval": m.estimate, "n": f"{m.n:,}"}[part]
        if scale is None and evidence.mechanism == "not yet measured":
            text += f" (at scale {evidence.scale})"
        chapter, notebook, _ = entry.claim.id.split("/")
        return [page_link(self.env, f"{chapter}/{notebook}", text, classes=["claim-value"])], []


class VerdictsRole(SphinxRole):
    """Counts of verdicts, of a chapter or of the whole book: as badges for a card, or as one number in prose."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        match = _COUNTED.fullmatch(self.text.strip())
        if match is None:
            message = f"verdicts role: {self.text!r} is not all|<chapter>[/paper|/ours][:{'|'.join(tally.PARTS)}]"
            return _complain(self, message)
        chapter, source, part = match.groups()
        if chapter != "all" and chapter not in CHAPTERS:
            return _complain(self, f"verdicts role: unknown chapter {chapter!r}")
        entries = [
            e
            for e in entries_of(self.env).values()
            if chapter in ("all", e.claim.chapter) and source in (None, e.claim.source)
        ]
        if part:
            return [nodes.inline("", f"{tally.PARTS[part](entries):,}", classes=["verdict-count"])], []
        html = markup.mechanism_counts(entries) or "no claims yet"
        return [nodes.raw("", f'<span class="scorecard-counts">{html}</span>', format="html")], []


def entries_of(env: BuildEnvironment) -> dict[str, Entry]:
    """All entries; the page that asks is read again when they change."""
    env.scorecard_pages.add(env.docname)
    return env.scorecard_entries


def _complain(role: SphinxRole, text: str) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    message = role.inliner.reporter.warning(text, line=role.lineno)
    return [nodes.problematic(role.rawtext, role.rawtext)], [message]
