import re
from collections.abc import Sequence

from selectlib.data._download import local_copy
from selectlib.data._texts import Texts

_FILES = {
    "Alice's Adventures in Wonderland": "books/11-0.txt",
    "American Adventures": "books/18304.txt",
    "Guernsey Folk Lore": "books/52834-0.txt",
    "Jack Sheppard": "books/16215.txt",
    "Katrine": "books/14263.txt",
    "News from Nowhere": "books/3261.txt",
    "The Complete Angler": "books/9198.txt",
    "The Devil's Dictionary": "books/972.txt",
}
_START = re.compile(r"^\*\*\* ?START OF TH(?:IS|E) PROJECT GUTENBERG EBOOK.*?\*\*\* *$", re.DOTALL | re.MULTILINE)
_END = re.compile(r"^(?:End of (?:the )?Project Gutenberg|\*\*\* ?END OF TH(?:IS|E) PROJECT GUTENBERG)", re.MULTILINE)
_CREDIT = re.compile(r"\s*(?:Produced by|Transcribed from|E-text prepared by).*?(?:\n\n|\Z)", re.DOTALL)


def load_books(names: Sequence[str] | None = None) -> Texts:
    """Load eight books of Project Gutenberg as plain text, from the data folder or the network: long texts.

    The data folder is the environment's ``SELECTLIB_DATA``, else the user's cache folder. A file that is there with
    the right checksum is used without network.

    Parameters
    ----------
    names : sequence of str, optional
        Titles of the books, in the order that is wanted, each once. Default: all, which are "Alice's Adventures in
        Wonderland", "American Adventures", "Guernsey Folk Lore", "Jack Sheppard", "Katrine", "News from Nowhere", "The
        Complete Angler" and "The Devil's Dictionary".

    Returns
    -------
    Texts
        One text a book, of 140,000 to 1,000,000 characters; its domain is the title. The publisher's header, licence
        and line of credits are left out, lines end with ``"\\n"``.

    Raises
    ------
    ImportError
        If pooch, which looks after the files, is not installed: the extra ``book`` brings it.
    OSError
        If a file is not there and cannot be fetched; the message says from where, to where, and what to do.
    ValueError
        If a name is not one of the titles or comes twice, or there is none.

    Examples
    --------
    .. code-block:: python

        (alice,) = load_books(["Alice's Adventures in Wonderland"]).texts
    """
    chosen = tuple(_FILES if names is None else names)
    unknown = [name for name in chosen if name not in _FILES]
    if isinstance(names, str) or unknown or len(set(chosen)) < len(chosen) or not chosen:
        raise ValueError(f"names must be different titles out of {', '.join(_FILES)}; got {names!r}")
    return Texts(
        tuple(inner_text(local_copy(_FILES[name]).read_bytes(), _FILES[name]) for name in chosen),
        chosen,
        (),
        description=f"{len(chosen)} books of Project Gutenberg, from the copies of GITenberg",
        licence="public domain in the United States",
    )


def inner_text(content: bytes, name: str) -> str:
    """Cut what the author wrote out of a file of Project Gutenberg; errors say that it is `name`.

    Raises
    ------
    ValueError
        If the file is not UTF-8, has no line that starts or ends the book, or has nothing between them.
    """
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} must be UTF-8: {error}") from error
    start = _START.search(text)
    end = _END.search(text, start.end()) if start else None
    if start is None or end is None:
        raise ValueError(f"{name} must have the lines with which Project Gutenberg starts and ends a book")
    inner = text[start.end() : end.start()]
    if credit := _CREDIT.match(inner):
        inner = inner[credit.end() :]
    if not inner.strip():
        raise ValueError(f"{name} must have a text between its start and its end")
    return inner.strip() + "\n"
