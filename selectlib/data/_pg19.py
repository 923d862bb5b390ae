import os
from pathlib import Path

from selectlib.data._texts import Texts


def load_pg19(folder: str | os.PathLike[str]) -> Texts:
    """Read a part of PG-19 on this machine: a folder with one ``.txt`` a book, as the data set is published.

    Nothing is downloaded: the data set has no published checksums. The public bucket ``deepmind-gutenberg`` holds the
    folders ``test`` (100 books, 40 MB), ``validation`` (50) and ``train`` (28,602 books, 11 GB), with files named after
    the book's number at Project Gutenberg.

    Parameters
    ----------
    folder : path
        The folder of a part, such as ``pg19/test``.

    Returns
    -------
    Texts
        One text a book, in the order of the numbers; the domain is the number. All are in memory.

    Raises
    ------
    ValueError
        If there is no such folder, no book in it, a name that is not a number, or a book that is empty or not UTF-8.

    Notes
    -----
    Of Rae et al., "Compressive transformers for long-range sequence modelling", ICLR 2020.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number in (1342, 84):
    ...         size = pathlib.Path(folder, f"{number}.txt").write_text(f"The book with the number {number}.")
    ...     books = load_pg19(folder)
    >>> books.names, books.texts[0]
    (('84', '1342'), 'The book with the number 84.')
    """
    paths = list(Path(folder).glob("*.txt"))
    if not paths:
        raise ValueError(f"folder must hold books, one .txt each, such as pg19/test; got {str(folder)!r}")
    if wrong := sorted(path.name for path in paths if not (path.stem.isascii() and path.stem.isdecimal())):
        raise ValueError(f"folder must hold books that are named after their numbers, got {', '.join(wrong)}")
    paths.sort(key=lambda path: int(path.stem))
    return Texts(
        tuple(map(_read, paths)),
        tuple(path.stem for path in paths),
        (),
        description=f"{len(paths)} books of PG-19, published before 1919",
        licence="Apache-2.0; the books are in the public domain in the United States",
    )


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8: {error}") from error
    if not text.strip():
        raise ValueError(f"{path} must hold a text, got nothing")
    return text
