"""What every policy offers, and what several of them do."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from selectlib.attention._capture import attention_weights
from selectlib.attention._run import Run
from selectlib.attention._view import LayerView


class SelectionPolicy(ABC):
    """Which cached tokens each query may read, layer by layer.

    `begin` is called before each forward of the target and `keep` inside each of its sparse layers, from the input on.
    A forward may hold one step or all steps of a sequence: both give the same selections, which is what makes
    `masked_perplexity` one pass.

    Attributes
    ----------
    draft_layers : tuple of int
        Draft layers whose rows the policy wants to find in `Run.draft_rows`; empty for all policies but SpecAttn's.
    needs_budgets : bool
        Whether the policy needs `Run.budgets`.
    shifts_scores : bool
        Whether `score_bias` returns something.

    Raises
    ------
    TypeError
        If a subclass without `keep` is made.

    Examples
    --------
    A policy of one's own, which keeps every second cached token:

    >>> import torch
    >>> from selectlib.attention._policies import SelectionPolicy
    >>> class EverySecond(SelectionPolicy):
    ...     def keep(self, view):
    ...         return (torch.arange(view.key.shape[1]) % 2 == 0).expand(1, len(view.positions), -1)
    """

    draft_layers: tuple[int, ...] = ()
    needs_budgets: bool = False
    shifts_scores: bool = False

    def begin(self, run: Run) -> None:
        """Take note of the forward that comes.

        Parameters
        ----------
        run : Run
            Its steps, draft rows and budgets.

        Raises
        ------
        ValueError
            If the policy needs budgets and the run has none.
        """
        if self.needs_budgets and run.budgets is None:
            raise ValueError(f"{type(self).__name__} needs budgets: the cached tokens that a query may read, a layer")
        self.run = run

    @abstractmethod
    def keep(self, view: LayerView) -> Bool[Tensor, "g q l"]:
        """Choose cached tokens for the queries of one layer.

        Parameters
        ----------
        view : LayerView
            The layer's queries and keys.

        Returns
        -------
        Bool[Tensor, "g q l"]
            True on kept tokens, with g one of 1, the number of key heads, the number of query heads. Columns from the
            query's start on count for nothing: tokens in flight are always attended.
        """

    def metadata_bytes(self, view: LayerView) -> Float[Tensor, " q"]:
        """Bytes that a step must read to choose, beside keys and values.

        Parameters
        ----------
        view : LayerView
            The layer's queries and keys.

        Returns
        -------
        Float[Tensor, "q"]
            For each query the bytes of its step, in this layer.
        """
        return torch.zeros(len(view.positions), device=view.query.device)

    def score_bias(self, view: LayerView) -> Float[Tensor, "h q c"] | None:
        """What to add to the attention scores of the first c columns.

        Parameters
        ----------
        view : LayerView
            The layer's queries and keys.

        Returns
        -------
        Float[Tensor, "h q c"] or None
            None: nothing.
        """
        return None

    def budget(self, layer: int) -> Int[Tensor, " q"]:
        """Cached tokens that each query may read in a layer, at most as many as there are."""
        assert self.run.budgets is not None  # `begin` has seen to it
        return torch.minimum(self.run.budgets[layer], self.run.starts)


def keep_top(scores: Num[Tensor, "g q l"], counts: Int[Tensor, " q"]) -> Bool[Tensor, "g q l"]:
    """The `counts[i]` columns of largest score in each row i; of equal scores the first."""
    kept = torch.zeros_like(scores, dtype=torch.bool)
    ranked = torch.arange(scores.shape[-1], device=scores.device) < counts[:, None]
    for head, head_scores in enumerate(scores):  # an order takes 8 bytes an entry: one head at a time
        order = head_scores.argsort(dim=-1, descending=True, stable=True)
        kept[head].scatter_(-1, order, ranked)
    return kept


def cached_columns(starts: Int[Tensor, " q"], length: int) -> Bool[Tensor, "q length"]:
    """True where a column was cached when the query's step began."""
    return torch.arange(length, device=starts.device) < starts[:, None]


def view_attention(view: LayerView, reduce: str) -> Float[Tensor, "g q l"]:
    """Dense causal attention of this run: of each query head (``"none"``) or their mean (``"mean"``, g = 1)."""
    weights = attention_weights(view.query[None], view.key[None], view.scaling, reduce=reduce)
    return weights if reduce == "mean" else weights[0]
