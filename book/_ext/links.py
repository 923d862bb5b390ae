"""Links to pages of the book that a build may lack: some are notebooks, which a build need not run."""

from docutils import nodes
from sphinx import addnodes
from sphinx.environment import BuildEnvironment


def page_link(
    env: BuildEnvironment, page: str, text: str, classes: list[str] | None = None, place: str | None = None
) -> nodes.Node:
    """A link to a page of the book, or to a place on it; the bare text when this build does not have the page."""
    words = nodes.inline("", text, classes=classes or [])
    if page not in env.found_docs:
        return words
    if place:
        address = env.app.builder.get_relative_uri(env.docname, page)
        return nodes.inline("", "", nodes.reference("", "", words, internal=True, refuri=f"{address}#{place}"))
    link = addnodes.pending_xref(
        "", words, refdomain="std", reftype="doc", refexplicit=True, refwarn=True, reftarget=f"/{page}"
    )
    link["refdoc"] = env.docname
    return nodes.inline("", "", link)  # a link wants text around it, and a table cell is none
