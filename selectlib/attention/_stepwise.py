"""The slow truth behind one-pass evaluation: decode with KV caches, step by step."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from selectlib.attention._capture import capture_attention
from selectlib.attention._evaluate import check_evaluation, hooked, layer_hook, sequence_budgets
from selectlib.attention._meter import KVAccessMeter
from selectlib.attention._policies import SelectionPolicy
from selectlib.attention._run import Run, step_starts

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


@torch.no_grad()
def stepwise_logits(
    target: "PreTrainedModel",
    input_ids: Int[Tensor, "1 t"],
    policy: SelectionPolicy | None,
    *,
    gamma: int = 4,
    prefill: float | int = 0.1,
    dense_layers: int = 2,
    draft: "PreTrainedModel | None" = None,
    budgets: int | Int[Tensor, "1 layers t"] | None = None,
    meter: KVAccessMeter | None = None,
) -> Float[Tensor, "t v"]:
    """Logits of a sequence that is fed in sparse steps to a target with a KV cache, and token by token to the draft.

    This is what `masked_perplexity` computes in one pass, done as a decoder would do it. It is slow, and here to be
    compared with.

    Parameters
    ----------
    target, input_ids, policy, gamma, prefill, dense_layers, draft, budgets, meter
        As for `masked_perplexity`, with one sequence.

    Returns
    -------
    Float[Tensor, "t v"]
        Logits at every position, those of the dense prefill first.

    Raises
    ------
    ValueError
        As `masked_perplexity` raises, and if there is more than one sequence.

    Notes
    -----
    ``t / gamma`` forwards of the target and t of the draft.

    Examples
    --------
    >>> import torch
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from selectlib.attention import WindowPolicy, masked_perplexity, stepwise_logits
    >>> config = LlamaConfig(vocab_size=11, hidden_size=16, intermediate_size=16, num_hidden_layers=3,
    ...                      num_attention_heads=2)
    >>> target, ids = LlamaForCausalLM(config).eval(), torch.arange(20)[None] % 11
    >>> slow = stepwise_logits(target, ids, WindowPolicy(), budgets=4)
    >>> fast = masked_perplexity(target, ids, WindowPolicy(), budgets=4, positions=torch.arange(20)[None]).logits[0]
    >>> bool((slow - fast).abs().max() < 1e-4)
    True
    """
    if len(input_ids) != 1:
        raise ValueError(f"input_ids must hold one sequence, got {len(input_ids)}")
    prompt = check_evaluation(target, input_ids, policy, gamma, prefill, dense_layers, draft, budgets)
    layers, length = target.config.num_hidden_layers, input_ids.shape[1]
    all_starts = step_starts(length, prompt, gamma, input_ids.device)
    all_budgets = sequence_budgets(budgets, 0, layers, all_starts)
    draft_layers = policy.draft_layers if policy is not None else ()
    target_cache: Cache | None = None
    draft_cache: Cache | None = None
    if draft_layers:
        assert draft is not None  # checked
        draft_cache = draft(input_ids[:, :prompt], use_cache=True, logits_to_keep=1).cache

    logits = []
    with hooked(target, policy):
        for begin in (0, *range(prompt, length, gamma)):
            end = prompt if begin == 0 else min(begin + gamma, length)
            rows = {layer: torch.zeros(0, end, device=input_ids.device) for layer in draft_layers}
            if begin and draft is not None and draft_cache is not None:
                rows = _decode_rows(draft, input_ids[:, begin:end], draft_layers, draft_cache, end)
            run = Run(
                all_starts[begin:end],
                gamma,
                layers,
                dense_layers,
                cached=begin,
                draft_rows=rows,
                row_positions=torch.arange(begin if begin else end, end, device=input_ids.device),
                budgets=None if all_budgets is None else all_budgets[:, begin:end],
            )
            hook = layer_hook(policy, run, meter)
            out = target(input_ids[:, begin:end], cache=target_cache, use_cache=True, layer_hook=hook)
            target_cache = out.cache
            logits.append(out.logits[0])
    return torch.cat(logits)


def _decode_rows(
    draft: "PreTrainedModel", tokens: Int[Tensor, "1 q"], layers: tuple[int, ...], cache: "Cache", width: int
) -> dict[int, Float[Tensor, "q width"]]:
    """Feed the step to the draft token by token; its rows, zero right of each token."""
    rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    with capture_attention(draft, layers=layers) as captured:
        for token in tokens[0]:
            draft(token.view(1, 1), cache=cache, use_cache=True)
            for layer, weights in zip(captured.layers, captured.weights, strict=True):
                rows[layer].append(pad(weights[0, 0], (0, width - weights.shape[-1])))
    return {layer: torch.stack(of_layer) for layer, of_layer in rows.items()}
