from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib.nets._sizes import check_sizes
from selectlib.seeding import generator


def batch_orders(
    subsets: Int[Tensor, "r s"] | Sequence[Int[Tensor, "s"]], *, epochs: float | int, batch: int, seeds: Sequence[int]
) -> Int[Tensor, "r steps batch"]:
    """Say which examples each replica sees at each step: epoch after epoch, each a fresh shuffle of its subset.

    Parameters
    ----------
    subsets : Tensor of int64, shape (r, s), or sequence of r such of shape (s,)
        Indices of the examples of each replica, equally many for all.
    epochs : float
        Passes over the subset, above 0; need not be whole. Steps are ``round(epochs * s) // batch``, at least 1.
    batch : int
        Examples a step, at least 1. When it is s, the order within a step does not matter and one row is shared by all
        steps.
    seeds : sequence of int
        One seed for each replica's shuffles.

    Returns
    -------
    Tensor of int64, shape (r, steps, batch)
        Orders for `train`, on the CPU; do not write into it.

    Raises
    ------
    TypeError
        If `batch` is not an int.
    ValueError
        If the subsets differ in size or are empty, there is not one seed a replica, or there are too few examples and
        epochs for one step.

    Notes
    -----
    Memory 8 r steps batch bytes, and 8 r s bytes when `batch` is s. Batches go on over the end of an epoch.

    Examples
    --------
    >>> import torch
    >>> orders = batch_orders(torch.tensor([[3, 4, 5, 6]]), epochs=2, batch=2, seeds=[100])
    >>> orders.shape, sorted(orders[0, :2].flatten().tolist())
    (torch.Size([1, 4, 2]), [3, 4, 5, 6])
    """
    check_sizes(batch=batch)
    rows = [torch.as_tensor(subset, dtype=torch.int64, device="cpu") for subset in subsets]
    if not rows or len({len(row) for row in rows}) != 1 or len(rows[0]) == 0:
        raise ValueError(f"subsets must hold equally many examples, at least 1 each, got {[len(r) for r in rows][:8]}")
    if len(seeds) != len(rows):
        raise ValueError(f"seeds must name one seed a subset, got {len(seeds)} for {len(rows)} subsets")
    size = len(rows[0])
    steps = round(epochs * size) // batch
    if steps < 1:
        raise ValueError(f"{epochs:g} epochs of {size} examples are less than one batch of {batch}")
    if batch == size:
        return torch.stack(rows)[:, None].expand(-1, steps, -1)
    passes = -(-steps * batch // size)
    orders = []
    for row, seed in zip(rows, seeds, strict=True):
        shuffles = generator(seed)
        seen = torch.cat([row[torch.randperm(size, generator=shuffles)] for _ in range(passes)])
        orders.append(seen[: steps * batch].view(steps, batch))
    return torch.stack(orders)
