"""Policies that keep what earlier queries attended to."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from selectlib.attention._policies._base import SelectionPolicy, keep_top, view_attention
from selectlib.attention._run import Run
from selectlib.attention._view import LayerView


class H2OPolicy(SelectionPolicy):
    """Keep the tokens that gathered most attention before the step (the heavy hitters), and the last ones.

    Parameters
    ----------
    recent : float, default 0.5
        Share of the budget, from 0 to 1, that goes to the last cached tokens; 0: heavy hitters only.

    Raises
    ------
    ValueError
        If `recent` is not from 0 to 1.

    Notes
    -----
    It sees more than the method's authors allow: the sum runs over the target's own dense attention weights of this
    run, from position 0 to the step's start, averaged over heads, and also over tokens that the mask has dropped; a
    dropped token may come back. All heads share one list. Metadata: one float32 a cached token. O(h·q·l·d).

    References
    ----------
    Zhang et al., *H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models* (NeurIPS 2023).

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._policies import H2OPolicy
    >>> from selectlib.attention._run import Run
    >>> from selectlib.attention._view import LayerView
    >>> policy = H2OPolicy(recent=0.0)
    >>> policy.begin(Run(torch.tensor([0, 0, 2]), 1, 1, budgets=torch.tensor([[0, 0, 1]])))
    >>> keys = torch.tensor([[[0.0], [9.0], [0.0]]])
    >>> policy.keep(LayerView(0, torch.ones(1, 3, 1), keys, torch.arange(3), 1.0))[0, 2].int().tolist()
    [1, 0, 0]
    """

    needs_budgets = True

    def __init__(self, recent: float = 0.5) -> None:
        if not 0 <= recent <= 1:
            raise ValueError(f"recent must be from 0 to 1, got {recent}")
        self.recent = recent

    def begin(self, run: Run) -> None:
        """Take note of the forward that comes, as `SelectionPolicy.begin` says."""
        super().begin(run)
        if not run.cached:
            self._gathered: dict[int, Tensor] = {}

    def keep(self, view: LayerView) -> Bool[Tensor, "1 q l"]:
        """Choose cached tokens, as `SelectionPolicy.keep` says."""
        starts, budget, length = self.run.starts[:, None], self.budget(view.layer), view.key.shape[1]
        weights = view_attention(view, "mean")[0]
        before = weights.new_zeros(1, length)
        if self.run.cached:
            before = pad(self._gathered[view.layer], (0, length - self.run.cached))[None]
        gathered = torch.cat([before, weights]).cumsum(0)  # row i: all attention before the forward's query i
        self._gathered[view.layer] = gathered[-1]
        scores = gathered[(self.run.starts - self.run.cached).clamp(min=0)]

        columns = torch.arange(length, device=scores.device)
        is_recent = columns >= starts - (budget * self.recent).long()[:, None]
        scores = scores.masked_fill(is_recent, torch.inf).masked_fill(columns >= starts, -torch.inf)
        return keep_top(scores[None], budget)

    def metadata_bytes(self, view: LayerView) -> Float[Tensor, " q"]:
        """Bytes of the gathered attention, as `SelectionPolicy.metadata_bytes` says."""
        return 4.0 * self.run.starts


class TOVAPolicy(SelectionPolicy):
    """Keep the tokens that the last query before the step attended to most.

    Raises
    ------
    ValueError
        In `begin`, if the run has no budgets.

    Notes
    -----
    It sees more than the method's authors allow: the dense attention weights of the last query before the step's
    start, averaged over heads, over all tokens before it; a dropped token may come back. All heads share one list.
    Metadata: one float32 a cached token. O(h·q·l·d).

    References
    ----------
    Oren et al., *Transformers are Multi-State RNNs* (EMNLP 2024).

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._policies import TOVAPolicy
    >>> from selectlib.attention._run import Run
    >>> from selectlib.attention._view import LayerView
    >>> policy = TOVAPolicy()
    >>> policy.begin(Run(torch.tensor([0, 0, 2]), 1, 1, budgets=torch.tensor([[0, 0, 1]])))
    >>> keys = torch.tensor([[[0.0], [9.0], [0.0]]])
    >>> policy.keep(LayerView(0, torch.ones(1, 3, 1), keys, torch.arange(3), 1.0))[0, 2].int().tolist()
    [0, 1, 0]
    """

    needs_budgets = True

    def begin(self, run: Run) -> None:
        """Take note of the forward that comes, as `SelectionPolicy.begin` says."""
        super().begin(run)
        if not run.cached:
            self._last: dict[int, Tensor] = {}

    def keep(self, view: LayerView) -> Bool[Tensor, "1 q l"]:
        """Choose cached tokens, as `SelectionPolicy.keep` says."""
        length = view.key.shape[1]
        weights = view_attention(view, "mean")[0]
        before = weights.new_zeros(1, length)
        if self.run.cached:
            before = pad(self._last[view.layer], (0, length - self.run.cached))[None]
        self._last[view.layer] = weights[-1]
        rows = torch.cat([before, weights])  # row i: what the query before the forward's query i attended to
        scores = rows[(self.run.starts - self.run.cached).clamp(min=0)]
        cached = torch.arange(length, device=scores.device) < self.run.starts[:, None]
        return keep_top(scores.masked_fill(~cached, -torch.inf)[None], self.budget(view.layer))

    def metadata_bytes(self, view: LayerView) -> Float[Tensor, " q"]:
        """Bytes of the last query's attention, as `SelectionPolicy.metadata_bytes` says."""
        return 4.0 * self.run.starts
