"""How tokens are chosen from logits: the most likely one, or a draw at a temperature."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from selectlib.attention._accept import accept, greedy_accept


@runtime_checkable
class Rule(Protocol):
    """How a model's logits become tokens, when drafted and when verified."""

    def laws(self, logits: Tensor) -> Tensor | None:
        """Laws (..., v) that tokens are drawn from; None where nothing is drawn."""
        ...

    def draw(self, logits: Tensor, laws: Tensor | None) -> Tensor:
        """Tokens (n,) after logits and laws of shape (n, v)."""
        ...

    def verify(self, drafted: Tensor, q: Tensor | None, logits: Tensor, p: Tensor | None) -> Tensor:
        """Tokens (g + 1,), -1 after the last, from drafts (g,) of laws q (g, v) and the target's (g + 1, v)."""
        ...


class Greedy:
    """The most likely token; nothing is drawn."""

    def laws(self, logits: Tensor) -> None:
        return None

    def draw(self, logits: Tensor, laws: Tensor | None) -> Tensor:
        return logits.argmax(-1)

    def verify(self, drafted: Tensor, q: Tensor | None, logits: Tensor, p: Tensor | None) -> Tensor:
        return greedy_accept(drafted[None], logits[None])[0][0]


@dataclass(frozen=True)
class Sampling:
    """A draw from the softmax of the logits over a temperature."""

    temperature: float
    generator: torch.Generator

    def laws(self, logits: Tensor) -> Tensor:
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return (logits if self.temperature == 1 else logits / self.temperature).softmax(-1)

    def draw(self, logits: Tensor, laws: Tensor | None) -> Tensor:
        assert laws is not None
        return torch.multinomial(laws, 1, generator=self.generator)[:, 0]

    def verify(self, drafted: Tensor, q: Tensor | None, logits: Tensor, p: Tensor | None) -> Tensor:
        assert q is not None and p is not None
        return accept(drafted[None], q[None], p[None], self.generator)[0][0]
