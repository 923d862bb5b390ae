"""The checker behind jaxtyping's import hook: beartype for the first calls of a test, and no checks from then on.

A test of a law makes the same calls ten thousand times, and what is wrong with a shape shows in the first ones. Checks
would take most of its time. The count is of calls, so that what is checked is the same on every machine.
"""

from collections.abc import Callable
from functools import wraps

import jaxtyping
from beartype import beartype

CALLS = 2_000  # checked in a test
made = 0


def begin() -> None:
    """A test begins: check again."""
    global made
    made = 0
    jaxtyping.config.update("jaxtyping_disable", False)


def checker(function: Callable) -> Callable:
    """What `--jaxtyping-packages` names: `beartype`, which counts its calls."""
    checked = beartype(function)

    @wraps(function)
    def counted(*arguments, **named):
        global made
        made += 1
        if made >= CALLS:
            jaxtyping.config.update("jaxtyping_disable", True)
        return checked(*arguments, **named)

    return counted
