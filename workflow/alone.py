"""Run a command while no other one holds the same lock file; it answers for `flock`, which macOS does not have.

python workflow/alone.py _build/.lock snakemake book --cores 2

The lock belongs to the command and dies with it, even by SIGKILL. (Snakemake's own lock stays behind then.)
"""

import fcntl
import os
import sys
from pathlib import Path

BUSY = 75  # EX_TEMPFAIL of sysexits.h: try again later


def main(lock: str, command: list[str]) -> None:
    Path(lock).parent.mkdir(parents=True, exist_ok=True)
    held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("make: another build is running in this folder; wait for it or stop it.", file=sys.stderr)
        sys.exit(BUSY)
    os.set_inheritable(held, True)  # the command holds it from here on
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
