"""Every policy on the same documents, under one meter, at equal reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.attention._budgets import matched_budgets
from selectlib.attention._evaluate import masked_perplexity
from selectlib.attention._meter import Charge, KVAccessMeter
from selectlib.attention._policies import SelectionPolicy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOLERANCE = 0.01  # relative, between what a policy was to read and what it has read
_TRIALS = 6


@dataclass(frozen=True)
class Score:
    """What a policy achieved on some documents, and what it read.

    Attributes
    ----------
    losses : Tensor, shape (b,)
        Mean loss of each document after the prefill [nats a token].
    right : Tensor of bool, shape (b, n), or None
        Whether the most likely token was the answer.
    meter : KVAccessMeter
        Its reads, one forward a document.

    Examples
    --------
    >>> from transformers import LlamaConfig
    >>> score = Score(torch.tensor([1.0, 3.0]).double(), None, KVAccessMeter(LlamaConfig()))
    >>> round(score.perplexity, 3)
    7.389
    """

    losses: Float[Tensor, "b"]
    right: Bool[Tensor, "b n"] | None
    meter: KVAccessMeter

    @property
    def perplexity(self) -> float:
        """exp of the mean loss; documents of one length weigh the same."""
        return self.losses.mean().exp().item()

    @property
    def accuracies(self) -> Float[Tensor, "b"]:
        """Share of right answers of each document."""
        if self.right is None:
            raise ValueError("accuracies need answers: none were given")
        return self.right.double().mean(1)


def score_policy(
    target: "PreTrainedModel",
    input_ids: Int[Tensor, "b t"],
    policy: SelectionPolicy | None,
    *,
    answers: Int[Tensor, "b n"] | None = None,
    draft: "PreTrainedModel | None" = None,
    budgets: int | Int[Tensor, "b layers t"] | None = None,
    gamma: int = 4,
    prefill: float | int = 0.1,
    dense_layers: int = 2,
    renormalize: bool = True,
) -> Score:
    """Evaluate one policy and count its reads.

    Parameters
    ----------
    target, input_ids, policy, draft, budgets, gamma, prefill, dense_layers, renormalize
        As for `masked_perplexity`.
    answers : Tensor of int, shape (b, n), optional
        Positions of tokens that are to be guessed from what stands before; at least 1.

    Returns
    -------
    Score
        On the CPU.

    Raises
    ------
    ValueError, ImportError
        As `masked_perplexity`.

    Examples
    --------
    >>> from selectlib.attention import needle_documents, tiny_llama_pair
    >>> pair = tiny_llama_pair(pretrained=False)
    >>> documents = needle_documents(torch.arange(300) % 512, 2, 64, seed=100)
    >>> score = score_policy(pair.target, documents.ids, None, answers=documents.answers)
    >>> score.losses.shape, score.right.shape, score.meter.reduction("all")
    (torch.Size([2]), torch.Size([2, 8]), 0.0)
    """
    meter = KVAccessMeter(target.config)
    positions = None if answers is None else answers - 1
    result = masked_perplexity(
        target, input_ids, policy, draft=draft, budgets=budgets, gamma=gamma, prefill=prefill,
        dense_layers=dense_layers, meter=meter, positions=positions, renormalize=renormalize,
    )  # fmt: skip
    right = None
    if answers is not None:
        assert result.logits is not None  # asked for
        right = (result.logits.argmax(-1) == input_ids.gather(1, answers)).cpu()
    return Score(result.nll.double().nanmean(1).cpu(), right, meter)


def leaderboard(
    target: "PreTrainedModel",
    input_ids: Int[Tensor, "b t"],
    reference: Score,
    rivals: Mapping[str, SelectionPolicy],
    *,
    charge: Charge = "union",
    mode: Literal["uniform", "layer-matched"] = "uniform",
    answers: Int[Tensor, "b n"] | None = None,
    draft: "PreTrainedModel | None" = None,
    gamma: int = 4,
    prefill: float | int = 0.1,
    dense_layers: int = 2,
) -> dict[str, Score]:
    """Evaluate policies of fixed size at the reads of a reference, on the same documents.

    What the reference pays is its steps' read lists. A rival gets budgets that add up to the same. Where its own reads
    come out otherwise, because it keeps whole pages, or its queries choose for themselves and their union is charged,
    its budgets are scaled until they agree to a hundredth.

    Parameters
    ----------
    target, input_ids, answers, draft, gamma, prefill, dense_layers
        As for `score_policy`, and as the reference had them.
    reference : Score
        Of the policy to match, on the same documents.
    rivals : mapping of str to SelectionPolicy
        Policies with budgets, by name.
    charge : {"union", "query"}, default "union"
        What a rival pays for: what the queries of a step read together, or (gentler) what each reads for itself, on
        average.
    mode : {"uniform", "layer-matched"}, default "uniform"
        How the budget is shared out, as in `matched_budgets`.

    Returns
    -------
    dict of str to Score
        In the order of `rivals`.

    Raises
    ------
    ValueError
        If a rival does not take budgets, or as `score_policy` and `matched_budgets`.

    Notes
    -----
    One to six evaluations a rival. Metadata counts where the policy pays it from its budget (``metadata_in_budget``). A
    rival that cannot read as little as it may, because of its smallest page or its metadata, reads what it must: the
    score's meter says how much.

    Examples
    --------
    >>> from selectlib.attention import QuestPolicy, SpecAttnPolicy, WindowPolicy, tiny_llama_pair
    >>> pair = tiny_llama_pair(pretrained=False)
    >>> ids, setting = torch.arange(120)[None] % 50, {"dense_layers": 0, "draft": pair.draft}
    >>> spec = score_policy(pair.target, ids, SpecAttnPolicy([0, 1, 1, 2], p=0.5), **setting)
    >>> rivals = {"window": WindowPolicy(), "Quest": QuestPolicy(page=4)}
    >>> table = leaderboard(pair.target, ids, spec, rivals, **setting)
    >>> [abs(score.meter.reduction() - spec.meter.reduction()) < 0.02 for score in table.values()]
    [True, True]
    """
    for name, policy in rivals.items():
        if not policy.needs_budgets:
            raise ValueError(f"rivals must take budgets; {name!r} is a {type(policy).__name__}, which does not")
    fair, starts = matched_budgets(reference.meter, mode), reference.meter.counts("union")[1]
    aim = reference.meter.reduction()
    table = {}
    for name, policy in rivals.items():
        factor = 1.0
        for _ in range(_TRIALS):
            score = score_policy(
                target, input_ids, policy, answers=answers, draft=draft, budgets=_scaled(fair, factor, policy, starts),
                gamma=gamma, prefill=prefill, dense_layers=dense_layers,
            )  # fmt: skip
            ratio = (1 - aim) / (1 - _paid(score.meter, policy, charge))
            if abs(ratio - 1) < _TOLERANCE:
                break
            factor *= ratio
        table[name] = score
    return table


def _scaled(
    budgets: Int[Tensor, "b layers t"], factor: float, policy: SelectionPolicy, starts: Int[Tensor, "b t"]
) -> Int[Tensor, "b layers t"]:
    """Budgets times a factor. A policy of whole pages gets offsets that spread its rounding evenly over the steps."""
    page = getattr(policy, "page", 1)
    if factor == 1.0 and page == 1:
        return budgets
    layers = torch.arange(budgets.shape[1], dtype=torch.float64)[:, None]
    offsets = page * ((layers * 0.618034 + starts[:, None] * 0.414214) % 1)  # irrational steps fill [0, 1) evenly
    return torch.where(budgets > 0, budgets * factor + offsets, 0).long()


def _paid(meter: KVAccessMeter, policy: SelectionPolicy, charge: Charge) -> float:
    """Share of the dense reads that a policy did not need to pay."""
    if not getattr(policy, "metadata_in_budget", False):
        return meter.reduction("sparse", charge)
    sparse = meter.sparse_layers
    tokens = meter.reads(charge)[:, sparse] + meter.metadata_bytes(charge)[:, sparse] / meter.bytes_per_token
    return 1 - (tokens.sum() / meter.dense_reads(charge)[:, sparse].sum()).item()
