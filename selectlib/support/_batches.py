from collections.abc import Iterator

import torch
from torch import Tensor


def shuffled_batches(n: int, batch_size: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    """Go once through `n` examples in a new random order, in as few batches as possible, of equal size to one.

    No batch is left with a single example, which batch normalisation could not take, if n >= 2 and batch_size >= 3.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> [len(batch) for batch in shuffled_batches(10, 4, generator=generator(100))]
    [4, 3, 3]
    """
    order = torch.randperm(n, generator=generator, device=generator.device)
    yield from order.tensor_split(-(-n // batch_size))
