"""Files that appear whole or not at all."""

import os
import uuid
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a text or bytes to a new file beside `path`, bring it to the disk, and let it take the name `path`.

    Parameters
    ----------
    path
        Where the text goes; a file there is replaced.
    content
        What to write; a text as UTF-8.

    Raises
    ------
    OSError
        The folder is missing or refuses; a file that was at `path` is untouched.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "a.txt"), "all of it")
    ...     [file.read_text() for file in Path(folder).iterdir()]
    ['all of it']
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
