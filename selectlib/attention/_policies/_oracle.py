"""Oracles: selection by the target's own attention, which no real policy has before it reads."""

import torch
from jaxtyping import Bool
from torch import Tensor

from selectlib.attention._policies._base import SelectionPolicy, cached_columns, keep_top, view_attention
from selectlib.attention._view import LayerView
from selectlib.kernels._topp import topp_mask

_REDUCE = {"each": "none", "mean": "mean"}


class OracleTopKPolicy(SelectionPolicy):
    """Keep the cached tokens that each query attends to most.

    Parameters
    ----------
    heads : {"each", "mean"}, default "each"
        ``"each"``: every query head has a set of its own, the bound for policies that select per head. ``"mean"``:
        all heads share the set of their mean attention, the bound for policies with one list.

    Raises
    ------
    ValueError
        If `heads` is neither.

    Notes
    -----
    The attention is that of this run, so with hidden states that the sparse layers before have made. Greedy per layer:
    the best for a layer's own attention, not always for the output. O(h·q·l·(d + log l)).

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._policies import OracleTopKPolicy
    >>> from selectlib.attention._run import Run
    >>> from selectlib.attention._view import LayerView
    >>> policy = OracleTopKPolicy()
    >>> policy.begin(Run(torch.tensor([2]), 1, 1, cached=2, budgets=torch.tensor([[1]])))
    >>> keys = torch.tensor([[[0.0], [1.0], [5.0]]])
    >>> policy.keep(LayerView(0, torch.ones(1, 1, 1), keys, torch.tensor([2]), 1.0)).int().tolist()
    [[[0, 1, 0]]]
    """

    needs_budgets = True

    def __init__(self, heads: str = "each") -> None:
        _check_heads(heads)
        self.heads = heads

    def keep(self, view: LayerView) -> Bool[Tensor, "g q l"]:
        """Choose cached tokens, as `SelectionPolicy.keep` says."""
        budget, cached = self.budget(view.layer), cached_columns(self.run.starts, view.key.shape[1])
        weights = view_attention(view, _REDUCE[self.heads])
        return keep_top(weights.masked_fill_(~cached, -torch.inf), budget)


class OracleTopPPolicy(SelectionPolicy):
    """Keep the smallest set that holds a share of each query's own attention.

    Parameters
    ----------
    p : float, default 0.97
        Mass to keep, in (0, 1], of the whole row, tokens in flight included, as SpecAttn counts it.
    heads : {"mean", "each"}, default "mean"
        Whether the rows are the mean over heads, as SpecAttn has them, or each query head's own.

    Raises
    ------
    ValueError
        If `heads` is neither, or `p` is out of range.

    Notes
    -----
    What SpecAttn would keep if the draft's rows were the target's own, and without the union: each query has its own
    set. O(h·q·l·d).

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._policies import OracleTopPPolicy
    >>> from selectlib.attention._run import Run
    >>> from selectlib.attention._view import LayerView
    >>> policy = OracleTopPPolicy(0.5)
    >>> policy.begin(Run(torch.tensor([2]), 1, 1, cached=2))
    >>> keys = torch.tensor([[[0.0], [9.0], [5.0]]])
    >>> policy.keep(LayerView(0, torch.ones(1, 1, 1), keys, torch.tensor([2]), 1.0)).int().tolist()
    [[[0, 1, 0]]]
    """

    def __init__(self, p: float = 0.97, heads: str = "mean") -> None:
        _check_heads(heads)
        if not 0 < p <= 1:
            raise ValueError(f"p must be in (0, 1], got {p}")
        self.p = p
        self.heads = heads

    def keep(self, view: LayerView) -> Bool[Tensor, "g q l"]:
        """Choose cached tokens, as `SelectionPolicy.keep` says."""
        cached = cached_columns(self.run.starts, view.key.shape[1])
        selected = topp_mask(view_attention(view, _REDUCE[self.heads]), self.p)
        assert isinstance(selected, Tensor)  # no thresholds were asked for
        return selected & cached


def _check_heads(heads: str) -> None:
    if heads not in _REDUCE:
        raise ValueError(f"heads must be 'each' or 'mean', got {heads!r}")
