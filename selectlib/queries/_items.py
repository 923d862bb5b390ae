from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from selectlib.pool import ItemSource


class Items:
    """The inputs, or the labels, of several tasks: n a task, from which a batch takes other rows for each replica.

    Tensors are stacked once on the device, and a batch is one gather. Random-access sources are fetched from.

    Parameters
    ----------
    name : str
        What errors call them.
    tasks : sequence of t Tensors of shape (n, ...), or of t ItemSources
        One a task, all of one length and, if tensors, of one shape.
    device : torch.device
        Where batches go.

    Raises
    ------
    TypeError
        If both kinds are mixed.
    ValueError
        If the tasks differ in size.

    Examples
    --------
    >>> items = Items("images", [torch.zeros(3, 2), torch.ones(3, 2)], torch.device("cpu"))
    >>> rows = items.rows(torch.tensor([0, 1, 1]), torch.tensor([[0, 2], [0, 2], [1, 1]]))  # three replicas
    >>> items.fetch(rows).shape
    torch.Size([3, 2, 2])
    """

    def __init__(self, name: str, tasks: Sequence[Tensor | ItemSource], device: torch.device):
        tensors = [task for task in tasks if isinstance(task, Tensor)]
        self._sources = [task for task in tasks if not isinstance(task, Tensor)]
        if tensors and self._sources:
            raise TypeError(f"{name} must be tensors in all tasks, or sources in all")
        shapes = {tuple(task.shape) for task in tensors} | {(len(source),) for source in self._sources}
        if len(shapes) > 1:
            raise ValueError(f"{name} must have one size in all tasks of a study, got {sorted(shapes)}")
        self.n = len(tasks[0])
        if self.n == 0:
            raise ValueError(f"{name} must hold at least one item, got none")
        self._device = device
        self._step = 0 if all(task is tasks[0] for task in tasks) else self.n  # what is given once is kept once
        if tensors:
            self._rows = (torch.cat(tensors) if self._step else tensors[0]).to(device)

    def rows(self, task: Tensor, positions: Tensor) -> Tensor:
        """Turn the tasks of replicas, shape (r,), and positions in them, (..., r, b), into row numbers for `fetch`."""
        rows = positions + task[:, None] * self._step
        return rows if self._sources else rows.to(self._device)

    def fetch(self, rows: Tensor) -> Tensor:
        """Items of row numbers of shape (r, b): a tensor of shape (r, b, ...)."""
        if not self._sources:
            return self._rows[rows]
        fetched = [
            self._sources[int(row[0]) // self.n].fetch(row % self.n).to(self._device, non_blocking=True) for row in rows
        ]
        return torch.stack(fetched)

    def blocks(self, task: Tensor, size: int, positions: Tensor | None = None) -> Iterator[Tensor]:
        """Items at positions of shape (r, m), by default all, in blocks of at most `size`, as even as can be."""
        rows = self.rows(task, torch.arange(self.n).expand(len(task), -1) if positions is None else positions)
        for part in rows.tensor_split(-(-rows.shape[1] // size), dim=1):
            yield self.fetch(part)
