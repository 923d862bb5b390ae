from collections.abc import Callable

import torch
from torch import nn


def initial_model(make_model: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Make a model whose start depends on the seed alone; the global generators are as before.

    Examples
    --------
    >>> import torch
    >>> first, second = (initial_model(lambda: torch.nn.Linear(2, 2), 100) for _ in range(2))
    >>> torch.equal(first.weight, second.weight)
    True
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return make_model()
