"""The atoms of a program: its statements and its inputs and outputs."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from selectlib.programs._functions import FUNCTIONS

INPUTS = {"w": "T", "g": "T", "m": "T", "v": "T", "lr": "S"}
"""What a program is given, with types: "T" a tree of arrays, "S" a scalar."""
OUTPUTS = ("update", "m", "v")
SLOTS = ("m", "v")


class ProgramError(ValueError):
    """A program is not valid; the message names the statement.

    Examples
    --------
    >>> from selectlib.programs import Program
    >>> try:
    ...     Program.parse("update = root(g)")
    ... except ProgramError as error:
    ...     print(error)
    line 1: not a function of FUNCTIONS: root(g)
    """


class Statement(NamedTuple):
    """One statement, ``target = function(*args)``.

    Attributes
    ----------
    target : str
        The variable that is set.
    function : str
        A name in `FUNCTIONS`.
    args : tuple of str or float
        Variables by name, and constants.

    Examples
    --------
    >>> Statement("update", "*", ("g", 0.1))
    Statement(target='update', function='*', args=('g', 0.1))
    """

    target: str
    function: str
    args: tuple[str | float, ...]


def write(statement: Statement) -> str:
    """Write a statement as text."""
    target, function, args = statement
    texts = [arg if isinstance(arg, str) else repr(arg) for arg in args]
    if function in ("+", "-", "*", "/") and len(texts) == 2:
        return f"{target} = {texts[0]} {function} {texts[1]}"
    return f"{target} = {function}({', '.join(texts)})"


def scope(statements: Sequence[Statement]) -> dict[str, str] | None:
    """Give the type of each variable after some valid statements, inputs included; None where one is not valid."""
    types = INPUTS.copy()
    for target, function, args in statements:
        kinds = ""
        for arg in args:
            kind = "S" if arg.__class__ is float else types.get(arg)  # type: ignore[arg-type]
            if kind is None:
                return None
            kinds += kind
        result = FUNCTIONS[function].types.get(kinds)
        if result is None:
            return None
        types[target] = result
    return types


def is_valid(statements: Sequence[Statement]) -> bool:
    """Say whether the statements make a program."""
    types = scope(statements)
    return types is not None and all(types.get(name) == "T" for name in OUTPUTS)


def check(statements: Sequence[Statement]) -> None:
    """Raise a `ProgramError` that names the first statement that is wrong, or the output that is missing."""
    types = INPUTS.copy()
    for number, statement in enumerate(statements):
        target, function, args = statement
        where = f"statement {number} ({write(statement)})"
        if not target.isidentifier():
            raise ProgramError(f"{where}: the target must be an identifier")
        if function not in FUNCTIONS:
            raise ProgramError(f"{where}: unknown function {function!r}; FUNCTIONS lists those there are")
        f = FUNCTIONS[function]
        if len(args) != f.arity:
            raise ProgramError(f"{where}: {function} takes {f.arity} arguments, got {len(args)}")
        for arg in args:
            if isinstance(arg, str) and arg not in types:
                raise ProgramError(f"{where}: {arg} is not defined here; there are {', '.join(types)}")
            if not isinstance(arg, str) and not (isinstance(arg, float) and isfinite(arg)):
                raise ProgramError(f"{where}: a constant must be a finite float, got {arg!r}")
        kinds = "".join(types[arg] if isinstance(arg, str) else "S" for arg in args)
        if kinds not in f.types:
            allowed = ", ".join(f"({', '.join(kind)})" for kind in f.types) or "nothing"
            raise ProgramError(f"{where}: {function} takes {allowed}, got ({', '.join(kinds)}); T: tree, S: scalar")
        types[target] = f.types[kinds]
    for name in OUTPUTS:
        if types.get(name) != "T":
            raise ProgramError(
                f"{name} must be a tree at the end, it is {'not set' if name not in types else 'a scalar'}"
            )
