import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

_WORD = re.compile(r"\w+")
_BLOCK = 256  # texts at a time
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_PLACES = 16  # of the table of what may be shared, for each n-gram of the evaluation: 1 in 16 others passes


def ngram_overlap(pool_texts: Iterable[str], eval_texts: Iterable[str], n: int = 13) -> Bool[Tensor, "p"]:
    """Find the texts of a pool that share a run of n words with a text of the evaluation.

    A pool that holds the evaluation's texts flatters whoever selects them: what is marked here is taken out before
    anything is selected. Words are runs of letters, digits and underscores in lower case, so that case, punctuation
    and white space make no difference. Questions that are all put in the same words share those: give what varies of
    them alone, or a larger `n`.

    Parameters
    ----------
    pool_texts : iterable of str
        What is selected from; read once, some texts at a time.
    eval_texts : iterable of str
        What is evaluated on; a context and its answer are one text.
    n : int, default 13
        Words of a run. A text of fewer words shares none.

    Returns
    -------
    Tensor of bool, shape (p,)
        Which texts of the pool share a run.

    Raises
    ------
    TypeError
        If a text is not a str, or one str stands in the place of many.
    ValueError
        If `n` is below 1, or no evaluation text has `n` words: nothing could be found.

    Notes
    -----
    Time O(words). Memory: the evaluation's vocabulary, and up to 40 bytes for each of its runs. Runs are compared by
    hashes of 64 bits, which depend on the order of the evaluation's texts alone: a shared run is never missed, and
    another is taken for a shared one with probability about e / 2**64, for e runs in the evaluation.

    Runs of 13 words are what T. Brown et al. removed: Language models are few-shot learners, NeurIPS 2020, appendix C.

    Examples
    --------
    >>> pool = ["Call me Ishmael. Some years ago", "It was the best of times"]
    >>> ngram_overlap(pool, ["Call me ISHMAEL; some"], n=4)
    tensor([ True, False])
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    numbers: dict[str, int] = {}
    runs = [
        _runs(texts, lambda word: numbers.setdefault(word, len(numbers) + 1), n)[0]
        for texts in _blocks("eval_texts", eval_texts)
    ]
    wanted = np.unique(np.concatenate([np.empty(0, np.uint64), *runs]))
    if not len(wanted):
        raise ValueError(f"eval_texts must hold a text of n = {n} words or more, or nothing could be found")
    shift = np.uint64(64 - (_PLACES * len(wanted)).bit_length())
    possible = np.zeros(2 ** (64 - int(shift)), bool)
    possible[wanted >> shift] = True

    marks = [np.empty(0, bool)]
    for texts in _blocks("pool_texts", pool_texts):
        hashes, owners = _runs(texts, lambda word: numbers.get(word, 0), n)
        maybe = possible[hashes >> shift]  # one look-up settles most runs; the search in a sorted list is slower
        hashes, owners = hashes[maybe], owners[maybe]
        places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        shared = np.zeros(len(texts), bool)
        shared[owners[wanted[places] == hashes]] = True
        marks.append(shared)
    return torch.from_numpy(np.concatenate(marks))


def _runs(texts: list[str], number: Callable[[str], int], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Hash every run of n words within a text; return the hashes, and the text that each is from.

    `number` numbers the words from 1. A run with a 0, a word that the evaluation does not have, is no run of the
    evaluation, and the zeros that end the texts keep runs from going on into the next text.
    """
    rows = [[*map(number, _WORD.findall(text.lower())), 0] for text in texts]
    words = np.fromiter(chain.from_iterable(rows), np.uint64)
    owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    count = max(len(words) - n + 1, 0)
    hashes = np.zeros(count, np.uint64)
    known = np.ones(count, bool)
    for place in range(n):
        word = words[place : place + count]
        hashes = (hashes ^ word) * _FACTOR
        hashes ^= hashes >> np.uint64(32)
        known &= word != 0
    return hashes[known], owners[:count][known]


def _blocks(name: str, texts: Iterable[str]) -> Iterator[list[str]]:
    if isinstance(texts, str):
        raise TypeError(f"{name} must be an iterable of str, got one str")
    rest = iter(texts)
    while block := list(islice(rest, _BLOCK)):
        for text in block:
            if not isinstance(text, str):
                raise TypeError(f"{name} must be an iterable of str, got {type(text).__name__} among them")
        yield block
