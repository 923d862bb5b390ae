"""How many claims have a verdict: the numbers that prose may quote, by name."""

from collections.abc import Callable, Iterable

from seeds import CONTRADICTORY, DEPENDS
from verdicts import Entry


def _counting(holds: Callable[[Entry], bool]) -> Callable[[Iterable[Entry]], int]:
    return lambda entries: sum(map(holds, entries))


PARTS = {
    "claims": _counting(lambda e: True),
    "measured": _counting(lambda e: e.mechanism != "not yet measured"),
    "supported": _counting(lambda e: e.mechanism == "supported"),
    "contradicted": _counting(lambda e: e.mechanism == "contradicted"),
    "inconclusive": _counting(lambda e: e.mechanism == "inconclusive"),
    "unmeasured": _counting(lambda e: e.mechanism == "not yet measured"),
    "replicated": _counting(lambda e: e.seeds is not None),  # reached at more than one seed
    "depends": _counting(lambda e: e.seeds in (DEPENDS, CONTRADICTORY)),
    "contradictory": _counting(lambda e: e.seeds == CONTRADICTORY),  # some of those that depend on the seed
    "matched": _counting(lambda e: e.figure == "matched"),
    "unmatched": _counting(lambda e: e.figure == "not matched"),
    "untested": _counting(lambda e: e.figure == "untested"),
    "unknown": _counting(lambda e: e.figure == "no figure known"),
}
