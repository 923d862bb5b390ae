"""The funnel: ever larger tasks, each of which only lets through what beats a re-tuned baseline there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selectlib._checks import check_positive
from selectlib.programs._builtin import ADAMW
from selectlib.programs._program import Program
from selectlib.programs._runs import ScoredTask
from selectlib.programs._statement import Statement
from selectlib.programs._task import FAILED
from selectlib.stats import Interval, mean_interval


@dataclass(frozen=True, eq=False)
class FunnelRow:
    """How one program did at one stage.

    Parameters
    ----------
    stage : str
        Name of the stage.
    program : int
        Index of the program among those given; -1 for the baseline.
    scale : float
        The factor of the update that did best on validation.
    fitness : float
        Its fitness there, on the tuning seeds [nats].
    losses : ndarray of float64, shape (s,)
        Test losses with that scale on the fresh seeds [nats], at most 10: that of a run that failed.
    gain : Interval
        The baseline's losses minus these, paired by seed: mean and interval.
    kept : bool
        Whether the whole interval lies above 0, so that the program goes on; false for the baseline.
    """

    stage: str
    program: int
    scale: float
    fitness: float
    losses: np.ndarray
    gain: Interval
    kept: bool


@dataclass(frozen=True, eq=False)
class FunnelResult:
    """What the funnel saw, and what came out.

    Parameters
    ----------
    rows : tuple of FunnelRow
        Stage by stage: the baseline, then each program that got there.
    survivors : tuple of ints
        Indices of the programs that passed every stage.
    """

    rows: tuple[FunnelRow, ...]
    survivors: tuple[int, ...]

    def at(self, stage: str) -> dict[int, FunnelRow]:
        """Return the rows of a stage by the index of the program.

        Parameters
        ----------
        stage : str
            Name of the stage.

        Returns
        -------
        dict of int to FunnelRow
            Empty if no program got there, or there is no such stage.
        """
        return {row.program: row for row in self.rows if row.stage == stage}


class Funnel:
    """Stages of growing cost; a program goes on only if it beats the baseline at a stage, both tuned there alike.

    At each stage one factor of the update is tuned, for the baseline and for each program, over the same values and
    seeds on the validation split. Both are then trained on fresh seeds and compared on the test split, seed by seed.

    Parameters
    ----------
    stages : mapping of str to task
        Tasks by name, cheapest first, such as `MLPTask`, `TaskMean`, `CharTask` or `TorchTask`.
    baseline : Program, default ADAMW
        What to beat; a tuned one, as the factor alone makes up for a poor learning rate only.
    retune : sequence of floats, default (0.25, 0.5, 1.0, 2.0, 4.0)
        Factors of the update to try, above 0.
    level : float, default 0.95
        Level of the intervals of the gains.

    Raises
    ------
    TypeError
        If a factor is not a number.
    ValueError
        If there is no stage or no factor, or a factor or `level` is out of range.

    Notes
    -----
    Time of a program at a stage: runs of its task, a seed for each factor and tuning seed and one for each fresh seed.
    Intervals are Student's, not corrected for the number of programs. Promotion by larger tasks is that of Chen et al.
    (NeurIPS 2023), as retold by secondary sources; equal re-tuning and intervals are ours.

    Examples
    --------
    >>> from selectlib.programs import LION, MLPTask
    >>> tuned = ADAMW.with_constants([0.9, 0.999, 0.01, 0.01])
    >>> funnel = Funnel({"small": MLPTask.digits(steps=30)}, tuned, retune=[0.5, 1.0])
    >>> result = funnel.select([LION], seeds=[100, 101, 102], tuning_seeds=[103])  # its rate is far too low here
    >>> result.survivors, result.at("small")[0].gain.high < 0
    ((), True)
    """

    def __init__(
        self,
        stages: Mapping[str, ScoredTask],
        baseline: Program = ADAMW,
        *,
        retune: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
        level: float = 0.95,
    ):
        self.stages = dict(stages)
        self.baseline = baseline
        self.retune = tuple(check_positive("retune", factor) for factor in retune)
        self.level = level
        if not self.stages or not self.retune:
            raise ValueError(f"stages and retune must not be empty, got {len(self.stages)} and {len(self.retune)}")
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")

    def select(
        self,
        programs: Sequence[Program],
        *,
        seeds: Sequence[int],
        tuning_seeds: Sequence[int],
        promote_all: bool = False,
        progress: Callable[[Iterable[Any]], Iterable[Any]] | None = None,
    ) -> FunnelResult:
        """Send programs through the stages.

        Parameters
        ----------
        programs : sequence of Programs
            The candidates.
        seeds : sequence of ints
            Fresh seeds of the runs that are compared, at least 2; none that a search has seen.
        tuning_seeds : sequence of ints
            Seeds of the runs that choose the factor, at least 1; none of `seeds`.
        promote_all : bool, default False
            Take every program through every stage, to see what the funnel spares; `kept` and `survivors` are the same.
        progress : callable, optional
            Wraps the list of programs at each stage, as ``tqdm`` does.

        Returns
        -------
        FunnelResult

        Raises
        ------
        ValueError
            If there are too few seeds, or the two lists share one.
        """
        if len(seeds) < 2 or len(tuning_seeds) < 1:
            counts = f"{len(seeds)} and {len(tuning_seeds)}"
            raise ValueError(f"seeds must hold at least 2 and tuning_seeds at least 1, got {counts}")
        if shared := set(seeds) & set(tuning_seeds):
            raise ValueError(f"seeds and tuning_seeds must not share any, got {sorted(shared)} in both")
        rows: list[FunnelRow] = []
        alive = set(range(len(programs)))
        for stage, task in self.stages.items():
            entered = [-1, *(range(len(programs)) if promote_all else sorted(alive))]
            to_beat = np.empty(0)
            for index in entered if progress is None else progress(entered):
                scale, fitness, losses = self._tuned(
                    task, self.baseline if index < 0 else programs[index], seeds, tuning_seeds
                )
                to_beat = losses if index < 0 else to_beat
                gain = mean_interval(to_beat - losses, level=self.level)
                kept = gain.low > 0 and index in alive
                rows.append(FunnelRow(stage, index, scale, fitness, losses, gain, kept))
            alive = {row.program for row in rows if row.stage == stage and row.kept}
        return FunnelResult(tuple(rows), tuple(sorted(alive)))

    def _tuned(
        self, task: ScoredTask, program: Program, seeds: Sequence[int], tuning_seeds: Sequence[int]
    ) -> tuple[float, float, np.ndarray]:
        """The best factor of the update on validation, its fitness there, and the test losses with it."""
        tried = {factor: task.evaluate(scaled(program, factor), tuning_seeds) for factor in self.retune}
        factor = max(tried, key=lambda candidate: tried[candidate])
        return factor, tried[factor], np.minimum(task.losses(scaled(program, factor), seeds, "test"), -FAILED)


def scaled(program: Program, factor: float) -> Program:
    """The program with its update times a factor."""
    return program if factor == 1 else Program([*program.statements, Statement("update", "*", ("update", factor))])
