"""Scores of a pool on disk: written a shard at a time, so that a job killed at any moment goes on where it was."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._atomic import write_atomically

_DTYPE = np.dtype("<f4")
_ABSENT = "nothing"


@dataclass(frozen=True)
class Shard:
    """A range of pool rows that is scored and written as one.

    Parameters
    ----------
    index
        Number of the shard, from 0.
    start, stop
        Its rows are ``start, ..., stop - 1``.
    """

    index: int
    start: int
    stop: int


class ScoreStore:
    """Scores of a pool in one memory-mapped file, with a manifest for each shard of rows that is done.

    Making a store opens the one that `path` holds, or creates it. Several processes may do so at once, on one machine
    or on a shared file system, and each writes its own shards.

    Parameters
    ----------
    path
        Folder of the store: ``store.json`` says what the scores are, ``scores.npy`` holds them, ``shards/`` holds the
        manifests. Created where it is missing.
    rows
        Number of pool items, at least 1.
    columns
        Numbers an item, at least 1; default 1.
    shard_rows
        Rows of a shard, the last one excepted; at least 1; default one million. What a killed job loses is at most one
        shard for each process.
    metadata
        What the scores depend on (model, projection, targets, ...), as a mapping that JSON can hold; tuples become
        lists.

    Raises
    ------
    TypeError
        A number is not an int, or `metadata` is no mapping or holds what JSON cannot.
    ValueError
        A number is below 1; `metadata` holds NaN or infinity; `path` holds a store of other scores (the message names
        the first key that differs and both values), or a ``scores.npy`` that is not part of a store.

    Notes
    -----
    The scores' file has its full size (4 bytes a number, sparse until written) from the start. A shard's bytes reach
    the disk before its manifest, which holds their sha256 and appears by an atomic rename. A shard is done when its
    manifest says what the bytes now in the file say, so that a lost or damaged file is scored again and not believed.
    Each process hashes a shard once.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> store = ScoreStore(folder.name, rows=5, shard_rows=2, metadata={"seed": 100})
    >>> for shard in store.pending():
    ...     store.write(shard, torch.arange(shard.start, shard.stop).float()[:, None])
    >>> store.complete, store.read()[:, 0].tolist()
    (True, [0.0, 1.0, 2.0, 3.0, 4.0])
    >>> ScoreStore(folder.name, rows=5, shard_rows=2, metadata={"seed": 101})
    Traceback (most recent call last):
        ...
    ValueError: the store in ... has metadata['seed'] = 100; got 101
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rows: int,
        columns: int = 1,
        shard_rows: int = 1_000_000,
        metadata: Mapping[str, Any],
    ):
        for name, number in (("rows", rows), ("columns", columns), ("shard_rows", shard_rows)):
            if not isinstance(number, int) or isinstance(number, bool):
                raise TypeError(f"{name} must be an int, got {type(number).__name__}")
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if not isinstance(metadata, Mapping):
            raise TypeError(f"metadata must be a mapping, got {type(metadata).__name__}")
        self.path = Path(path)
        self.rows, self.columns, self.shard_rows = rows, columns, shard_rows
        header = _canonical({"rows": rows, "columns": columns, "shard_rows": shard_rows, "metadata": dict(metadata)})
        self._done: set[int] = set()  # shards whose bytes this process has seen to be right

        self._shards = self.path / "shards"
        self._file = self.path / "scores.npy"
        self._npy_header = _npy_header((rows, columns))
        self._shards.mkdir(parents=True, exist_ok=True)
        self._digest = self._claim(header)
        self._allocate()

    def pending(self, rank: int = 0, world_size: int = 1) -> Iterator[Shard]:
        """Go through the shards that are still to be written by one of several processes.

        Parameters
        ----------
        rank
            Which process this is, from 0 to ``world_size - 1``; default 0.
        world_size
            Number of processes; default 1. Shard i falls to process ``i % world_size``.

        Returns
        -------
        iterator of Shard
            In ascending order. Each shard is looked at when its turn comes.

        Raises
        ------
        ValueError
            ``rank`` is not in ``[0, world_size)``.

        Notes
        -----
        Reads each finished shard of the process once, to check it: time O(rows columns / world_size).
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must lie in [0, world_size) = [0, {world_size}); got {rank}")
        mine = range(rank, -(-self.rows // self.shard_rows), world_size)
        return (shard for shard in map(self._shard, mine) if not self._is_done(shard))

    def write(self, shard: Shard, values: Float[Tensor, "b c"] | Float[np.ndarray, "b c"]) -> None:
        """Write the scores of one shard, and then the manifest that says so.

        Parameters
        ----------
        shard
            One of the store's shards, as `pending` gives them.
        values
            Scores, shape ``(stop - start, columns)``, on any device; stored as float32. NaN is stored as it is.

        Raises
        ------
        TypeError
            `values` does not hold floats.
        ValueError
            `shard` is not one of this store, or `values` has another shape.
        OSError
            The disk refuses, for instance because it is full; what was written before is kept.

        Notes
        -----
        Returns when bytes and manifest are on the disk. Time O(rows of the shard x columns).
        """
        if not 0 <= shard.index * self.shard_rows < self.rows or shard != self._shard(shard.index):
            raise ValueError(f"{shard} is not one of this store of {self.rows} rows in shards of {self.shard_rows}")
        given = torch.as_tensor(values)
        if not given.is_floating_point():
            raise TypeError(f"values must hold floats, got {given.dtype}")
        if given.shape != (shard.stop - shard.start, self.columns):
            wanted = (shard.stop - shard.start, self.columns)
            raise ValueError(f"values must have shape {wanted} for {shard}; got {tuple(given.shape)}")
        content = given.detach().to("cpu", torch.float32).numpy().astype(_DTYPE, copy=False).tobytes()
        with self._file.open("r+b") as file:
            file.seek(self._offset(shard.start))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        write_atomically(self._manifest_path(shard), self._manifest(shard, content))
        self._done.add(shard.index)

    @property
    def complete(self) -> bool:
        """Whether every shard is done, whichever process wrote it."""
        return next(self.pending(), None) is None

    def read(self) -> Float[np.ndarray, "rows columns"]:
        """Map the scores into memory, read-only.

        Returns
        -------
        numpy.memmap of float32, shape (rows, columns)
            The finished scores; pages are read when they are touched.

        Raises
        ------
        ValueError
            The store is not complete.
        """
        missing = [shard.index for shard in self.pending()]
        if missing:
            raise ValueError(
                f"the store in {self.path} is not complete: {len(missing)} shards pending, from {missing[0]}"
            )
        return np.load(self._file, mmap_mode="r")

    def _claim(self, header: str) -> str:
        """Say what this store holds, or check that it holds that; return the digest of what it says."""
        path = self.path / "store.json"
        scored = self._file.exists()  # asked first: in a store it is never older than the other
        if not path.exists():
            if scored:
                raise ValueError(f"path {self.path} holds a scores.npy that is not part of a store")
            write_atomically(path, header)
        found = path.read_text()
        there, here = json.loads(found), json.loads(header)
        if there != here:
            where, a, b = _first_difference("", there, here)
            raise ValueError(f"the store in {self.path} has {where} = {a}; got {b}")
        return hashlib.sha256(found.encode()).hexdigest()

    def _allocate(self) -> None:
        """Give the file its size. Safe while others write: the same bytes, the same size, whoever comes last."""
        size = self._offset(self.rows)
        if not self._file.exists() or self._file.stat().st_size != size:
            file = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                os.pwrite(file, self._npy_header, 0)
                os.ftruncate(file, size)
            finally:
                os.close(file)

    def _shard(self, index: int) -> Shard:
        start = index * self.shard_rows
        return Shard(index, start, min(start + self.shard_rows, self.rows))

    def _offset(self, row: int) -> int:
        return len(self._npy_header) + row * self.columns * _DTYPE.itemsize

    def _is_done(self, shard: Shard) -> bool:
        path = self._manifest_path(shard)
        if shard.index not in self._done and path.exists():
            with self._file.open("rb") as file:
                file.seek(self._offset(shard.start))
                content = file.read(self._offset(shard.stop) - self._offset(shard.start))
            if path.read_text() == self._manifest(shard, content):
                self._done.add(shard.index)
        return shard.index in self._done

    def _manifest(self, shard: Shard, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        return _canonical({"start": shard.start, "stop": shard.stop, "sha256": digest, "store": self._digest})

    def _manifest_path(self, shard: Shard) -> Path:
        return self._shards / f"{shard.index:08d}.json"


def _canonical(content: dict[str, Any]) -> str:
    """The one JSON text of a mapping."""
    try:
        return json.dumps(content, sort_keys=True, allow_nan=False, indent=1)
    except TypeError as error:
        raise TypeError(f"metadata must hold what JSON can: {error}") from error
    except ValueError as error:
        raise ValueError(f"metadata must be finite and without cycles: {error}") from error


def _first_difference(where: str, there: Any, here: Any) -> tuple[str, Any, Any]:
    """Where two JSON values that differ do so first, and what stands there in each."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            a, b = there.get(key, _ABSENT), here.get(key, _ABSENT)
            if a != b:
                return _first_difference(f"{where}[{key!r}]" if where else key, a, b)
    if isinstance(there, list) and isinstance(here, list):
        if len(there) != len(here):
            return f"len({where})", len(there), len(here)
        for i, (a, b) in enumerate(zip(there, here, strict=True)):
            if a != b:
                return _first_difference(f"{where}[{i}]", a, b)
    return where, there, here


def _npy_header(shape: tuple[int, int]) -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": _DTYPE.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue()
