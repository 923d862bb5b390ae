"""The search: Adam on the logits of the masks, against the estimated error and the mean mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selectlib.features._value_and_grad import value_and_grad

_BETAS, _EPS = (0.9, 0.999), 1e-8
_LEAK = 1e-2


@dataclass(frozen=True)
class Problem:
    """What to minimise: the error of the best linear rule on masked columns, plus the mean mask times a penalty."""

    coeffs: Sequence[float]
    mean: Tensor
    scale: Tensor
    group: Tensor  # of each column, from 0
    weights: Sequence[float]  # of the targets, in the error
    classification: bool
    degree: int
    clip_gradient: str
    backend: str

    def evaluate(self, masks: Tensor, X: Any, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Explained variance, error, and the gain (d,): how fast the error falls as each mask grows."""
        z, error, gain = masks.new_zeros(()), masks.new_zeros(()), torch.zeros_like(masks)
        for weight, y in zip(self.weights, columns, strict=True):
            if weight == 0:
                continue
            explained, gradient = value_and_grad(
                masks, X, y, self.coeffs, degree=self.degree, backend=self.backend, mean=self.mean, scale=self.scale
            )
            value, slope = self._error(explained)
            z += weight * explained
            error += weight * value
            gain.addcmul_(gradient, slope, value=-weight)
        return z, error if any(self.weights) else error + self._error(z)[0], gain

    def _error(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The error at an explained variance of z, and its slope there."""
        if not self.classification:
            return 1 - z, -torch.ones_like(z)
        root = z.clamp(0, 1).sqrt()
        inside = -0.25 / (root + 1e-8)
        below = _LEAK if self.clip_gradient == "official" else -_LEAK
        return (1 - root) / 2, torch.where(z < 0, below, torch.where(z > 1, -_LEAK, inside))


@dataclass
class Search:
    """Where a search stands: a logit for each group of columns, Adam's moments, and the mean gain so far."""

    logits: Tensor
    first: Tensor
    second: Tensor
    gain: Tensor
    steps: int = 0

    @classmethod
    def start(cls, n: int, logit: float, like: Tensor) -> "Search":
        """Begin with n equal logits."""
        zeros = like.new_zeros(n)
        return cls(zeros + logit, zeros.clone(), zeros.clone(), zeros.clone())

    def to(self, device: torch.device, dtype: torch.dtype) -> "Search":
        """The same, elsewhere."""
        logits, first, second, gain = (
            tensor.to(device, dtype) for tensor in (self.logits, self.first, self.second, self.gain)
        )
        return Search(logits, first, second, gain, self.steps)

    def step(
        self, problem: Problem, X: Any, columns: Tensor, penalty: float, learning_rate: float
    ) -> tuple[Tensor, Tensor]:
        """Take a step on a batch; the loss and the explained variance before it.

        As a mask grows, the error falls by its gain and the penalty rises by ``penalty / d``: a mask survives about
        where the former is above the latter.
        """
        own = torch.sigmoid(2 * self.logits)
        masks = own[problem.group]
        z, error, gain = problem.evaluate(masks, X, columns)
        share = penalty / (penalty + 1)
        gain = torch.zeros_like(own).index_add_(0, problem.group, gain)
        size = torch.zeros_like(own).index_add_(0, problem.group, torch.ones_like(masks))
        self.steps += 1
        self.gain.lerp_(gain / size, 1 / self.steps)
        gradient = (share / len(masks) * size - (1 - share) * gain) * (2 * own * (1 - own))
        self._adam(gradient / gradient.norm().clamp(min=1.0), learning_rate)
        return (1 - share) * error + share * masks.mean(), z

    def _adam(self, gradient: Tensor, learning_rate: float) -> None:
        b1, b2 = _BETAS
        self.first.lerp_(gradient, 1 - b1)
        self.second.lerp_(gradient.square(), 1 - b2)
        spread = (self.second / (1 - b2**self.steps)).sqrt_().add_(_EPS)
        self.logits.addcdiv_(self.first, spread, value=-learning_rate / (1 - b1**self.steps))
