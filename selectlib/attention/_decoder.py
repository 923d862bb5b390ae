"""Speculative decoding in which the draft's attention chooses what the target reads."""

from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib.attention._audit import StepAuditor
from selectlib.attention._capture import capture_attention
from selectlib.attention._clock import Clock
from selectlib.attention._decoder_checks import check_decoder, check_request, draft_layers
from selectlib.attention._draft import DraftModel
from selectlib.attention._loop import Speculation
from selectlib.attention._meter import kv_bytes_per_token
from selectlib.attention._rules import Greedy, Rule, Sampling
from selectlib.attention._selection import Mask
from selectlib.attention._stats import DecodingStats
from selectlib.attention._target import Planner, TargetModel, sparse_attention

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


@dataclass(frozen=True)
class DecodingResult:
    """What `SpecAttnDecoder.generate` returns.

    Attributes
    ----------
    sequences : Tensor of int64, shape (1, t + n)
        The prompt and the new tokens.
    stats : DecodingStats
        Steps, acceptance, reads and what else was counted.

    Examples
    --------
    >>> from selectlib.attention._stats import DecodingStats
    >>> stats = DecodingStats(3, 1, 4, 2, 0, 0, (5.0,), 9, 0, 0, 64, {}, None)
    >>> DecodingResult(torch.tensor([[1, 2, 3]]), stats).stats.acceptance
    0.5
    """

    sequences: Int[Tensor, "1 t"]
    stats: DecodingStats


