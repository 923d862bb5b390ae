"""The loop of speculative decoding over any draft and any target, of one level and of two."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from selectlib.attention._clock import Clock
from selectlib.attention._rules import Rule


@dataclass(frozen=True)
class Proposal:
    """Drafted tokens (g,), their laws (g, v) where tokens are drawn, the draft's attention rows (n, g, l)."""

    tokens: Tensor
    laws: Tensor | None
    rows: Tensor | None


@runtime_checkable
class Draft(Protocol):
    """A model that drafts."""

    def propose(self, tokens: list[int], gamma: int, rule: Rule) -> Proposal:
        """Draft after the committed tokens."""
        ...

    def crop(self, length: int) -> None:
        """Forget all but the first tokens; no error if there are fewer."""
        ...


@runtime_checkable
class Target(Protocol):
    """A model that verifies. It has read all committed tokens but the last, and reads queries (q,) to logits (q, v)."""

    def score(self, queries: Tensor, rows: Tensor | None) -> Tensor:
        """Read a step's queries: sparsely where there are rows of the draft, else densely."""
        ...

    def verify(self, queries: Tensor) -> Tensor:
        """Read the queries of a block densely."""
        ...

    def look(self, queries: Tensor) -> Tensor:
        """Read queries densely, off the account."""
        ...

    def crop(self, length: int) -> None:
        """Forget all but the first tokens; no error if there are fewer."""
        ...


@runtime_checkable
class Auditor(Protocol):
    """Compares the sparse target with the dense one, when it likes to."""

    def expect(self, target: Target, tokens: list[int], drafted: Tensor) -> Tensor | None:
        """Dense logits of the step's queries, or None; the target is left as it was."""
        ...

    def record(self, sparse: Tensor, dense: Tensor) -> None:
        """Compare the logits whose tokens were emitted."""
        ...


@dataclass
class Speculation:
    """A draft and a target at work on one sequence.

    `step` and `block` extend a list of committed tokens and return how many they added. Whatever they add is final:
    both caches hold the committed tokens but the last, the draft's perhaps fewer.
    """

    draft: Draft
    target: Target
    rule: Rule
    gamma: int
    auditor: Auditor | None = None
    device: torch.device | str = "cpu"
    clock: Clock = field(default_factory=lambda: Clock(None))
    steps: int = field(default=0, init=False)
    drafted: int = field(default=0, init=False)
    accepted: int = field(default=0, init=False)
    verified: int = field(default=0, init=False)  # tokens of blocks that a second level saw
    kept: int = field(default=0, init=False)  # and accepted

    @torch.inference_mode()
    def step(self, tokens: list[int], room: int) -> Tensor | None:
        """Draft, verify, commit at least one token; returns the laws that the new tokens were drawn from.

        Drafts are cut to `room` tokens, at least one; the step may still add one token more than `room` when that is 1.
        """
        proposal = self.draft.propose(tokens, min(self.gamma, max(1, room - 1)), self.rule)
        drafted = proposal.tokens
        dense = None if self.auditor is None else self.auditor.expect(self.target, tokens, drafted)
        last = torch.tensor(tokens[-1:], device=self.device)
        logits = self.target.score(torch.cat([last, drafted]), proposal.rows)
        new, laws = self._commit(tokens, drafted, proposal.laws, logits)
        self.steps += 1
        self.drafted += len(drafted)
        self.accepted += new - 1
        if self.auditor is not None and dense is not None:
            self.auditor.record(logits[:new], dense[:new])
        return laws

    @torch.inference_mode()
    def block(self, tokens: list[int], room: int, every: int, ends: Container[int]) -> None:
        """Let the sparse target draft `every` tokens or more in steps, and verify them densely.

        Each token of a step has the law of the sparse target under the mask of its query. If that mask follows from the
        tokens before, as with causal masks, the block is a draft with known laws, and what is committed has the law of
        the dense target.
        """
        begin, laws = len(tokens), []
        while len(tokens) - begin < min(every, room):
            seen = len(tokens)
            laws.append(self.step(tokens, room - (seen - begin)))
            if any(token in ends for token in tokens[seen:]):
                break
        stop = next((i + 1 for i in range(begin, len(tokens)) if tokens[i] in ends), len(tokens))
        block = tokens[begin : min(stop, begin + room)]
        del tokens[begin:]

        self.target.crop(begin - 1)  # what the sparse passes wrote goes, and the dense pass writes it anew
        queries = torch.tensor(tokens[-1:] + block, device=self.device)
        drawn = [law for law in laws if law is not None]
        q = torch.cat(drawn)[: len(block)] if drawn else None
        new, _ = self._commit(tokens, queries[1:], q, self.target.verify(queries))
        self.verified += len(block)
        self.kept += new - 1

    def _commit(
        self, tokens: list[int], drafted: Tensor, q: Tensor | None, logits: Tensor
    ) -> tuple[int, Tensor | None]:
        """Verify, add the tokens, and roll both caches back to the committed ones but the last."""
        with self.clock("verify"):
            p = self.rule.laws(logits)
            emitted = [t for t in self.rule.verify(drafted, q, logits, p).tolist() if t >= 0]
        tokens += emitted
        for side in (self.draft, self.target):
            side.crop(len(tokens) - 1)
        return len(emitted), None if p is None else p[: len(emitted)]
