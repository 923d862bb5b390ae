"""Attention that reads the selected tokens of the cache and no others."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.attention._masked import masked_attention

_BLOCK = 1 << 17  # numbers gathered at a time on CPU: they stay in its cache, and fresh memory costs more than the copy


def gather_attention(
    query: Float[Tensor, "b h q d"],
    key: Float[Tensor, "b hkv l d"],
    value: Float[Tensor, "b hkv l d"],
    columns: Int[Tensor, "n"],
    mask: Bool[Tensor, "#b g q n"],
    scaling: float,
) -> Float[Tensor, "b h q d"]:
    """Attention over some columns, gathered once for all queries and heads.

    Parameters
    ----------
    query : Tensor of floats, shape (b, h, q, d)
        Queries.
    key, value : Tensor of floats, shape (b, hkv, l, d)
        Keys and values; ``h`` is a multiple of ``hkv``, query head ``i`` reads KV head ``i // (h // hkv)``.
    columns : Tensor of int64, shape (n,)
        What to read of them.
    mask : Tensor of bool, shape (b or 1, g, q, n)
        Which of these columns a query sees, at least one each; ``g`` is 1, ``hkv`` or ``h``.
    scaling : float
        Factor of the scores.

    Returns
    -------
    Tensor of floats, shape (b, h, q, d)
        The softmax over the columns that each query sees, times their values.

    Raises
    ------
    RuntimeError
        If the shapes do not fit: this runs in every layer of every step, so torch does the checking.

    Notes
    -----
    Reads ``2 n hkv d`` numbers of the cache, whatever ``l``; on CPU a few KV heads at a time. Sparse verification of
    Shah, "SpecAttn" (arXiv:2510.27641), with the softmax over the kept tokens; that all queries share one read list
    is what makes it one gather.

    Examples
    --------
    >>> import torch
    >>> query, cache = torch.ones(1, 2, 1, 4), torch.arange(3.0).expand(1, 1, 4, 3).mT
    >>> gather_attention(query, cache, cache, torch.tensor([0]), torch.ones(1, 1, 1, 1, dtype=torch.bool), 0.5)
    tensor([[[[0., 0., 0., 0.]],
             [[0., 0., 0., 0.]]]])
    """
    hkv, d = key.shape[1], key.shape[3]
    heads = max(1, _BLOCK // (len(columns) * d)) if key.device.type == "cpu" else hkv
    queries = query.unflatten(1, (hkv, -1)).split(heads, 1)
    masks = mask.unflatten(1, (hkv, -1)).split(heads, 1) if mask.shape[1] > 1 else [mask] * len(queries)
    blocks = [
        masked_attention(
            queries_of.flatten(1, 2),
            keys.index_select(2, columns),
            values.index_select(2, columns),
            mask_of if mask.shape[1] == 1 else mask_of.flatten(1, 2),
            scaling,
        )
        for queries_of, keys, values, mask_of in zip(
            queries, key.split(heads, 1), value.split(heads, 1), masks, strict=True
        )
    ]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)
