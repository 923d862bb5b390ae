"""Perplexity under a selection policy: all decoding steps of a sequence in one forward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from selectlib.attention._capture import capture_attention
from selectlib.attention._interface import register_sparse_attention
from selectlib.attention._meter import KVAccessMeter
from selectlib.attention._models import check_model, check_pair
from selectlib.attention._policies import SelectionPolicy
from selectlib.attention._run import Run, step_starts
from selectlib.attention._score_bias import biased_mask, register_biased_attention
from selectlib.attention._view import LayerView

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class MaskedPerplexity:
    """Result of `masked_perplexity`.

    Attributes
    ----------
    nll : Float[Tensor, "b t"]
        For each token its negative log-likelihood in nats, given the tokens before it; NaN where the query before it
        belongs to the dense prefill.
    logits : Float[Tensor, "b n v"] or None
        Logits at the positions that were asked for.

    Raises
    ------
    Nothing.

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention import MaskedPerplexity
    >>> round(MaskedPerplexity(torch.tensor([[torch.nan, 1.0, 3.0]]), None).perplexity, 4)
    7.3891
    """

    nll: Float[Tensor, "b t"]
    logits: Float[Tensor, "b n v"] | None

    @property
    def perplexity(self) -> float:
        """Exponential of the mean of the numbers in `nll`."""
        return self.nll.nanmean().exp().item()


@torch.no_grad()
def masked_perplexity(
    target: "PreTrainedModel",
    input_ids: Int[Tensor, "b t"],
    policy: SelectionPolicy | None,
    *,
    gamma: int = 4,
    prefill: float | int = 0.1,
    dense_layers: int = 2,
    draft: "PreTrainedModel | None" = None,
    budgets: int | Int[Tensor, "b layers t"] | None = None,
    meter: KVAccessMeter | None = None,
    positions: Int[Tensor, "b n"] | None = None,
    renormalize: bool = True,
) -> MaskedPerplexity:
    """Evaluate a model as if it decoded each sequence in sparse steps, in one forward a sequence.

    Both models are causal and see the true tokens, so decoding step by step with a KV cache computes what one forward
    computes under a mask: a query of a step sees the cached tokens that the policy keeps, and the step's tokens up to
    itself.

    Parameters
    ----------
    target : PreTrainedModel
        Model of the Llama family, in eval mode.
    input_ids : Int[Tensor, "b t"]
        Tokens, without padding.
    policy : SelectionPolicy or None
        What the queries may read; None: everything, the dense reference.
    gamma : int, default 4
        Tokens a step.
    prefill : float or int, default 0.1
        Dense positions at the front: a share of t if a float, a number of tokens if an int.
    dense_layers : int, default 2
        How many layers, from the input on, stay dense.
    draft : PreTrainedModel, optional
        The draft, for policies that use its attention; needs the target's vocabulary.
    budgets : int or Int[Tensor, "b layers t"], optional
        Cached tokens that a query may read, for policies of fixed size: one number for all, or as from
        `matched_budgets`.
    meter : KVAccessMeter, optional
        Counts the reads.
    positions : Int[Tensor, "b n"], optional
        For each sequence the positions whose logits are wanted; default none.
    renormalize : bool, default True
        Whether the softmax runs over the kept tokens; False: over all, as printed in the paper.

    Returns
    -------
    MaskedPerplexity
        Its tensors lie on the target's device.

    Raises
    ------
    ImportError
        If transformers is missing: the extra ``hf`` brings it.
    ValueError
        If an argument is out of range, the policy needs a draft or budgets that are not given, a model is one that
        sparse attention refuses (`check_model`), or ``renormalize=False`` is asked of a policy that changes scores.

    Notes
    -----
    One forward of the draft and one of the target a sequence, O(h·t²·d) a layer; a few blocks of ``(h, t, t)`` are held
    at a time, and the draft's head-mean rows. With the published mask a query uses draft rows of tokens that come after
    it in its step: the result is then no likelihood (`look_ahead` measures it). The causal mask has no such rows.

    References
    ----------
    Shah, *SpecAttn: Speculating Sparse Attention* (arXiv:2510.27641), perplexity on PG-19; one pass is ours.

    Examples
    --------
    >>> import torch
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from selectlib.attention import WindowPolicy, masked_perplexity
    >>> config = LlamaConfig(vocab_size=11, hidden_size=16, intermediate_size=16, num_hidden_layers=3,
    ...                      num_attention_heads=2)
    >>> target = LlamaForCausalLM(config).eval()
    >>> result = masked_perplexity(target, torch.arange(20)[None] % 11, WindowPolicy(), budgets=4)
    >>> int(result.nll.isnan().sum()), 5 < result.perplexity < 20
    (3, True)
    """
    length = input_ids.shape[1]
    prompt = check_evaluation(target, input_ids, policy, gamma, prefill, dense_layers, draft, budgets)
    if not renormalize and policy is not None and policy.shifts_scores:
        raise ValueError(f"renormalize=False does not go with {type(policy).__name__}, which changes scores")
    if positions is not None and not (
        len(positions) == len(input_ids) and ((0 <= positions) & (positions < length)).all()
    ):
        raise ValueError(f"positions must be (b, n) with b = {len(input_ids)} and entries from 0 to {length - 1}")
    starts = step_starts(length, prompt, gamma, input_ids.device)
    nll = torch.full(input_ids.shape, torch.nan, device=input_ids.device)
    wanted = []
    with hooked(target, policy):
        for i, tokens in enumerate(input_ids):
            rows, row_positions = {}, None
            if policy is not None and policy.draft_layers:
                assert draft is not None  # checked
                rows = {layer: row[prompt:] for layer, row in draft_rows(draft, tokens, policy.draft_layers).items()}
                row_positions = torch.arange(prompt, length, device=tokens.device)
            layers = target.config.num_hidden_layers
            run = Run(
                starts,
                gamma,
                layers,
                dense_layers,
                draft_rows=rows,
                row_positions=row_positions,
                budgets=sequence_budgets(budgets, i, layers, starts),
            )
            hook = layer_hook(policy, run, meter)
            logits = target(tokens[None], use_cache=False, layer_hook=hook, renormalize=renormalize).logits[0]
            nll[i, prompt + 1 :] = cross_entropy(logits[prompt:-1].float(), tokens[prompt + 1 :], reduction="none")
            if positions is not None:
                wanted.append(logits[positions[i]])
    return MaskedPerplexity(nll, torch.stack(wanted) if wanted else None)


def check_evaluation(
    target: "PreTrainedModel",
    input_ids: Tensor,
    policy: SelectionPolicy | None,
    gamma: int,
    prefill: float | int,
    dense_layers: int,
    draft: "PreTrainedModel | None",
    budgets: int | Tensor | None,
) -> int:
    """Raise unless the arguments of an evaluation fit; returns the tokens of the prefill."""
    check_model(target)
    if input_ids.ndim != 2 or input_ids.is_floating_point() or input_ids.shape[1] < 3 or not len(input_ids):
        raise ValueError(f"input_ids must be integers of shape (b, t), t at least 3, got {tuple(input_ids.shape)}")
    if policy is not None and not isinstance(policy, SelectionPolicy):
        raise TypeError(f"policy must be a SelectionPolicy or None, got {policy!r}")
    if policy is not None and policy.draft_layers:
        if draft is None:
            raise ValueError(f"{type(policy).__name__} needs a draft")
        check_pair(draft, target)
    if type(gamma) is not int or gamma < 1:
        raise ValueError(f"gamma must be an int of at least 1, got {gamma!r}")
    layers, (batch, length) = target.config.num_hidden_layers, input_ids.shape
    if not 0 <= dense_layers <= layers:
        raise ValueError(f"dense_layers must be from 0 to {layers}, got {dense_layers}")
    prompt = prefill_tokens(prefill, length)
    if isinstance(budgets, Tensor) and budgets.shape != (batch, layers, length):
        raise ValueError(f"budgets must have shape {(batch, layers, length)}, got {tuple(budgets.shape)}")
    if not isinstance(budgets, Tensor) and budgets is not None and budgets < 0:
        raise ValueError(f"budgets must be at least 0, got {budgets}")
    return prompt


def prefill_tokens(prefill: float | int, length: int) -> int:
    """Tokens of the dense prefill: at least one, and so few that a sparse query still has a token to predict."""
    tokens = max(1, int(prefill * length)) if isinstance(prefill, float) and prefill > 0 else prefill
    if not (isinstance(tokens, int) and 1 <= tokens <= length - 2):
        raise ValueError(f"prefill must make 1 to {length - 2} of {length} tokens dense, got {prefill}")
    return tokens


def draft_rows(
    draft: "PreTrainedModel", tokens: Int[Tensor, " t"], layers: tuple[int, ...]
) -> dict[int, Float[Tensor, "t t"]]:
    """Head-mean attention of some draft layers over one sequence."""
    with capture_attention(draft, layers=layers) as captured:
        draft(tokens[None], use_cache=False, logits_to_keep=1)
    return {layer: weights[0] for layer, weights in zip(captured.layers, captured.weights, strict=True)}


def sequence_budgets(
    budgets: int | Tensor | None, sequence: int, layers: int, starts: Int[Tensor, " t"]
) -> Int[Tensor, "layers t"] | None:
    """Budgets of one sequence."""
    if isinstance(budgets, Tensor):
        return budgets[sequence].to(starts.device)
    return None if budgets is None else starts.new_full((layers, len(starts)), budgets)


def layer_hook(
    policy: SelectionPolicy | None, run: Run, meter: KVAccessMeter | None
) -> Callable[[LayerView], Tensor | None]:
    """What the attention function calls in each layer of a forward: the policy, and the meter at its side."""
    length = run.cached + len(run.starts)
    in_flight = torch.arange(length, device=run.starts.device) >= run.starts[:, None]
    if meter is not None:
        meter.begin(run.starts, run.gamma)
    if policy is not None:
        policy.begin(run)

    def select(view: LayerView) -> Tensor | None:
        if policy is None or view.layer < run.dense_layers:
            if meter is not None:
                meter.record(view.layer, None)
            return None
        keep = policy.keep(view)
        if meter is not None:
            meter.record(view.layer, keep, policy.metadata_bytes(view))
        seen = keep | in_flight
        bias = policy.score_bias(view)
        return seen if bias is None else biased_mask(seen, view.positions, bias)

    return select


@contextmanager
def hooked(model: "PreTrainedModel", policy: SelectionPolicy | None) -> Iterator[None]:
    """Run a model with an attention that calls `layer_hook`, and give it its own back."""
    before = model.config._attn_implementation
    try:
        biased = policy is not None and policy.shifts_scores
        model.set_attn_implementation(
            register_biased_attention() if biased else register_sparse_attention("selectlib_one_pass")
        )
        yield
    finally:
        model.set_attn_implementation(before)
