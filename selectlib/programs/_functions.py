"""The functions of the language: what each takes, gives and computes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

EPS = 1e-8  # added to every divisor


class Function(NamedTuple):
    """A function of the language; `FUNCTIONS` holds all of them.

    Attributes
    ----------
    name : str
        Name, or the operator's sign.
    arity : int
        Number of arguments, 0 to 3.
    types : mapping of str to str
        Type of the result for each combination of types of the arguments that is allowed, "T" for a tree of arrays and
        "S" for a scalar: ``{"TS": "T"}`` takes a tree and a scalar and gives a tree. Empty: never allowed.
    code : str
        What it computes, with ``{0}``, ``{1}``, ``{2}`` for the arguments.
    commutative : bool
        Whether the arguments may be swapped without changing a bit.

    Examples
    --------
    >>> FUNCTIONS["clip"].types
    {'TS': 'T'}
    >>> FUNCTIONS["/"].code
    'divide({0}, {1} + 1e-08)'
    """

    name: str
    arity: int
    types: Mapping[str, str]
    code: str
    commutative: bool = False


_SAME = {"T": "T", "S": "S"}
_ANY_TREE = {"TT": "T", "TS": "T", "ST": "T", "SS": "S"}
_CONSTANTS = {"get_pi": "3.141592653589793", "get_e": "2.718281828459045", "get_eps": repr(EPS)}
_ELEMENTWISE = {
    "abs": "abs({0})",
    "cos": "cos({0})",
    "sin": "sin({0})",
    "tan": "tan({0})",
    "arcsin": "arcsin({0})",
    "arccos": "arccos({0})",
    "arctan": "arctan({0})",
    "sinh": "sinh({0})",
    "cosh": "cosh({0})",
    "tanh": "tanh({0})",
    "arcsinh": "arcsinh({0})",
    "arccosh": "arccosh({0})",
    "arctanh": "arctanh({0})",
    "exp": "exp({0})",
    "exp2": "exp2({0})",
    "exp10": "power(10.0, {0})",
    "expm1": "expm1({0})",
    "log": "log(abs({0}))",
    "log10": "log10(abs({0}))",
    "log2": "log2(abs({0}))",
    "log1p": "log(abs(1.0 + {0}))",
    "square": "square({0})",
    "sqrt": "sqrt(abs({0}))",
    "cube": "{0} * {0} * {0}",
    "cbrt": "cbrt({0})",
    "sign": "sign({0})",
    "reciprocal": "divide(1.0, {0})",
    "negative": "-{0}",
}
_BINARY = {
    "+": "{0} + {1}",
    "-": "{0} - {1}",
    "*": "{0} * {1}",
    "/": f"divide({{0}}, {{1}} + {EPS})",
    "max": "maximum({0}, {1})",
    "min": "minimum({0}, {1})",
    "power": "power({0}, {1})",
}

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        f.name: f
        for f in (
            *(Function(name, 0, {"": "S"}, code) for name, code in _CONSTANTS.items()),
            *(Function(name, 1, _SAME, code) for name, code in _ELEMENTWISE.items()),
            Function("invert", 1, {}, "{0}"),
            Function("norm", 1, {"T": "T"}, "norm({0})"),
            Function("global_norm", 1, {"T": "S"}, "global_norm({0})"),
            Function("dot", 2, {"TT": "S"}, "dot({0}, {1})", True),
            Function("cosine_sim", 2, {"TT": "S"}, "cosine_sim({0}, {1})", True),
            Function("clip", 2, {"TS": "T"}, "clip({0}, {1})"),
            Function("interp", 3, {x + "S": y for x, y in _ANY_TREE.items()}, "(1.0 - {2}) * {0} + {2} * {1}"),
            *(Function(name, 2, _ANY_TREE, code, name in ("+", "*", "max", "min")) for name, code in _BINARY.items()),
        )
    }
)
"""The 45 functions by name.

Divisors get 1e-8 added, also that of ``clip``, x·min(1, c / norm) over the whole tree, and that of ``cosine_sim``;
``sqrt`` and logarithms take magnitudes; ``interp(x, y, a)`` is (1 - a)·x + a·y; ``norm`` is that of each array,
everywhere in it; ``invert``, a function of bits, is never valid. Source: Chen et al. (NeurIPS 2023) by secondary
sources, and the official repository; that the divisors of clip and cosine_sim are safe is our choice.
"""
