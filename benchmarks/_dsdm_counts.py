"""Counting hashed n-grams beside data-selection, whose DSIR counts the same."""

import inspect
import pydoc_data.topics
import statistics
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats
import sklearn
from _harness import Contestant
from data_selection.hashed_ngram_dsir import get_ngram_counts

from selectlib.corpora import HashedNGrams

if TYPE_CHECKING:
    from _dsdm_races import Setting

_PIECE = 4_000  # characters of a text
_MODULES = (scipy.stats._distn_infrastructure, scipy.stats._stats_py, sklearn.base, statistics, inspect, np.ma.core)


@cache
def texts() -> list[str]:
    """Python's documentation and the sources of some modules, in pieces: about two megabytes that every machine has."""
    whole = [*pydoc_data.topics.topics.values(), *map(inspect.getsource, _MODULES)]
    return [text[start : start + _PIECE] for text in whole for start in range(0, len(text), _PIECE)]


def counts(setting: "Setting") -> dict:
    """Counts of all texts; each side one process."""
    some = texts()[: 40 if setting.quick else None]
    size = sum(len(text.encode()) for text in some)
    contestants = [
        Contestant(
            "ours", "HashedNGrams (ours)", lambda seed: some, lambda part: HashedNGrams(part).counts, setting.repeats(7)
        ),
        Contestant(
            "data_selection",
            "data-selection",
            lambda seed: some,
            lambda part: [get_ngram_counts(text) for text in part],
            setting.repeats(7),
            peer=True,
        ),
    ]
    rows = setting.race(contestants, "counting n-grams")
    for row in rows.values():
        row["rate"] = [size / seconds / 1e6 for seconds in row["seconds"]]
    return {
        "title": "Counting n-grams",
        "note": f"Seconds for words and pairs of words of {len(some):,} texts, {size / 1e6:.2f} MB in all, "
        "hashed to 10,000 buckets; one process each.",
        "parts": [{"heading": f"{size / 1e6:.2f} MB", "n": len(some), "facts": {"rate": "MB/s"}, "rows": rows}],
    }


def count_differences(setting: "Setting") -> tuple[int, int]:
    """How many counts were compared, and how many differ."""
    some = texts()[: 40 if setting.quick else None]
    ours = HashedNGrams(some).counts
    different = sum(int((ours[[i]].toarray()[0] != get_ngram_counts(text)).sum()) for i, text in enumerate(some))
    return ours.shape[0] * ours.shape[1], different
