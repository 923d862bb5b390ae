"""What a notebook calls to record a measured value, and how the book reads it back.

A notebook supplies numbers only: the value, its interval, the number of samples. What the claim says, and what would
confirm it, stands in ``book/claims.yml``; the verdict is reached there and never in the notebook that measures.
"""

import html
import json
import math
import operator
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex

__all__ = ["MIME_TYPE", "Measurement", "breakable", "format_number", "read_measurements", "record"]

MIME_TYPE = "application/vnd.selectlib.claim+json"
_ID = re.compile(r"[a-z0-9_]+/[a-z0-9_]+/[a-z0-9_]+")


@dataclass(frozen=True)
class Measurement:
    """One measured value of one claim.

    Parameters
    ----------
    id
        ``<chapter>/<notebook>/<measure>`` in lower case, digits and underscores.
    value, low, high
        The estimate and the ends of its interval, in the units that the claim's row names; finite,
        ``low <= value <= high``. An exact identity has ``low = high = value``.
    n
        Number of samples behind the value, at least 1.
    p
        p-value of the claim's test, in [0, 1], not yet corrected for other tests; None when the interval alone decides.
    level
        Confidence level of the interval, in (0, 1).

    Raises
    ------
    ValueError, TypeError
        A field breaks these rules; the message names the claim and the field.

    Examples
    --------
    >>> Measurement("kdpp/exactness/tv", value=0.02, low=0.01, high=0.03, n=400).text
    'kdpp/exactness/tv: 0.02 [0.01, 0.03], n = 400'
    """

    id: str
    value: float
    low: float
    high: float
    n: int
    p: float | None = None
    level: float = 0.95

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise ValueError(
                f"id must be '<chapter>/<notebook>/<measure>' in lower case, digits and underscores; got {self.id!r}"
            )
        for name in ("value", "low", "high"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{self.id}: {name} must be finite; got {getattr(self, name)}")
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"{self.id}: need low <= value <= high; got low={self.low}, value={self.value}, high={self.high}"
            )
        if isinstance(self.n, bool) or not isinstance(self.n, int):
            raise TypeError(f"{self.id}: n must be an integer; got {self.n!r}")
        if self.n < 1:
            raise ValueError(f"{self.id}: n must be at least 1; got {self.n}")
        if self.p is not None and not 0 <= self.p <= 1:
            raise ValueError(f"{self.id}: p must lie in [0, 1] or be None; got {self.p}")
        if not 0 < self.level < 1:
            raise ValueError(f"{self.id}: level must lie in (0, 1); got {self.level}")

    @property
    def estimate(self) -> str:
        """The value with its interval, e.g. ``0.02 [0.01, 0.03]``; an exact value stands alone.

        Decimals beyond two digits of the interval's half width, or of its smaller end, are left out.
        """
        if self.low == self.high:
            return format_number(self.value)
        finest = min(x for x in ((self.high - self.low) / 2, abs(self.low), abs(self.high)) if x > 0)
        decimals = max(0, 1 - math.floor(math.log10(finest)))
        value, low, high = (format_number(round(x, decimals)) for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    @property
    def text(self) -> str:
        """One line of plain text: the id, the estimate, n, and p where there is one."""
        p = "" if self.p is None else f", p = {self.p:.2g}"
        return f"{self.id}: {self.estimate}, n = {self.n:,}{p}"

    def _ipython_display_(self) -> None:
        """Show nothing: a cell that ends in ``record(...)`` has already shown the value."""


def format_number(x: float) -> str:
    """Write a number for a reader: whole numbers with separators, others to four significant digits.

    Parameters
    ----------
    x
        A finite number.

    Returns
    -------
    str

    Examples
    --------
    >>> format_number(531720.0), format_number(0.123456), format_number(0.0000123)
    ('531,720', '0.1235', '1.23e-05')
    """
    if float(x).is_integer() and abs(x) < 1e15:
        return f"{int(x):,}"
    return f"{x:,.0f}" if 1e3 <= abs(x) < 1e15 else f"{x:.4g}"


def breakable(id: str) -> str:
    """Write a claim's id as HTML that may break at its separators, for narrow columns.

    Parameters
    ----------
    id
        A claim's id.

    Returns
    -------
    str

    Examples
    --------
    >>> breakable("kdpp/exactness/tv_wines")
    'kdpp/<wbr>exactness/<wbr>tv_<wbr>wines'
    """
    return re.sub(r"([/_])", r"\1<wbr>", html.escape(id))


def record(
    id: str,
    *,
    value: SupportsFloat,
    low: SupportsFloat,
    high: SupportsFloat,
    n: SupportsIndex,
    p: SupportsFloat | None = None,
    level: float = 0.95,
) -> Measurement:
    """Record the measured value of a claim, and show it when called in a notebook.

    Parameters
    ----------
    id
        The claim's id in ``book/claims.yml``: ``<chapter>/<notebook>/<measure>``.
    value, low, high
        The estimate and its interval, in the claim's units; numbers, or arrays and tensors of one element. An exact
        identity has ``low = high = value``.
    n
        Number of samples behind the value.
    p
        p-value of the claim's test, uncorrected; the scorecard corrects over the chapter.
    level
        Confidence level of the interval; default 0.95.

    Returns
    -------
    Measurement
        Outside IPython that is all that happens. In a notebook one output is displayed besides: a table row for the
        reader, and the measurement itself as ``application/vnd.selectlib.claim+json`` for the scorecard.

    Raises
    ------
    ValueError, TypeError
        As `Measurement` does.

    Examples
    --------
    >>> record("kdpp/exactness/tv", value=0.02, low=0.01, high=0.03, n=400).estimate
    '0.02 [0.01, 0.03]'
    """
    measurement = Measurement(
        id=id,
        value=float(value),
        low=float(low),
        high=float(high),
        n=operator.index(n),
        p=None if p is None else float(p),
        level=float(level),
    )
    ipython = sys.modules.get("IPython")  # not loaded: we cannot be inside it, and need not depend on it
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import display

        bundle = {MIME_TYPE: asdict(measurement), "text/plain": measurement.text, "text/html": _row(measurement)}
        display(bundle, raw=True)
    return measurement


def _row(m: Measurement) -> str:
    """A table of one row; widths are fixed, so that rows recorded one after the other line up as one table."""
    interval = "exact" if m.low == m.high else f"[{format_number(m.low)}, {format_number(m.high)}]"
    cells = [
        ("46%", "left", f"<code>{breakable(m.id)}</code>"),
        ("14%", "right", f"<strong>{format_number(m.value)}</strong>"),
        ("22%", "left", interval),
        ("18%", "right", f"n = {m.n:,}" + ("" if m.p is None else f"<br>p = {m.p:.2g}")),
    ]
    style = "padding: 0.2em 0.5em; overflow-wrap: anywhere; vertical-align: baseline"
    row = "".join(f'<td style="width: {w}; text-align: {side}; {style}">{text}</td>' for w, side, text in cells)
    return (
        '<table class="selectlib-claim" style="table-layout: fixed; width: 100%; margin: 0; border-collapse: collapse">'
        f"<tbody><tr>{row}</tr></tbody></table>"
    )


def read_measurements(notebook: str | PathLike[str] | Mapping[str, Any]) -> list[Measurement]:
    """Read the measurements that an executed notebook recorded, in their order.

    Parameters
    ----------
    notebook
        Path of an ``.ipynb`` file, or the notebook itself (an ``nbformat`` node of version 4, or the same as a dict).

    Returns
    -------
    list of Measurement
        Empty when the notebook recorded none.

    Raises
    ------
    ValueError
        The notebook recorded one id twice, or holds a measurement that breaks the rules of `Measurement`.

    Examples
    --------
    >>> data = {"id": "kdpp/exactness/tv", "value": 0.5, "low": 0.0, "high": 1.0, "n": 3, "p": None, "level": 0.95}
    >>> output = {"output_type": "display_data", "data": {MIME_TYPE: data}}
    >>> read_measurements({"cells": [{"cell_type": "code", "outputs": [output]}]})[0].value
    0.5
    """
    if isinstance(notebook, Mapping):
        where, content = "notebook", notebook
    else:
        where, content = Path(notebook).name, json.loads(Path(notebook).read_text(encoding="utf-8"))
    measurements: dict[str, Measurement] = {}
    for cell in content["cells"]:
        for output in cell.get("outputs", ()):
            data = output.get("data", {}).get(MIME_TYPE)
            if data is None:
                continue
            measurement = Measurement(**data)
            if measurement.id in measurements:
                raise ValueError(f"{where}: claim {measurement.id} is recorded twice")
            measurements[measurement.id] = measurement
    return list(measurements.values())
