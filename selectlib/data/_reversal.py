from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from selectlib.seeding import uniform_indices

_ASK, _ANSWER = 0, 1
_SYMBOLS = 30
_LENGTH = 6


@dataclass(frozen=True)
class PlantedReversal:
    """A pool in which only some examples teach the task, though most look like it; see `planted_reversal`.

    Attributes
    ----------
    pool : Tensor of int64, shape (n, 14)
        Sequences ``[ask] x1 .. x6 [answer] y1 .. y6``, in random order.
    kinds : Tensor of int64, shape (n,)
        What each sequence is, an index into `names`.
    targets, held_out : Tensors of int64, shapes (m, 14) and (h, 14)
        Right sequences for the selection, and for the evaluation; no question occurs twice, here or in the pool.
    names : tuple of str
        The kinds: right reversals, wrong answers (any other order of the question's symbols), copies of the question,
        and other words.
    """

    names: ClassVar[tuple[str, ...]] = ("correct", "wrong answer", "copy", "other words")
    vocab_size: ClassVar[int] = 2 + 2 * _SYMBOLS
    pool: Int[Tensor, "n 14"]
    kinds: Int[Tensor, "n"]
    targets: Int[Tensor, "m 14"]
    held_out: Int[Tensor, "h 14"]

    @staticmethod
    def answers(tokens: Int[Tensor, "b 14"]) -> tuple[Int[Tensor, "b 14"], Bool[Tensor, "b 14"]]:
        """Return examples in which only the tokens of the answer count: the tokens, and the mask."""
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        mask[:, 2 + _LENGTH :] = True
        return tokens, mask

    @staticmethod
    def words(tokens: Int[Tensor, "b 14"]) -> list[str]:
        """Write each sequence as a text of 14 words, for selectors that read text."""
        written = ["ask", "answer", *(f"s{i}" for i in range(_SYMBOLS)), *(f"o{i}" for i in range(_SYMBOLS))]
        return [" ".join(written[token] for token in row) for row in tokens.tolist()]


def planted_reversal(
    n: int = 8_000, *, targets: int = 300, held_out: int = 1_000, generator: torch.Generator
) -> PlantedReversal:
    """Make the planted pool: the task is to give six symbols in reverse order.

    A tenth of the pool are right reversals. Four tenths have the same form, but the answer is another order of the
    symbols. Two tenths copy the question instead. The rest are words of another vocabulary.

    Parameters
    ----------
    n : int, default 8_000
        Sequences in the pool, at least 10.
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
    Symbols are drawn from 30, independently; questions that read the same backwards are left out, so that copies are
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
    for name, value, least in (("n", n, 10), ("targets", targets, 1), ("held_out", held_out, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    counts = [n // 10, 4 * n // 10, 2 * n // 10]
    questions = _questions(sum(counts) + targets + held_out, generator)
    correct, wrong, copy, target, test = questions.split([*counts, targets, held_out])
    others = n - sum(counts)
    shape = (others, 2 + 2 * _LENGTH)
    unrelated = uniform_indices(_SYMBOLS, others * shape[1], generator=generator).view(shape) + 2 + _SYMBOLS
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
    )


def _questions(count: int, generator: torch.Generator) -> Tensor:
    """Distinct questions that do not read the same backwards, shape (count, 6)."""
    powers = _SYMBOLS ** torch.arange(_LENGTH)
    codes = torch.empty(0, dtype=torch.int64)
    while True:
        codes = torch.cat([codes, uniform_indices(_SYMBOLS**_LENGTH, count + 10, generator=generator)]).unique()
        found = codes[:, None] // powers % _SYMBOLS
        found = found[(found != found.flip(1)).any(1)]
        if len(found) >= count:
            return found[torch.randperm(len(found), generator=generator)[:count]]


def _wrong_answers(questions: Tensor, generator: torch.Generator) -> Tensor:
    """Each question's symbols in a random order other than the reverse."""
    answers = questions.flip(1)
    while len(right := (answers == questions.flip(1)).all(1).nonzero()[:, 0]):
        orders = torch.rand(len(right), _LENGTH, generator=generator).argsort(1)
        answers[right] = questions[right].gather(1, orders)
    return answers


def _written(questions: Tensor, answers: Tensor) -> Tensor:
    ask, answer = (torch.full((len(questions), 1), token) for token in (_ASK, _ANSWER))
    return torch.cat([ask, questions + 2, answer, answers + 2], 1)
