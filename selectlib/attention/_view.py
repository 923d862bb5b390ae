"""What a selection policy may look at in one attention layer."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class LayerView:
    """One attention layer, one sequence, some queries.

    Parameters
    ----------
    layer
        Index of the layer, counted from 0 at the input.
    query
        Queries of this run after the rotary embedding, one row a position: ``(h, q, d)``.
    key
        Keys of positions ``0 .. l-1`` after the rotary embedding: the cache, then the tokens in flight. ``(hkv, l, d)``
        where ``h`` is a multiple of ``hkv``; query head ``i`` reads key head ``i // (h // hkv)``.
    positions
        Position of each query in the sequence, counted from 0: ``(q,)``, int64. Query ``i`` may see the columns
        ``0 .. positions[i]``.
    scaling
        Factor of the scores before the softmax, usually ``d ** -0.5``.

    Raises
    ------
    Nothing is checked: the attention function builds a view for every layer of every forward.

    Notes
    -----
    A view holds the tensors themselves, no copies: a policy must not write to them.

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._view import LayerView
    >>> view = LayerView(0, torch.ones(4, 1, 8), torch.ones(2, 3, 8), torch.tensor([2]), 8**-0.5)
    >>> view.query.shape[0] // view.key.shape[0]
    2
    """

    layer: int
    query: Float[Tensor, "h q d"]
    key: Float[Tensor, "hkv l d"]
    positions: Int[Tensor, " q"]
    scaling: float
