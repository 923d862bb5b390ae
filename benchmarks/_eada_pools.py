"""Pools for the EADA benchmark, made block by block: ten classes whose spread falls off along the coordinates."""

from dataclasses import dataclass

import torch
from torch import Tensor

from selectlib.pool import Pool
from selectlib.queries import get_strategy
from selectlib.seeding import generator

CLASSES = 10
BLOCK = 2**16  # items made together: making a pool must not need more memory than the pool


@dataclass(frozen=True)
class Items:
    """Features and logits of n items, and features of ten that are labelled."""

    features: Tensor
    logits: Tensor
    labeled: Tensor

    def pool(self) -> Pool:
        return Pool(self.features, logits=self.logits, labeled_features=self.labeled)


def items(n: int, d: int, seed: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Items:
    """Class means and noise, both with deviation ``(j + 1) ** -0.5`` in coordinate j; logits of a linear head."""
    draw = generator(seed, device)
    spread = torch.arange(1, d + 1, dtype=dtype, device=device).rsqrt()
    means = torch.randn(CLASSES, d, generator=draw, dtype=dtype, device=device) * spread
    features = torch.empty(n + CLASSES, d, dtype=dtype, device=device)
    logits = torch.empty(n, CLASSES, dtype=dtype, device=device)
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK]
        block.normal_(generator=draw).mul_(spread)
        which = torch.randint(CLASSES, (len(block),), generator=draw, device=device)
        block += means[which]
    for start in range(0, n, BLOCK):
        block = features[start : min(start + BLOCK, n)]
        logits[start : start + len(block)] = 2 * (block @ means.T - means.square().sum(1) / 2)
    return Items(features[:n], logits, features[n:])


def select(strategy: str, made: Items, k: int, seed: int) -> Tensor:
    """Picks of a strategy by its name in `selectlib.queries`; the pool's checks are part of the work."""
    return get_strategy(strategy).select(made.pool(), k, generator=generator(seed, made.features.device))
