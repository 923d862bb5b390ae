import re
from typing import Literal

from selectlib.data._download import local_copy
from selectlib.data._texts import Texts

_TITLE = re.compile(r"(?<=^ \n) = (?!= ).+ = $(?=\n $)", re.MULTILINE)  # formulas have no empty lines around


def load_wikitext(part: Literal["valid", "test"] = "valid") -> Texts:
    """Load a part of WikiText-2, from the data folder or the network: articles of Wikipedia.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. A file that is there with
    the right checksum is used without network.

    Parameters
    ----------
    part : {"valid", "test"}, default "valid"
        Which part.

    Returns
    -------
    Texts
        One text an article, its title first: 60 articles for either part; the domain is ``"wikitext-2"``. Words are set
        apart by blanks and rare ones are ``<unk>``, as in the published tokens.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If the file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If `part` is no part.

    Notes
    -----
    Of Merity et al., "Pointer sentinel mixture models", ICLR 2017.

    Examples
    --------
    .. code-block:: python

        articles = load_wikitext("test").texts
    """
    if part not in ("valid", "test"):
        raise ValueError(f"part must be 'valid' or 'test', got {part!r}")
    name = f"wikitext-2/{part}.txt"
    articles = read_articles(local_copy(name).read_bytes(), name)
    return Texts(
        articles,
        ("wikitext-2",) * len(articles),
        (),
        description=f"the {len(articles)} articles of the {part} part of WikiText-2",
        licence="CC BY-SA 3.0",
    )


def read_articles(content: bytes, name: str) -> tuple[str, ...]:
    """Cut a file of WikiText at its titles, ``" = Title = "`` between lines of one blank; errors say that it is `name`.

    Raises
    ------
    ValueError
        If the file is not UTF-8 or has no title.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} must be UTF-8: {error}") from error
    starts = [match.start() for match in _TITLE.finditer(text)]
    if not starts:
        raise ValueError(f"{name} must have titles of articles, lines like ' = Title = '")
    return tuple(text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True))
