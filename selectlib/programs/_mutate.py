"""Random changes of programs."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import isfinite
from typing import Any, Literal, NamedTuple

import numpy as np

from selectlib._checks import check_int
from selectlib.programs._functions import FUNCTIONS
from selectlib.programs._program import Program
from selectlib.programs._statement import Statement, is_valid, scope

Kind = Literal["insert", "delete", "modify", "constant"]
Statements = tuple[Statement, ...]

KINDS: tuple[Kind, ...] = ("insert", "delete", "modify", "constant")
_TRIES = 10_000

# For each function that can be called, the types that each of its arguments may have.
_TAKES = {
    name: tuple("".join(sorted({kinds[i] for kinds in f.types})) for i in range(f.arity))
    for name, f in FUNCTIONS.items()
    if f.types
}
_NAMES = tuple(_TAKES)


class Mutation(NamedTuple):
    """A changed program.

    Attributes
    ----------
    program : Program
        The child; valid.
    kind : str
        What was done: "insert", "delete", "modify", "constant", or a word of another mutator's own.
    tries : int
        How many changes were drawn until one was valid, itself included.
    """

    program: Program
    kind: str
    tries: int


class Mutator:
    """Change one thing of a program at random, as often as it takes for the child to be valid.

    A try draws one kind of change and makes it:

    * *insert* a statement at a random place: a random function; as arguments variables that are there at that place or
      constants from the normal law, at least one a variable; as target a new name or a variable of the result's type;
    * *delete* a random statement;
    * *modify* one argument of a random statement: it becomes another variable or a new constant from the normal law;
      or, every second time that it is a constant, the constant times ``2**a`` with `a` from the normal law;
    * scale a random *constant* by ``2**a`` with `a` from the normal law.

    Wherever something is drawn, what is possible is equally likely; a new name, or a new constant, counts as one more.
    Statements that have no effect are kept: later changes use them.

    Parameters
    ----------
    weights : sequence of 4 floats or mapping, default (1, 1, 1, 0)
        How likely a try is to insert, delete, modify and scale a constant, up to a factor; or a mapping of the words
        "insert", "delete", "modify" and "constant" to such weights, where 0 may be left out.
    max_length : int, optional
        Statements that a child has at most; a longer program is never lengthened. By default there is no bound.

    Raises
    ------
    TypeError
        If `max_length` is not an int.
    ValueError
        If there are not four weights, a word is unknown, a weight is negative or not finite, or all are 0; or if
        `max_length` is below 1.

    Notes
    -----
    A child costs O(length), some tens of microseconds. Source: the first three kinds are those of Chen et al., Symbolic
    Discovery of Optimization Algorithms (NeurIPS 2023), as secondary sources tell them, with the equal weights of the
    official code; the paper itself was not read. How arguments are drawn is not told: that law is ours, and so is the
    fourth kind.

    Examples
    --------
    >>> import numpy as np
    >>> from selectlib.programs import ADAMW, Mutator
    >>> mutator, rng = Mutator(), np.random.default_rng(100)
    >>> child, kind, tries = mutator(ADAMW, rng)
    >>> child.is_valid()
    True
    >>> constants = Mutator.constants_only()(ADAMW, rng).program.constants()
    >>> sum(a != b for a, b in zip(constants, ADAMW.constants()))
    1
    """

    def __init__(
        self,
        weights: Sequence[float | int] | Mapping[str, float | int] = (1, 1, 1, 0),
        *,
        max_length: int | None = None,
    ):
        self.weights = _as_weights(weights)
        self.max_length = None if max_length is None else check_int("max_length", max_length, 1)
        self._upto = tuple(accumulate(self.weights))
        self._change = (_insert, _delete, _modify, _scale)

    @classmethod
    def constants_only(cls) -> "Mutator":
        """Make the mutator that leaves a program's form alone and scales its constants.

        Examples
        --------
        >>> Mutator.constants_only()
        Mutator(weights=(0.0, 0.0, 0.0, 1.0), max_length=None)
        """
        return cls((0, 0, 0, 1))

    def __call__(self, program: Program, rng: np.random.Generator) -> Mutation:
        """Draw a child.

        Parameters
        ----------
        program : Program
            The parent; it stays as it is.
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        Mutation
            The child, what was done, and the tries that it took.

        Raises
        ------
        ValueError
            If 10,000 tries give no valid child, as when only constants may change and there are none.
        """
        statements = program.statements
        for tries in range(1, _TRIES + 1):
            kind, child = self.propose(statements, rng)
            if child is not None and is_valid(child):
                return Mutation(Program(child), kind, tries)
        raise ValueError(f"program must have a valid child, but none of {_TRIES} tries by {self} gave one")

    def propose(self, statements: Statements, rng: np.random.Generator) -> tuple[Kind, Statements | None]:
        """Make one try, whether what comes out is valid or not.

        Parameters
        ----------
        statements : tuple of Statement
            Those of the parent.
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        kind : str
            What was tried.
        statements : tuple of Statement, or None
            The child's, or None where there was nothing to change.

        Examples
        --------
        >>> import numpy as np
        >>> from selectlib.programs import ADAMW
        >>> Mutator({"delete": 1}).propose(ADAMW.statements[:1], np.random.default_rng(100))
        ('delete', ())
        """
        u = rng.random() * self._upto[-1]
        number = 0
        while u >= self._upto[number]:
            number += 1
        if number == 0 and self.max_length is not None and len(statements) >= self.max_length:
            return KINDS[0], None
        return KINDS[number], self._change[number](statements, rng)

    def __repr__(self) -> str:
        return f"Mutator(weights={self.weights}, max_length={self.max_length})"


def random_statement(statements: Statements, rng: np.random.Generator, new: str) -> Statement:
    """Draw a statement that may follow `statements`; `new` is the new name that its target may have."""
    types = scope(statements)
    assert types is not None, "the statements are valid"
    variables = _by_type(types)
    function = _NAMES[int(rng.random() * len(_NAMES))]
    while True:
        args = tuple(_argument(variables, takes, rng) for takes in _TAKES[function])
        if not args or any(isinstance(arg, str) for arg in args):
            break
    kinds = "".join(types[arg] if isinstance(arg, str) else "S" for arg in args)
    targets = variables[FUNCTIONS[function].types[kinds]]
    number = int(rng.random() * (len(targets) + 1))
    return Statement(targets[number] if number < len(targets) else new, function, args)


def _insert(statements: Statements, rng: np.random.Generator) -> Statements | None:
    place = int(rng.random() * (len(statements) + 1))
    before = statements[:place]
    return (*before, random_statement(before, rng, new_name(statements)), *statements[place:])


def _delete(statements: Statements, rng: np.random.Generator) -> Statements | None:
    if not statements:
        return None
    place = int(rng.random() * len(statements))
    return statements[:place] + statements[place + 1 :]


def _modify(statements: Statements, rng: np.random.Generator) -> Statements | None:
    if not statements:
        return None
    place = int(rng.random() * len(statements))
    statement = statements[place]
    if not statement.args:
        return None
    position = int(rng.random() * len(statement.args))
    old = statement.args[position]
    new: str | float
    if isinstance(old, float) and rng.random() < 0.5:
        new = _scaled(old, rng)
    else:
        types = scope(statements[:place])
        assert types is not None, "the statements are valid"
        types.pop(old, None)  # type: ignore[arg-type]
        new = _argument(_by_type(types), _TAKES[statement.function][position], rng)
    return with_argument(statements, place, position, new)


def _scale(statements: Statements, rng: np.random.Generator) -> Statements | None:
    constants = [
        (place, position, arg)
        for place, statement in enumerate(statements)
        for position, arg in enumerate(statement.args)
        if isinstance(arg, float)
    ]
    if not constants:
        return None
    place, position, old = constants[int(rng.random() * len(constants))]
    return with_argument(statements, place, position, _scaled(old, rng))


def _scaled(constant: float, rng: np.random.Generator) -> float:
    """Draw a constant of the size of another; no change where it would not be finite."""
    scaled = constant * 2.0 ** rng.standard_normal()
    return scaled if isfinite(scaled) else constant


def with_argument(statements: Statements, place: int, position: int, new: str | float) -> Statements:
    """Give the statements with one argument of one of them changed."""
    target, function, args = statements[place]
    changed = Statement(target, function, (*args[:position], new, *args[position + 1 :]))
    return (*statements[:place], changed, *statements[place + 1 :])


def _by_type(types: Mapping[str, str]) -> dict[str, list[str]]:
    """Give the variables of each type, and all of them: keys "T", "S" and "ST"."""
    trees = [name for name, kind in types.items() if kind == "T"]
    scalars = [name for name, kind in types.items() if kind == "S"]
    return {"T": trees, "S": scalars, "ST": trees + scalars}


def _argument(variables: Mapping[str, Sequence[str]], takes: str, rng: np.random.Generator) -> str | float:
    """Draw a variable of the types taken, or a constant, which counts as one more variable."""
    names = variables[takes]
    number = int(rng.random() * (len(names) + (takes != "T")))
    return names[number] if number < len(names) else float(rng.standard_normal())


def new_name(statements: Statements) -> str:
    """Give a name that no statement sets."""
    taken = {statement.target for statement in statements}
    number = len(statements)
    while (name := f"x{number}") in taken:
        number += 1
    return name


def _as_weights(weights: Any) -> tuple[float, ...]:
    """Give the four weights in order; raise unless they are weights."""
    if isinstance(weights, Mapping):
        if not set(weights) <= set(KINDS):
            raise ValueError(f"weights must name {', '.join(KINDS)} alone, got {', '.join(map(repr, weights))}")
        weights = [weights.get(kind, 0) for kind in KINDS]
    values = tuple(map(float, weights))
    if len(values) != len(KINDS):
        raise ValueError(f"weights must be {len(KINDS)}, one for each of {', '.join(KINDS)}, got {len(values)}")
    if not all(isfinite(value) and value >= 0 for value in values) or not any(values):
        raise ValueError(f"weights must be finite, at least 0 and not all 0, got {values}")
    return values
