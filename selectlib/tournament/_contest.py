"""The same jobs for every selector."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

from selectlib._checks import check_int
from selectlib._rows_file import RowsFile
from selectlib.pool import PoolSelector
from selectlib.tournament._job import Job
from selectlib.tournament._standings import Contest, Row
from selectlib.tournament._turn import Entrant, Graded, Turn, checksum_of

Progress = Callable[[Sequence[Turn]], Iterable[Turn]]


def compare_selectors(
    entrants: Mapping[str, Entrant],
    jobs: Sequence[Job],
    budgets: Sequence[int] | Mapping[str, Sequence[int]],
    *,
    seed: int,
    draws: int = 1,
    progress: Progress | None = None,
    checkpoint: Path | str | None = None,
) -> Contest:
    """Let selectors choose from the same pools, and grade what each of them chose.

    All is paired: at a job all entrants see the same pool and draw from the same state, and their choices are graded by
    the same referee with the same draws. Selectors draw on the pool's device, referees on the CPU.

    Parameters
    ----------
    entrants : mapping from str to PoolSelector or callable
        Who competes. A callable is given a `Job` and makes the selector for it, once for all budgets:
        ``lambda job: ProbCover(job.n_classes)``.
    jobs : sequence of Jobs
        What for. Names with seeds are all different.
    budgets : sequence of int, or mapping from str to sequence of int
        How many items to choose, increasing; from 1 to the pool's length. A mapping gives each setting its own,
        equally many in all.
    seed : int
        Source of all draws, with the names and seeds of the jobs, from 0 to 2**32 - 1.
    draws : int, default 1
        Repetitions of each choice, with other draws each.
    progress : callable, optional
        Wraps the sequence of turns, one for each job and entrant, as ``tqdm`` does.
    checkpoint : Path or str, optional
        JSON file that keeps the grades as they come. Those that are in it are not made again, so that a contest goes on
        after an interrupt, or gets more jobs, entrants, budgets or draws. Names stand for what they name: a selector or
        referee that was changed needs another name, or another file.

    Returns
    -------
    Contest
        With a row for each grade. Grades depend neither on any order nor on who else competes. An entrant that cannot
        choose is absent from that setting at that budget, on all seeds, with its reason: a pool that lacks a field
        which it needs, or a `ValueError` of its ``select``.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or a referee returns no mapping.
    ValueError
        If an argument is out of range, the checkpoint is of another seed, a selector does not return distinct indices
        of the pool, as many as asked for, or a grade is not from 0 to 1. A note names the turn during which an error
        came up.

    Notes
    -----
    Time of the selections and of the referees. The time that is recorded is the CPU time of ``select`` in this process,
    all threads together; making a selector is not part of it.

    Examples
    --------
    >>> import torch
    >>> from selectlib.pool import Pool, Random
    >>> from selectlib.seeding import generator
    >>> from selectlib.tournament import Job, compare_selectors, referee_of
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> class First:
    ...     needs = frozenset()
    ...
    ...     def select(self, pool, k, *, generator):
    ...         return torch.arange(k)
    >>> def job(seed):
    ...     X = torch.rand(40, 2, generator=generator(seed))
    ...     y = (X[:, 0] > 0.5).long()
    ...     return Job("halves", Pool(X), referee_of({"1-NN": KNeighborsClassifier(1)}, X, y, X, y), seed)
    >>> entrants = {"random": Random(), "first": First()}
    >>> contest = compare_selectors(entrants, [job(s) for s in range(8)], [4, 40], seed=100)
    >>> contest.scores("first", at=-1).tolist()  # of all items each is its own nearest neighbour
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    >>> contest.gain("first", at=0).p > 0.05  # items in random order
    True
    """
    budgets_of = _check(entrants, jobs, budgets, seed, draws)
    rows: list[Row] = []
    absent: dict[tuple[str, int, str], str] = {}
    turns = [
        Turn(entrant, name, job, pool, seed)
        for job, pool in [(job, 0 if checkpoint is None else checksum_of(job)) for job in jobs]
        for name, entrant in entrants.items()
    ]
    with RowsFile(checkpoint, {"seed": seed}, Graded, _key) as file:
        for turn in turns if progress is None else progress(turns):
            setting = turn.job.name
            for budget, draw in product(budgets_of[setting], range(draws)):
                if (setting, budget, turn.name) in absent:
                    continue
                key = (setting, turn.job.seed, turn.pool, budget, turn.name, draw)
                graded = file.rows.get(key) or turn.play(budget, draw)
                if isinstance(graded, str):
                    absent[setting, budget, turn.name] = graded
                else:
                    file.add(graded)
                    rows += _rows(graded)
    return Contest(rows, tuple(entrants), budgets_of, absent)


def _key(graded: Graded) -> tuple[str, int, int, int, str, int]:
    return graded.setting, graded.seed, graded.pool, graded.budget, graded.entrant, graded.draw


def _rows(graded: Graded) -> list[Row]:
    """One for each grade."""
    setting, seed, _, budget, entrant, draw = _key(graded)
    return [
        Row(setting, seed, budget, entrant, draw, referee, score, graded.seconds)
        for referee, score in graded.scores.items()
    ]


def _check(entrants, jobs, budgets, seed, draws) -> dict[str, tuple[int, ...]]:
    """Raise a clear error before any work; return the budgets of each setting."""
    check_int("seed", seed, 0, 2**32 - 1)
    check_int("draws", draws, 1)
    if not isinstance(entrants, Mapping):
        raise TypeError(f"entrants must be a mapping from names, got {type(entrants).__name__}")
    for name, values in {"entrants": entrants, "jobs": jobs, "budgets": budgets}.items():
        if len(values) == 0:
            raise ValueError(f"{name} must hold at least one, got none")
    for name, entrant in entrants.items():
        if isinstance(entrant, type) or not (isinstance(entrant, PoolSelector) or callable(entrant)):
            raise TypeError(f"entrant {name!r} must be a selector such as Random(), or make one, got {entrant!r}")
    for job in jobs:
        if not isinstance(job, Job):
            raise TypeError(f"jobs must hold Jobs, got {type(job).__name__}")
    names = [(job.name, job.seed) for job in jobs]
    if repeated := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"jobs must differ in name or seed, got {repeated[0][0]!r} with seed {repeated[0][1]} again")
    return _budgets_of(jobs, budgets)


def _budgets_of(jobs, budgets) -> dict[str, tuple[int, ...]]:
    settings = list(dict.fromkeys(job.name for job in jobs))
    given = budgets if isinstance(budgets, Mapping) else dict.fromkeys(settings, budgets)
    if set(given) != set(settings):
        raise ValueError(f"budgets must have the settings {', '.join(settings)}, got {', '.join(map(str, given))}")
    lists = {name: tuple(given[name]) for name in settings}
    for job in jobs:
        for budget in lists[job.name]:
            check_int(f"budgets of {job.name!r}", budget, 1, len(job.pool))
    for name, values in lists.items():
        if not values or list(values) != sorted(set(values)):
            raise ValueError(f"budgets of {name!r} must be at least one, and increase, got {list(values)}")
    if len({len(values) for values in lists.values()}) > 1:
        counts = ", ".join(f"{len(values)} of {name!r}" for name, values in lists.items())
        raise ValueError(f"budgets must be equally many in all settings, got {counts}")
    return lists
