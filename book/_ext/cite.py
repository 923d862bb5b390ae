"""The directive `cite_chapter`: BibTeX of a chapter of this book and of its paper, folded, to be copied.

    ```{cite_chapter} kdpp
    :paper: calandriello2020sampling
    ```

Without a chapter it is the entry of the book itself. Version and year come from CITATION.cff, the paper's entry from
references.bib, the chapter's title from its page.
"""

from pathlib import Path
from typing import Any, ClassVar

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from pybtex.database import Entry, Person, parse_file
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def own_entry(citation: dict[str, Any], chapter: str | None = None, title: str | None = None) -> str:
    """BibTeX of a chapter, or of the book."""
    fields = {
        "title": f"{{{title or citation['title']}}}",
        "year": str(citation["date-released"])[:4],
        "version": str(citation["version"]),
        "note": f"A chapter of: {citation['title']}" if chapter else "Jupyter Book and the library selectlib",
    }
    names = [author["name"] for author in citation["authors"]]
    entry = Entry("misc", fields, persons={"author": [Person(f"{{{name}}}") for name in names]})
    entry.key = f"whattokeep_{chapter}" if chapter else "whattokeep"
    return entry.to_string("bibtex").strip()


class CiteChapter(SphinxDirective):
    """See the head of this file."""

    optional_arguments = 1
    option_spec: ClassVar = {"paper": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        citation_file, bibliography = source / "_code/CITATION.cff", source / "references.bib"
        for file in (citation_file, bibliography):
            self.env.note_dependency(str(file))
        citation = yaml.safe_load(citation_file.read_text(encoding="utf-8"))
        chapter = self.arguments[0] if self.arguments else None
        title = None
        if chapter:
            page = source / chapter / "index.md"
            if not page.exists():
                raise self.error(f"cite_chapter: there is no {chapter}/index.md")
            title = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("# "))[2:]
            self.env.note_dependency(str(page))
        entries = [own_entry(citation, chapter, title)]
        if key := self.options.get("paper"):
            papers = parse_file(bibliography, "bibtex").entries
            if key not in papers:
                raise self.error(f"cite_chapter: references.bib has no entry {key}")
            entries.insert(0, papers[key].to_string("bibtex").strip())
        blocks = "\n\n".join(f"```{{code-block}} bibtex\n{entry}\n```" for entry in entries)
        return self.parse_text_to_nodes(f"````{{dropdown}} BibTeX\n{blocks}\n````")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("cite_chapter", CiteChapter)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
