from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def train_bpe(texts: Iterable[str], vocab_size: int = 512) -> "Tokenizer":
    """Learn a byte-level BPE tokenizer, which encodes any text without unknown tokens.

    Parameters
    ----------
    texts : iterable of str
        What to learn from.
    vocab_size : int, default 512
        Number of tokens, at least the 256 bytes.

    Returns
    -------
    tokenizers.Tokenizer
        The library's own object, without special tokens.

    Raises
    ------
    ImportError
        If tokenizers is not installed: the extra ``hf`` brings it.
    ValueError
        If `vocab_size` is below 256, or the texts are too few to give so many tokens.

    Examples
    --------
    >>> tokenizer = train_bpe(["the theory of the other"] * 3, vocab_size=260)
    >>> tokenizer.get_vocab_size(), tokenizer.decode(tokenizer.encode("then ü").ids)
    (260, 'then ü')
    """
    library = _tokenizers()
    if vocab_size < 256:
        raise ValueError(f"vocab_size must be at least the 256 bytes, got {vocab_size}")
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(f"texts give only {tokenizer.get_vocab_size()} tokens, not vocab_size={vocab_size}")
    return tokenizer


def sequences(
    tokenizer: "Tokenizer", texts: Sequence[str], length: int
) -> tuple[Int[Tensor, "n length"], Int[Tensor, "n"]]:
    """Cut texts into sequences of equally many tokens; what is left at the end of a text is dropped.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
        What encodes the texts.
    texts : sequence of str
        The texts.
    length : int
        Tokens a sequence, at least 1.

    Returns
    -------
    tokens : Tensor of int64, shape (n, length)
        The sequences, in the order of the texts.
    text : Tensor of int64, shape (n,)
        Index of the text that each sequence comes from.

    Raises
    ------
    ImportError
        If tokenizers is not installed: the extra ``hf`` brings it.
    ValueError
        If `length` is below 1, or no text is that long.

    Examples
    --------
    >>> tokenizer = train_bpe(["aaa"], vocab_size=256)
    >>> tokens, text = sequences(tokenizer, ["abcdefg", "xy", "stu"], 3)
    >>> [tokenizer.decode(row.tolist()) for row in tokens], text.tolist()
    (['abc', 'def', 'stu'], [0, 0, 2])
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    rows, origins = [], []
    for origin, encoding in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
        ids = torch.tensor(encoding.ids, dtype=torch.int64)
        count = len(ids) // length
        rows.append(ids[: count * length].view(count, length))
        origins.append(torch.full((count,), origin))
    if not any(map(len, rows)):
        raise ValueError(f"texts must hold one of {length} tokens or more; all {len(texts)} are shorter")
    return torch.cat(rows), torch.cat(origins)


def _tokenizers():
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError("tokenizers is missing: pip install 'what-to-keep[hf]'") from error
    return tokenizers
