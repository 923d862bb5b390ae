"""Which statements matter."""

from collections.abc import Sequence

from selectlib.programs._statement import OUTPUTS, SLOTS, Statement


def _backward(statements: Sequence[Statement], outputs: Sequence[str]) -> tuple[list[bool], set[str | float]]:
    """Walk back from some outputs; give the live statements, and what they read of what the step starts with."""
    live = [False] * len(statements)
    wanted: set[str | float] = set(outputs)
    for number in range(len(statements) - 1, -1, -1):
        target, _, args = statements[number]
        if target in wanted:
            live[number] = True
            wanted.remove(target)
            wanted.update(args)
    return live, wanted


def liveness(statements: Sequence[Statement], cross_step: bool) -> tuple[list[bool], tuple[str, ...]]:
    """Give which statements are live, and which of the outputs count.

    Within a step all three outputs count. Across steps the update does, and a slot if a live statement reads what the
    step before left in it: the smallest such set is reached from the update alone in at most three walks.
    """
    if not cross_step:
        return _backward(statements, OUTPUTS)[0], OUTPUTS
    outputs: tuple[str, ...] = ("update",)
    while True:
        live, read = _backward(statements, outputs)
        more = tuple(slot for slot in SLOTS if slot in read and slot not in outputs)
        if not more:
            return live, tuple(name for name in OUTPUTS if name in outputs)
        outputs += more
