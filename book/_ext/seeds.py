"""What further seeds say about a verdict: they never change it, and may show that it depends on the seed."""

from collections.abc import Sequence

SAME = "same at every seed"
DEPENDS = "depends on the seed"
CONTRADICTORY = "contradictory between seeds"


def agreement(verdicts: Sequence[str]) -> str | None:
    """Whether the verdicts reached at several seeds are one; None when there is but one seed."""
    if len(verdicts) < 2:
        return None
    if {"supported", "contradicted"} <= set(verdicts):
        return CONTRADICTORY
    return SAME if len(set(verdicts)) == 1 else DEPENDS


def in_words(verdicts: Sequence[tuple[str, str]]) -> str:
    """Verdicts with the names of their seeds: "supported at seeds 200 and 300, inconclusive at seed 400"."""
    seeds: dict[str, list[str]] = {}
    for verdict, seed in verdicts:
        seeds.setdefault(verdict, []).append(seed)
    return ", ".join(f"{verdict} at {_together(names)}" for verdict, names in seeds.items())


def _together(names: list[str]) -> str:
    if len(names) == 1:
        return f"seed {names[0]}"
    return f"seeds {', '.join(names[:-1])} and {names[-1]}"
