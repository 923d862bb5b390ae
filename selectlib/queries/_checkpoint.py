import io
from pathlib import Path

import torch

from selectlib._atomic import write_atomically
from selectlib.pool import PoolSelector


class Checkpoint:
    """A file that holds how far a run has come; without a path, nothing is written.

    Parameters
    ----------
    path : Path or str, optional
        The file; its folder must be there.
    settings : dict
        What the run was asked for, in plain values: a run with other settings cannot go on from the file.

    Raises
    ------
    ValueError
        If the folder is missing.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Checkpoint(f"{folder}/run.pt", {"epochs": 3}).save({"done": 2})
    ...     Checkpoint(f"{folder}/run.pt", {"epochs": 3}).load()
    {'done': 2}
    """

    def __init__(self, path: Path | str | None, settings: dict):
        self._path = None if path is None else Path(path)
        self._settings = settings
        if self._path is not None and not self._path.parent.is_dir():
            raise ValueError(f"checkpoint must be in a folder that is there, got {self._path}")

    def save(self, content: dict) -> None:
        """Write plain containers of tensors, numbers and texts; the file appears whole or stays as it was."""
        if self._path is not None:
            buffer = io.BytesIO()
            torch.save({"settings": self._settings, "content": content}, buffer)
            write_atomically(self._path, buffer.getvalue())

    def load(self) -> dict | None:
        """Read what was written last, on the CPU; None where nothing was.

        Raises
        ------
        ValueError
            If the run that wrote it had other settings; the message names them.
        """
        if self._path is None or not self._path.exists():
            return None
        saved = torch.load(self._path, map_location="cpu", weights_only=True)
        old, new = saved["settings"], self._settings
        differing = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
        if differing:
            listed = "; ".join(f"{name}: {old.get(name)!r} there, {new.get(name)!r} here" for name in differing)
            raise ValueError(f"checkpoint {self._path} is of another run ({listed}); remove it or name another file")
        return saved["content"]


def describe(value: object) -> str:
    """Words for a setting, equal in every process: a strategy by its class and attributes, at any depth.

    Examples
    --------
    >>> from selectlib.pool import Random
    >>> describe(Random()), describe(0.5)
    ('Random()', '0.5')
    """
    if isinstance(value, PoolSelector):
        attributes = sorted(getattr(value, "__dict__", {}).items())
        return f"{type(value).__name__}({', '.join(f'{name}={describe(item)}' for name, item in attributes)})"
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
