"""Whether gradients are finite."""

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from selectlib.optim._blocks import as_real


def nonfinite_flags(tensors: Sequence[Tensor]) -> dict[torch.device, Tensor]:
    """For each device, a float32 tensor of shape (): 1 if a tensor on it holds NaN or an infinity, else 0."""
    found: defaultdict[torch.device, list[Tensor]] = defaultdict(list)
    for tensor in as_real(tensors):
        if tensor.numel():  # an empty one has no largest entry
            found[tensor.device].append(tensor)
    return {
        device: torch.stack(torch._foreach_norm(real, math.inf)).isfinite().logical_not().any().to(torch.float32)
        for device, real in found.items()
    }
