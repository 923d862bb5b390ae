import gzip
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from selectlib.data._json_lines import read_strings

_TRAINING = "c4-train.*.json.gz"


class C4Place(NamedTuple):
    """A place between two texts: so many lines into the shard (a file's name); as JSON, a list of the two."""

    shard: str
    line: int


@dataclass(frozen=True, eq=False)
class C4Texts:
    """The texts of some shards of C4, read as a stream; made by `load_c4`.

    Parameters
    ----------
    shards : tuple of Path
        The files, in the order in which they are read.
    description, licence, source : str
        What the data is, under which terms, and from where.

    Examples
    --------
    .. code-block:: python

        [shard.name for shard in load_c4("c4/en.noblocklist").shards]
    """

    shards: tuple[Path, ...]
    description: str
    licence: str
    source: str

    def read(self, start: Sequence[str | int] | None = None) -> Iterator[tuple[str, C4Place]]:
        """Read the texts in their order, from the first or from where an earlier reading stopped.

        Parameters
        ----------
        start : C4Place or another sequence of str and int, optional
            The place after the last text that is not wanted again. Default: before the first text.

        Returns
        -------
        iterator of (str, C4Place)
            Each text, and the place after it: given as `start`, the next text comes first.

        Raises
        ------
        ValueError
            At once: if `start` is not a place in these shards. While reading: if a shard is not a whole gzip file,
            holds nothing or fewer lines than `start` says, or a line is not a JSON object with a string ``text``.

        Notes
        -----
        One line is in memory at a time. To go on, the shards before `start` are not opened, and the lines before it
        are unpacked but not parsed.

        Examples
        --------
        .. code-block:: python

            for text, place in load_c4("c4/en.noblocklist").read(start=saved):
                ...
                saved = place  # whenever the work up to here is safe
        """
        first, skip = 0, 0
        if start is not None:
            names = [path.name for path in self.shards]
            shard, line = start if len(start) == 2 else (None, None)
            if shard not in names or not isinstance(line, int) or line < 0:
                raise ValueError(f"start must be (name of a shard, lines >= 0), with one of {names}, got {start!r}")
            first, skip = names.index(shard), line
        return self._read(first, skip)

    def _read(self, first: int, skip: int) -> Iterator[tuple[str, C4Place]]:
        for path in self.shards[first:]:
            count = 0
            for count, line in enumerate(_lines(path), start=1):
                if count > skip:
                    (text,) = read_strings(line, ("text",), f"line {count} of {path}")
                    yield text, C4Place(path.name, count)
            if count < max(skip, 1):
                raise ValueError(f"{path} must hold at least {max(skip, 1)} lines, got {count}")
            skip = 0


def load_c4(shards: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> C4Texts:
    """Find shards of C4 on this machine: gzipped files with a JSON object a line, whose ``text`` is a web page's.

    Nothing is downloaded: a variant has 1,024 training shards of about 300 MB. The paper's pool is the variant
    ``en.noblocklist`` of ``allenai/c4`` on the Hugging Face hub.

    Parameters
    ----------
    shards : path, or iterable of paths
        A folder: its training shards, ``c4-train.*.json.gz``, in the order of their names. Or files, in their order;
        no two may have the same name.

    Returns
    -------
    C4Texts
        The texts, of which nothing is read yet.

    Raises
    ------
    ValueError
        If there is no shard, a file is missing, or two have the same name.

    Examples
    --------
    >>> import gzip, json, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shard = pathlib.Path(folder, "c4-train.00000-of-01024.json.gz")
    ...     lines = [json.dumps({"text": text, "url": "..."}) + "\\n" for text in ("One page.", "Another.")]
    ...     size = shard.write_bytes(gzip.compress("".join(lines).encode()))
    ...     c4 = load_c4(folder)
    ...     text, place = next(c4.read())
    ...     rest = [text for text, _ in c4.read(start=place)]
    >>> text, rest
    ('One page.', ['Another.'])
    """
    if isinstance(shards, str | os.PathLike):
        paths = tuple(sorted(Path(shards).glob(_TRAINING)))
        if not paths:
            raise ValueError(f"shards must be a folder that holds {_TRAINING}, or a list of files, got {str(shards)!r}")
    else:
        paths = tuple(Path(path) for path in shards)
        if not paths:
            raise ValueError("shards must hold at least one file, got none")
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise ValueError(f"shards must be files that exist, got {', '.join(missing)}")
    names = [path.name for path in paths]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"shards must have different names, got {', '.join(repeated)} more than once")
    return C4Texts(
        shards=paths,
        description=f"the texts of {len(paths)} shards of C4: web pages in English",
        licence="ODC-BY 1.0; Common Crawl's terms of use apply to the texts",
        source="C. Raffel et al.: Exploring the limits of transfer learning with a unified text-to-text transformer, "
        "JMLR 21, 2020; made again and published by AllenAI (allenai/c4)",
    )


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error
