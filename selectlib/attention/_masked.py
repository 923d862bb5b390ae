"""Attention under a mask: softmax over what it keeps, or over everything and then zeroed."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def widen_heads(mask: Bool[Tensor, "*b g q l"], h: int) -> Bool[Tensor, "*b _ q l"]:
    """Repeat a mask per KV head for its query heads; one for all heads, or one a query head, stays as it is."""
    g = mask.shape[-3]
    return mask if g in (1, h) else mask.repeat_interleave(h // g, -3)


def masked_attention(
    query: Float[Tensor, "b h q d"],
    key: Float[Tensor, "b hkv l d"],
    value: Float[Tensor, "b hkv l d"],
    mask: Bool[Tensor, "#b g q l"],
    scaling: float,
) -> Float[Tensor, "b h q d"]:
    """Attention whose softmax runs over what a mask keeps, for few queries over many keys.

    Parameters
    ----------
    query : Tensor of floats, shape (b, h, q, d)
        Queries.
    key, value : Tensor of floats, shape (b, hkv, l, d)
        Keys and values; ``h`` is a multiple of ``hkv``, query head ``i`` reads KV head ``i // (h // hkv)``.
    mask : Tensor of bool, shape (b or 1, g, q, l)
        Which columns a query sees, at least one each; ``g`` is 1, ``hkv`` or ``h``.
    scaling : float
        Factor of the scores.

    Returns
    -------
    Tensor of floats, shape (b, h, q, d)
        The softmax over the columns that each query sees, times their values.

    Raises
    ------
    RuntimeError
        If the shapes do not fit.

    Notes
    -----
    The query heads of a KV head are treated as further queries of it, so that keys and values are not repeated.

    Examples
    --------
    >>> import torch
    >>> query, cache = torch.ones(1, 2, 1, 4), torch.arange(3.0).expand(1, 1, 4, 3).mT
    >>> masked_attention(query, cache, cache, torch.tensor([[[[False, True, False]]]]), 0.5)
    tensor([[[[1., 1., 1., 1.]],
             [[1., 1., 1., 1.]]]])
    """
    b, h, q, d = query.shape
    hkv, (_, g, _, length) = key.shape[1], mask.shape
    folded = query.reshape(b, hkv, h // hkv * q, d)
    kept = mask.reshape(-1, hkv, h // hkv * q, length) if g == h else mask.repeat(1, 1, h // hkv, 1)
    return scaled_dot_product_attention(folded, key, value, attn_mask=kept, scale=scaling).reshape(b, h, q, d)


def zeroed_attention(
    query: Float[Tensor, "b h q d"],
    key: Float[Tensor, "b hkv l d"],
    value: Float[Tensor, "b hkv l d"],
    visible: Bool[Tensor, "#b _ q l"],
    keep: Bool[Tensor, "g q l"],
    scaling: float,
) -> Float[Tensor, "b h q d"]:
    """Attention whose weights are zeroed outside a mask after the softmax, and not scaled up again.

    Parameters
    ----------
    query : Tensor of floats, shape (b, h, q, d)
        Queries.
    key, value : Tensor of floats, shape (b, hkv, l, d)
        Keys and values; ``h`` is a multiple of ``hkv``.
    visible : Tensor of bool, shape (b or 1, 1, q, l)
        Columns that the softmax runs over: causality and padding.
    keep : Tensor of bool, shape (g, q, l)
        Columns whose weight counts; ``g`` is 1, ``hkv`` or ``h``.
    scaling : float
        Factor of the scores.

    Returns
    -------
    Tensor of floats, shape (b, h, q, d)
        ``softmax(q k scaling) diag(keep) v``; the weights of a query sum to the mass that it keeps.

    Raises
    ------
    RuntimeError
        If the shapes do not fit.

    Notes
    -----
    The formula as Shah, "SpecAttn" (arXiv:2510.27641) prints it for sparse verification. It needs every key to know
    the mass, so it saves no reads of keys; time and memory ``O(h q l)``. Weights are float32.

    Examples
    --------
    >>> import torch
    >>> query, cache = torch.zeros(1, 1, 1, 4), torch.ones(1, 1, 2, 4)
    >>> visible, keep = torch.ones(1, 1, 1, 2, dtype=torch.bool), torch.tensor([[[True, False]]])
    >>> zeroed_attention(query, cache, cache, visible, keep, 0.5)
    tensor([[[[0.5000, 0.5000, 0.5000, 0.5000]]]])
    """
    h, hkv = query.shape[1], key.shape[1]
    grouped = query.unflatten(1, (hkv, h // hkv))  # (b, hkv, h / hkv, q, d)
    scores = torch.matmul(grouped, key.unsqueeze(2).mT).float() * scaling
    weights = scores.masked_fill(~visible.unsqueeze(1), -torch.inf).softmax(-1).flatten(1, 2)
    weights = weights.masked_fill(~widen_heads(keep, h), 0).to(value.dtype)
    return torch.matmul(weights.unflatten(1, (hkv, h // hkv)), value.unsqueeze(2)).flatten(1, 2)
