import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from selectlib._checks import check_int
from selectlib.data._package_texts import package_files, read_text

_STANDARD = "standard library"
_OTHER_NAMES = {"sklearn": ("scikit-learn", "scikit")}


@dataclass(frozen=True)
class SourceCorpus:
    """Blocks of Python source and the side that each comes from; see `source_corpus`.

    Attributes
    ----------
    texts : tuple of str, n of them
        The blocks, in random order.
    labels : Tensor of int64, shape (n,)
        1 for the first side, -1 for the second.
    files : Tensor of int64, shape (n,)
        The file of each block, numbered from 0.
    sides : tuple of str
        What the two sides are, as "torch" and "scipy + sklearn".
    description, licence : str
        What the texts are, and under which terms.
    """

    texts: tuple[str, ...]
    labels: Int[Tensor, "n"]
    files: Int[Tensor, "n"]
    sides: tuple[str, str]
    description: str
    licence: str = "the licence of each package"

    @property
    def sha256(self) -> str:
        """Checksum of the texts with their labels, in their order."""
        digest = hashlib.sha256()
        for label, text in zip(self.labels.tolist(), self.texts, strict=True):
            digest.update(f"{label}\0{text}\0".encode())
        return digest.hexdigest()

    def split(self, test: float = 0.25, *, seed: int) -> tuple[Int[Tensor, "r"], Int[Tensor, "s"]]:
        """Part the blocks in two by file, so that no file is on both sides.

        Parameters
        ----------
        test : float, default 0.25
            Share of each side's blocks in the second part, above 0 and below 1, up to the last file taken.
        seed : int
            Seed of the draw of files, at least 0.

        Returns
        -------
        train, test : Tensors of int64, shapes (r,) and (s,)
            Indices of the blocks, ascending: both parts keep the random order of the blocks.

        Raises
        ------
        TypeError
            If `seed` is not an int.
        ValueError
            If an argument is out of range, or a side has a single file.
        """
        if not 0 < test < 1:
            raise ValueError(f"test must be above 0 and below 1, got {test}")
        rng = np.random.default_rng(check_int("seed", seed, 0))
        files, labels = self.files.numpy(), self.labels.numpy()
        taken: list[np.ndarray] = []
        for label, side in zip((1, -1), self.sides, strict=True):
            own, counts = np.unique(files[labels == label], return_counts=True)
            if len(own) < 2:
                raise ValueError(f"each side must have at least two files to be split by file, got {len(own)} ({side})")
            order = rng.permutation(len(own))
            enough = int(np.searchsorted(counts[order].cumsum(), test * counts.sum())) + 1
            taken.append(own[order[: min(enough, len(own) - 1)]])
        chosen = torch.from_numpy(np.isin(files, np.concatenate(taken)))
        return (~chosen).nonzero()[:, 0], chosen.nonzero()[:, 0]


def source_corpus(
    positive: Sequence[str] = ("torch",),
    negative: Sequence[str] = ("scipy", "sklearn"),
    *,
    block: int = 10,
    n_documents: int = 20_000,
    banned: Iterable[str] | None = None,
    seed: int,
) -> SourceCorpus:
    """Make a text classification task of installed source code: which package is a block of lines from?

    Parameters
    ----------
    positive, negative : sequences of str, default ("torch",) and ("scipy", "sklearn")
        Import names of the packages of the two sides, or "standard library".
    block : int, default 10
        Lines of a block, at least 1. Blank lines do not count.
    n_documents : int, default 20_000
        Blocks of the corpus, an even number from 2: half of them from each side.
    banned : iterable of str, optional
        Words that give the answer away. Each name or word that contains one, whatever its case, is taken out of the
        texts. Default: the packages' names.
    seed : int
        Seed of the draw of blocks and of their order, at least 0.

    Returns
    -------
    SourceCorpus
        The blocks, their labels and their files.

    Raises
    ------
    TypeError
        If `positive`, `negative` or `banned` is one string, or a number is not an int.
    ValueError
        If a package is not installed or on both sides, a side has too few blocks, or a number is out of range.

    Notes
    -----
    Packages are read and never run; tests are left out, and so are repetitions of a block. The blocks change with the
    versions of the packages: `SourceCorpus.sha256` says which ones they are. Time is that of reading the packages:
    a few seconds for the default.

    Examples
    --------
    >>> corpus = source_corpus(("sklearn",), ("standard library",), n_documents=100, seed=100)
    >>> corpus.sides, int(corpus.labels.sum()), any("sklearn" in text for text in corpus.texts)
    (('sklearn', 'standard library'), 0, False)
    >>> train, test = corpus.split(seed=100)
    >>> bool(torch.isin(corpus.files[train], corpus.files[test]).any())
    False
    """
    for name, value in (("positive", positive), ("negative", negative), ("banned", banned)):
        if isinstance(value, str):
            raise TypeError(f"{name} must be a sequence of strings, got one string: {value!r}")
    if both := set(positive) & set(negative):
        raise ValueError(f"positive and negative must have no package in common, got {', '.join(sorted(both))}")
    check_int("block", block, 1)
    check_int("n_documents", n_documents, 2)
    if n_documents % 2:
        raise ValueError(f"n_documents must be even, got {n_documents}")
    rng = np.random.default_rng(check_int("seed", seed, 0))
    if banned is None:
        names = [package for package in (*positive, *negative) if package != _STANDARD]
        banned = [word for name in names for word in (name, *_OTHER_NAMES.get(name, ()))]
    sides = tuple(" + ".join(packages) for packages in (positive, negative))
    texts: list[str] = []
    files: list[int] = []
    for packages, side in zip((positive, negative), sides, strict=True):
        found = _blocks(packages, block)
        if len(found) < n_documents // 2:
            raise ValueError(f"n_documents must be at most {2 * len(found):,}: {side or 'a side'} has {len(found):,}")
        drawn = rng.choice(len(found), n_documents // 2, replace=False)
        first = 1 + max(files, default=-1)
        texts += [found[i][0] for i in drawn]
        files += [first + found[i][1] for i in drawn]
    order = rng.permutation(n_documents)
    pattern = _pattern(banned)
    return SourceCorpus(
        texts=tuple(pattern.sub("", texts[i]) for i in order),
        labels=torch.from_numpy(np.where(order < n_documents // 2, 1, -1)),
        files=torch.tensor(files)[torch.from_numpy(order)],
        sides=(sides[0], sides[1]),
        description=f"{n_documents:,} blocks of {block} lines of Python: {sides[0]} or {sides[1]}",
    )


def _blocks(packages: Sequence[str], block: int) -> list[tuple[str, int]]:
    """The different blocks of packages, each with the number of its file."""
    found: dict[str, int] = {}
    number = itertools.count()
    for package in packages:
        files = package_files("stdlib" if package == _STANDARD else package, (".py",))
        if not files:
            raise ValueError(f"positive and negative must name installed packages, got {package!r}")
        for file, place in zip(files, number, strict=False):
            lines = [line for line in read_text(file).splitlines() if line.strip()]
            for start in range(0, len(lines) - block + 1, block):
                found.setdefault("\n".join(lines[start : start + block]), place)
    return list(found.items())


def _pattern(banned: Iterable[str]) -> re.Pattern[str]:
    """Whole names and words that contain a banned one; nothing when there is none."""
    words = sorted({word for word in banned if word}, key=len, reverse=True)
    return re.compile(rf"\b\w*?(?:{'|'.join(map(re.escape, words))})\w*" if words else r"(?!)", re.IGNORECASE)
