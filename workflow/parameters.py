"""What may be handed to a notebook: read from files, and checked against its parameter cell before any work."""

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

TYPES = {"int": int, "float": (int, float), "str": str, "bool": bool, "list": list, "dict": dict}


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word: "; did you mean seed?", or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def read(path: Path) -> dict:
    """The parameters of a YAML file; the program ends with a message where it holds none."""
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        sys.exit(f"{path}: this file of parameters cannot be read: {error.strerror}")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        sys.exit(f"{path}: this is not YAML: {error}")
    if given is None:
        sys.exit(f"{path}: the file is empty; lines `name: value` are needed (without a file, the defaults are used)")
    if not isinstance(given, dict):
        sys.exit(f"{path}: lines `name: value` are needed; the file holds a {type(given).__name__}")
    return given


def declared(notebook: str) -> dict[str, dict]:
    """The notebook's own parameters: name -> papermill's description, with "default" and "inferred_type_name"."""
    import papermill

    return papermill.inspect_notebook(notebook)


def check(notebook: str, given: dict) -> None:
    """End the program with a message that names every parameter that `notebook` lacks, or that has a wrong type."""
    known = declared(notebook)
    wrong = []
    for name, value in given.items():
        if name not in known:
            wrong.append(
                f"there is no parameter {name}{nearest(str(name), known)}; there are {', '.join(sorted(known))}"
            )
            continue
        kind = known[name]["inferred_type_name"]
        fits = isinstance(value, TYPES.get(kind, object)) and (kind == "bool" or not isinstance(value, bool))
        if not fits:
            wrong.append(f"{name} is {kind}, default {known[name]['default']}; got {value!r}{_looks_like(value, kind)}")
    if wrong:
        sys.exit("\n".join(f"{notebook}: {message}" for message in wrong))


def _looks_like(value: object, kind: str) -> str:
    """YAML reads 1e-3 as text: say so."""
    if kind != "float" or not isinstance(value, str):
        return ""
    try:
        return f" (a text: YAML needs a point, as in {float(value):.1e})"
    except ValueError:
        return ""
