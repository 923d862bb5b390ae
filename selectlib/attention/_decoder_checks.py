"""Checks of what a decoder is made from and asked for, before any work."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from selectlib.attention._layer_maps import uniform_map
from selectlib.attention._models import check_pair, require_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_decoder(
    target: "PreTrainedModel",
    draft: "PreTrainedModel",
    p: Any,
    gamma: Any,
    mask: Any,
    dense_layers: Any,
    sink: Any,
    recent: Any,
    audit_rate: Any,
    audit_reference: Any,
    lossless: bool,
    verify_every: Any,
) -> None:
    """Raise unless the models go together and the options are of the right kinds and ranges."""
    require_transformers()
    check_pair(draft, target)
    if draft is target:
        raise ValueError("draft and target must be two models, got one object twice")
    if draft.device != target.device:
        raise ValueError(f"draft and target must be on one device, got {draft.device} and {target.device}")
    for name, model in (("draft", draft), ("target", target)):
        if model.training:
            raise ValueError(f"{name} must be in eval mode: call {name}.eval()")
    if p is not None:
        _check_number("p", p)
        if not 0 < p <= 1:
            raise ValueError(f"p must be in (0, 1] or None, got {p}")
    for name, value, least in (
        ("gamma", gamma, 1),
        ("dense_layers", dense_layers, 0),
        ("sink", sink, 0),
        ("recent", recent, 0),
        ("verify_every", verify_every, 1),
    ):
        _check_count(name, value, least)
    _check_choice("mask", mask, ("causal", "published"))
    _check_choice("audit_reference", audit_reference, ("cache", "prompt"))
    _check_number("audit_rate", audit_rate)
    if not 0 <= audit_rate <= 1:
        raise ValueError(f"audit_rate must be from 0 to 1, got {audit_rate}")
    if lossless and mask != "causal":
        raise ValueError(f"lossless=True is exact with mask='causal' only, got mask={mask!r}")
    if lossless and audit_rate:
        raise ValueError(f"lossless=True has the target's law and needs no audit, got audit_rate={audit_rate}")


def draft_layers(alignment: Any, draft: "PreTrainedModel", target: "PreTrainedModel") -> list[int]:
    """The draft layer of each target layer."""
    n, m = draft.config.num_hidden_layers, target.config.num_hidden_layers
    mapping = uniform_map(n, m) if alignment is None else getattr(alignment, "mapping_", alignment)
    mapping = mapping.tolist() if isinstance(mapping, Tensor) else mapping
    if not isinstance(mapping, Sequence) or not all(type(i) is int for i in mapping):
        raise TypeError(f"alignment must be a fitted LayerAlignment or a sequence of draft layers, got {alignment!r}")
    if len(mapping) != m or not all(0 <= i < n for i in mapping):
        raise ValueError(
            f"alignment must map each of the target's {m} layers to a draft layer from 0 to {n - 1}, "
            f"got {list(mapping)}"
        )
    return list(mapping)


def check_request(
    target: "PreTrainedModel",
    draft: "PreTrainedModel",
    input_ids: Any,
    max_new_tokens: Any,
    do_sample: bool,
    temperature: Any,
    eos_token_id: Any,
    generator: Any,
    audit_rate: float,
) -> frozenset[int]:
    """Raise unless this can be generated; the tokens that end it."""
    _check_prompt(input_ids, target)
    _check_count("max_new_tokens", max_new_tokens, 1)
    length = input_ids.shape[1] + max_new_tokens
    for name, model in (("target", target), ("draft", draft)):
        context = getattr(model.config, "max_position_embeddings", None)
        if context is not None and length > context:
            raise ValueError(
                f"prompt and new tokens must fit the {name}'s context of {context} tokens, "
                f"got {input_ids.shape[1]} and max_new_tokens={max_new_tokens}"
            )
    _check_number("temperature", temperature)
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(
            f"temperature must be finite and above 0, got {temperature}; greedy decoding is do_sample=False"
        )
    if generator is None and (do_sample or audit_rate):
        raise ValueError("generator must be given: do_sample=True and an audit draw at random")
    if generator is not None:
        if not isinstance(generator, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
        if do_sample and generator.device.type != target.device.type:
            raise ValueError(f"generator must be on {target.device}, got {generator.device}")
    ends = () if eos_token_id is None else (eos_token_id,) if isinstance(eos_token_id, int) else eos_token_id
    if not isinstance(ends, Sequence) or not all(type(token) is int for token in ends):
        raise TypeError(f"eos_token_id must be an int, a sequence of int or None, got {eos_token_id!r}")
    return frozenset(ends)


def _check_prompt(input_ids: Any, target: "PreTrainedModel") -> None:
    if not isinstance(input_ids, Tensor) or input_ids.dtype != torch.int64:
        raise TypeError(
            f"input_ids must be an int64 tensor, got {getattr(input_ids, 'dtype', type(input_ids).__name__)}"
        )
    if input_ids.ndim != 2 or input_ids.shape[1] < 1:
        raise ValueError(f"input_ids must have shape (1, t) with t >= 1, got {tuple(input_ids.shape)}")
    if input_ids.shape[0] != 1:
        raise ValueError(f"input_ids must hold one prompt, got a batch of {input_ids.shape[0]}: call generate for each")
    if input_ids.device != target.device:
        raise ValueError(f"input_ids must be on the models' device, {target.device}, got {input_ids.device}")
    least, most = input_ids.min().item(), input_ids.max().item()
    if least < 0 or most >= target.config.vocab_size:
        raise ValueError(f"input_ids must be from 0 to {target.config.vocab_size - 1}, got {least} to {most}")


def _check_count(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")


def _check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
