"""Texts as counts of hashed n-grams."""

import hashlib
import re
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

_tokens = re.compile(r"\w+|[^\w\s]+").findall
_CHUNK = 2**20  # n-grams that are held as Python ints before they are packed
_CACHE = 2**20  # n-grams whose buckets are remembered: about 150 MB


class _Buckets(dict[str, int]):
    """The bucket of each n-gram met so far; a new one is hashed when it is looked up."""

    def __init__(self, num_buckets: int):
        self._num_buckets = num_buckets

    def __missing__(self, ngram: str) -> int:
        digest = hashlib.sha256(ngram.encode("utf-8", "surrogatepass")).digest()
        bucket = self[ngram] = int.from_bytes(digest, "big") % self._num_buckets
        return bucket


class HashedNGrams:
    """Counts of hashed n-grams of texts: what DSIR and the classifier read.

    A text is lower-cased and cut into runs of word characters and runs of other visible characters. Each run, and each
    sequence of up to `ngrams` neighbouring runs joined by single spaces, adds one to the bucket that SHA-256 gives it.

    Parameters
    ----------
    texts : iterable of str
        The texts, read once; at least 1.
    ngrams : int, default 2
        Longest n-gram counted: 2 counts single tokens and pairs.
    num_buckets : int, default 10_000
        Number of buckets, d.

    Attributes
    ----------
    counts : scipy.sparse.csr_array of int32, shape (n, d)
        How often each text's n-grams fall in each bucket.
    lengths : Tensor of int64, shape (n,)
        Tokens of each text.
    ngrams, num_buckets : int
        As given.

    Raises
    ------
    TypeError
        If `texts` is a single string, a text is not a string, or a number is not an int.
    ValueError
        If there is no text, or a number is below 1.

    Notes
    -----
    Time linear in the text; memory is 8 bytes for each distinct bucket of each text. A source of selectlib.pool: a pool
    that is larger than memory is a source of your own whose `fetch` counts the texts asked for.

    Source: Xie et al., *Data selection for language models via importance resampling* (2023), section 4; tokens and
    hash are those of the authors' package ``data-selection`` 1.0.3 with nltk 3.8.1, so that the counts are the same.
    (Newer releases of nltk take combining marks for word characters.)

    Examples
    --------
    >>> counted = HashedNGrams(["Alice went to the store", "Alice, Alice!"])
    >>> counted.lengths.tolist(), counted.counts.sum(1).tolist()
    ([5, 4], [9, 7])
    >>> int(counted.counts[1, 6720])  # the bucket of "alice"
    2
    """

    counts: sparse.csr_array
    lengths: Int[Tensor, "n"]

    def __init__(self, texts: Iterable[str], ngrams: int = 2, num_buckets: int = 10_000):
        if isinstance(texts, str | bytes):
            raise TypeError("texts must be several strings, such as a list; got a single one")
        for name, value in (("ngrams", ngrams), ("num_buckets", num_buckets)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {type(value).__name__}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.ngrams, self.num_buckets = ngrams, num_buckets
        self.counts, self.lengths = self._count(texts)

    def __len__(self) -> int:
        """Return the number of texts, n."""
        return len(self.lengths)

    def fetch(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Return the counts of the texts `idx` as float32, in that order; repeats are allowed.

        Parameters
        ----------
        idx : Tensor of int64, shape (b,)
            Which texts.

        Returns
        -------
        Tensor of float32, shape (b, d)
            Dense: 4 bytes a bucket.
        """
        return torch.from_numpy(self.counts[idx.numpy(force=True)].toarray().astype(np.float32))

    def _count(self, texts: Iterable[str]) -> tuple[sparse.csr_array, Int[Tensor, "n"]]:
        buckets = _Buckets(self.num_buckets)
        pieces: list[sparse.csr_array] = []
        lengths: list[int] = []
        entries: list[int] = []  # buckets of the n-grams of the texts since the last piece
        borders = [0]
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"texts must hold strings, but texts[{i}] is a {type(text).__name__}")
            tokens = _tokens(text.lower())
            lengths.append(len(tokens))
            entries.extend(map(buckets.__getitem__, tokens))
            for length in range(2, self.ngrams + 1):
                neighbours = zip(*(tokens[shift:] for shift in range(length)), strict=False)
                entries.extend(map(buckets.__getitem__, map(" ".join, neighbours)))
            borders.append(len(entries))
            if len(entries) >= _CHUNK:
                pieces.append(_packed(entries, borders, self.num_buckets))
                entries, borders = [], [0]
                if len(buckets) > _CACHE:
                    buckets.clear()
        if not lengths:
            raise ValueError("texts must hold at least 1 text, got none")
        if len(borders) > 1:
            pieces.append(_packed(entries, borders, self.num_buckets))
        return sparse.vstack(pieces, format="csr"), torch.tensor(lengths)


def _packed(entries: list[int], borders: list[int], num_buckets: int) -> sparse.csr_array:
    """One row a text: the entries between two borders, equal ones added up."""
    ones = np.ones(len(entries), dtype=np.int32)
    columns = np.fromiter(entries, dtype=np.int32, count=len(entries))
    rows = sparse.csr_array((ones, columns, np.array(borders)), shape=(len(borders) - 1, num_buckets))
    rows.sum_duplicates()
    return rows
