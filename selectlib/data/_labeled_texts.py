from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LabeledTexts:
    """Short texts with their classes, and where they come from.

    Attributes
    ----------
    texts : tuple of n str
        The texts; no two are equal but for case and spaces.
    labels : Tensor of int64, shape (n,)
        The class of each text.
    classes : tuple of c str
        Names of the classes.
    test_rows : Tensor of bool, shape (n,)
        Which texts are of the set's own test part; none where it has no such part.
    domains : tuple of c str, optional
        The domain of each class, where the set has domains.
    features : Tensor of float32, shape (n, d), optional
        Embeddings of the texts, where they come with the set.
    description, licence, source : str
        What the texts are, under which terms, and from where.

    Examples
    --------
    >>> from selectlib.data import load_doc_topics
    >>> topics = load_doc_topics()
    >>> label = topics.classes.index("scipy.fft")
    >>> topics.domains[label], int((topics.labels == label).sum())
    ('scipy', 27)
    """

    texts: tuple[str, ...]
    labels: Int64[Tensor, "n"]
    classes: tuple[str, ...]
    test_rows: Bool[Tensor, "n"]
    description: str
    licence: str
    source: str
    domains: tuple[str, ...] | None = None
    features: Float32[Tensor, "n d"] | None = None


def distinct_texts(
    rows: Iterable[tuple[str, str, bool]],
    classes: Sequence[str],
    *,
    description: str,
    licence: str,
    source: str,
    domains: Sequence[str] | None = None,
) -> LabeledTexts:
    """Make a set of (text, class, of the test part?), without empty texts and without copies.

    Texts are copies if they are equal but for case and spaces. Of copies the first of the test part stays, without one
    the first; of copies with different classes none.

    Examples
    --------
    >>> rows = [("a b", "x", False), ("A  b", "x", True), ("c", "x", False), ("c", "y", False), ("d", "y", False)]
    >>> made = distinct_texts(rows, "xy", description="letters", licence="none", source="here")
    >>> made.texts, made.labels, made.test_rows
    (('A  b', 'd'), tensor([0, 1]), tensor([ True, False]))
    """
    rows = [(text.strip(), name, of_test) for text, name, of_test in rows if text.strip()]
    keys = [" ".join(text.lower().split()) for text, _, _ in rows]
    names: dict[str, set[str]] = {}
    kept: dict[str, int] = {}
    for i, (key, (_, name, of_test)) in enumerate(zip(keys, rows, strict=True)):
        names.setdefault(key, set()).add(name)
        if key not in kept or (of_test and not rows[kept[key]][2]):
            kept[key] = i
    left = [rows[i] for i in sorted(i for key, i in kept.items() if len(names[key]) == 1)]
    number = {name: i for i, name in enumerate(classes)}
    return LabeledTexts(
        texts=tuple(text for text, _, _ in left),
        labels=torch.tensor([number[name] for _, name, _ in left], dtype=torch.int64),
        classes=tuple(classes),
        test_rows=torch.tensor([of_test for _, _, of_test in left], dtype=torch.bool),
        description=description,
        licence=licence,
        source=source,
        domains=None if domains is None else tuple(domains),
    )
