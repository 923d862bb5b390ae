"""The functions of the language on flat float32 vectors."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from selectlib.programs._compile import NAMES, ON_SCALARS, assemble
from selectlib.programs._functions import EPS, FUNCTIONS
from selectlib.programs._statement import Statement


def _float(function: Callable[..., Any]) -> Callable[..., float]:
    return lambda *args: float(function(*args))  # a float: NumPy's own scalars would turn float32 into float64


def _global_norm(x: np.ndarray) -> float:
    return float(np.dot(x, x)) ** 0.5


def _norm(x: np.ndarray, leaves: Sequence[slice]) -> np.ndarray:
    out = np.empty_like(x)
    for leaf in leaves:
        out[leaf] = _global_norm(x[leaf])
    return out


_ELEMENTWISE = {name: getattr(np, name) for name in NAMES if hasattr(np, name) and name not in ("clip", "dot")}
SCALARS = {name: _float(function) for name, function in _ELEMENTWISE.items()}
"""Elementwise functions of floats."""
_TABLE = {
    "one_leaf": (slice(None),),
    **_ELEMENTWISE,
    **{f"scalar_{name}": function for name, function in SCALARS.items()},
    "dot": _float(np.dot),
    "norm": _norm,
    "global_norm": _global_norm,
    "cosine_sim": lambda x, y: float(np.dot(x, y)) / (_global_norm(x) * _global_norm(y) + EPS),
    "clip": lambda x, c: x * min(1.0, c / (_global_norm(x) + EPS)),
}
_CODE = {name: function.code for name, function in FUNCTIONS.items()} | {"norm": "norm({0}, leaves)"}


def compile_numpy(statements: Sequence[Statement]) -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Compile for flat vectors; `leaves` cuts them into the arrays of the tree."""
    header = "def program(w, g, m, v, lr, leaves=one_leaf):"
    return assemble(statements, header, lambda function, _, texts: _CODE[function].format(*texts), _TABLE)


def evaluate(function: str, args: Sequence[float]) -> float:
    """Evaluate a function of scalars as compiled programs do."""
    with np.errstate(all="ignore"):
        code = ON_SCALARS[function].format(*(f"({arg!r})" for arg in args))
        return float(eval(code, dict(_TABLE)))
