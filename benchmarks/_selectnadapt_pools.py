"""Pools for the SelectNAdapt benchmark: classes of several clusters, some classes eight times as large as others."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selectlib.pool import Pool
from selectlib.seeding import generator


@dataclass(frozen=True)
class Classed:
    """Features of n items, the class of each, and logits that say so."""

    features: Tensor
    classes: Tensor
    logits: Tensor

    def pool(self) -> Pool:
        return Pool(self.features, logits=self.logits)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, classes, and probabilities, for the peers."""
        return self.features.numpy(), self.classes.numpy(), self.logits.softmax(1).numpy()


def classed(
    n: int, d: int, n_classes: int, seed: int, dtype: torch.dtype = torch.float32, clusters: int = 5
) -> Classed:
    """Class c has a share of ``(c + 1) ** -0.5``; coordinate j spreads by ``(j + 1) ** -0.5`` at every level."""
    draw = generator(seed)
    spread = torch.arange(1, d + 1, dtype=torch.float64).rsqrt()

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, d, dtype=torch.float64, generator=draw) * spread

    shares = torch.arange(1, n_classes + 1, dtype=torch.float64).rsqrt()
    classes = torch.multinomial(shares, n, replacement=True, generator=draw)
    means = normal(n_classes)
    centers = means.unsqueeze(1) + normal(n_classes, clusters)
    which = torch.randint(clusters, (n,), generator=draw)
    features = centers[classes, which] + normal(n)
    logits = torch.nn.functional.one_hot(classes, n_classes).double() + 0.5 * torch.rand(
        n, n_classes, dtype=torch.float64, generator=draw
    )
    return Classed(features.to(dtype), classes, logits.to(dtype))


def starts(classes: Tensor, n_classes: int, k: int, restarts: int, seed: int) -> Tensor:
    """For each restart and class, k distinct rows of the class, shape (restarts, n_classes, k)."""
    draw = generator(seed + 10_000)
    found = torch.empty(restarts, n_classes, k, dtype=torch.int64)
    for c in range(n_classes):
        members = (classes == c).nonzero().squeeze(1)
        for r in range(restarts):
            found[r, c] = members[torch.randperm(len(members), generator=draw)[:k]]
    return found


def repeated(seed: int) -> Classed:
    """Twelve items of which three are distinct."""
    rows = torch.randn(3, 4, dtype=torch.float64, generator=generator(seed))
    classes = torch.arange(12) % 3
    return Classed(rows[classes], classes, torch.nn.functional.one_hot(classes, 3).double())
