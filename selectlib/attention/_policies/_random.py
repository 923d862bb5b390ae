"""The random policy."""

import torch
from jaxtyping import Bool
from torch import Tensor

from selectlib.attention._policies._base import SelectionPolicy, cached_columns, keep_top
from selectlib.attention._run import Run
from selectlib.attention._view import LayerView
from selectlib.kernels._philox import philox


class RandomPolicy(SelectionPolicy):
    """Keep a uniformly random set, drawn anew in each layer and step; the queries of a step share it.

    Parameters
    ----------
    generator : torch.Generator
        Gives one 62-bit key a sequence. The sets follow from the key, the layer, the step and the column by counting,
        so that one pass and step by step draw the same.

    Raises
    ------
    TypeError
        If `generator` is no torch.Generator.

    Notes
    -----
    O(q·l·log l).

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._policies import RandomPolicy
    >>> from selectlib.attention._run import Run
    >>> from selectlib.attention._view import LayerView
    >>> from selectlib.seeding import generator
    >>> policy = RandomPolicy(generator(100))
    >>> policy.begin(Run(torch.tensor([0, 0, 0, 3]), 1, 1, budgets=torch.tensor([[0, 0, 0, 2]])))
    >>> policy.keep(LayerView(0, torch.ones(1, 4, 1), torch.ones(1, 4, 1), torch.arange(4), 1.0))[0, 3].sum().item()
    2
    """

    needs_budgets = True

    def __init__(self, generator: torch.Generator) -> None:
        if not isinstance(generator, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator, got {generator!r}")
        self.generator = generator

    def begin(self, run: Run) -> None:
        """Take note of the forward that comes, as `SelectionPolicy.begin` says."""
        super().begin(run)
        if not run.cached:  # kept on the CPU: only its two numbers are used
            self._key = torch.randint(2**31, (2,), generator=self.generator, device=self.generator.device).cpu()

    def keep(self, view: LayerView) -> Bool[Tensor, "1 q l"]:
        """Choose cached tokens, as `SelectionPolicy.keep` says."""
        starts, length = self.run.starts, view.key.shape[1]
        blocks = torch.arange(-(-length // 4), device=starts.device)  # a counter gives four words
        start, block = torch.broadcast_tensors(starts[:, None], blocks)
        counter = torch.stack([block, start, torch.full_like(start, view.layer), torch.zeros_like(start)], dim=-1)
        priority = philox(counter, self._key).flatten(1)[:, :length]
        cached = cached_columns(starts, length)
        return keep_top(priority.masked_fill(~cached, -1)[None], self.budget(view.layer))
