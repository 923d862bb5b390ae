"""Static policies: the last tokens, with or without the first ones."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.attention._policies._base import SelectionPolicy
from selectlib.attention._view import LayerView


class StreamingLLMPolicy(SelectionPolicy):
    """Keep the first tokens (the attention sinks) and the last ones.

    Parameters
    ----------
    sinks : int, default 4
        How many first tokens are kept; the rest of the budget goes to the last cached tokens.
    inv_freq : Float[Tensor, "half"], optional
        Rotary frequencies of the target, `selectlib.attention.rotary_frequencies`. Given: positions are those in the
        kept cache, as the method's authors have it: the sinks stand right before the window. Default: true positions.

    Raises
    ------
    ValueError
        If `sinks` is negative.

    Notes
    -----
    O(q·l). Under rotary embeddings only distances count. Moving the sinks up to the window changes no distance but
    theirs to the queries, by the number of dropped tokens between; the scores of the sink columns change by what
    turning the queries back by so much changes, which is what `score_bias` returns.

    References
    ----------
    Xiao et al., *Efficient Streaming Language Models with Attention Sinks* (ICLR 2024).

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._policies import StreamingLLMPolicy
    >>> from selectlib.attention._run import Run
    >>> from selectlib.attention._view import LayerView
    >>> policy = StreamingLLMPolicy(sinks=1)
    >>> policy.begin(Run(torch.tensor([5]), 1, 1, cached=5, budgets=torch.tensor([[3]])))
    >>> view = LayerView(0, torch.ones(1, 1, 2), torch.ones(1, 6, 2), torch.tensor([5]), 1.0)
    >>> policy.keep(view).int().tolist()
    [[[1, 0, 0, 1, 1, 0]]]
    """

    needs_budgets = True

    def __init__(self, sinks: int = 4, *, inv_freq: Float[Tensor, " half"] | None = None) -> None:
        if sinks < 0:
            raise ValueError(f"sinks must be at least 0, got {sinks}")
        self.sinks = sinks
        self.inv_freq = inv_freq
        self.shifts_scores = inv_freq is not None

    def keep(self, view: LayerView) -> Bool[Tensor, "1 q l"]:
        """Choose cached tokens, as `SelectionPolicy.keep` says."""
        budget, starts = self.budget(view.layer)[:, None], self.run.starts[:, None]
        columns = torch.arange(view.key.shape[1], device=starts.device)
        sinks = budget.clamp(max=self.sinks)
        kept = (columns < sinks) | (columns >= starts - (budget - sinks))
        return (kept & (columns < starts))[None]

    def score_bias(self, view: LayerView) -> Float[Tensor, "h q c"] | None:
        """Change of the sinks' scores by the shifted positions, as `SelectionPolicy.score_bias` says."""
        if self.inv_freq is None:
            return None
        dropped = self.run.starts - self.budget(view.layer)
        turned = _turn_back(view.query, dropped, self.inv_freq.to(view.query.device))
        heads, width = view.query.shape[0], view.query.shape[2]
        change = (turned - view.query).reshape(view.key.shape[0], -1, width)
        return (change @ view.key[:, : self.sinks].transpose(1, 2)).view(heads, len(dropped), -1) * view.scaling


class WindowPolicy(StreamingLLMPolicy):
    """Keep the last tokens only.

    Raises
    ------
    Nothing.

    Notes
    -----
    The window without sinks of StreamingLLM's ablation; also the baseline that a target with local attention calls for.

    Examples
    --------
    >>> from selectlib.attention._policies import WindowPolicy
    >>> WindowPolicy().sinks
    0
    """

    def __init__(self) -> None:
        super().__init__(0)


def _turn_back(
    query: Float[Tensor, "h q d"], by: Int[Tensor, " q"], inv_freq: Float[Tensor, " half"]
) -> Float[Tensor, "h q d"]:
    """Queries as they would be `by` positions earlier, in the layout of the Llama family: halves, not pairs."""
    angle = by[:, None] * inv_freq.to(query.dtype)
    cos, sin = angle.cos(), angle.sin()
    first, second = query.chunk(2, dim=-1)
    return torch.cat([first * cos + second * sin, second * cos - first * sin], dim=-1)
