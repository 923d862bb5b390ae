from collections.abc import Iterator
from contextlib import contextmanager

import torch

from selectlib._checks import check_generator

_SEEDS = 2**32


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Let what draws from torch's global generators, as new layers and dropout do, depend on `generator` alone.

    The global generators are as before afterwards.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> weights = []
    >>> for _ in range(2):
    ...     with seeded(generator(100)):
    ...         weights.append(torch.nn.Linear(2, 2).weight)
    >>> torch.equal(*weights)
    True
    """
    check_generator(generator)
    seed = int(torch.randint(_SEEDS, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
