"""Scoring a pool with several checkpoints: in memory, or shard by shard into a store."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selectlib.corpora._distributed import wait_for_all
from selectlib.corpora._examples import Examples
from selectlib.corpora._one_model import Mode, OneModel
from selectlib.corpora._progress import Progress, Ticks
from selectlib.corpora._store import ScoreStore, Shard


@dataclass(frozen=True, eq=False)
class PoolJob:
    """A pool to score for some tasks.

    Parameters
    ----------
    models : sequence of OneModel
        The fitted checkpoints.
    pool : tuple of tensors, n rows each
        Examples.
    tasks : sequence of tuples of tensors
        Target examples of each task.
    mode : {"jvp", "project"}
        By forward-mode derivatives or by features.
    weighted : bool
        Multiply an example's scores by its weight, averaged over the models.
    """

    models: Sequence[OneModel]
    pool: Examples
    tasks: Sequence[Examples]
    mode: Mode
    weighted: bool

    @property
    def rows(self) -> int:
        """Number of pool items, n."""
        return len(self.pool[0])

    @property
    def columns(self) -> int:
        """Numbers an item: one a task and model, the models of a task side by side."""
        return len(self.tasks) * len(self.models)

    def in_memory(self, progress: Progress | None) -> Tensor:
        """Return the scores, shape (n, columns), on the pool's device."""
        shard = Shard(0, 0, self.rows)
        with Ticks(progress, self._blocks([shard])) as ticks:
            return self._score(shard, self._directions(), ticks)

    def in_store(self, store: ScoreStore, shares: tuple[int, int], progress: Progress | None) -> Tensor:
        """Score what the store lacks of this process's shards, (rank, number of processes); return all scores."""
        shards = list(store.pending(*shares))
        if shards:
            directions = self._directions()
            with Ticks(progress, self._blocks(shards)) as ticks:
                for shard in shards:
                    store.write(shard, self._score(shard, directions, ticks))
        wait_for_all()
        return torch.from_numpy(store.read().copy()).to(self.pool[0].device)

    def _directions(self) -> list[Tensor]:
        return [model.directions(self.tasks, self.mode) for model in self.models]

    def _score(self, shard: Shard, directions: Sequence[Tensor], ticks: Ticks) -> Tensor:
        rows = slice(shard.start, shard.stop)
        found = [
            model.score_rows(self.pool, rows, direction, self.mode, ticks)
            for model, direction in zip(self.models, directions, strict=True)
        ]
        columns = torch.stack([scores for scores, _ in found], 2).flatten(1)
        if self.weighted:  # the product of averages: the models' mean weight, not each model's own
            columns = columns * torch.stack([weights for _, weights in found]).mean(0).unsqueeze(1)
        return columns.to(self.pool[0].device)

    def _blocks(self, shards: Sequence[Shard]) -> int:
        """How many blocks of work there are, to show progress."""
        first = self.models[0]
        return len(self.models) * sum(first.blocks(self.pool, s.stop - s.start, self.mode) for s in shards)
