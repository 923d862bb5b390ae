"""The features of a pool, whether they are a tensor or are fetched."""

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.pool import Pool

_BLOCK = 2**22  # numbers fetched together


def all_features(pool: Pool) -> Float[Tensor, "n d"]:
    """The features as one tensor; those of a source are fetched in blocks and checked."""
    if isinstance(pool.features, Tensor):
        return pool.features.detach()
    n, device = len(pool), pool.device
    first = pool.features.fetch(torch.arange(1, device=device))
    if first.ndim != 2 or not first.is_floating_point():
        raise ValueError(f"features must be fetched as floats of shape (b, d), got {first.dtype} {tuple(first.shape)}")
    found = first.new_empty(n, first.shape[1])
    step = max(1, _BLOCK // max(1, first.shape[1]))
    for start in range(0, n, step):
        idx = torch.arange(start, min(start + step, n), device=device)
        rows = pool.features.fetch(idx)
        if not rows.isfinite().all():
            item = start + int((~rows.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"features must be finite, but item {item} is not")
        found[idx] = rows
    return found
