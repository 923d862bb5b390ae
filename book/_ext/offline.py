"""Take out the one thing in the theme that would ask another server for a script: the live-code widget."""

from sphinx.application import Sphinx
from sphinx.config import Config

UNWANTED = "sphinx_thebe"
HARMLESS = "builder-inited"  # where it brings its style sheet, which the pages name


def silence(app: Sphinx, config: Config) -> None:
    for event, listeners in app.events.listeners.items():
        if event != HARMLESS:
            listeners[:] = [entry for entry in listeners if entry.handler.__module__ != UNWANTED]


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", silence)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
