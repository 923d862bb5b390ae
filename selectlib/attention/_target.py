"""The target model at work: it verifies with the sparse masks that the draft's attention gives, or densely."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selectlib.attention._clock import Clock
from selectlib.attention._interface import register_sparse_attention
from selectlib.attention._models import crop_cache
from selectlib.attention._plan import SparsePlan
from selectlib.attention._selection import Mask, draft_keep
from selectlib.attention._stats import Reads

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


_NAME = "selectlib_decoding"  # its own: what a caller registered stays as it is


@dataclass(frozen=True)
class Planner:
    """From the draft's rows to the plan of a step: each target layer gets the mask of one captured draft layer."""

    sources: Sequence[int | None]  # for each target layer, which of the rows' layers; None: dense
    p: float
    mask: Mask
    sink: int
    recent: int
    renormalize: bool

    def plan(self, rows: Tensor, start: int, queries: int) -> SparsePlan:
        """The plan of a step that began with a cache of `start` tokens."""
        at = torch.arange(start, start + queries, device=rows.device)
        keep = draft_keep(rows, at[: rows.shape[1]], at, start, self.p, self.mask, sink=self.sink, recent=self.recent)
        masks = keep.unsqueeze(1).unbind(0)  # one tensor a draft layer, shared by its target layers
        return SparsePlan([None if i is None else masks[i] for i in self.sources], renormalize=self.renormalize)


class TargetModel:
    """A target with its cache, and the account of what it read of it."""

    def __init__(self, model: "PreTrainedModel", cache: "Cache", planner: Planner | None, clock: Clock) -> None:
        self.model, self.cache, self.planner, self.clock = model, cache, planner, clock
        self.reads = Reads(model.config.num_hidden_layers)

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return self.cache.get_seq_length()

    @torch.inference_mode()
    def prefill(self, prompt: Tensor) -> Tensor:
        """Read the prompt (1, t) densely; logits (1, v) after it."""
        return self.model(prompt, cache=self.cache, use_cache=True, logits_to_keep=1).logits[0]

    def score(self, queries: Tensor, rows: Tensor | None) -> Tensor:
        plan, start = None, self.length
        if self.planner is not None and rows is not None:
            with self.clock("select"):
                plan = self.planner.plan(rows, start, len(queries))
                self.reads.row_bytes += 4 * rows[..., :start].numel()
        self.reads.step(start, plan)
        with self.clock("verify"):
            return self._forward(queries, sparse_plan=plan) if plan is not None else self._forward(queries)

    def verify(self, queries: Tensor) -> Tensor:
        self.reads.verification(self.length)
        with self.clock("verify"):
            return self._forward(queries)

    def look(self, queries: Tensor) -> Tensor:
        return self._forward(queries)

    def _forward(self, queries: Tensor, **plan: SparsePlan) -> Tensor:
        return self.model(queries[None], cache=self.cache, use_cache=True, **plan).logits[0]

    def crop(self, length: int) -> None:
        crop_cache(self.cache, min(length, self.cache.get_seq_length()))


@contextmanager
def sparse_attention(model: "PreTrainedModel") -> Iterator[None]:
    """The model with sparse attention; its own implementation returns at the end."""
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(register_sparse_attention(_NAME))
        yield
    finally:
        model.set_attn_implementation(before)
