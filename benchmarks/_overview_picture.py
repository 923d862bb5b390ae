"""The picture of all races: one row each, the peer's time over ours on a log axis, with its interval."""

import hashlib
import io
from itertools import groupby

import matplotlib
from _overview import CHAPTERS, Row, ratio_words, verdict

matplotlib.use("svg")
import matplotlib.pyplot as plt

WIDTH, LINE = 4.4, 0.2  # inches: of the picture, legible where a phone shows it in full; and of a row
LEFT, RIGHT = 0.4, 0.86  # where the axis begins and ends, as shares of the width: labels before it, numbers behind
# By who is faster: colour, marker, and words. Okabe and Ito's colours, and the shape says it again.
MARKS = {
    "ours": ("#0072B2", "o", "ours is faster"),
    "peer": ("#D55E00", "D", "the peer is faster"),
    "level": ("#6b6b6b", "s", "the interval covers 1"),
}


def digest(rows: list[Row]) -> str:
    """What the picture shows, as a digest that it carries."""
    return hashlib.sha256(repr([(row.benchmark, row.job, ratio_words(row)) for row in rows]).encode()).hexdigest()


def picture(rows: list[Row]) -> str:
    """The races that a peer took part in, as SVG."""
    shown = [row for row in rows if verdict(row) != "none"]
    with plt.style.context("selectlib.figures"), plt.rc_context({"figure.constrained_layout.use": False}):
        figure = _draw(shown)
        made = io.StringIO()
        figure.savefig(made, format="svg", metadata={"Date": None, "Description": digest(shown)})
        plt.close(figure)
    return "\n".join(line.rstrip() for line in made.getvalue().splitlines()) + "\n"


def _draw(shown: list[Row]) -> plt.Figure:
    lines: list[Row | str] = []
    for benchmark, group in groupby(shown, lambda row: row.benchmark):
        lines += [CHAPTERS[benchmark]["title"], *group]
    top, bottom = 0.55, 0.5  # inches above and below the rows
    height = LINE * len(lines) + top + bottom
    figure = plt.figure(figsize=(WIDTH, height))
    axes = figure.add_axes((LEFT, bottom / height, RIGHT - LEFT, LINE * len(lines) / height))
    axes.set(xscale="log", xlim=_limits(shown), ylim=(len(lines) - 0.5, -0.5), yticks=[])
    axes.grid(axis="y", visible=False)
    axes.axvline(1, color="black", linewidth=1.1, zorder=1)
    for at, line in enumerate(lines):
        if isinstance(line, str):
            axes.axhspan(at - 0.45, at + 0.45, color="#f1f3f5", zorder=0)
            figure.text(0.01, _y(axes, at), line, weight="bold", size=9, va="center")
        else:
            _row(axes, at, line)
            figure.text(0.025, _y(axes, at), line.job, size=9, va="center")
            value = f"{line.over['value']:.3g}" if line.over else f"> {line.at_least:.2g}"
            figure.text(0.995, _y(axes, at), value, size=9, va="center", ha="right")
    axes.tick_params(axis="x", labelsize=9)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_xlabel("time of the fastest peer over ours, 95 % interval", size=9, x=0.3)
    axes.spines["left"].set_visible(False)
    _legend(figure, height)
    return figure


def _y(axes: plt.Axes, at: float) -> float:
    """A row's height in the figure's own coordinates."""
    return axes.figure.transFigure.inverted().transform(axes.transData.transform((1, at)))[1]


def _row(axes: plt.Axes, at: int, row: Row) -> None:
    colour, marker, _ = MARKS[verdict(row)]
    if row.over:
        axes.plot([row.over["low"], row.over["high"]], [at, at], color=colour, linewidth=1.6, zorder=2)
        axes.plot(row.over["value"], at, marker=marker, color=colour, markersize=5, zorder=3)
    else:  # every peer was stopped: the ratio lies somewhere to the right
        axes.plot(row.at_least, at, marker=">", color=colour, markersize=6, fillstyle="none", zorder=3)


def _limits(shown: list[Row]) -> tuple[float, float]:
    low = min(row.over["low"] for row in shown if row.over)
    high = max(row.over["high"] if row.over else row.at_least for row in shown)
    return min(low, 0.5) / 1.6, max(high, 2) * 1.6


def _legend(figure: plt.Figure, height: float) -> None:
    handles = [plt.Line2D([], [], color=c, marker=m, linestyle="none", markersize=5) for c, m, _ in MARKS.values()]
    handles.append(plt.Line2D([], [], color=MARKS["ours"][0], marker=">", linestyle="none", fillstyle="none"))
    words = [*(words for *_, words in MARKS.values()), "every peer was stopped"]
    figure.legend(handles, words, loc="upper left", bbox_to_anchor=(0, 1 - 0.02 / height), ncols=2, fontsize=9)
