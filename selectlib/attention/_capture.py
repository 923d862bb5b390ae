"""The attention weights of a forward, although the fast kernels do not return them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selectlib.attention._models import check_model, require_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "selectlib_capture"
_BLOCK = 1 << 20  # scores at a time, 4 MiB; a GPU, with more to keep busy, gets 64 times as many


class Capture:
    """What `capture_attention` collects.

    Attributes
    ----------
    layers : tuple of int
        The captured layers, in the order asked for.
    reduce : {"mean", "max", "none"}
        What became of the heads.
    weights : list of Tensor of float32, shape (b, q, l) or (b, h, q, l)
        The weights of the latest forward, one tensor a layer, in the order of `layers`; empty before the first.

    Examples
    --------
    >>> Capture((2, 0), "mean").weights
    []
    """

    def __init__(self, layers: tuple[int, ...], reduce: str) -> None:
        self.layers = layers
        self.reduce = reduce
        self._of_layer: dict[int, Tensor] = {}

    @property
    def weights(self) -> list[Tensor]:
        """The weights of the latest forward."""
        return [self._of_layer[layer] for layer in self.layers] if self._of_layer else []


@contextmanager
def capture_attention(
    model: "PreTrainedModel", *, reduce: str = "mean", layers: Sequence[int] | None = None
) -> Iterator[Capture]:
    """Collect the attention weights of each forward of a model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A decoder that passes `check_model`.
    reduce : str, default "mean"
        What becomes of the heads: their ``"mean"`` (rows sum to 1), their ``"max"``, or ``"none"``, all of them.
    layers : sequence of int, optional
        Which layers, each once, counted from 0. Default: all.

    Yields
    ------
    Capture
        Its ``weights`` hold the latest forward's tensors, float32 on the model's device: ``(b, q, l)``, or
        ``(b, h, q, l)`` with ``reduce="none"``, for ``q`` queries over the ``l`` columns of cache and input. Zero where
        a query sees nothing: later columns, padding, and the whole row of a query that is padding itself.

    Raises
    ------
    ImportError
        If transformers is not installed: the extra ``hf`` brings it.
    TypeError
        If `model` is no model of transformers.
    ValueError
        If `check_model` refuses the model, it is being captured already, `reduce` is unknown, or `layers` is empty,
        repeats a layer or names one that the model does not have. In a forward: if it is given a plan or a hook of
        sparse attention.

    Notes
    -----
    Inside the block the model runs with ``scaled_dot_product_attention``, so its outputs are those of the
    implementation ``"sdpa"``, bit for bit; the weights are a second, smaller computation beside it: queries times keys
    and a softmax in float32, ``O(h q l d)``, in blocks of queries, so that beside the result no more than 4 MiB is held
    (256 MiB on a GPU; one query's row for all heads, if that is more). The model's own implementation returns at the
    end of the block, after an exception too. What was captured stays with the object. The mean over heads is our
    reading of Shah, "SpecAttn" (arXiv:2510.27641), which selects one set of tokens a layer.

    Examples
    --------
    >>> import torch
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=2,
    ...                                      num_attention_heads=2)).eval()
    >>> with capture_attention(model, layers=[1]) as capture:
    ...     _ = model(torch.tensor([[1, 2, 3]]))
    >>> capture.weights[0].shape, capture.weights[0].sum(-1).allclose(torch.ones(1, 3))
    (torch.Size([1, 3, 3]), True)
    """
    require_transformers()
    check_model(model)
    if reduce not in ("mean", "max", "none"):
        raise ValueError(f"reduce must be mean, max or none, got {reduce!r}")
    count = model.config.num_hidden_layers
    chosen = tuple(range(count)) if layers is None else tuple(layers)
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= layer < count for layer in chosen):
        raise ValueError(f"layers must be different layers from 0 to {count - 1}, got {list(chosen)}")
    if model.config._attn_implementation == _NAME:
        raise ValueError("model is being captured already: leave the outer capture_attention first")
    _register()
    capture = Capture(chosen, reduce)
    before = model.config._attn_implementation

    def hand_over(module: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        capture._of_layer = {}  # not cleared: the caller may have kept the list
        return args, kwargs | {"attention_capture": capture}

    handle = model.base_model.register_forward_pre_hook(hand_over, with_kwargs=True)
    try:
        model.set_attn_implementation(_NAME)
        yield capture
    finally:
        handle.remove()
        model.set_attn_implementation(before)


def attention_weights(
    query: Float[Tensor, "b h q d"],
    key: Float[Tensor, "b hkv l d"],
    scaling: float,
    *,
    mask: Bool[Tensor, "b #h q l"] | None = None,
    reduce: str = "mean",
) -> Float[Tensor, "b *h q l"]:
    """Softmax attention weights in float32, reduced over the heads.

    Parameters
    ----------
    query : Tensor of floats, shape (b, h, q, d)
        Queries; they are the last ``q`` of the ``l`` positions.
    key : Tensor of floats, shape (b, hkv, l, d)
        Keys; query head ``i`` reads KV head ``i // (h // hkv)``.
    scaling : float
        Factor of the scores.
    mask : Tensor of bool, shape (b, 1 or h, q, l), optional
        What a query sees. Default: itself and what is before it.
    reduce : str, default "mean"
        ``"mean"``, ``"max"`` or ``"none"``.

    Returns
    -------
    Tensor of float32, shape (b, q, l), or (b, h, q, l) with ``reduce="none"``
        The weights; zero in rows that see nothing.

    Raises
    ------
    RuntimeError
        If the shapes do not fit.

    Notes
    -----
    Blocks of queries; a block computes only the columns up to its last query, so a long prompt costs half.

    Examples
    --------
    >>> import torch
    >>> attention_weights(torch.zeros(1, 2, 2, 4), torch.ones(1, 1, 3, 4), 0.5)
    tensor([[[0.5000, 0.5000, 0.0000],
             [0.3333, 0.3333, 0.3333]]])
    """
    b, h, q, _ = query.shape
    hkv, length = key.shape[1], key.shape[2]
    grouped = query.float().unflatten(1, (hkv, h // hkv))  # (b, hkv, h / hkv, q, d)
    columns = key.float().mT
    shape = (b, h, q, length) if reduce == "none" else (b, q, length)
    out = torch.zeros(shape, dtype=torch.float32, device=query.device)
    block = _BLOCK if query.device.type == "cpu" else 64 * _BLOCK
    rows = max(1, block // (b * h * length))
    for start in range(0, q, rows):
        stop = min(start + rows, q)
        seen = length - q + stop  # columns that the block's last query sees
        scores = torch.matmul(grouped[..., start:stop, :].flatten(2, 3), columns[..., :seen]).mul_(scaling)
        scores = scores.view(b, h, stop - start, seen)
        if mask is not None:
            scores.masked_fill_(~mask[..., start:stop, :seen], -torch.inf)
        elif stop - start > 1:
            seen_by = torch.ones(stop - start, seen, dtype=torch.bool, device=query.device).tril(seen - stop + start)
            scores.masked_fill_(~seen_by, -torch.inf)
        weights = scores.softmax(-1)
        if mask is not None:
            blind = ~mask[..., start:stop, :seen].any(-1, keepdim=True)
            weights.masked_fill_(blind, 0)  # the softmax of nothing is NaN
        out[..., start:stop, :seen] = _reduced(weights, reduce)
    return out


def _reduced(weights: Float[Tensor, "b h q l"], reduce: str) -> Float[Tensor, "b *h q l"]:
    if reduce == "none":
        return weights
    return weights.mean(1) if reduce == "mean" else weights.amax(1)


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    attention_capture: Capture,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if kwargs.get("sparse_plan") is not None or kwargs.get("layer_hook") is not None:
        raise ValueError("capture_attention is for dense attention: the forward must have no sparse_plan or layer_hook")
    if module.layer_idx in attention_capture.layers:
        with torch.no_grad():
            attention_capture._of_layer[module.layer_idx] = attention_weights(
                query, key, scaling, mask=attention_mask, reduce=attention_capture.reduce
            )
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
