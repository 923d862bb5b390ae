"""The decoding loop on toy models: what it emits in thousands of runs, and the law that it should follow."""

import itertools
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.attention._law import ToyModel, toy_keep
from selectlib.attention._loop import Proposal, Speculation
from selectlib.attention._rules import Rule, Sampling
from selectlib.attention._selection import Mask


def continuation_law(model: ToyModel, committed: Int[Tensor, "c"], count: int) -> Float[Tensor, "cells"]:
    """Enumerate the law of the next tokens under dense attention.

    Parameters
    ----------
    model : ToyModel
        With room for ``c + count`` tokens.
    committed : Tensor of int64, shape (c,)
        Tokens so far, c >= 1.
    count : int
        How many tokens follow, at least 1.

    Returns
    -------
    Tensor of float64, shape (v ** count,)
        Probabilities of all continuations in lexicographic order; they sum to 1.

    Raises
    ------
    IndexError
        If the model is too short.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> model = ToyModel.random(vocab=3, length=5, generator=generator(100))
    >>> continuation_law(model, torch.tensor([0, 1]), 2).shape
    torch.Size([9])
    """
    paths = torch.tensor(list(itertools.product(range(model.scores.shape[0]), repeat=count)))
    laws = model.laws(torch.cat([committed.expand(len(paths), -1), paths], 1))[:, len(committed) - 1 : -1]
    return laws.gather(2, paths[..., None])[..., 0].prod(1)


def continuation_counts(
    draft: ToyModel,
    target: ToyModel,
    committed: Int[Tensor, "c"],
    count: int,
    runs: int,
    *,
    gamma: int,
    generator: torch.Generator,
    mask: Mask | None = None,
    p: float = 0.7,
    verify_every: int | None = None,
    rule: Callable[[float, torch.Generator], Rule] = Sampling,
) -> Int[Tensor, "cells"]:
    """Run the loop of `SpecAttnDecoder` on a toy pair many times, and count what it emits.

    Parameters
    ----------
    draft, target : ToyModel
        Models over one vocabulary, with room for ``c + count + verify_every + 2 gamma`` tokens.
    committed : Tensor of int64, shape (c,)
        The prompt, c >= 1.
    count : int
        How many new tokens are looked at, at least 1.
    runs : int
        Continuations, at least 1.
    gamma : int
        Drafted tokens a step.
    generator : torch.Generator
        Source of the draws, on the CPU.
    mask : {"causal", "published"}, optional
        How the draft's rows mask the target. Default: the target is dense.
    p : float, default 0.7
        Attention mass that is kept.
    verify_every : int, optional
        Tokens after which the dense target verifies what the sparse one emitted: the loop of ``lossless=True``.
        Default: never.
    rule : callable, default the decoder's own
        From temperature and generator to the rule by which tokens are drawn and accepted.

    Returns
    -------
    Tensor of int64, shape (v ** count,)
        How often each continuation occurred, in the order of `continuation_law`.

    Raises
    ------
    IndexError
        If the models are too short.

    Notes
    -----
    The same loop that the decoder runs, one sequence at a time; laws are computed once for each sequence that occurs.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> source, prompt = generator(100), torch.tensor([0, 1])
    >>> pair = [ToyModel.random(vocab=3, length=9, generator=source) for _ in range(2)]
    >>> counts = continuation_counts(*pair, prompt, 2, 200, gamma=2, generator=source)
    >>> bool(((counts / 200 - continuation_law(pair[1], prompt, 2)).abs() < 0.15).all())
    True
    """
    prompt, vocab = committed.tolist(), draft.scores.shape[0]
    target_side = _ToyTarget(target, draft, mask, p)
    loop = Speculation(_ToyDraft(draft), target_side, rule(1.0, generator), gamma)
    cells = []
    for _ in range(runs):
        target_side.held = prompt[:-1]
        tokens = list(prompt)
        while (done := len(tokens) - len(prompt)) < count:
            room = count + gamma - done  # enough that no step is cut short before the last token that is looked at
            if verify_every is None:
                loop.step(tokens, room)
            else:
                loop.block(tokens, room, verify_every, ())
        cell = 0
        for token in tokens[len(prompt) : len(prompt) + count]:
            cell = cell * vocab + token
        cells.append(cell)
    return torch.tensor(cells).bincount(minlength=vocab**count)


class _ToyDraft:
    def __init__(self, model: ToyModel) -> None:
        self.law = cache(lambda tokens: model.laws(torch.tensor([tokens]))[0, -1:].log())

    def propose(self, tokens: list[int], gamma: int, rule: Rule) -> Proposal:
        drafted: list[int] = []
        laws = []
        for _ in range(gamma):
            logits = self.law((*tokens, *drafted))
            law = rule.laws(logits)
            assert law is not None
            laws.append(law)
            drafted.append(int(rule.draw(logits, law)))
        return Proposal(torch.tensor(drafted), torch.cat(laws), torch.empty(0))  # the target knows the rows itself

    def crop(self, length: int) -> None:
        """Nothing is held."""


class _ToyTarget:
    def __init__(self, model: ToyModel, draft: ToyModel, mask: Mask | None, p: float) -> None:
        def logits(tokens: tuple[int, ...], start: int, sparse: bool) -> Tensor:
            ids = torch.tensor([tokens])
            keep = toy_keep(draft, ids, start, p, mask) if sparse and mask is not None else None
            return model.laws(ids, keep)[0, start:].log()

        self.held: list[int] = []
        self.logits = cache(logits)

    def score(self, queries: Tensor, rows: Tensor | None) -> Tensor:
        return self._read(queries, rows is not None)

    def verify(self, queries: Tensor) -> Tensor:
        return self._read(queries, False)

    look = verify

    def crop(self, length: int) -> None:
        self.held = self.held[:length]

    def _read(self, queries: Tensor, sparse: bool) -> Tensor:
        start, self.held = len(self.held), self.held + queries.tolist()
        return self.logits(tuple(self.held), start, sparse)
