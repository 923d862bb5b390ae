"""What the simplifier knows: one function a rule, from a node to what may stand for it."""

from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

from selectlib.programs._graph import Node, same
from selectlib.programs._numpy import evaluate

Rewritten = Node | str | float | None
"""A new node, or a value that is there already; None where the rule does not apply."""


class Rule(NamedTuple):
    """A rule, and how close to the old value the new one is."""

    name: str
    rewrite: Callable[[Node], Rewritten]
    bound: str = ""


def _fold(node: Node) -> Rewritten:
    if all(isinstance(arg, float) for arg in node.args):
        value = evaluate(node.function, node.args)  # type: ignore[arg-type]
        return value if isfinite(value) else None
    return None


def _times_one(node: Node) -> Rewritten:
    match node:
        case Node("*", (x, 1.0) | (1.0, x)):
            return x
    return None


def _twice(node: Node) -> Rewritten:
    match node:
        case Node("negative", (Node("negative", (x,)),)):
            return x
        case Node("sign" | "abs" as function, (Node(inner) as x,)) if function == inner:
            return x
        case Node("max" | "min", (x, y)) if same(x, y):
            return x
    return None


def _sign_lost(node: Node) -> Rewritten:
    match node:
        case Node("abs", (Node("square" | "sqrt" | "norm") as x,)):
            return x
        case Node("sqrt" | "square" | "abs" as function, (Node("abs" | "negative", (x,)),)):
            return Node(function, (x,), node.name)
    return None


def _root_of_square(node: Node) -> Rewritten:
    match node:
        case Node("sqrt", (Node("*", (x, y)),)) if same(x, y):
            return Node("abs", (x,), node.name)
        case Node("sqrt", (Node("square", (x,)),)):
            return Node("abs", (x,), node.name)
    return None


def _over_magnitude(node: Node) -> Rewritten:
    match node:
        case Node("/", (x, Node("abs", (y,)))) if same(x, y):
            return Node("sign", (x,), node.name)
    return None


def _interp_of_interp(node: Node) -> Rewritten:
    match node:
        case Node("interp", (x, Node("interp", (y, z, float(a))), float(b))) if same(x, y):
            return Node("interp", (x, z, a * b), node.name)
    return None


def _sign_of_multiple(node: Node) -> Rewritten:
    match node:
        case Node("sign", (Node("*", (x, float(c)) | (float(c), x)),)) if c > 0:
            return Node("sign", (x,), node.name)
    return None


EXACT = (
    Rule("constants are folded", _fold),
    Rule("a factor of 1 is dropped", _times_one),
    Rule("once is as good as twice", _twice),
    Rule("a sign that is lost anyway is not taken", _sign_lost),
)
"""Rules that change no bit."""

REAL = (
    Rule("the root of a square is the magnitude", _root_of_square, "equal in the reals"),
    Rule("x / |x| is the sign", _over_magnitude, "off by at most 1e-8/|x|, from the 1e-8 that each divisor gets"),
    Rule("weights of nested interps multiply", _interp_of_interp, "equal in the reals"),
    Rule("a positive factor keeps the sign", _sign_of_multiple, "equal in the reals"),
)
"""Rules that are exact in the reals, up to a bound."""
