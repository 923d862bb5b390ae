from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from selectlib.seeding import uniform_indices

_ASK, _ANSWER = 0, 1


@dataclass(frozen=True)
class PlantedReversal:
    """A pool in which only some examples teach the task, though most look like it; see `planted_reversal`.

    Attributes
    ----------
    pool : Tensor of int64, shape (n, t)
        Sequences ``[ask] x1 .. x6 [answer] y1 .. y6``, in random order; t = 14 for questions of six symbols.
    kinds : Tensor of int64, shape (n,)
        What each sequence is, an index into `names`.
    targets, held_out : Tensors of int64, shapes (m, t) and (h, t)
        Right sequences for the selection, and for the evaluation; no question occurs twice, here or in the pool.
    names : tuple of str
        The kinds: right reversals, wrong answers (any other order of the question's symbols), copies of the question,
        and other words.
    symbols : int
        Size of the vocabulary of the questions, and of that of the other words.
    """

    names: ClassVar[tuple[str, ...]] = ("correct", "wrong answer", "copy", "other words")
    pool: Int[Tensor, "n t"]
    kinds: Int[Tensor, "n"]
    targets: Int[Tensor, "m t"]
    held_out: Int[Tensor, "h t"]
    symbols: int

    @property
    def vocab_size(self) -> int:
        """Number of different tokens: both vocabularies, and the two marks."""
        return 2 + 2 * self.symbols

    @staticmethod
    def answers(tokens: Int[Tensor, "b t"]) -> tuple[Int[Tensor, "b t"], Bool[Tensor, "b t"]]:
        """Return examples in which only the tokens of the answer count: the tokens, and the mask."""
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        mask[:, 1 + tokens.shape[1] // 2 :] = True
        return tokens, mask

    def words(self, tokens: Int[Tensor, "b t"]) -> list[str]:
        """Write each sequence as a text of t words, for selectors that read text."""
        written = ["ask", "answer", *(f"{kind}{i}" for kind in "so" for i in range(self.symbols))]
        return [" ".join(written[token] for token in row) for row in tokens.tolist()]


def planted_reversal(
    n: int = 8_000,
    *,
    length: int = 6,
    symbols: int = 30,
    targets: int = 300,
    held_out: int = 1_000,
    generator: torch.Generator,
) -> PlantedReversal:
    """Make the planted pool: the task is to give a few symbols in reverse order.

    A tenth of the pool are right reversals. Four tenths have the same form, but the answer is another order of the
    symbols. Two tenths copy the question instead. The rest are words of another vocabulary.

    Parameters
    ----------
    n : int, default 8_000
        Sequences in the pool, at least 10.
    length : int, default 6
        Symbols of a question, at least 2.
    symbols : int, default 30
        Different symbols, at least 2. There must be four times as many questions as are needed.
    targets, held_out : int, default 300 and 1_000
        Right sequences beside the pool, at least 1 each.
    generator : torch.Generator
        Source of the draws, on the CPU.

    Returns
    -------
    PlantedReversal
        On the CPU.

    Raises
    ------
    ValueError
        If a size is out of range.

    Notes
    -----
    Symbols are drawn independently; questions that read the same backwards are left out, so that copies are
    wrong.

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> made = planted_reversal(10, targets=1, held_out=1, generator=generator(100))
    >>> made.kinds.bincount().tolist()
    [1, 4, 2, 3]
    >>> made.words(made.targets)
    ['ask s3 s11 s18 s9 s29 s10 answer s10 s29 s9 s18 s11 s3']
    """
    least = {"n": 10, "length": 2, "symbols": 2, "targets": 1, "held_out": 1}
    for (name, bound), value in zip(least.items(), (n, length, symbols, targets, held_out), strict=True):
        if value < bound:
            raise ValueError(f"{name} must be at least {bound}, got {value}")
    counts = [n // 10, 4 * n // 10, 2 * n // 10]
    needed = sum(counts) + targets + held_out
    if 4 * needed > symbols**length or symbols**length > 2**62:
        raise ValueError(
            f"{symbols} symbols in questions of length {length} make {symbols**length} questions; "
            f"from {4 * needed} to 2**62 are needed"
        )
    questions = _questions(needed, length, symbols, generator)
    correct, wrong, copy, target, test = questions.split([*counts, targets, held_out])
    others = n - sum(counts)
    shape = (others, 2 + 2 * length)
    unrelated = uniform_indices(symbols, others * shape[1], generator=generator).view(shape) + 2 + symbols
    parts = [
        _written(correct, correct.flip(1)),
        _written(wrong, _wrong_answers(wrong, generator)),
        _written(copy, copy),
    ]
    kinds = torch.arange(4).repeat_interleave(torch.tensor([*counts, others]))
    order = torch.randperm(n, generator=generator)
    return PlantedReversal(
        pool=torch.cat([*parts, unrelated])[order],
        kinds=kinds[order],
        targets=_written(target, target.flip(1)),
        held_out=_written(test, test.flip(1)),
        symbols=symbols,
    )


def _questions(count: int, length: int, symbols: int, generator: torch.Generator) -> Tensor:
    """Distinct questions that do not read the same backwards, shape (count, length)."""
    powers = symbols ** torch.arange(length)
    codes = torch.empty(0, dtype=torch.int64)
    while True:
        codes = torch.cat([codes, uniform_indices(symbols**length, count + 10, generator=generator)]).unique()
        found = codes[:, None] // powers % symbols
        found = found[(found != found.flip(1)).any(1)]
        if len(found) >= count:
            return found[torch.randperm(len(found), generator=generator)[:count]]


def _wrong_answers(questions: Tensor, generator: torch.Generator) -> Tensor:
    """Each question's symbols in a random order other than the reverse."""
    answers = questions.flip(1)
    while len(right := (answers == questions.flip(1)).all(1).nonzero()[:, 0]):
        orders = torch.rand(len(right), questions.shape[1], generator=generator).argsort(1)
        answers[right] = questions[right].gather(1, orders)
    return answers


def _written(questions: Tensor, answers: Tensor) -> Tensor:
    ask, answer = (torch.full((len(questions), 1), token) for token in (_ASK, _ANSWER))
    return torch.cat([ask, questions + 2, answer, answers + 2], 1)
