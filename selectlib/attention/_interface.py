"""Sparse attention as one of transformers' attention implementations."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selectlib.attention._gather import gather_attention
from selectlib.attention._masked import masked_attention, widen_heads, zeroed_attention
from selectlib.attention._models import require_transformers
from selectlib.attention._plan import Selection, SparsePlan
from selectlib.attention._view import LayerView

LayerHook = Callable[[LayerView], Tensor | None]
_BACKENDS = ("auto", "gather", "sdpa_mask")


def register_sparse_attention(name: str = "selectlib_sparse", *, backend: str = "auto") -> str:
    """Offer sparse attention to transformers under a name, for ``model.set_attn_implementation(name)``.

    A forward of such a model takes two further keyword arguments, at most one of them at a time:

    * ``sparse_plan``, a `SparsePlan`: what each layer may read of the cache in this step. The queries of the forward
      are the step's; the cache has the plan's length. In a batch, each sequence follows the same plan, and padding
      stays masked; positions are then those in the cache, padding included.
    * ``layer_hook``, a function of a `LayerView` that returns the mask of that layer, ``(g, q, l)`` with ``l`` all
      columns, those in flight included, or None for dense attention. It is called in every layer, before attention.
      What lies after a query is masked in any case; each query must see some column. One sequence at a time. With
      ``renormalize=False``, a third argument, the hook's mask is applied after the softmax.

    Without them attention is dense, bit for bit what the implementation ``"sdpa"`` gives.

    Parameters
    ----------
    name : str, default "selectlib_sparse"
        The name; registering it again replaces it.
    backend : str, default "auto"
        How a plan is carried out. ``"gather"`` copies the read list's keys and values out of the cache, once for all
        queries and heads, and each query applies its own mask to them; ``"sdpa_mask"`` reads everything under a mask;
        ``"auto"`` is the gather. Masks of a hook, and plans with ``renormalize=False``, always read everything.

    Returns
    -------
    str
        `name`.

    Raises
    ------
    ImportError
        If transformers is not installed: the extra ``hf`` brings it.
    ValueError
        If `backend` is unknown. In a forward: if plan or hook do not fit the model, the cache or the queries; the
        message says what was given and what is allowed. `check_model` finds unsuitable models before.

    Notes
    -----
    A plan's read lists are made when it is made, so no layer waits for the device. A layer whose plan keeps everything
    runs densely, so such a plan changes no bit. The gather copies ``2 n hkv d`` numbers a layer for ``n`` reads: with
    heads of 128 numbers and a quarter of the cache kept it is 2 to 5 times faster on CPU than reading everything from
    2048 tokens on; with heads of 24 numbers it gains nothing below 16,384. The two agree within 1e-6 in float32 for
    scores of size one. Shah, "SpecAttn" (arXiv:2510.27641), sparse verification.

    Examples
    --------
    >>> import torch
    >>> from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=2,
    ...                                      num_attention_heads=2)).eval()
    >>> model.set_attn_implementation(register_sparse_attention())
    >>> cache = model(torch.tensor([[1, 2, 3]]), cache=DynamicCache()).cache
    >>> plan = SparsePlan([None, torch.tensor([[[True, False, False]]])])
    >>> model(torch.tensor([[4]]), cache=cache, sparse_plan=plan).logits.shape
    torch.Size([1, 1, 8])
    """
    if backend not in _BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(_BACKENDS)}, got {backend!r}")
    require_transformers()
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(name, partial(_attention, gather=backend != "sdpa_mask"))
    AttentionMaskInterface.register(name, sdpa_mask)
    return name


def _attention(
    module: Any,
    query: Float[Tensor, "b h q d"],
    key: Float[Tensor, "b hkv l d"],
    value: Float[Tensor, "b hkv l d"],
    attention_mask: Bool[Tensor, "b 1 q l"] | None,
    *,
    scaling: float,
    gather: bool,
    sparse_plan: SparsePlan | None = None,
    layer_hook: LayerHook | None = None,
    renormalize: bool = True,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer; the mask is transformers' own, None where plain causality is enough."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def dense(mask: Tensor | None) -> tuple[Tensor, None]:
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **kwargs)

    if sparse_plan is None and layer_hook is None:
        return dense(attention_mask)
    _check_call(module, query, key, attention_mask, sparse_plan, layer_hook, kwargs)
    if layer_hook is not None:
        keep = layer_hook(_view(module, query, key, scaling))
        if keep is None:
            return dense(attention_mask)
        _check_mask(keep, query, key)
        visible = _visible(attention_mask, query, key)
        if not renormalize:
            return zeroed_attention(query, key, value, visible, keep, scaling).transpose(1, 2).contiguous(), None
        return dense(visible & widen_heads(keep, query.shape[1]))
    assert sparse_plan is not None
    selection = sparse_plan.selection(module.layer_idx)
    if selection is None or selection.everything:
        return dense(attention_mask)
    _check_selection(selection, query, key)
    if not sparse_plan.renormalize:
        visible = _visible(attention_mask, query, key)
        out = zeroed_attention(query, key, value, visible, selection.mask, scaling)
    elif gather:
        mask = selection.gathered_mask[None]
        if attention_mask is not None:  # may hold padding
            mask = mask & attention_mask.index_select(3, selection.columns)
        out = gather_attention(query, key, value, selection.columns, mask, scaling)
    else:
        mask = selection.mask[None]
        out = masked_attention(query, key, value, mask if attention_mask is None else mask & attention_mask, scaling)
    return out.transpose(1, 2).contiguous(), None


def _view(module: Any, query: Tensor, key: Tensor, scaling: float) -> LayerView:
    length, q = key.shape[2], query.shape[2]
    positions = torch.arange(length - q, length, device=query.device)
    return LayerView(module.layer_idx, query[0], key[0], positions, scaling)


def _visible(attention_mask: Tensor | None, query: Tensor, key: Tensor) -> Bool[Tensor, "#b 1 q l"]:
    """Causality, and padding where there is some."""
    if attention_mask is not None:
        return attention_mask
    q, length = query.shape[2], key.shape[2]
    return torch.ones(q, length, dtype=torch.bool, device=query.device).tril(length - q)[None, None]


def _check_call(
    module: Any,
    query: Tensor,
    key: Tensor,
    attention_mask: Tensor | None,
    plan: SparsePlan | None,
    hook: LayerHook | None,
    kwargs: dict[str, Any],
) -> None:
    if plan is not None and hook is not None:
        raise ValueError("sparse_plan and layer_hook cannot both be given")
    if hook is not None and query.shape[0] != 1:
        raise ValueError(f"layer_hook looks at one sequence at a time, got a batch of {query.shape[0]}")
    layers = module.config.num_hidden_layers
    if plan is not None and len(plan) != layers:
        raise ValueError(f"sparse_plan must have an entry for each of the {layers} layers, got {len(plan)}")
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        raise TypeError(f"attention_mask must be 2-D, or 4-D of bool, got 4-D of {attention_mask.dtype}")
    if kwargs.get("dropout"):
        raise ValueError(f"sparse attention has no dropout, got {kwargs['dropout']}: call model.eval() first")
    for extra in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(extra) is not None:
            raise ValueError(f"sparse attention cannot take the model's {extra}")


def _check_selection(selection: Selection, query: Tensor, key: Tensor) -> None:
    g, q, length = selection.keep.shape
    h, hkv = query.shape[1], key.shape[1]
    if g not in (1, hkv, h):
        raise ValueError(f"sparse_plan must hold masks of 1, {hkv} (KV) or {h} (query) heads, got {g}")
    if q != query.shape[2] or length != key.shape[2] - q:
        raise ValueError(
            f"sparse_plan is for {q} queries after a cache of {length} tokens, "
            f"got {query.shape[2]} queries after {key.shape[2] - query.shape[2]}"
        )


def _check_mask(mask: Tensor, query: Tensor, key: Tensor) -> None:
    h, hkv, q, length = query.shape[1], key.shape[1], query.shape[2], key.shape[2]
    if mask.dtype != torch.bool or mask.ndim != 3 or mask.shape[0] not in (1, hkv, h) or mask.shape[1:] != (q, length):
        raise ValueError(
            f"layer_hook must return bool of shape (1, {hkv} or {h}, {q}, {length}), "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
