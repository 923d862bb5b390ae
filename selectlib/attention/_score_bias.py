"""Attention under a hook that may also change scores: what policies with shifted positions need."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from selectlib.attention._view import LayerView

_NAME = "selectlib_score_bias"


def biased_mask(
    seen: Bool[Tensor, "g q l"], positions: Int[Tensor, " q"], bias: Float[Tensor, "h q c"]
) -> Float[Tensor, "h q l"]:
    """What to add to the scores: `bias` in the first columns, minus infinity where a query sees nothing."""
    columns = torch.arange(seen.shape[2], device=seen.device)
    seen = seen & (columns <= positions[:, None])
    mask = bias.new_zeros(len(bias), *seen.shape[1:])
    mask[..., : bias.shape[2]] = bias
    heads = seen.repeat_interleave(len(bias) // len(seen), dim=0)
    return mask.masked_fill_(~heads, -torch.inf)


def register_biased_attention() -> str:
    """Offer transformers an attention whose `layer_hook` returns what is added to the scores, or None for nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    return _NAME


def _attention(
    module: nn.Module,
    query: Float[Tensor, "1 h q d"],
    key: Float[Tensor, "1 hkv l d"],
    value: Float[Tensor, "1 hkv l d"],
    attention_mask: Bool[Tensor, "1 1 q l"] | None,
    *,
    scaling: float,
    layer_hook: Callable[[LayerView], Tensor | None],
    **kwargs: Any,
) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    q, length = query.shape[2], key.shape[2]
    positions = torch.arange(length - q, length, device=query.device)
    mask = layer_hook(LayerView(module.layer_idx, query[0], key[0], positions, scaling))  # type: ignore[arg-type]
    mask = attention_mask if mask is None else mask[None]
    return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **kwargs)
