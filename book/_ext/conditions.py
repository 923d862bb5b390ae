"""The conditions of claims.yml: `< x`, `<= x`, `> x`, `>= x`, `in [a, b]`, `equals x within m`."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal

GRAMMAR = "'< x', '<= x', '> x', '>= x', 'in [a, b]' or 'equals x within m'"

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_ONE_SIDED = re.compile(rf"(<=|<|>=|>)\s*{_NUMBER}")
_BETWEEN = re.compile(rf"in\s*\[\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]")
_EQUALS = re.compile(rf"equals\s+{_NUMBER}\s+within\s+{_NUMBER}")


@dataclass(frozen=True)
class Condition:
    """A region of the line, with the words that it was written in.

    `low` and `high` are its ends (infinite where there is none); `closed` says whether finite ends belong to it.
    """

    text: str
    low: float
    high: float
    closed: bool

    @classmethod
    def parse(cls, text: object) -> "Condition":
        """Read one condition; ValueError says what is allowed. A row holds one: a compound claim is several rows."""
        if not isinstance(text, str):
            raise ValueError(f"a condition is a text, {GRAMMAR}; got {text!r}")
        words = text.strip()
        if match := _ONE_SIDED.fullmatch(words):
            sign, end = match[1], float(match[2])
            low, high = (-math.inf, end) if sign.startswith("<") else (end, math.inf)
            return cls(words, low, high, closed=sign.endswith("="))
        if match := _BETWEEN.fullmatch(words):
            low, high = float(match[1]), float(match[2])
        elif match := _EQUALS.fullmatch(words):
            centre, margin = Decimal(match[1]), Decimal(match[2])  # 0.3 - 0.1 is 0.2 in decimals, not in binary
            low, high = float(centre - margin), float(centre + margin)
        elif re.search(r"\b(and|or)\b|&|\||;", words):
            raise ValueError(f"a row has one condition, and a compound claim is several rows; got {text!r}")
        else:
            raise ValueError(f"a condition is {GRAMMAR}; got {text!r}")
        if low > high:
            raise ValueError(f"a condition's region must not be empty; got {text!r}")
        return cls(words, low, high, closed=True)

    def covers(self, low: float, high: float) -> bool:
        """Whether the whole interval [low, high] lies inside the region."""
        if self.closed:
            return self.low <= low and high <= self.high
        return self.low < low and high < self.high

    def misses(self, low: float, high: float) -> bool:
        """Whether the whole interval [low, high] lies outside the region."""
        if self.closed:
            return high < self.low or low > self.high
        return high <= self.low or low >= self.high
