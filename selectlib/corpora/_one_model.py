"""The estimate of one checkpoint: its kernel, and the scores that follow from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from selectlib.corpora._examples import Examples, is_same
from selectlib.corpora._features import Featuriser
from selectlib.corpora._gradients import Checkpoint, Linearization
from selectlib.corpora._kernel import DampedKernel, damped, gram
from selectlib.corpora._outputs import OutputFunction
from selectlib.corpora._progress import Ticks

Mode = Literal["jvp", "project"]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Setup:
    """What all checkpoints of an estimator share: the arguments of `DatamodelEstimator`, checked.

    ``pool_output`` is what the pool's gradients are of, ``output`` what those of targets and kernel are of.
    """

    model: nn.Module
    output: OutputFunction
    pool_output: OutputFunction
    featuriser: Featuriser
    names: Sequence[str]
    damping: float
    fisher: bool
    kernel: Literal["gram", "none"]

    def metadata(self) -> dict[str, Any]:
        """What scores depend on, as JSON can hold it."""
        projector = self.featuriser.projector
        return {
            "parameter_table": [[name, list(shape), offset] for name, shape, offset in self.featuriser.table],
            "dtype": str(dict(self.model.named_parameters())[self.names[0]].dtype),
            "projector": None if projector is None else projector.metadata(),
            "output": repr(self.output),
            "kernel": self.kernel,
            "damping": self.damping,
            "fisher": self.fisher,
        }


class OneModel:
    """One checkpoint, fitted.

    Parameters
    ----------
    setup : Setup
        Shared with the other checkpoints.
    index : int
        Number of the checkpoint, from 0: each has its own projection.
    checkpoint : state dict or path
        Read again for each piece of work, so that many fit in memory.
    """

    def __init__(self, setup: Setup, index: int, checkpoint: Checkpoint):
        self.setup, self.index, self.checkpoint = setup, index, checkpoint
        self.digest = self.linearize().digest()
        self.kernel: DampedKernel | None = None
        self.zero_gradients: int | None = None
        self.unreached: list[str] = []
        self._kept: tuple[Examples, Tensor, Tensor] | None = None

    def blocks(self, examples: Examples, rows: int, mode: Mode) -> int:
        """How many blocks `rows` of the examples are scored in."""
        each = mode == "project"
        size = self.setup.featuriser.rows(self.linearize(), self.setup.pool_output, examples, each_gradient=each)
        return -(-rows // size)

    def linearize(self) -> Linearization:
        """Read the checkpoint."""
        return Linearization(self.setup.model, self.checkpoint, self.setup.names)

    def fit(self, examples: Examples, *, keep: bool, ticks: Ticks) -> None:
        """Make the kernel of `examples`, and keep their features where `keep` says so."""
        if self.setup.kernel == "none":
            return
        features, weights = self._made(self.linearize(), self.setup.output, examples, ticks)
        self.zero_gradients = int((features == 0).all(1).sum())
        K = gram(features, weights * (1 - weights) if self.setup.fisher else None)
        eps = torch.finfo(features.dtype).eps
        self.kernel = damped(K, self.setup.damping, rows=len(features), eps=eps)
        if keep and self.setup.pool_output is self.setup.output:
            self._kept = examples, features, weights

    def features(self, pool: Examples, *, keep: bool) -> Pair:
        """Features and weights of a pool, those kept where it is the same pool."""
        if self._kept and is_same(pool, self._kept[0]):
            return self._kept[1:]
        found = self._made(self.linearize(), self.setup.pool_output, pool, Ticks(None, 0))
        if keep:
            self._kept = pool, *found
        return found

    def directions_of_each(self, targets: Examples) -> Tensor:
        """Return ``K^{-1} phi(x)`` of each target, shape (k, m)."""
        features, _ = self._made(self.linearize(), self.setup.output, targets, Ticks(None, 0))
        return self._solve(features.T)

    def directions(self, tasks: Sequence[Examples], mode: Mode) -> Tensor:
        """Return what to multiply features ("project") or gradients ("jvp") with, shape (k or P, tasks)."""
        lin, featuriser = self.linearize(), self.setup.featuriser
        means = []
        for task in tasks:
            batches = featuriser.batches(lin, self.setup.output, task)
            mean, self.unreached = lin.mean_gradient(self.setup.output, batches)
            means.append(mean)
        if self.setup.kernel == "none" and mode == "jvp":
            return torch.stack(means, 1)  # the plain product of gradients needs no projection
        v = self._solve(torch.stack([featuriser.mean_feature(mean, self.index) for mean in means], 1))
        return v if mode == "project" else featuriser.direction(v, self.index)

    def score_rows(self, pool: Examples, rows: slice, directions: Tensor, mode: Mode, ticks: Ticks) -> Pair:
        """Score some rows of a pool for each task, shape (rows, tasks), and give their weights, shape (rows,)."""
        if self._kept and mode == "project" and is_same(pool, self._kept[0]):
            return self._kept[1][rows] @ directions, self._kept[2][rows]
        lin, part = self.linearize(), tuple(field[rows] for field in pool)
        each = self._by_projection if mode == "project" else self._by_jvp
        scores, weights = [], []
        for s, q in each(lin, part, directions):
            ticks()
            scores.append(s)
            weights.append(q)
        return torch.cat(scores), torch.cat(weights)

    def _by_jvp(self, lin: Linearization, part: Examples, directions: Tensor) -> Iterator[Pair]:
        output = self.setup.pool_output
        for batch in self.setup.featuriser.batches(lin, output, part):
            found = [lin.derivatives(output, direction, batch) for direction in directions.unbind(1)]
            yield torch.stack([scores for scores, _ in found], 1), found[0][1]

    def _by_projection(self, lin: Linearization, part: Examples, directions: Tensor) -> Iterator[Pair]:
        for features, weights in self.setup.featuriser.features(lin, self.index, self.setup.pool_output, part):
            yield features @ directions, weights

    def _made(self, lin: Linearization, output: OutputFunction, examples: Examples, ticks: Ticks) -> Pair:
        """Features and weights of all examples."""
        features: Tensor | None = None
        weights, start = [], 0
        for batch, q in self.setup.featuriser.features(lin, self.index, output, examples):
            ticks()
            if features is None:
                features = batch.new_empty(len(examples[0]), batch.shape[1])
            features[start : start + len(batch)] = batch
            start += len(batch)
            weights.append(q)
        assert features is not None
        return features, torch.cat(weights)

    def _solve(self, rhs: Tensor) -> Tensor:
        return rhs if self.kernel is None else self.kernel.solve(rhs).to(rhs.dtype)
