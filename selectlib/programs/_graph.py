"""A program as a graph of values, for rewriting, and back as statements under names that read like the old ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Union

from selectlib.programs._liveness import liveness
from selectlib.programs._statement import INPUTS, OUTPUTS, Statement, is_valid

Value = Union["Node", str, float]
"""A node, an input by name, or a constant."""


@dataclass(eq=False)
class Node:
    """The value of a statement, and the name that it would like."""

    function: str
    args: tuple[Value, ...]
    name: str


def same(x: Value, y: Value) -> bool:
    """Say whether two values are one."""
    return x is y or (isinstance(x, str) and x == y)


@dataclass
class Graph:
    """Nodes, each after those it reads, and the outputs that count.

    Attributes
    ----------
    nodes : list of Node
        In an order in which they can be computed.
    ends : dict of str to Value
        The value of each output that counts.
    """

    nodes: list[Node] = field(default_factory=list)
    ends: dict[str, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, statements: Sequence[Statement], cross_step: bool) -> "Graph":
        """Read statements."""
        current: dict[str, Value] = {name: name for name in INPUTS}
        graph = cls()
        for target, function, args in statements:
            node = Node(function, tuple(current[arg] if isinstance(arg, str) else arg for arg in args), target)
            graph.nodes.append(node)
            current[target] = node
        graph.ends = {name: current[name] for name in liveness(statements, cross_step)[1]}
        return graph

    def replace(self, node: Node, value: Value) -> bool:
        """Let `value` stand for `node` everywhere; False where an output would need a copy, which there is not."""
        for name, end in self.ends.items():
            if end is node:
                if not isinstance(value, Node) or value in self.ends.values():
                    return False
                value.name = name
                self.ends[name] = value
        self.nodes.remove(node)
        for other in self.nodes:
            other.args = tuple(value if arg is node else arg for arg in other.args)
        return True

    def repeated(self) -> Iterator[tuple[Node, Node]]:
        """Find each node that computes what an earlier one does."""
        seen: dict[tuple, Node] = {}
        for node in self.nodes:
            expression = (node.function, *(repr(arg) if isinstance(arg, float) else arg for arg in node.args))
            if seen.setdefault(expression, node) is not node:
                yield node, seen[expression]

    def rename(self, old: str, new: str) -> None:
        """Call a slot by another name, which no output that counts has."""
        self.ends[new] = self.ends.pop(old)
        for node in self.nodes:
            node.args = tuple(new if arg == old else arg for arg in node.args)
        if isinstance(end := self.ends[new], Node):
            end.name = new

    def _ordered(self) -> list[Node] | None:
        """Order the nodes so that a slot is set after what the last step left in it is read; None if impossible."""
        done: list[Node] = []
        left = list(self.nodes)

        def is_ready(node: Node) -> bool:
            set_here = [name for name, end in self.ends.items() if end is node]
            others = [other for other in left if other is not node]
            return not any(arg in others for arg in node.args) and not any(
                name in other.args for name in set_here for other in others
            )

        while left:
            node = next(filter(is_ready, left), None)
            if node is None:
                return None
            left.remove(node)
            done.append(node)
        return done

    def _named(self, nodes: list[Node], wished: bool) -> Iterator[Statement]:
        """Name the nodes; `wished` lets those that are no output have an output's name."""
        last: dict[Value, float] = {}
        for number, node in enumerate(nodes):
            last.update({arg: number for arg in node.args})
        last.update({end: inf for end in self.ends.values()})
        position: dict[Value, int] = {node: number for number, node in enumerate(nodes)}
        holder: dict[str, Value] = {name: name for name in INPUTS}
        names: dict[Value, str] = {name: name for name in INPUTS}
        taken = {node.name for node in nodes} | INPUTS.keys()
        for number, node in enumerate(nodes):
            name, end = node.name, self.ends.get(node.name)
            free = name not in holder or last.get(holder[name], -1) <= number
            kept = end is None or end is node or last.get(node, -1) <= position.get(end, -1)
            if not (free and kept and (wished or end is node or name not in OUTPUTS)):
                name = next(f"t{i}" for i in range(1, len(taken) + 2) if f"t{i}" not in taken)
                taken.add(name)
            yield Statement(name, node.function, tuple(a if isinstance(a, float) else names[a] for a in node.args))
            holder[name], names[node] = node, name

    def statements(self) -> tuple[Statement, ...] | None:
        """Write statements; None where an old slot is read after it had to be set."""
        nodes = self._ordered()
        if nodes is None:
            return None
        written = tuple(self._named(nodes, wished=True))
        return written if is_valid(written) else tuple(self._named(nodes, wished=False))
