"""Whether a policy lets a query see tokens that come after it."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.attention._evaluate import masked_perplexity, prefill_tokens
from selectlib.attention._policies import SelectionPolicy

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def look_ahead(
    target: "PreTrainedModel",
    input_ids: Int[Tensor, "1 t"],
    policy: SelectionPolicy,
    *,
    generator: torch.Generator,
    steps: int = 8,
    gamma: int = 4,
    prefill: float | int = 0.1,
    dense_layers: int = 2,
    draft: "PreTrainedModel | None" = None,
    budgets: int | Int[Tensor, "1 layers t"] | None = None,
) -> Float[Tensor, " steps"]:
    """Replace the later tokens of a step, and measure how far the logits of its first query move.

    A model that predicts the next token from those before it moves by nothing.

    Parameters
    ----------
    target, input_ids, policy, gamma, prefill, dense_layers, draft, budgets
        As for `masked_perplexity`, with one sequence; `gamma` at least 2.
    generator : torch.Generator
        Draws the new tokens, each different from the old one.
    steps : int, default 8
        How many steps are tried, evenly spaced over those after the prefill.

    Returns
    -------
    Float[Tensor, "steps"]
        For each step the largest absolute change of a logit at its first query.

    Raises
    ------
    ValueError
        As `masked_perplexity` raises, and if there is more than one sequence, `gamma` is below 2, or there are not so
        many whole steps.

    Notes
    -----
    One evaluation a step and one more. A policy that draws at random must be given a fresh generator of one seed by
    each evaluation, which is not possible here: `RandomPolicy` seems to look ahead.

    Examples
    --------
    >>> import torch
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from selectlib.attention import QuestPolicy, look_ahead
    >>> from selectlib.seeding import generator
    >>> config = LlamaConfig(vocab_size=11, hidden_size=16, intermediate_size=16, num_hidden_layers=3,
    ...                      num_attention_heads=2)
    >>> target, ids = LlamaForCausalLM(config).eval(), torch.arange(40)[None] % 11
    >>> bool((look_ahead(target, ids, QuestPolicy(4), budgets=8, generator=generator(100)) < 1e-5).all())
    True
    """
    if len(input_ids) != 1:
        raise ValueError(f"input_ids must hold one sequence, got {len(input_ids)}")
    if gamma < 2:
        raise ValueError(f"gamma must be at least 2 for a step to have later tokens, got {gamma}")
    length = input_ids.shape[1]
    prompt = prefill_tokens(prefill, length)
    whole = (length - prompt) // gamma
    if not 1 <= steps <= whole:
        raise ValueError(f"steps must be from 1 to the {whole} whole steps of the sequence, got {steps}")
    firsts = [prompt + gamma * (step * whole // steps) for step in range(steps)]

    def logits(tokens: Tensor, positions: list[int]) -> Tensor:
        result = masked_perplexity(
            target,
            tokens,
            policy,
            gamma=gamma,
            prefill=prompt,
            dense_layers=dense_layers,
            draft=draft,
            budgets=budgets,
            positions=torch.tensor([positions], device=tokens.device),
        )
        assert result.logits is not None
        return result.logits[0]

    before = logits(input_ids, firsts)
    vocabulary, moves = target.config.vocab_size, []
    for first, old in zip(firsts, before, strict=True):
        changed = input_ids.clone()
        later = slice(first + 1, first + gamma)
        shift = torch.randint(1, vocabulary, (gamma - 1,), generator=generator, device=generator.device)
        changed[0, later] = (changed[0, later] + shift.to(changed)) % vocabulary
        moves.append((logits(changed, [first])[0] - old).abs().max())
    return torch.stack(moves)