class SpecAttnDecoder:
    """Decode with a draft and a target; the target reads only those tokens of its cache that the draft attended to.

    A step drafts γ tokens, selects for each target layer the tokens that hold a mass `p` of the attention of the draft
    layer aligned with it, verifies all drafts in one sparse pass, and commits the accepted ones and one more. The
    prompt is always read densely. Tokens in flight are always attended to.

    Parameters
    ----------
    target, draft : transformers.PreTrainedModel
        Two models of the Llama family with one vocabulary, in eval mode, on one device.
    alignment : LayerAlignment or sequence of int, optional
        For each target layer the draft layer whose attention selects for it. Default: layers spread evenly.
    p : float or None, default 0.97
        Attention mass to keep, in (0, 1]. None: dense, which is plain speculative decoding.
    gamma : int, default 4
        Drafted tokens a step.
    mask : {"causal", "published"}, default "causal"
        Which rows of the draft select for a query. ``"causal"``: those up to the query; each step then samples exactly
        from the sparse target. ``"published"``: those of the whole step, which have seen the tokens under test; the law
        is then biased (see `mask_bias`). What is read is the same.
    dense_layers : int, default 2
        Layers of the target, from the input on, that stay dense.
    sink, recent : int, default 0
        Cached tokens kept in any case: the first `sink` and the last `recent`.
    renormalize : bool, default True
        Whether the softmax runs over the kept tokens; False: over all, as printed in the paper.
    audit_rate : float, default 0.0
        Share of the steps, in [0, 1], drawn at random, that are also run densely to measure the distance between the
        two laws. An audited step costs a dense pass more and emits the same tokens.
    audit_reference : {"cache", "prompt"}, default "cache"
        What the dense pass reads. ``"cache"``: the keys and values that the sparse steps wrote; it finds what the masks
        of the audited step change. ``"prompt"``: keys and values that were computed densely since the prompt, in a
        second cache; it finds what all masks so far have changed.
    lossless : bool, default False
        Let the sparse target be a draft itself: every `verify_every` tokens a dense pass of the target verifies what it
        emitted. The law is then exactly the dense target's, and the cache keeps dense keys and values. Tokens are
        emitted a block at a time.
    verify_every : int, default 16
        Tokens a block of ``lossless``, at least; steps are not cut.

    Raises
    ------
    ImportError
        If transformers is not installed: the extra ``hf`` brings it.
    TypeError
        If an argument has the wrong type.
    ValueError
        If the models do not go together, an option is out of range, the alignment does not fit, ``mask="published"`` or
        an audit is asked for together with ``lossless=True``, or draft and target are one object.

    Notes
    -----
    With ``p=None``, or ``lossless=True``, the tokens have exactly the law of the target decoding alone at the same
    temperature, up to rounding, and greedy decoding gives its tokens unless two logits tie up to rounding. With sparse
    masks each step is exact for the sparse target, but what it writes in the cache is sparse too. Acceptance does not
    measure that: draft and sparse target may well agree on something else than the dense target. An audit does.

    On CUDA each step waits for the device to count what was accepted, and for the lengths of the read lists.

    Shah, *SpecAttn: Speculating Sparse Attention* (arXiv:2510.27641). Causal mask, audit and lossless mode are ours.

    Examples
    --------
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from selectlib.seeding import generator
    >>> size = dict(vocab_size=16, hidden_size=8, intermediate_size=8, num_attention_heads=2)
    >>> target, draft = (LlamaForCausalLM(LlamaConfig(num_hidden_layers=n, **size)).eval() for n in (3, 1))
    >>> decoder = SpecAttnDecoder(target, draft, p=0.8, dense_layers=1)
    >>> result = decoder.generate(torch.tensor([[1, 2, 3, 4]]), max_new_tokens=8, generator=generator(100))
    >>> result.sequences.shape, 0 < result.stats.reduction() < 1
    (torch.Size([1, 12]), True)
    """

    def __init__(
        self,
        target: "PreTrainedModel",
        draft: "PreTrainedModel",
        alignment: Any = None,
        *,
        p: float | None = 0.97,
        gamma: int = 4,
        mask: Mask = "causal",
        dense_layers: int = 2,
        sink: int = 0,
        recent: int = 0,
        renormalize: bool = True,
        audit_rate: float = 0.0,
        audit_reference: str = "cache",
        lossless: bool = False,
        verify_every: int = 16,
    ) -> None:
        check_decoder(
            target,
            draft,
            p,
            gamma,
            mask,
            dense_layers,
            sink,
            recent,
            audit_rate,
            audit_reference,
            lossless,
            verify_every,
        )
        self.target, self.draft = target, draft
        self.gamma, self.dense_layers = gamma, dense_layers
        self.audit_rate, self.audit_reference = audit_rate, audit_reference
        self.lossless, self.verify_every = lossless, verify_every
        mapping = draft_layers(alignment, draft, target)
        # Draft layers that some sparse target layer looks at; none where all is dense.
        self._captured = () if p is None else tuple(sorted(set(mapping[dense_layers:])))
        self._planner = None
        if p is not None and self._captured:
            sources = [self._captured.index(i) if j >= dense_layers else None for j, i in enumerate(mapping)]
            self._planner = Planner(sources, p, mask, sink, recent, renormalize)

    def generate(
        self,
        input_ids: Int[Tensor, "b t"],
        *,
        max_new_tokens: int,
        do_sample: bool = True,
        temperature: float = 1.0,
        eos_token_id: int | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        on_token: Callable[[int], object] | None = None,
        profile: bool = False,
    ) -> DecodingResult:
        """Continue one prompt.

        Parameters
        ----------
        input_ids : Tensor of int64, shape (1, t)
            The prompt, t >= 1, on the models' device.
        max_new_tokens : int
            New tokens, at least 1; fewer are returned only where a token of `eos_token_id` ends the text.
        do_sample : bool, default True
            Draw from the laws; False: take the most likely token.
        temperature : float, default 1.0
            Of both models' laws, above 0; not used by greedy decoding.
        eos_token_id : int or sequence of int, optional
            Tokens that end the text; the one that does is its last token. Default: none.
        generator : torch.Generator, optional
            Source of the draws, on the models' device. Needed for sampling, and for an audit.
        on_token : callable, optional
            Called with each new token, in order, as soon as it is final. What was handed over stays valid if the run is
            interrupted, by an exception of `on_token` or otherwise: go on with the prompt and those tokens.
        profile : bool, default False
            Measure the time of the parts; on CUDA this waits for the device after each.

        Returns
        -------
        DecodingResult
            ``sequences`` with prompt and new tokens, and ``stats``.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If an argument is out of range, the batch has more than one prompt, a generator is needed and missing, or
            prompt and new tokens do not fit the models' contexts. All is checked before any work.

        Notes
        -----
        Each step costs γ passes of the draft over one token and one of the target over γ + 1. With a batch of prompts
        sequences would part at the first step in which they accept differently, so one prompt at a time is taken.

        Examples
        --------
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> size = dict(vocab_size=16, hidden_size=8, intermediate_size=8, num_attention_heads=2)
        >>> target, draft = (LlamaForCausalLM(LlamaConfig(num_hidden_layers=n, **size)).eval() for n in (3, 1))
        >>> seen = []
        >>> result = SpecAttnDecoder(target, draft, p=None).generate(
        ...     torch.tensor([[1, 2, 3]]), max_new_tokens=5, do_sample=False, on_token=seen.append)
        >>> result.sequences[0, 3:].tolist() == seen
        True
        """
        ends = check_request(
            self.target, self.draft, input_ids, max_new_tokens, do_sample, temperature, eos_token_id, generator,
            self.audit_rate,
        )  # fmt: skip
        device = input_ids.device
        rule: Rule = Greedy()
        if do_sample:
            assert generator is not None  # checked
            rule = Sampling(temperature, generator)
        clock = Clock(device if profile else None)
        tokens: list[int] = input_ids[0].tolist()
        prompt, limit = len(tokens), len(tokens) + max_new_tokens

        with ExitStack() as stack:
            target = TargetModel(self.target, _cache(), self._planner, clock)
            auditor = self._auditor(generator, temperature if do_sample else 1.0, clock)
            if self._planner is not None:
                stack.enter_context(sparse_attention(self.target))
            logits = target.prefill(input_ids)
            tokens += rule.draw(logits, rule.laws(logits)).tolist()
            open_end = _emit(tokens, prompt, limit, ends, on_token)
            draft = DraftModel(self.draft, _cache(), clock)
            speculation = Speculation(draft, target, rule, self.gamma, auditor, device, clock)
            if open_end:
                draft.prefill(input_ids)
                if self._planner is not None:
                    draft.capture = stack.enter_context(capture_attention(self.draft, layers=self._captured))
            while open_end:
                done = len(tokens)
                if self.lossless:
                    speculation.block(tokens, limit - done, self.verify_every, ends)
                else:
                    speculation.step(tokens, limit - done)
                open_end = _emit(tokens, done, limit, ends, on_token)
        new = torch.tensor([tokens[prompt:]], device=device)
        stats = self._stats(len(tokens) - prompt, speculation, target, clock, auditor)
        return DecodingResult(torch.cat([input_ids, new], 1), stats)

    def _auditor(self, generator: torch.Generator | None, temperature: float, clock: Clock) -> StepAuditor | None:
        """The auditor, with coins of its own: the same generator gives the same tokens with and without an audit."""
        if generator is None:
            return None
        seed = torch.randint(2**32, (), generator=generator, device=generator.device).item()
        if not self.audit_rate:
            return None
        own = TargetModel(self.target, _cache(), None, clock) if self.audit_reference == "prompt" else None
        return StepAuditor(self.audit_rate, torch.Generator().manual_seed(int(seed)), temperature, own)

    def _stats(
        self, count: int, speculation: Speculation, target: TargetModel, clock: Clock, auditor: StepAuditor | None
    ) -> DecodingStats:
        reads, config = target.reads, self.target.config
        return DecodingStats(
            tokens=count,
            steps=speculation.steps,
            drafted=speculation.drafted,
            accepted=speculation.accepted,
            verified=speculation.verified,
            kept=speculation.kept,
            reads=tuple(reads.read),
            dense_reads=reads.dense,
            dense_layers=self.dense_layers,
            row_bytes=reads.row_bytes,
            kv_bytes=kv_bytes_per_token(config, self.target.dtype) // config.num_hidden_layers,
            seconds=dict(clock.seconds),
            audit=None if auditor is None else auditor.result(),
        )


def _cache() -> "Cache":
    from transformers import DynamicCache

    return DynamicCache()


def _emit(
    tokens: list[int], done: int, limit: int, ends: Container[int], on_token: Callable[[int], object] | None
) -> bool:
    """Cut the tokens at the limit and after the first one that ends the text, hand the new ones over; more to come?"""
    end = next((i + 1 for i in range(done, min(len(tokens), limit)) if tokens[i] in ends), None)
    del tokens[limit if end is None else end :]
    if on_token is not None:
        for token in tokens[done:]:
            on_token(token)
    return end is None and len(tokens) < limit
