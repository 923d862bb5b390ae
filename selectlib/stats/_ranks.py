"""Many competitors on the same blocks: how they rank, and who cannot be told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Real
from scipy import stats
from torch import Tensor

from selectlib.stats._samples import check_fraction

_MARKERS = "osD^vP*X<>"


@dataclass(frozen=True)
class RankTest:
    """Mean ranks of competitors with Friedman's and Nemenyi's tests; made by `rank_test`.

    Parameters
    ----------
    names
        The competitors, best mean rank first.
    mean_ranks
        Their ranks, averaged over the blocks; 1 is the best.
    n
        Number of blocks.
    p
        p-value of Friedman's test that no competitor tends to rank above another.
    agreement
        Kendall's W, how far the blocks agree: 0 when all mean ranks are equal, 1 when every block has the same order.
    critical_difference
        Two whose mean ranks are further apart differ, by Nemenyi's test at one minus ``level``.
    groups
        Longest runs of names, each of two or more, whose ends are not further apart than the critical difference.
    level
        One minus the chance that the test of all pairs calls any two different where none differ.
    """

    names: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    n: int
    p: float
    agreement: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    level: float

    def plot(self, ax: Any = None, *, parts: Mapping[str, "RankTest"] | None = None) -> Any:
        """Draw a row for each competitor: its mean rank, and a bar as long as the critical difference.

        Two differ if their bars do not overlap. The strip is the bar of the best: whoever's bar misses it differs from
        the best.

        Parameters
        ----------
        ax
            Matplotlib axes to draw in; default: a new figure, tall enough for its rows.
        parts
            Tests of parts of the blocks with the same competitors, by name, at most ten: their mean ranks are drawn as
            small marks, so that one sees whether the parts agree. Default: none.

        Returns
        -------
        matplotlib.axes.Axes
            Names are at its y ticks, the best on top.

        Raises
        ------
        ValueError
            A part has other competitors, or there are more than ten.

        Notes
        -----
        Needs matplotlib.

        Examples
        --------
        >>> result = rank_test(np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]]), ["a", "b", "c"])
        >>> ax = result.plot()
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['a', 'b', 'c']
        """
        import matplotlib.pyplot as plt

        parts = {} if parts is None else parts
        if len(parts) > len(_MARKERS):
            raise ValueError(f"parts must be at most {len(_MARKERS)}; got {len(parts)}")
        for label, part in parts.items():
            if set(part.names) != set(self.names):
                raise ValueError(f"part {label!r} must have the competitors {', '.join(self.names)}")
        if ax is None:
            ax = plt.subplots(figsize=(6.4, 1.2 + 0.27 * len(self.names)))[1]
        rows, half = range(len(self.names)), self.critical_difference / 2
        best = self.mean_ranks[0]
        ax.axvspan(best - half, best + half, color="0.92", linewidth=0, zorder=0)
        ax.hlines(rows, [r - half for r in self.mean_ranks], [r + half for r in self.mean_ranks], color="0.45")
        for (label, part), marker in zip(parts.items(), _MARKERS, strict=False):
            ranks = dict(zip(part.names, part.mean_ranks, strict=True))
            at = [ranks[name] for name in self.names]
            ax.plot(at, rows, marker, markersize=4, markerfacecolor="none", alpha=0.9, label=label)
        ax.plot(self.mean_ranks, rows, "o", color="black", markersize=6, label="all" if parts else None)
        ax.set_yticks(rows, self.names)
        ax.set_ylim(len(self.names) - 0.5, -0.5)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(f"mean rank over {self.n} blocks (1 is best)")
        if parts:
            ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return ax


def rank_test(
    scores: Real[np.ndarray, "b c"] | Real[Tensor, "b c"], names: Sequence[str], *, level: float = 0.95
) -> RankTest:
    """Rank competitors within blocks; test whether any differ, and which.

    Parameters
    ----------
    scores
        Shape ``(b, c)``: a row for each of b >= 2 blocks (such as a data set with a seed) and a column for each of
        c >= 3 competitors; higher is better, and equal scores share their mean rank. Only the order within a block
        counts.
    names
        Of the columns, all different.
    level
        One minus the level of Nemenyi's test; default 0.95, a test at 5 %.

    Returns
    -------
    RankTest
        With the competitors in the order of their mean ranks.

    Raises
    ------
    ValueError
        Fewer than two blocks or three competitors, a score that is not finite, names that are too few, too many or not
        all different, or ``level`` outside (0, 1).

    Notes
    -----
    Friedman's p is that of the chi-square statistic with ties corrected, which wants ten blocks or more. Both tests
    take blocks as independent: several seeds on one data set speak of that data set. Time O(b c log c). Demšar,
    "Statistical comparisons of classifiers over multiple data sets", JMLR 2006, section 3.2.

    Examples
    --------
    >>> scores = np.array([[0.7, 0.8, 0.9], [0.5, 0.8, 0.7], [0.6, 0.7, 0.9], [0.4, 0.6, 0.8], [0.5, 0.6, 0.7]])
    >>> result = rank_test(scores, ["a", "b", "c"])
    >>> result.names, result.mean_ranks
    (('c', 'b', 'a'), (1.2, 1.8, 3.0))
    >>> round(result.p, 3), round(result.critical_difference, 2), result.groups
    (0.015, 1.48, (('c', 'b'), ('b', 'a')))
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 3:
        raise ValueError(f"scores must have at least 2 blocks of at least 3 competitors; got shape {table.shape}")
    b, c = table.shape
    if len(names) != c or len(set(names)) != c:
        raise ValueError(f"names must be {c} different names, one for each column of scores; got {list(names)}")
    if not np.isfinite(table).all():
        raise ValueError(f"scores must be finite; {int((~np.isfinite(table)).sum())} of {table.size} are not")
    check_fraction(level, "level")
    mean_ranks = stats.rankdata(-table, axis=1).mean(axis=0)
    order = np.argsort(mean_ranks, kind="stable")
    ordered, ranks = [names[i] for i in order], mean_ranks[order]
    all_tied = (table == table[:, :1]).all()  # then the statistic is 0 / 0
    chi_square, p = (0.0, 1.0) if all_tied else stats.friedmanchisquare(*table.T)
    # q is the studentized range over sqrt(2), and the difference q sqrt(c (c + 1) / (6 b)).
    critical = float(stats.studentized_range.ppf(level, c, np.inf) * np.sqrt(c * (c + 1) / (12 * b)))
    return RankTest(
        names=tuple(ordered),
        mean_ranks=tuple(ranks.tolist()),
        n=b,
        p=float(p),
        agreement=float(chi_square / (b * (c - 1))),
        critical_difference=critical,
        groups=_groups(ordered, ranks, critical),
        level=level,
    )


def _groups(names: Sequence[str], ranks: Float[np.ndarray, "c"], critical: float) -> tuple[tuple[str, ...], ...]:
    """Runs of two or more names within the critical difference that are no part of a longer one."""
    ends = np.searchsorted(ranks, ranks + critical, side="right").tolist()
    return tuple(tuple(names[i:end]) for i, end in enumerate(ends) if end - i > 1 and (i == 0 or end > ends[i - 1]))
