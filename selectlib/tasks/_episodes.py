"""Draw few-shot tasks from labelled items: every task is a function of the seed and of its own number."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib._checks import check_int
from selectlib.device import pick_device
from selectlib.kernels._philox import Stream, philox_grid

_TAG = 0x7A5C  # the counter's last word: apart from the random matrices, which share the generator
_BLOCK = 1 << 15  # classes of tasks drawn at once, so that the work fits the cache
_AHEAD = 1024  # tasks drawn at once where the caller wants them one by one
_WORD = 2**32


class EpisodeSampler:
    """Few-shot tasks ("episodes") as indices of items: Y classes, and of each S shots and Q queries.

    The classes of a task are drawn uniformly without replacement, and so are the items of each class. The random words
    come from a counter-based generator at the counters (seed, task, word): task i is the same alone, in any batch, in
    any worker process and on every device, and nothing changes when more tasks are asked for.

    Parameters
    ----------
    labels : Tensor or array of ints, shape (n,)
        The class of each item; any ints.
    n_way : int
        Y, classes a task.
    n_shot : int
        S, labelled items of each class, at least 1.
    n_query : int
        Q, items of each class to be classified, at least 1.
    n_tasks : int
        How many tasks, from 1 to 2**32 - 1.
    classes : sequence of ints, optional
        Draw from these classes only. Default: all that occur in `labels`.
    tasks_per_batch : int, default 1
        E, tasks that iterating gives at once; the last batch may hold fewer.
    seed : int, default 0
        From 0 to 2**64 - 1.
    device : str or torch.device, optional
        Where the indices are made. Default: where `labels` are.

    Attributes
    ----------
    n_way, n_shot, n_query, n_tasks, tasks_per_batch, seed : int
        As given.
    device : torch.device
        Where the indices are made.
    classes : Tensor of int64, shape (c,)
        The classes drawn from, ascending.
    items : Tensor of int64, shape (n',)
        The items drawn from, class by class.

    Raises
    ------
    TypeError
        If `labels` or `classes` hold no ints, or a number is no int.
    ValueError
        If a number is out of range, there are fewer classes than `n_way`, or a class has fewer than S + Q items: the
        message names it.

    Notes
    -----
    ``sampler[b]`` is batch b, ``len(sampler)`` the number of batches, so that a ``torch.utils.data.DataLoader`` with
    ``batch_size=None`` spreads the batches over workers. Time O(S + Q) random words and O((S + Q)**2) comparisons for
    each class of a task, however large the classes are. A rank of n is a 32-bit word times n, shifted: its law differs
    from the uniform one by less than n / 2**32, relatively. Source: tasks as in the released code of Xu et al., Towards
    Few-Shot Adaptation of Foundation Models via Multitask Finetuning (ICLR 2024); how they are drawn is ours, after
    Salmon et al. (SC 2011) for the words and Fisher and Yates for the order.

    Examples
    --------
    >>> import torch
    >>> labels = torch.arange(5).repeat_interleave(20)
    >>> sampler = EpisodeSampler(labels, n_way=3, n_shot=1, n_query=4, n_tasks=10, tasks_per_batch=4, seed=100)
    >>> [tuple(batch.shape) for batch in sampler]
    [(4, 3, 5), (4, 3, 5), (2, 3, 5)]
    >>> tasks = sampler.tasks()
    >>> torch.equal(sampler.tasks(7, 8)[0], tasks[7])
    True
    >>> labels[tasks[0]].unique(dim=1).shape  # one class a row
    torch.Size([3, 1])
    """

    def __init__(
        self,
        labels: Any,
        n_way: int,
        n_shot: int,
        n_query: int,
        n_tasks: int,
        *,
        classes: Any = None,
        tasks_per_batch: int = 1,
        seed: int = 0,
        device: str | torch.device | None = None,
    ):
        labels = as_ints("labels", labels)
        self.device = labels.device if device is None else pick_device(device)
        self.n_way, self.n_shot = check_int("n_way", n_way, 1), check_int("n_shot", n_shot, 1)
        self.n_query = check_int("n_query", n_query, 1)
        self.n_tasks = check_int("n_tasks", n_tasks, 1, _WORD - 1)
        self.tasks_per_batch = check_int("tasks_per_batch", tasks_per_batch, 1)
        self.seed = check_int("seed", seed, 0, 2**64 - 1)
        items = labels.argsort(stable=True)
        if classes is not None:
            wanted = as_ints("classes", classes).to(labels.device)
            absent = wanted[~torch.isin(wanted, labels)].tolist()
            if absent:
                raise ValueError(f"classes must occur in labels, but these do not: {absent[:10]}")
            items = items[torch.isin(labels[items], wanted)]
        kinds, sizes = labels[items].unique_consecutive(return_counts=True)
        if len(kinds) < n_way:
            raise ValueError(f"n_way must be at most the number of classes, {len(kinds)}, got {n_way}")
        short = (sizes < n_shot + n_query).nonzero().flatten().tolist()
        if short:
            few = ", ".join(f"class {int(kinds[c])} has {int(sizes[c])}" for c in short[:10])
            raise ValueError(f"each class must have n_shot + n_query = {n_shot + n_query} items or more, but {few}")
        self.classes, self.items = kinds.to(self.device), items.to(self.device)
        self._sizes, self._starts = sizes.to(self.device), (sizes.cumsum(0) - sizes).to(self.device)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.n_tasks // self.tasks_per_batch)

    def __getitem__(self, batch: int) -> Int[Tensor, "e y m"]:
        """Return batch `batch`, from 0 to ``len(self) - 1``: indices of shape (E, Y, S + Q), shots first."""
        if not 0 <= batch < len(self):
            raise IndexError(f"batch must be from 0 to {len(self) - 1}, got {batch}")
        start = batch * self.tasks_per_batch
        return self.tasks(start, min(start + self.tasks_per_batch, self.n_tasks))

    def __iter__(self) -> Iterator[Int[Tensor, "e y m"]]:
        """Yield the batches in order."""
        ahead = max(1, _AHEAD // self.tasks_per_batch) * self.tasks_per_batch
        for start in range(0, self.n_tasks, ahead):
            yield from self.tasks(start, min(start + ahead, self.n_tasks)).split(self.tasks_per_batch)

    def tasks(self, start: int = 0, stop: int | None = None) -> Int[Tensor, "m y i"]:
        """Make the tasks `start` to `stop` - 1 at once.

        Parameters
        ----------
        start : int, default 0
            The first task.
        stop : int, optional
            One past the last task. Default: `n_tasks`.

        Returns
        -------
        Tensor of int64, shape (M, Y, S + Q)
            Indices of items; along the last axis the shots come first, then the queries.

        Raises
        ------
        ValueError
            If the range is empty or reaches outside the tasks.

        Examples
        --------
        >>> EpisodeSampler([0, 0, 0, 7, 7, 7], 2, 1, 1, 4).tasks(1, 3).shape
        torch.Size([2, 2, 2])
        """
        stop = self.n_tasks if stop is None else check_int("stop", stop, 1, self.n_tasks)
        check_int("start", start, 0, stop - 1)
        step = max(1, _BLOCK // self.n_way)
        return torch.cat([self._draw(i, min(i + step, stop)) for i in range(start, stop, step)])

    def _draw(self, start: int, stop: int) -> Int[Tensor, "m y i"]:
        """Tasks from one block of random words: of each task first those of its classes, then those of its items."""
        way, each = self.n_way, self.n_shot + self.n_query
        blocks = range(-(-way * (1 + each) // 4))
        words = philox_grid(blocks, range(start, stop), _TAG, Stream(self.seed, 0), self.device)
        words = words.flatten(1)[:, : way * (1 + each)].long() & (_WORD - 1)
        first, rest = words.split([way, way * each], 1)
        kinds = _distinct(first, torch.tensor(len(self.classes), device=self.device))
        places = self._starts[kinds].unsqueeze(2) + _distinct(rest.unflatten(1, (way, each)), self._sizes[kinds])
        return self.items[places]


def _distinct(words: Int[Tensor, "*b k"], n: Int[Tensor, "..."]) -> Int[Tensor, "*b k"]:
    """The first k steps of Fisher and Yates' shuffle of 0 ... n - 1, of which only the places that moved are kept."""
    targets: list[Tensor] = []  # step i swaps place i with this place,
    moved: list[Tensor] = []  # where it puts this number
    drawn = []
    for j, word in enumerate(words.unbind(-1)):
        target = (j + (word * (n - j) >> 32)).int()
        number, here = target, torch.full_like(target, j)
        for other, put in zip(targets, moved, strict=True):
            number = torch.where(other == target, put, number)
            here = torch.where(other == j, put, here)
        targets.append(target)
        moved.append(here)
        drawn.append(number)
    return torch.stack(drawn, -1).long()


def as_ints(name: str, value: Any) -> Int[Tensor, "n"]:
    """A vector of ints, not empty, from a tensor, an array or a list."""
    found = torch.as_tensor(value)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"{name} must be 1-D and not empty, got shape {tuple(found.shape)}")
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise TypeError(f"{name} must hold ints, got {found.dtype}")
    return found.long()
