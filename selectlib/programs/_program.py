"""Programs: update rules as short lists of statements."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import ndiff
from typing import Any, Literal

from selectlib._checks import check_choice, check_int
from selectlib.programs._key import key
from selectlib.programs._liveness import liveness
from selectlib.programs._numpy import compile_numpy
from selectlib.programs._parse import read
from selectlib.programs._simplify import Rewriting, rewritings
from selectlib.programs._statement import SLOTS, Statement, check, is_valid, write
from selectlib.programs._torch import compile_torch


class Program:
    """An update rule, ``train(w, g, m, v, lr) -> (update, m, v)``, as a list of statements.

    Each step sets the weights to w - update and keeps m and v for the next. The weights w, the gradient g and the slots
    m and v, which start at zero, are trees: lists of arrays of the same shapes. The scalar lr is the value of the
    learning-rate schedule at this step, from 0 to 1; peak rate and weight decay are constants of the program.

    A statement sets a variable, new or old, to one of the 45 `FUNCTIONS` of variables and constants. There are no loops
    and no conditions. Programs do not change, are equal when their statements are, may be keys of dictionaries, and are
    pickled as their text.

    Parameters
    ----------
    statements : iterable of Statement
        In the order in which they run. They may be wrong: `validate` says what is.

    Raises
    ------
    TypeError
        An element is not a Statement.

    Notes
    -----
    Source: Chen et al. (NeurIPS 2023), section 2, by secondary sources, as the paper itself was not read. Liveness
    across steps, the simplifier, and keys that know which functions commute are ours.

    Time O(n) in the number n of statements for everything but `simplify`, O(n³) at most.

    Examples
    --------
    >>> program = Program.parse("m = interp(g, m, 0.9); update = m * lr; v = square(update)")
    >>> program.live_slots(), program.live()
    (('m',), (True, True, False))
    >>> program.key() == Program.parse("m = interp(g, m, 0.9); update = lr * m").key()
    True
    >>> import numpy as np
    >>> w = g = np.ones(3, np.float32)
    >>> update, m, v = program.compile()(w, g, 0 * w, 0 * w, lr=0.5)
    >>> update.tolist()
    [0.05000000074505806, 0.05000000074505806, 0.05000000074505806]
    """

    __slots__ = ("_statements",)

    def __init__(self, statements: Iterable[Statement]):
        self._statements = tuple(statements)
        if not all(isinstance(statement, Statement) for statement in self._statements):
            raise TypeError("statements must be of class Statement; Program.parse reads text")

    @classmethod
    def parse(cls, source: str) -> "Program":
        """Read a program from text. The text is parsed, never run.

        Parameters
        ----------
        source : str
            Statements in Python's syntax, one a line or separated by ``;``: calls of `FUNCTIONS` by name, and the
            operators ``+ - * /``. Calls may be nested: each inner one becomes a statement of its own, ``t1 = ...``.

        Returns
        -------
        Program
            It may still be wrong in its variables or types: see `validate`.

        Raises
        ------
        ProgramError
            The text has something that the language has not.

        Examples
        --------
        >>> print(Program.parse("update = sign(m) + 0.1 * w").source())
        t1 = sign(m)
        t2 = 0.1 * w
        update = t1 + t2
        """
        return cls(read(source))

    @property
    def statements(self) -> tuple[Statement, ...]:
        """The statements, in order."""
        return self._statements

    def source(self) -> str:
        """Give the text of the program, one statement a line; `parse` gives the same program back."""
        return "\n".join(write(statement) for statement in self._statements)

    def validate(self) -> None:
        """Raise unless the program can run, whatever arrays it is given.

        Raises
        ------
        ProgramError
            Names the first statement that has an unknown function, a variable that is not set yet, arguments of types
            that its function does not take, or a constant that is not finite; or the output that is not a tree.

        Examples
        --------
        >>> Program.parse("update = clip(g, m)").validate()
        Traceback (most recent call last):
        selectlib.programs._statement.ProgramError: statement 0 (update = clip(g, m)): clip takes (T, S), got (T, T);
        T: tree, S: scalar
        """
        check(self._statements)

    def is_valid(self) -> bool:
        """Say whether `validate` finds nothing, without saying what; for programs of known functions and arities."""
        return is_valid(self._statements)

    def live(self, cross_step: bool = True) -> tuple[bool, ...]:
        """Say of each statement whether it matters.

        Parameters
        ----------
        cross_step : bool, default=True
            Whether to look at all steps: a slot then matters only if the update of some later step depends on it.
            False: within one step, where all of update, m and v matter, as in the paper.

        Returns
        -------
        tuple of bool
            One for each statement.
        """
        return tuple(liveness(self._statements, cross_step)[0])

    def live_slots(self) -> tuple[str, ...]:
        """Give the slots, of m and v, that the updates depend on: those that have to be stored."""
        return tuple(name for name in liveness(self._statements, True)[1] if name in SLOTS)

    def redundancy(self, cross_step: bool = True) -> float:
        """Give the share of statements that do not matter, from 0 to 1; `cross_step` as in `live`."""
        live = liveness(self._statements, cross_step)[0]
        return live.count(False) / max(len(live), 1)

    def key(self, cross_step: bool = True) -> bytes:
        """Give a name for what the program computes: programs of equal keys compute the same.

        Names of variables, the order of statements that do not depend on each other, statements that do not matter, and
        the order of arguments of functions that commute make no difference. Outputs are equal bit for bit, but for the
        sign of a zero from `max` or `min`.

        Parameters
        ----------
        cross_step : bool, default=True
            As in `live`. False: equal keys mean that all three outputs are the same.

        Returns
        -------
        bytes
            A BLAKE2b digest of 16 bytes, the same in every process. Two of 10⁹ programs agree by accident with
            probability below 10⁻²⁰.

        Raises
        ------
        KeyError
            The program is not valid.
        """
        return key(self._statements, cross_step)

    def constants(self) -> tuple[float, ...]:
        """Give the constants, in the order in which they stand."""
        return tuple(arg for _, _, args in self._statements for arg in args if isinstance(arg, float))

    def with_constants(self, values: Sequence[float]) -> "Program":
        """Give the program with other constants.

        Parameters
        ----------
        values : sequence of float
            One for each of `constants`.

        Returns
        -------
        Program

        Raises
        ------
        ValueError
            Their number is wrong.
        """
        if len(values) != len(self.constants()):
            raise ValueError(f"values must have {len(self.constants())} numbers, one a constant, got {len(values)}")
        left = iter(values)
        return Program(
            Statement(target, function, tuple(float(next(left)) if isinstance(arg, float) else arg for arg in args))
            for target, function, args in self._statements
        )

    def without(self, index: int) -> "Program":
        """Give the program without one statement, which may make it invalid.

        Parameters
        ----------
        index : int
            Which one, from 0.

        Returns
        -------
        Program

        Raises
        ------
        ValueError
            There is no such statement.
        """
        check_int("index", index, 0, len(self) - 1)
        return Program(self._statements[:index] + self._statements[index + 1 :])

    def simplify(self, *, exact: bool = True, cross_step: bool = True) -> "Simplification":
        """Rewrite the program into a shorter one, and say how.

        Parameters
        ----------
        exact : bool, default=True
            Use only rules that keep every bit of the outputs. False: also those that are exact in the reals up to a
            stated bound, such as x / sqrt(x·x) for the sign; and a slot that is the only one is called m.
        cross_step : bool, default=True
            As in `live`.

        Returns
        -------
        Simplification
            The program, and the steps to it.

        Raises
        ------
        ProgramError
            The program is not valid.

        Examples
        --------
        >>> print(Program.parse("a = square(g); b = sqrt(a); update = g / b").simplify(exact=False))
        1. the root of a square is the magnitude (equal in the reals)
          - b = sqrt(a)
          + b = abs(g)
        2. what no output needs is dropped (bit for bit)
          - a = square(g)
        3. x / |x| is the sign (off by at most 1e-8/|x|, from the 1e-8 that each divisor gets)
          - update = g / b
          + update = sign(g)
        4. what no output needs is dropped (bit for bit)
          - b = abs(g)
        """
        self.validate()
        steps = tuple(rewritings(self._statements, exact, cross_step))
        return Simplification(Program(steps[-1].after) if steps else self, steps)

    def diff(self, other: "Program") -> str:
        """Give the lines to take from this program, marked ``-``, and to add, marked ``+``, to get the other one."""
        lines = ndiff(self.source().splitlines(), other.source().splitlines())
        return "\n".join(line for line in lines if line[0] in "+-")

    def compile(self, backend: Literal["numpy", "torch"] = "numpy") -> Callable[..., Any]:
        """Turn the statements that matter into a Python function, ``f(w, g, m, v, lr) -> (update, m, v)``.

        Parameters
        ----------
        backend : {"numpy", "torch"}, default="numpy"
            "numpy": w, g, m and v are flat vectors of shape (n,), float32 or float64, lr is a float, and a sixth
            argument, `leaves`, is a tuple of slices that cut a vector into the arrays of the tree, for `norm`; default:
            one array.
            "torch": w, g, m and v are lists of tensors, lr is a float or a tensor without axes.

        Returns
        -------
        callable
            It changes none of its arguments. A slot that is not among `live_slots` comes back as it was given.

        Raises
        ------
        ProgramError
            The program is not valid.
        ValueError
            There is no such back end.

        Notes
        -----
        The source of the function is made from the checked statements and calls functions of one fixed table and
        nothing else. Overflow and the like give infinities and NaN, with NumPy's warnings: see ``np.errstate``. Such a
        function cannot be pickled; the program can.
        """
        check_choice("backend", backend, ("numpy", "torch"))
        self.validate()
        return (compile_numpy if backend == "numpy" else compile_torch)(self._statements)

    def __len__(self) -> int:
        return len(self._statements)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self._statements == other._statements

    def __hash__(self) -> int:
        return hash(self._statements)

    def __reduce__(self) -> tuple[Callable[[str], "Program"], tuple[str]]:
        return Program.parse, (self.source(),)

    def __repr__(self) -> str:
        return f"Program.parse({self.source()!r})"


@dataclass(frozen=True)
class Simplification:
    """A simpler program and the trail that leads to it; as text, the trail.

    Attributes
    ----------
    program : Program
        The program after the last step.
    steps : tuple of Rewriting
        What was done, in order.

    Examples
    --------
    >>> trail = Program.parse("update = negative(negative(g))").simplify()
    >>> trail.steps
    ()
    """

    program: Program
    steps: tuple[Rewriting, ...]

    @property
    def exact(self) -> bool:
        """Whether all steps keep every bit."""
        return all(step.exact for step in self.steps)

    def __str__(self) -> str:
        return "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, 1))
