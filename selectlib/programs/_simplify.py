"""Rewrite a program into a shorter one, step by step, with a trail of what was done and why that may be done."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import ndiff
from functools import partial

from selectlib.programs._graph import Graph, Node
from selectlib.programs._liveness import liveness
from selectlib.programs._rules import EXACT, REAL, Rule
from selectlib.programs._statement import Statement, write

Statements = tuple[Statement, ...]


@dataclass(frozen=True)
class Rewriting:
    """One step of a simplification; as text, the rule and the lines that change.

    Attributes
    ----------
    rule : str
        What was done.
    before, after : tuple of Statement
        All statements.
    bound : str
        How far the outputs may be off; empty: not a bit changes.

    Examples
    --------
    >>> from selectlib.programs import Program
    >>> (step,) = Program.parse("m = g + w\\nupdate = g * lr").simplify().steps
    >>> print(step)
    what no output needs is dropped (bit for bit)
      - m = g + w
    >>> step.exact
    True
    """

    rule: str
    before: Statements
    after: Statements
    bound: str = ""

    @property
    def exact(self) -> bool:
        """Whether the outputs that count keep all their bits."""
        return not self.bound

    def __str__(self) -> str:
        old, new = ([write(statement) for statement in statements] for statements in (self.before, self.after))
        changes = [line for line in ndiff(old, new) if line[0] in "+-"]
        return "\n".join([f"{self.rule} ({self.bound or 'bit for bit'})", *(f"  {line}" for line in changes)])


def _drop_dead(statements: Statements, cross_step: bool) -> Statements | None:
    live = liveness(statements, cross_step)[0]
    if all(live):
        return None
    graph = Graph.of(statements, cross_step)
    graph.nodes = [node for node, alive in zip(graph.nodes, live, strict=True) if alive]
    return graph.statements()


def _merge(statements: Statements, cross_step: bool) -> Statements | None:
    graph = Graph.of(statements, cross_step)
    done = any(graph.replace(later, first) for later, first in graph.repeated())
    return graph.statements() if done else None


def _rewrite(rule: Rule, statements: Statements, cross_step: bool) -> Statements | None:
    graph = Graph.of(statements, cross_step)
    for number in range(len(statements)):
        node = graph.nodes[number]
        new = rule.rewrite(node)
        if new is None:
            continue
        if isinstance(new, Node) and new not in graph.nodes:
            node.function, node.args = new.function, new.args
            done = True
        else:
            done = graph.replace(node, new)
        after = graph.statements() if done else None
        if after is not None:
            return after
        graph = Graph.of(statements, cross_step)
    return None


def _call_slot_m(statements: Statements, cross_step: bool) -> Statements | None:
    graph = Graph.of(statements, cross_step)
    if "m" in graph.ends or "v" not in graph.ends:
        return None
    graph.rename("v", "m")
    return graph.statements()


Attempt = tuple[str, str, Callable[[Statements, bool], Statements | None]]


def _rule(rule: Rule) -> Attempt:
    return rule.name, rule.bound, partial(_rewrite, rule)


_EXACT: list[Attempt] = [
    ("what no output needs is dropped", "", _drop_dead),
    *map(_rule, EXACT),
    ("what is computed twice is computed once", "", _merge),
]
_REAL: list[Attempt] = [*_EXACT, *map(_rule, REAL), ("the only slot is called m", "", _call_slot_m)]


def rewritings(statements: Statements, exact: bool, cross_step: bool) -> Iterator[Rewriting]:
    """Give the steps, until no rule applies: each drops a statement, shortens one or renames the only slot."""
    while True:
        for name, bound, attempt in _EXACT if exact else _REAL:
            after = attempt(statements, cross_step)
            if after is not None:
                yield Rewriting(name, statements, after, bound)
                statements = after
                break
        else:
            return
