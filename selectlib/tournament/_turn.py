"""An entrant's turn at a job: it chooses, and is graded."""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selectlib._rows_file import checksum
from selectlib.pool import PoolSelector
from selectlib.seeding import generator
from selectlib.tournament._job import Job

Entrant = PoolSelector | Callable[[Job], PoolSelector]

_SELECTION, _GRADING = range(2)  # the streams of draws


@dataclass(frozen=True)
class Graded:
    """A choice with its grades, and the CPU time that the choice took [s]."""

    setting: str
    seed: int
    pool: int
    budget: int
    entrant: str
    draw: int
    scores: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Turn:
    """An entrant at a job. Its selector is made when it is needed, once for all budgets."""

    entrant: Entrant
    name: str
    job: Job
    pool: int  # a checksum
    seed: int

    @cached_property
    def selector(self) -> PoolSelector:
        return self.entrant if isinstance(self.entrant, PoolSelector) else self.entrant(self.job)

    def play(self, budget: int, draw: int) -> Graded | str:
        """Choose and be graded; or the reason why there is no choice."""
        pool = self.job.pool
        with self._noted(budget, draw):
            lacking = sorted(field for field in self.selector.needs if getattr(pool, field) is None)
            if lacking:
                return f"the pool has no {' and no '.join(lacking)}"
            draws = self._draws(_SELECTION, budget, draw, pool.device)
            start = time.process_time()
            try:
                chosen = self.selector.select(pool, budget, generator=draws)
            except ValueError as error:
                return str(error)
            seconds = time.process_time() - start
            self._check_choice(chosen, budget)
            scores = _shares(self.job.referee(chosen, self._draws(_GRADING, budget, draw)))
        return Graded(self.job.name, self.job.seed, self.pool, budget, self.name, draw, scores, seconds)

    def _draws(self, stream: int, budget: int, draw: int, device: str | torch.device = "cpu") -> torch.Generator:
        """The same for all entrants."""
        key = (zlib.crc32(self.job.name.encode()), self.job.seed, stream, budget, draw)
        return generator(int(np.random.SeedSequence(self.seed, spawn_key=key).generate_state(1)[0]), device)

    def _check_choice(self, chosen: Any, budget: int) -> None:
        whose = f"entrant {self.name!r} must return {budget} distinct indices"
        if not isinstance(chosen, Tensor):
            raise ValueError(f"{whose} as a tensor, got {type(chosen).__name__}")
        if chosen.dtype != torch.int64 or chosen.shape != (budget,):
            raise ValueError(f"{whose} of int64, got {chosen.dtype} of shape {tuple(chosen.shape)}")
        if chosen.min() < 0 or chosen.max() >= len(self.job.pool):
            given = f"from {chosen.min().item()} to {chosen.max().item()}"
            raise ValueError(f"{whose} of the pool's {len(self.job.pool)} items, got indices {given}")
        if (distinct := len(chosen.unique())) < budget:
            raise ValueError(f"{whose}, got {distinct}")

    @contextmanager
    def _noted(self, budget: int, draw: int) -> Iterator[None]:
        """Say of an error in which turn it came up."""
        try:
            yield
        except Exception as error:
            where = f"setting {self.job.name!r}, seed {self.job.seed}, budget {budget}, draw {draw}"
            error.add_note(f"while comparing entrant {self.name!r} in {where}")
            raise


def checksum_of(job: Job) -> int:
    """A checksum of all tensors that are known of a job's pool."""
    return checksum(*(value for value in vars(job.pool).values() if isinstance(value, Tensor)))


def _shares(scores: Any) -> dict[str, float]:
    if not isinstance(scores, Mapping) or not scores:
        raise TypeError(f"a referee must return a mapping from names to shares, got {scores!r}")
    shares = {name: float(score) for name, score in scores.items()}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"a referee must return shares from 0 to 1, got {share} for {name!r}")
    return shares
