from pydoc_data.topics import topics

from selectlib.data._texts import Texts


def topic_texts() -> Texts:
    """Load the topics of Python's own help: chapters of the language reference, a small target of plain English.

    Returns
    -------
    Texts
        One text a topic, in alphabetic order, all of the domain ``"topics"``.

    Notes
    -----
    The texts change with the version of Python.

    Examples
    --------
    >>> corpus = topic_texts()
    >>> len(corpus.texts) > 50, corpus.names
    (True, ('topics',))
    """
    texts = tuple(topics[name] for name in sorted(topics))
    return Texts(
        texts,
        ("topics",) * len(texts),
        (),
        description="help topics of Python, from its language reference",
        licence="Python Software Foundation License",
    )
