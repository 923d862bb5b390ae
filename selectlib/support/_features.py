"""The features of a pool in one tensor, whether they are one or are fetched."""

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.pool import Pool

_BLOCK = 2**22  # numbers fetched together


def pool_features(pool: Pool) -> Float[Tensor, "n d"]:
    """The features; those of a source are fetched in blocks, and checked since making the pool did not."""
    if isinstance(pool.features, Tensor):
        return pool.features.detach()
    n, device = len(pool), pool.device
    width = pool.features.fetch(torch.arange(1, device=device)).numel()
    blocks = torch.arange(n, device=device).split(max(1, _BLOCK // max(1, width)))
    X = torch.cat([pool.features.fetch(idx) for idx in blocks])
    return Pool(X).features.detach()  # type: ignore[union-attr]  # a tensor: its form and its values are checked
