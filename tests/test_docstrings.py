"""Every public name says what it does, what it takes, gives and refuses, and shows it."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import textwrap
from functools import cached_property
from types import FunctionType

import pytest

import selectlib

ROOMS = [
    importlib.import_module(f"selectlib.{m.name}") for m in pkgutil.iter_modules(selectlib.__path__) if m.name[0] != "_"
]
SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
NAMES = re.compile(r"^(\S.*?)(?: :.*)?$", re.MULTILINE)


def public(room):
    """What a room names in ``__all__``; of a single module without one, what is defined there."""
    own = [n for n, v in vars(room).items() if n[0] != "_" and getattr(v, "__module__", None) == room.__name__]
    things = {name: inspect.unwrap(getattr(room, name)) for name in getattr(room, "__all__", own)}
    return {name: thing for name, thing in things.items() if inspect.isclass(thing) or inspect.isfunction(thing)}


def sections(thing):
    summary, *rest = SECTION.split(inspect.getdoc(thing) or "")
    return {"summary": summary.strip(), **dict(zip(rest[::2], rest[1::2], strict=True))}


def named(text):
    """The names that a Parameters section explains: ``a, b : int`` explains two."""
    return {name.strip().lstrip("*") for line in NAMES.findall(text) for name in line.split(",")}


def arguments(function):
    return {name for name in inspect.signature(function).parameters if name not in ("self", "cls") and name[0] != "_"}


def refused(functions):
    """Exception types that these functions raise themselves, among those that tell of a bad argument."""
    nodes = [n for f in functions for n in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(f))))]
    raised = {ast.unparse(n.exc.func) for n in nodes if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)}
    return raised & {"ValueError", "TypeError"}


def wrong_in_function(function, of_class=None):
    doc, class_doc = sections(function), sections(of_class) if of_class else {}
    if not doc["summary"]:
        yield "no docstring"
        return
    # A method of one argument may say all in its summary: the signature carries the shape.
    brief = of_class and "Parameters" not in doc and len(arguments(function)) <= 1
    if not brief and (missing := arguments(function) - named(doc.get("Parameters", ""))):
        yield f"Parameters does not name {sorted(missing)}"
    result = inspect.signature(function).return_annotation
    if not brief and result not in (None, "None") and not doc.keys() & {"Returns", "Yields"}:
        yield "no Returns"
    told = doc.get("Raises", "") + class_doc.get("Raises", "")
    yield from (f"Raises does not name {error}" for error in sorted(refused([function])) if error not in told)


def wrong_in_class(cls):
    doc = sections(cls)
    own = (vars(cls).get(name) for name in ("__init__", "__post_init__"))
    # The `__init__` that a dataclass makes for itself has no source.
    makers = [f for f in own if isinstance(f, FunctionType) and f.__code__.co_filename != "<string>"]
    if (makers or dataclasses.is_dataclass(cls)) and not getattr(cls, "_is_protocol", False):
        lists = [sections(base).get(part, "") for base in cls.__mro__ for part in ("Parameters", "Attributes")]
        if missing := arguments(cls) - named("\n".join(lists)):
            yield f"Parameters does not name {sorted(missing)}"
        yield from (f"Raises does not name {e}" for e in sorted(refused(makers)) if e not in doc.get("Raises", ""))
    others = [base for base in cls.__mro__[1:] if not base.__module__.startswith("selectlib")]
    for name, value in vars(cls).items():
        if name[0] == "_" or any(hasattr(base, name) for base in others):  # `forward`, `step`: explained by torch
            continue
        if isinstance(value, property | cached_property):
            if not inspect.getdoc(value) and name not in named(doc.get("Attributes", "")):
                yield f"{name}: no docstring"
        elif isinstance(value, FunctionType | classmethod | staticmethod):
            yield from (f"{name}: {text}" for text in wrong_in_function(getattr(cls, name), cls))


def handed_over(room):
    """The types that a room's functions, methods and properties give, and that its records hold."""
    classes = [thing for thing in public(room).values() if inspect.isclass(thing)]
    members = [getattr(member, "fget", member) for cls in classes for member in vars(cls).values()]
    given = [f.__annotations__.get("return") for f in [*public(room).values(), *members] if isinstance(f, FunctionType)]
    return given + [getattr(cls, "__annotations__", {}) for cls in classes]


def shown(room, thing):
    """Whether an example shows it; a record of results is shown where it is made."""
    record = inspect.isclass(thing) and (issubclass(thing, tuple) or dataclasses.is_dataclass(thing))
    if record and re.search(rf"\b{thing.__name__}\b", str(handed_over(room))):
        return True
    doc = sections(thing)
    needs_files = re.search("OSError|FileNotFoundError", doc.get("Raises", ""))
    return ">>>" in doc.get("Examples", "") or (needs_files and "code-block:: python" in doc.get("Examples", ""))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.removeprefix("selectlib."))
def test_public_names_are_explained(room):
    problems = []
    for name, thing in public(room).items():
        found = list(wrong_in_class(thing) if inspect.isclass(thing) else wrong_in_function(thing))
        if not sections(thing)["summary"].split("\n")[0].endswith((".", "?", ":")):
            found.append("no summary in one line")
        problems += [f"{name}: {text}" for text in found + ["no Examples"] * (not shown(room, thing))]
    assert not problems, "\n".join(problems)
