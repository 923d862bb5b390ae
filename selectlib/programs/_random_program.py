"""Programs from scratch."""

import numpy as np

from selectlib._checks import check_int
from selectlib.programs._mutate import Mutation, Statements, new_name, random_statement
from selectlib.programs._program import Program
from selectlib.programs._statement import is_valid


def random_program(rng: np.random.Generator, length: int) -> Program:
    """Draw a valid program.

    Each statement is drawn as `Mutator` draws one that it inserts, at the end of those before; the last one is drawn
    until it gives a tree, and sets ``update``.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws.
    length : int
        Number of statements, at least 1.

    Returns
    -------
    Program
        A valid program of `length` statements, live and dead ones.

    Raises
    ------
    TypeError
        If `length` is not an int.
    ValueError
        If `length` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from selectlib.programs import random_program
    >>> program = random_program(np.random.default_rng(100), 8)
    >>> len(program), program.is_valid()
    (8, True)
    """
    check_int("length", length, 1)
    statements: Statements = ()
    while len(statements) < length - 1:
        statements += (random_statement(statements, rng, new_name(statements)),)
    while True:
        last = random_statement(statements, rng, "update")._replace(target="update")
        if is_valid((*statements, last)):
            return Program((*statements, last))


class RandomPrograms:
    """What takes the place of a `Mutator` to make random search of `RegularizedEvolution`: it forgets the parent.

    Parameters
    ----------
    length : int
        Statements of each program, at least 1.

    Raises
    ------
    TypeError
        If `length` is not an int.
    ValueError
        If `length` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from selectlib.programs import ADAMW, RandomPrograms
    >>> child = RandomPrograms(6)(ADAMW, np.random.default_rng(100))
    >>> len(child.program), child.kind
    (6, 'random')
    """

    def __init__(self, length: int):
        self.length = check_int("length", length, 1)

    def __call__(self, program: Program, rng: np.random.Generator) -> Mutation:
        """Draw a program, whatever the parent; arguments and result as those of a `Mutator`."""
        return Mutation(random_program(rng, self.length), "random", 1)

    def __repr__(self) -> str:
        return f"RandomPrograms({self.length})"
