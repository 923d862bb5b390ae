"""The functions of the language on lists of tensors."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from selectlib.programs._compile import NAMES, assemble
from selectlib.programs._functions import EPS, FUNCTIONS
from selectlib.programs._numpy import SCALARS
from selectlib.programs._statement import Statement

Tensors = list[Tensor]


def _dot(x: Tensors, y: Tensors) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(x, y, strict=True)]).sum()


def _global_norm(x: Tensors) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(x)))


def _clip(x: Tensors, c: Any) -> Tensors:
    scale = torch.clamp(c / (_global_norm(x) + EPS), max=1.0)
    return [a * scale for a in x]


def _bound(clamp: str) -> Callable[[Any, Any], Tensor]:
    def bound(x: Any, y: Any) -> Tensor:
        x, y = (x, y) if isinstance(x, Tensor) else (y, x)
        return torch.clamp(x, **{clamp: y})

    return bound


_ELEMENTWISE = {
    name: getattr(torch, name) for name in NAMES if hasattr(torch, name) and name not in ("clip", "dot")
} | {
    "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    "divide": operator.truediv,
    "power": torch.pow,
    "maximum": _bound("min"),
    "minimum": _bound("max"),
}


def _on_scalars(name: str) -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        return (_ELEMENTWISE if any(isinstance(arg, Tensor) for arg in args) else SCALARS)[name](*args)

    return function


_TABLE = {
    **_ELEMENTWISE,
    **{f"scalar_{name}": _on_scalars(name) for name in _ELEMENTWISE},
    "zip": zip,
    "norm": lambda x: torch.linalg.vector_norm(x).expand_as(x),
    "dot": _dot,
    "global_norm": _global_norm,
    "cosine_sim": lambda x, y: _dot(x, y) / (_global_norm(x) * _global_norm(y) + EPS),
    "clip": _clip,
}
_WHOLE = {"dot", "global_norm", "cosine_sim", "clip"}


def _on_lists(function: str, kinds: str, texts: list[str]) -> str:
    if function in _WHOLE:
        return FUNCTIONS[function].code.format(*texts)
    trees = [(f"a{number}", text) for number, (kind, text) in enumerate(zip(kinds, texts, strict=True)) if kind == "T"]
    one = [f"a{number}" if kind == "T" else text for number, (kind, text) in enumerate(zip(kinds, texts, strict=True))]
    over = ", ".join(text for _, text in trees)
    return f"[{FUNCTIONS[function].code.format(*one)} for {', '.join(a for a, _ in trees)}, in zip({over})]"


def compile_torch(statements: Sequence[Statement]) -> Callable[..., tuple[Tensors, Tensors, Tensors]]:
    """Compile for lists of tensors, one for each array of the tree."""
    return assemble(statements, "def program(w, g, m, v, lr):", _on_lists, _TABLE)
