import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import torch

from selectlib._atomic import write_atomically
from selectlib.support._comparison import SupportResult
from selectlib.support._task import SupportTask

Key = tuple[int, int, str, int, str, str]  # task, shots, selector, draw, backbone, adapter

_SECONDS = 1.0  # between two writings


class RowsFile:
    """The results of a comparison as they come, kept in a file where there is a path.

    Inside a ``with`` block they are written at most once a second, and at its end, whatever ends it.

    Parameters
    ----------
    path : Path or str, optional
        A JSON file; its folder must be there. Results in it are read.
    settings : dict
        What all results have in common, in plain values: a comparison with others cannot go on from the file.

    Attributes
    ----------
    rows : dict from Key to SupportResult

    Raises
    ------
    ValueError
        If the folder is missing, or the file is of another comparison.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with RowsFile(f"{folder}/rows.json", {"seed": 100}) as file:
    ...         file.add(SupportResult("random", "linear", "adapted", 1, 0, 0, 60.0, 70.0, 2))
    ...     list(RowsFile(f"{folder}/rows.json", {"seed": 100}).rows)
    [(0, 1, 'random', 0, 'adapted', 'linear')]
    """

    def __init__(self, path: Path | str | None, settings: dict):
        self._path = None if path is None else Path(path)
        self._settings = settings
        self._written = monotonic()
        self.rows: dict[Key, SupportResult] = {}
        if self._path is not None and not self._path.parent.is_dir():
            raise ValueError(f"checkpoint must be in a folder that is there, got {self._path}")
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def add(self, row: SupportResult) -> None:
        """Take a new result."""
        self._put(row)
        if monotonic() > self._written + _SECONDS:
            self._write()

    def __enter__(self) -> "RowsFile":
        """Nothing is written yet."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write what has come, also where an error or an interrupt ends the work."""
        self._write()

    def _read(self, path: Path) -> None:
        try:
            saved = json.loads(path.read_text())
            there, rows = dict(saved["settings"]), [SupportResult(**row) for row in saved["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"checkpoint {path} is not a file of a comparison") from error
        if other := [name for name, value in self._settings.items() if there.get(name) != value]:
            raise ValueError(f"checkpoint {path} is of a comparison with other {', '.join(other)}")
        for row in rows:
            self._put(row)

    def _put(self, row: SupportResult) -> None:
        self.rows[row.task, row.shots, row.selector, row.draw, row.backbone, row.adapter] = row

    def _write(self) -> None:
        if self._path is not None:
            content = {"settings": self._settings, "rows": [vars(row) for row in self.rows.values()]}
            write_atomically(self._path, json.dumps(content))
            self._written = monotonic()


def fingerprints(tasks: Sequence[SupportTask]) -> list[list[int]]:
    """For each task its seed and a checksum of all that is known of its pool."""
    return [[task.seed, _checksum(task)] for task in tasks]


def _checksum(task: SupportTask) -> int:
    total = 0
    for tensor in (task.labels, task.test_labels, *task.features.values(), *task.proba.values()):
        total = zlib.crc32(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data, total)
    return total
