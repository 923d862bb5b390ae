"""Results of a comparison as they come, kept in a file, so that it can go on after an interrupt."""

import json
import zlib
from collections.abc import Callable, Hashable
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

import torch
from torch import Tensor

from selectlib._atomic import write_atomically

Row = TypeVar("Row")

_SECONDS = 1.0  # between two writings


class RowsFile(Generic[Row]):
    """The results of a comparison as they come, kept in a file where there is a path.

    Inside a ``with`` block they are written at most once a second, and at its end, whatever ends it.

    Parameters
    ----------
    path : Path or str, optional
        A JSON file; its folder must be there. Results in it are read.
    settings : dict
        What all results have in common, in plain values: a comparison with others cannot go on from the file.
    row : callable
        Makes a result from its fields, given by name, whose values are plain; ``vars`` gives them back.
    key : callable
        Tells results apart: a later one takes the place of an earlier one with the same key.

    Attributes
    ----------
    rows : dict from key to result

    Raises
    ------
    ValueError
        If the folder is missing, or the file is of another comparison.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Timing:
    ...     name: str
    ...     seconds: float
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with RowsFile(f"{folder}/rows.json", {"seed": 100}, Timing, lambda row: row.name) as file:
    ...         file.add(Timing("random", 0.5))
    ...     list(RowsFile(f"{folder}/rows.json", {"seed": 100}, Timing, lambda row: row.name).rows)
    ['random']
    """

    def __init__(
        self, path: Path | str | None, settings: dict, row: Callable[..., Row], key: Callable[[Row], Hashable]
    ):
        self._path = None if path is None else Path(path)
        self._settings = settings
        self._key = key
        self._written = monotonic()
        self.rows: dict[Hashable, Row] = {}
        if self._path is not None and not self._path.parent.is_dir():
            raise ValueError(f"checkpoint must be in a folder that is there, got {self._path}")
        if self._path is not None and self._path.exists():
            self._read(self._path, row)

    def add(self, row: Row) -> None:
        """Take a new result."""
        self.rows[self._key(row)] = row
        if monotonic() > self._written + _SECONDS:
            self._write()

    def __enter__(self) -> "RowsFile[Row]":
        """Nothing is written yet."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write what has come, also where an error or an interrupt ends the work."""
        self._write()

    def _read(self, path: Path, row: Callable[..., Row]) -> None:
        try:
            saved = json.loads(path.read_text())
            there, rows = dict(saved["settings"]), [row(**fields) for fields in saved["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"checkpoint {path} is not a file of a comparison") from error
        if other := [name for name, value in self._settings.items() if there.get(name) != value]:
            raise ValueError(f"checkpoint {path} is of a comparison with other {', '.join(other)}")
        self.rows.update((self._key(each), each) for each in rows)

    def _write(self) -> None:
        if self._path is not None:
            content = {"settings": self._settings, "rows": [vars(row) for row in self.rows.values()]}
            write_atomically(self._path, json.dumps(content))
            self._written = monotonic()


def checksum(*tensors: Tensor) -> int:
    """Sum up the bytes of some tensors in one number, by which a change of theirs is noticed."""
    total = 0
    for tensor in tensors:
        total = zlib.crc32(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data, total)
    return total
