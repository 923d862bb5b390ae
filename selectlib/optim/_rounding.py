"""How new weights are stored in half precision: at random, or with what was rounded off kept beside them."""

import torch
from torch import Tensor

from selectlib.kernels._philox import Stream, philox_grid

_TAG = 0x4C494F4E  # the fourth word of the counter: the numbers under it are used for nothing else


def round_at_random(exact: Tensor, position: int, start: int, stream: Stream) -> Tensor:
    """One of the two bfloat16 neighbours of each float32 number, drawn so that its mean is the number itself.

    Number i of tensor `position` takes 16-bit number i mod 8 at the counter (i // 8, `position`); `exact` is the part
    of the tensor from `start` on, a multiple of 8. These bits are added below the last one that is kept, and the sum is
    cut off there. The same bits as in `selectlib.kernels.lion_step_`.
    """
    counters = range(start // 8, -(-(start + exact.numel()) // 8))
    words = philox_grid(counters, range(position, position + 1), _TAG, stream, exact.device)
    noise = words.contiguous().view(torch.int16).flatten()[: exact.numel()].view(exact.shape).to(torch.int32) & 0xFFFF
    drawn = (exact.contiguous().view(torch.int32) + noise) & -0x10000
    return torch.where(exact.isfinite(), drawn.view(torch.float32), exact).to(torch.bfloat16)


def add_with_compensation(weights: Tensor, compensation: Tensor, change: Tensor) -> None:
    """Add `change` and the compensation to the weights; keep what rounding takes off as the new compensation."""
    owed = change + compensation
    before = weights.to(owed.dtype)
    weights.copy_(before + owed)
    compensation.copy_(owed - (weights.to(owed.dtype) - before))
