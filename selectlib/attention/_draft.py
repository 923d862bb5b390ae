"""The draft model at work: it drafts tokens and keeps the attention that it paid on the way."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selectlib.attention._capture import Capture
from selectlib.attention._clock import Clock
from selectlib.attention._loop import Proposal
from selectlib.attention._models import crop_cache
from selectlib.attention._rules import Rule

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


class DraftModel:
    """A draft with its cache, which may lag behind the committed tokens: what is missing is read first.

    After a step whose drafts were all accepted two tokens are missing, the last draft and the one after it.
    """

    def __init__(self, model: "PreTrainedModel", cache: "Cache", clock: Clock) -> None:
        self.model, self.cache, self.clock = model, cache, clock
        self.capture: Capture | None = None  # where there is one, proposals come with rows

    @torch.inference_mode()
    def prefill(self, prompt: Tensor) -> None:
        """Read the prompt (1, t)."""
        self.model(prompt, cache=self.cache, use_cache=True, logits_to_keep=1)

    def propose(self, tokens: list[int], gamma: int, rule: Rule) -> Proposal:
        with self.clock("draft"):
            device, start = self.model.device, len(tokens) - 1
            ids = torch.tensor([tokens[self.cache.get_seq_length() :]], device=device)
            rows = self._no_rows(gamma, start + gamma)
            drafted: list[Tensor] = []
            laws: list[Tensor] = []
            for s in range(gamma):
                logits = self.model(ids, cache=self.cache, use_cache=True, logits_to_keep=1).logits[0]
                if rows is not None and self.capture is not None:
                    for row, weights in zip(rows[:, s], self.capture.weights, strict=True):
                        row[: start + s + 1] = weights[0, -1]
                law = rule.laws(logits)
                drafted.append(rule.draw(logits, law))
                if law is not None:
                    laws.append(law)
                ids = drafted[-1][None]
            return Proposal(torch.cat(drafted), torch.cat(laws) if laws else None, rows)

    def crop(self, length: int) -> None:
        crop_cache(self.cache, min(length, self.cache.get_seq_length()))

    def _no_rows(self, gamma: int, width: int) -> Tensor | None:
        if self.capture is None:
            return None
        return torch.zeros(len(self.capture.layers), gamma, width, device=self.model.device)
