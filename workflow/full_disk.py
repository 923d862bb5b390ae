"""Tell a full disk from other errors, and say what helps."""

import errno
import shutil
from pathlib import Path

# EFBIG is what a limit on the size of one file gives (`ulimit -f`), EDQUOT a quota.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: BaseException | str) -> bool:
    """Whether an OSError, or the text of one that a notebook shows, means that there was no room to write."""
    if isinstance(error, OSError):
        return error.errno in _FULL or any(is_full(str(argument)) for argument in error.args)  # shutil.Error lists its
    return any(f"Errno {number}]" in str(error) for number in _FULL)


def advice(folder: Path) -> str:
    """What to do, with the room that is left where results go."""
    left = shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free
    return (
        f"The disk is full: {left / 2**20:.0f} MB are free at {folder}, and a quota or `ulimit -f` may allow less. "
        "Nothing that was built before is lost: make room, then give the same command again; it does only what is left."
    )
