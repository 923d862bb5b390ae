"""What is one edit away from a program."""

from collections.abc import Iterator

from selectlib._checks import check_int
from selectlib.programs._functions import FUNCTIONS
from selectlib.programs._mutate import Statements, with_argument
from selectlib.programs._program import Program
from selectlib.programs._statement import Statement, is_valid, scope

_UNARY = tuple(name for name, f in FUNCTIONS.items() if f.arity == 1 and f.types.get("T") == "T")


def neighbourhood(program: Program, edits: int = 1) -> Iterator[Program]:
    """List the programs that a few simple edits make of one, in an order that is always the same.

    An edit removes a statement; or replaces one argument by another variable of its type (a constant: by a scalar
    variable); or puts in ``x = f(x)``, for each function `f` from a tree to a tree and `x` each of ``g``, ``m``, ``v``
    and ``update``: at the start for ``g``, and for the others after the first statement that sets `x`, or at the start
    where none does.

    Parameters
    ----------
    program : Program
        A valid program.
    edits : int, default 1
        Programs that are up to so many edits away are listed, nearest first.

    Yields
    ------
    Program
        Valid programs, each with a key of its own (`Program.key`), none with the key of `program`.

    Raises
    ------
    TypeError
        If `edits` is not an int.
    ValueError
        If `edits` is below 1; `ProgramError`, if `program` is not valid.

    Notes
    -----
    O(length · variables + 4 · functions) programs for one edit, to the power of `edits` for more; each is made when it
    is asked for, and 16 bytes of each are kept.

    Examples
    --------
    >>> from selectlib.programs import ADAMW, neighbourhood
    >>> near = list(neighbourhood(ADAMW))
    >>> print(ADAMW.diff(near[0]))
    - m = interp(g, m, 0.9)
    """
    check_int("edits", edits, 1)
    program.validate()
    seen, ring = {program.key()}, [program]
    for _ in range(edits):
        ring, inner = [], ring
        for center in inner:
            for statements in _edits(center.statements):
                if is_valid(statements):
                    neighbour = Program(statements)
                    if (key := neighbour.key()) not in seen:
                        seen.add(key)
                        ring.append(neighbour)
                        yield neighbour


def _edits(statements: Statements) -> Iterator[Statements]:
    """List the results of all edits, valid or not."""
    for place in range(len(statements)):
        yield statements[:place] + statements[place + 1 :]
    for place, statement in enumerate(statements):
        types = scope(statements[:place])
        assert types is not None, "the statements are valid"
        for position, old in enumerate(statement.args):
            kind = types[old] if isinstance(old, str) else "S"
            for name in types:
                if name != old and types[name] == kind:
                    yield with_argument(statements, place, position, name)
    for name in ("g", "m", "v", "update"):
        set_at = [place for place, statement in enumerate(statements) if statement.target == name]
        place = set_at[0] + 1 if set_at and name != "g" else 0
        for function in _UNARY:
            yield (*statements[:place], Statement(name, function, (name,)), *statements[place:])
