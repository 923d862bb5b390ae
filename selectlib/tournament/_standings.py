"""What came out of a contest: scores, gains and ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from selectlib._checks import check_choice, check_int
from selectlib.stats import PairedResult, RankTest, paired_test, rank_test


class Row(NamedTuple):
    """One grade of one choice; made by `compare_selectors`.

    Parameters
    ----------
    setting : str
        Name of the job.
    seed : int
        Seed of the job.
    budget : int
        How many items were chosen.
    entrant : str
        Who chose them.
    draw : int
        Number of the repetition, from 0.
    referee : str
        Name of the grade.
    score : float
        The grade, a share from 0 to 1.
    seconds : float
        CPU time of the choice [s].
    """

    setting: str
    seed: int
    budget: int
    entrant: str
    draw: int
    referee: str
    score: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Contest:
    """The grades of all entrants on the same jobs at the same budgets; made by `compare_selectors`.

    Three arguments are shared by its methods. ``at`` is the position of the budget among those of a setting, from 0
    (the smallest); it may be left out where there is one. ``referee`` is the name of the grade, and may be left out
    where there is one. ``setting`` is the name of a setting; by default all of them count alike.

    Parameters
    ----------
    rows : sequence of Rows
        In the order of the jobs.
    entrants : sequence of str
        All that were asked, the absent too.
    budgets : mapping from str to sequence of int
        For each setting its budgets, smallest first.
    absent : mapping from (str, int, str) to str
        Setting, budget and entrant, with the reason why there is no choice of theirs.

    Examples
    --------
    >>> given = {"random": [0.5, 0.6, 0.4], "first": [0.7, 0.7, 0.7]}
    >>> rows = [Row("line", s, 2, name, 0, "1-NN", x, 0.0) for name in given for s, x in enumerate(given[name])]
    >>> contest = Contest(rows, ["random", "first", "margin"], {"line": [2]}, {("line", 2, "margin"): "no logits"})
    >>> contest.scores("first")
    array([0.7, 0.7, 0.7])
    >>> {name: (round(gain.value), round(gain.p, 2)) for name, gain in contest.gains().items()}
    {'first': (20, 0.07)}
    """

    rows: Sequence[Row]
    entrants: Sequence[str]
    budgets: Mapping[str, Sequence[int]]
    absent: Mapping[tuple[str, int, str], str]

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings, in the order of the jobs."""
        return tuple(self.budgets)

    @property
    def referees(self) -> tuple[str, ...]:
        """Names of the grades, in the order in which they came."""
        return tuple(dict.fromkeys(row.referee for row in self.rows))

    def scores(
        self, entrant: str, *, at: int | None = None, referee: str | None = None, setting: str | None = None
    ) -> Float[np.ndarray, "s"]:
        """Score of each seed, the mean over its draws and settings: differences of two such arrays are paired.

        Parameters
        ----------
        entrant : str
            Its name.
        at : int, optional
            Position of the budget.
        referee : str, optional
            Name of the grade; default: the only one.
        setting : str, optional
            Name of a setting; default: all.

        Returns
        -------
        numpy.ndarray of float64, shape (s,)
            In the order of the seeds, from 0 to 1.

        Raises
        ------
        TypeError
            If `at` is not an int.
        ValueError
            If a name or position is not there, or must be told and is not; the entrant was absent; or the settings
            were not all graded on the same seeds.
        """
        blocks = self._blocks(entrant, at, referee, setting)
        settings, seeds = (list(dict.fromkeys(part)) for part in zip(*blocks, strict=True))
        for block in ((name, seed) for name in settings for seed in seeds):
            if block not in blocks:
                raise ValueError(
                    f"setting must be given: {block[0]!r} was not graded on seed {block[1]}, but others were"
                )
        return np.array([np.mean([blocks[name, seed] for name in settings]) for seed in seeds])

    def gain(
        self,
        entrant: str,
        over: str = "random",
        *,
        at: int | None = None,
        referee: str | None = None,
        setting: str | None = None,
    ) -> PairedResult:
        """By how much an entrant's scores exceed another's, with the t test over the seeds.

        Parameters
        ----------
        entrant : str
            Who gains.
        over : str, default "random"
            Over whom.
        at : int, optional
            Position of the budget.
        referee : str, optional
            Name of the grade; default: the only one.
        setting : str, optional
            Name of a setting; default: all.

        Returns
        -------
        PairedResult
            The mean difference over the seeds [percentage points], its 95 % interval, and a two-sided p-value that is
            not corrected for the number of entrants.

        Raises
        ------
        TypeError, ValueError
            As `scores` and `selectlib.stats.paired_test`: a single seed is not enough, for example.
        """
        first, second = (self.scores(name, at=at, referee=referee, setting=setting) for name in (entrant, over))
        return paired_test(100 * first, 100 * second)

    def gains(
        self,
        over: str = "random",
        *,
        at: int | None = None,
        referee: str | None = None,
        setting: str | None = None,
    ) -> dict[str, PairedResult]:
        """The `gain` of every other entrant that was there in all the settings asked for.

        Parameters
        ----------
        over : str, default "random"
            Over whom.
        at : int, optional
            Position of the budget.
        referee : str, optional
            Name of the grade; default: the only one.
        setting : str, optional
            Name of a setting; default: all.

        Returns
        -------
        dict from str to PairedResult
            In the order of the entrants [percentage points].

        Raises
        ------
        TypeError, ValueError
            As `gain`.
        """
        others = [name for name in self._present(at, setting) if name != over]
        return {name: self.gain(name, over, at=at, referee=referee, setting=setting) for name in others}

    def ranks(self, *, at: int | None = None, referee: str | None = None, setting: str | None = None) -> RankTest:
        """Rank the entrants that were there in all the settings asked for, within each setting and seed.

        Parameters
        ----------
        at : int, optional
            Position of the budget.
        referee : str, optional
            Name of the grade; default: the only one.
        setting : str, optional
            Name of a setting; default: all.

        Returns
        -------
        RankTest
            Its blocks are the settings with their seeds.

        Raises
        ------
        TypeError, ValueError
            As `scores` and `selectlib.stats.rank_test`: two entrants are not enough, for example.
        """
        names = self._present(at, setting)
        columns = [self._blocks(name, at, referee, setting) for name in names]
        table = [[column[block] for column in columns] for block in columns[0]] if columns else [[]]
        return rank_test(np.array(table), names)

    def _present(self, at: int | None, setting: str | None) -> list[str]:
        """Who was there in all the settings asked for."""
        places = self._places(at, setting)
        return [name for name in self.entrants if not any((*place, name) in self.absent for place in places)]

    def _places(self, at: int | None, setting: str | None) -> list[tuple[str, int]]:
        """The settings asked for, each with its budget."""
        settings = self.settings if setting is None else (check_choice("setting", setting, self.settings),)
        count = len(self.budgets[settings[0]])
        if at is None and count > 1:
            raise ValueError(f"at must say which of the {count} budgets is meant, from 0 to {count - 1}")
        position = 0 if at is None else check_int("at", at, -count, count - 1)
        return [(name, self.budgets[name][position]) for name in settings]

    def _blocks(
        self, entrant: str, at: int | None, referee: str | None, setting: str | None
    ) -> dict[tuple[str, int], float]:
        """The score of each setting and seed, the mean over the draws."""
        check_choice("entrant", entrant, tuple(self.entrants))
        if referee is not None or len(self.referees) > 1:
            check_choice("referee", referee, self.referees)
        places = self._places(at, setting)
        for name, budget in places:
            if reason := self.absent.get((name, budget, entrant)):
                raise ValueError(f"{entrant} was absent from {name!r} at a budget of {budget}: {reason}")
        grades: dict[tuple[str, int], list[float]] = {}
        for row in self.rows:
            if row.entrant == entrant and (row.setting, row.budget) in places and referee in (None, row.referee):
                grades.setdefault((row.setting, row.seed), []).append(row.score)
        if lacking := [name for name, _ in places if name not in {graded for graded, _ in grades}]:
            raise ValueError(f"{entrant} got no grade {referee!r} in {lacking[0]!r} at this budget")
        return {block: float(np.mean(scores)) for block, scores in grades.items()}
