"""Programs as Python functions: source is generated from the statements, and reaches one fixed table of functions."""
# Variables are numbered afresh, so that nothing of a program's text gets into the source but its constants, as floats.

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selectlib.programs._functions import FUNCTIONS
from selectlib.programs._liveness import liveness
from selectlib.programs._statement import INPUTS, OUTPUTS, Statement

_CALL = re.compile(r"([a-z]\w*)\(")
NAMES = {name for function in FUNCTIONS.values() for name in _CALL.findall(function.code)}
"""What the functions' code calls."""
ON_SCALARS = {name: _CALL.sub(r"scalar_\1(", function.code) for name, function in FUNCTIONS.items()}


def assemble(
    statements: Sequence[Statement],
    header: str,
    on_trees: Callable[[str, str, list[str]], str],
    table: Mapping[str, Any],
) -> Callable[..., Any]:
    """Make a function of the live statements.

    Parameters
    ----------
    statements : sequence of Statement
        A valid program.
    header : str
        The lines that open the function ``program``; its arguments are called as the inputs.
    on_trees : callable
        Gives the code of a statement with a tree among its arguments, of the function's name, the arguments' types, as
        in ``"TS"``, and their code.
    table : mapping
        What the code may call. A function of scalars alone is called ``scalar_`` and its name.

    Returns
    -------
    callable
        It returns the update, m and v; a slot that no later step reads comes back as it was given.
    """
    live, outputs = liveness(statements, cross_step=True)
    names = {name: name for name in INPUTS}
    types = INPUTS.copy()
    lines = [header]
    for number, (target, function, args) in enumerate(statements):
        kinds = "".join(types[arg] if isinstance(arg, str) else "S" for arg in args)
        types[target] = FUNCTIONS[function].types[kinds]
        if live[number]:
            texts = [names[arg] if isinstance(arg, str) else f"({arg!r})" for arg in args]
            code = on_trees(function, kinds, texts) if "T" in kinds else ON_SCALARS[function].format(*texts)
            lines.append(f"x{number} = {code}")
            names[target] = f"x{number}"
    lines.append("return " + ", ".join(names[name] if name in outputs else name for name in OUTPUTS))
    made: dict[str, Any] = {}
    exec("\n    ".join(lines), dict(table), made)
    return made["program"]
