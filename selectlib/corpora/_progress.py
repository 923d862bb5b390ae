"""Telling the caller how far a long job is."""

from collections.abc import Callable, Iterable
from typing import Any

Progress = Callable[[Iterable[Any]], Iterable[Any]]


class Ticks:
    """Blocks of work counted through the caller's wrapper of an iterable, such as ``tqdm``.

    Parameters
    ----------
    progress : callable or None
        Takes an iterable of known length and returns one of the same items; None counts nothing.
    total : int
        Number of blocks.

    Examples
    --------
    >>> seen = []
    >>> def progress(blocks):
    ...     for block in blocks:
    ...         yield block
    ...         seen.append(block)
    >>> with Ticks(progress, 2) as ticks:
    ...     ticks()
    ...     ticks()
    >>> seen
    [0, 1]
    """

    def __init__(self, progress: Progress | None, total: int):
        self._left = iter(progress(range(total)) if progress is not None else ())

    def __call__(self) -> None:
        """One more block is begun."""
        next(self._left, None)

    def __enter__(self) -> "Ticks":
        """Count the blocks begun inside."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Let the wrapper end: at once where the work failed."""
        if kind is None:
            next(self._left, None)
        elif hasattr(self._left, "close"):
            self._left.close()
