"""Programs as text, and back."""

import ast
import sys

from selectlib.programs._functions import FUNCTIONS
from selectlib.programs._statement import ProgramError, Statement

_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class _Reader:
    """Turns the syntax tree of a text into statements; nested calls become statements with names of their own."""

    def __init__(self, lines: list[ast.stmt]):
        self._taken = {node.id for line in lines for node in ast.walk(line) if isinstance(node, ast.Name)}
        self.statements: list[Statement] = []
        for line in lines:
            match line:
                case ast.Assign(targets=[ast.Name(id=target)], value=value):
                    self.statements.append(Statement(target, *self._call(value)))
                case _:
                    raise ProgramError(
                        f"line {line.lineno}: a statement is `target = function(...)`, got {ast.unparse(line)}"
                    )

    def _call(self, node: ast.expr) -> tuple[str, tuple[str | float, ...]]:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)], (self._argument(left), self._argument(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return "negative", (self._argument(operand),)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                return name, tuple(self._argument(arg) for arg in args)
        raise ProgramError(f"line {node.lineno}: not a function of FUNCTIONS: {ast.unparse(node)}")

    def _argument(self, node: ast.expr) -> str | float:
        match node:
            case ast.Name(id=name):
                return name
            case ast.Constant(value=int() | float() as value) if abs(value) <= sys.float_info.max and value is not True:
                return float(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as operand):
                return -self._argument(operand)  # type: ignore[operator]
        function, args = self._call(node)
        number = 1
        while (name := f"t{number}") in self._taken:
            number += 1
        self._taken.add(name)
        self.statements.append(Statement(name, function, args))
        return name


def read(source: str) -> tuple[Statement, ...]:
    """Read statements from text, by its syntax tree: nothing of the text is run."""
    if not isinstance(source, str):
        raise TypeError(f"source must be a str, got {type(source).__name__}")
    try:
        lines = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        raise ProgramError(f"source is not a list of statements: {error}") from None
    return tuple(_Reader(lines).statements)
