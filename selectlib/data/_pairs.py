from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@runtime_checkable
class Encoder(Protocol):
    """What `encode_pairs` asks of a tokenizer; those of the library ``tokenizers`` fit.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class Letters:
    ...     def encode(self, text):
    ...         return SimpleNamespace(ids=[ord(letter) for letter in text])
    >>> isinstance(Letters(), Encoder), encode_pairs([("ab", "c")], Letters(), 3)[0]
    (True, tensor([[97, 98, 99]]))
    """

    def encode(self, text: str, /) -> Any:
        """Return something whose ``ids`` is the list of the text's tokens."""


def encode_pairs(
    pairs: Sequence[tuple[str, str]], tokenizer: Encoder, length: int, *, padding: int = 0
) -> tuple[Int64[Tensor, "n t"], Bool[Tensor, "n t"]]:
    """Turn contexts with their answers into examples of a language model that count the answers' tokens alone.

    A row is the context's tokens, the answer's tokens, then padding. Where both do not fit, the context loses its
    beginning. The two are tokenized apart, so that no token straddles the border.

    Parameters
    ----------
    pairs : sequence of (str, str)
        Each context and its answer: together they are the text, so that an answer usually begins with its blank.
    tokenizer : Encoder
        Has ``encode(text).ids``. It may not add special tokens, which would end up before the answer.
    length : int
        Tokens a row, at least 2.
    padding : int, default 0
        The token that fills up a row. It is never counted, and a causal model does not see it before it has answered.

    Returns
    -------
    tokens : Tensor of int64, shape (n, t)
        With t = `length`.
    target_mask : Tensor of bool, shape (n, t)
        Where the answers' tokens are; never at position 0, which nothing predicts.

    Raises
    ------
    ValueError
        If there are no pairs, `length` or `padding` is too small, a context or an answer has no token, an answer does
        not leave room for one token of its context, or the tokenizer adds special tokens.

    Notes
    -----
    Time of two tokenizations a pair; memory 9 bytes a token.

    Examples
    --------
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> vocabulary = {word: number for number, word in enumerate("? the sky is blue".split())}
    >>> tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> encode_pairs([("the sky is", " blue"), ("is", " blue")], tokenizer, 3)
    (tensor([[2, 3, 4],
            [3, 4, 0]]), tensor([[False, False,  True],
            [False,  True, False]]))
    """
    if length < 2:
        raise ValueError(f"length must be at least 2, got {length}")
    if padding < 0:
        raise ValueError(f"padding must be a token, at least 0, got {padding}")
    if not pairs:
        raise ValueError("pairs must hold at least one pair, got none")
    if special := list(tokenizer.encode("").ids):
        raise ValueError(f"tokenizer must not add special tokens, but the empty text has {special}")
    tokens = torch.full((len(pairs), length), padding, dtype=torch.int64)
    target_mask = torch.zeros(len(pairs), length, dtype=torch.bool)
    for row, pair in enumerate(pairs):
        before, answer = (list(tokenizer.encode(text).ids) for text in pair)
        if not before or not 1 <= len(answer) < length:
            raise ValueError(
                f"pairs[{row}] must have at least 1 token of context and from 1 to {length - 1} of answer, as length "
                f"is {length}, got {len(before)} and {len(answer)}"
            )
        kept = before[len(answer) - length :]
        end = len(kept) + len(answer)
        tokens[row, :end] = torch.tensor(kept + answer)
        target_mask[row, len(kept) : end] = True
    return tokens, target_mask
