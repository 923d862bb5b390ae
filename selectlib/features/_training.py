"""Searches over rows: passes in batches, and the choice of the penalty on rows held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selectlib.features._rows import Rows, batches
from selectlib.features._search import Problem, Search
from selectlib.features._targets import Targets

HELD_OUT = 4  # one row in so many
_FOLDS = 8


@dataclass(frozen=True)
class Training:
    """A problem and the rows that pose it."""

    problem: Problem
    rows: Rows
    targets: Targets
    codes: np.ndarray
    init: float
    learning_rate: float
    batch_size: int
    least: int  # rows of a batch
    shuffle: bool

    @property
    def n_masks(self) -> int:
        """Groups of columns."""
        return int(self.problem.group.max()) + 1

    def start(self) -> Search:
        """A search that has not begun."""
        return Search.start(self.n_masks, self.init, self.problem.scale)

    def columns(self, batch: np.ndarray) -> Tensor:
        """The targets of a batch, (t, b)."""
        return self.problem.scale.new_tensor(self.targets.columns(self.codes[batch]))

    def run(
        self, search: Search, among: np.ndarray, penalty: float, epochs: int, min_steps: int, rng: np.random.RandomState
    ) -> tuple[np.ndarray, float]:
        """Go over these rows so many times, and on to so many steps; the losses, and z in the mean of the last pass."""
        losses: list[Tensor] = []
        values: list[Tensor] = []
        epoch = 0
        while epoch < epochs or len(losses) < min_steps:
            values.clear()
            for batch in batches(rng.permutation(among) if self.shuffle else among, self.batch_size, self.least):
                loss, z = search.step(self.problem, self.rows[batch], self.columns(batch), penalty, self.learning_rate)
                losses.append(loss)
                values.append(z)
            epoch += 1
        return torch.stack(losses).double().numpy(force=True), float(torch.stack(values).mean())


def ranking(search: Search) -> np.ndarray:
    """The place of each group of columns, from 1: survivors before the others, then by mean gain, then by index."""
    logits, gain = search.logits.numpy(force=True), search.gain.numpy(force=True)
    places = np.empty(len(logits), dtype=np.int64)
    places[np.lexsort((-gain, logits < 0))] = np.arange(1, len(logits) + 1)
    return places


def choose_penalty(
    training: Training, penalties: Sequence[float], n_select: int | None, epochs: int, min_steps: int, seed: int
) -> float:
    """Search on three rows in four with each penalty, and compare on the rest what is selected.

    Penalties are as good as the one whose selection explains most, up to one standard error of the difference: over
    pieces of the rows, or where they are few by the jackknife, as estimates from short pieces scatter too much. Of
    these, the highest; with a number of groups to select the nearest to 1, as the choice then hardly matters.
    """
    rng = np.random.RandomState(seed)
    n = len(training.codes)
    order = rng.permutation(n) if training.shuffle else np.arange(n)
    kept, held = order[: -(n // HELD_OUT)], order[-(n // HELD_OUT) :]
    jackknife = len(held) < 2 * training.batch_size
    folds = np.array_split(held, _FOLDS if jackknife else max(_FOLDS, len(held) // training.batch_size))
    if jackknife:
        folds = [np.concatenate(folds[:i] + folds[i + 1 :]) for i in range(_FOLDS)]
    values, counts = [], []
    for penalty in penalties:
        search = training.start()
        training.run(search, kept, penalty, epochs, min_steps, np.random.RandomState(seed))
        chosen = (search.logits >= 0) if n_select is None else torch.from_numpy(ranking(search) <= n_select)
        masks = chosen.to(search.logits)[training.problem.group]
        counts.append(int(chosen.sum()))
        explained = [training.problem.evaluate(masks, training.rows[f], training.columns(f))[0] for f in folds]
        values.append(torch.stack(explained).double().numpy(force=True))
    found, counted = np.array(values), np.array(counts)
    best = int(found.mean(1).argmax())
    lost = found[best] - found
    error = lost.std(1, ddof=1) / np.sqrt(len(folds)) * (_FOLDS - 1 if jackknife else 1)
    near = (lost.mean(1) <= error) & ((counted > 0) | (counted.max() == 0))
    near[best] = True
    if n_select is None:
        return penalties[int(near.nonzero()[0].max())]
    return penalties[int(np.where(near, np.abs(np.log(penalties)), np.inf).argmin())]
