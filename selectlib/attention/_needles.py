"""Documents in which facts are planted early and asked for late."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib.seeding import generator, uniform_indices


@dataclass(frozen=True)
class NeedleDocuments:
    """Documents with planted facts.

    Attributes
    ----------
    ids : Tensor of int64, shape (n, length)
        The documents.
    answers : Tensor of int64, shape (n, asks)
        Position of each answer, in increasing order. The token before it asks; the logits there predict the answer.
    needles : Tensor of int64, shape (n, asks)
        Position in the first half where the token of the same answer was planted.

    Examples
    --------
    >>> documents = needle_documents(torch.zeros(100, dtype=torch.int64), 2, 40, seed=100)
    >>> documents.ids.shape, documents.answers.shape, documents.targets.shape
    (torch.Size([2, 40]), torch.Size([2, 8]), torch.Size([2, 8]))
    """

    ids: Int[Tensor, "n length"]
    answers: Int[Tensor, "n asks"]
    needles: Int[Tensor, "n asks"]

    @property
    def targets(self) -> Int[Tensor, "n asks"]:
        """The right answers."""
        return self.ids.gather(1, self.answers)


def needle_names(classes: int = 8, entities: int = 16) -> list[str]:
    """Name the tokens that needles add to a text's vocabulary, in the order of their numbers.

    Parameters
    ----------
    classes : int, default 8
        Classes of facts.
    entities : int, default 16
        Facts of a class.

    Returns
    -------
    list of str
        ``classes * entities`` entities, class by class, then one asking token a class.

    Examples
    --------
    >>> needle_names(2, 2)
    ['⟨0.0⟩', '⟨0.1⟩', '⟨1.0⟩', '⟨1.1⟩', '⟨0?⟩', '⟨1?⟩']
    """
    named = [f"⟨{c}.{e}⟩" for c in range(classes) for e in range(entities)]
    return named + [f"⟨{c}?⟩" for c in range(classes)]


def needle_documents(
    tokens: Int[Tensor, "m"],
    n: int,
    length: int,
    *,
    classes: int = 8,
    entities: int = 16,
    vocab_size: int = 512,
    seed: int | torch.Generator,
) -> NeedleDocuments:
    """Plant one entity of each class in the first half of a document, and ask for each class once in the second half.

    An entity is one token. It is asked for by the token of its class, and the answer is that entity again. The filler
    around is running text. Nothing but the planted token tells the answer: each class is planted once and asked once.

    Parameters
    ----------
    tokens : Tensor of int64, shape (m,)
        Text to fill with, numbers below `vocab_size`.
    n : int
        Documents, at least 1. Their fillers are disjoint pieces of the text.
    length : int
        Tokens of a document, at least ``4 * classes``.
    classes : int, default 8
        Classes of entities, at least 1.
    entities : int, default 16
        Entities of a class, at least 2.
    vocab_size : int, default 512
        Tokens of the text's vocabulary. Entity ``e`` of class ``c`` is ``vocab_size + c * entities + e``, and the token
        that asks for the class is ``vocab_size + classes * entities + c``.
    seed : int or torch.Generator
        Source of the draws; a generator of the CPU.

    Returns
    -------
    NeedleDocuments
        Documents on the device of `tokens`, with the positions of answers and needles.

    Raises
    ------
    ValueError
        If a size is out of range, the text is shorter than `n` fillers, or holds numbers outside the vocabulary.

    Notes
    -----
    Time and memory O(n length).

    Examples
    --------
    >>> text = torch.arange(200) % 9
    >>> documents = needle_documents(text, 3, 32, classes=2, entities=4, vocab_size=9, seed=100)
    >>> asked = documents.ids.gather(1, documents.answers - 1) - 9 - 2 * 4
    >>> bool(((documents.targets - 9) // 4 == asked).all())
    True
    """
    filler = length - 3 * classes
    _check(tokens, n, length, classes, entities, vocab_size, filler)
    source = seed if isinstance(seed, torch.Generator) else generator(seed)
    half, rows = length // 2, torch.arange(n)[:, None]

    planted = _distinct(n, half, classes, source)  # position of each class's needle
    entity = vocab_size + torch.arange(classes) * entities
    entity = entity + uniform_indices(entities, n * classes, generator=source).view(n, classes)
    asked = _distinct(n, classes, classes, source)  # classes in the order in which they are asked
    # Gaps of at least two between asking tokens leave room for the answers.
    ask = half + _distinct(n, length - half - classes, classes, source).sort(1).values + torch.arange(classes)

    ids = torch.full((n, length), -1)
    ids[rows, planted] = entity
    ids[rows, ask] = vocab_size + classes * entities + asked
    ids[rows, ask + 1] = entity.gather(1, asked)
    stride = len(tokens) // n
    start = torch.arange(n) * stride + uniform_indices(stride - filler + 1, n, generator=source)
    ids = ids.to(tokens.device)
    ids[ids < 0] = tokens[(start[:, None] + torch.arange(filler)).to(tokens.device)].flatten()
    return NeedleDocuments(ids, (ask + 1).to(tokens.device), planted.gather(1, asked).to(tokens.device))


def _distinct(n: int, of: int, k: int, source: torch.Generator) -> Tensor:
    """For each of `n` rows, `k` distinct numbers below `of` in random order."""
    return torch.rand(n, of, generator=source, dtype=torch.float64).argsort(1)[:, :k]


def _check(tokens: Tensor, n: int, length: int, classes: int, entities: int, vocab_size: int, filler: int) -> None:
    if n < 1 or classes < 1 or entities < 2:
        raise ValueError(f"n and classes must be at least 1, entities at least 2; got {n}, {classes}, {entities}")
    if length < 4 * classes:
        raise ValueError(f"length must be at least {4 * classes} tokens for {classes} classes, got {length}")
    if tokens.ndim != 1 or tokens.dtype != torch.int64:
        raise ValueError(f"tokens must be int64 of one dimension, got {tokens.dtype} of shape {tuple(tokens.shape)}")
    if len(tokens) < n * filler:
        raise ValueError(f"tokens must hold {n} fillers of {filler}, {n * filler} in all; got {len(tokens)}")
    if int(tokens.min()) < 0 or int(tokens.max()) >= vocab_size:
        raise ValueError(f"tokens must be from 0 to {vocab_size - 1}, got {int(tokens.min())} to {int(tokens.max())}")
