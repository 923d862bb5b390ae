"""C++ sources of this library, compiled when they are first asked for."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import torch

from selectlib._atomic import write_atomically

_FLAGS = "-O3", "-std=c++17", "-fopenmp", "-fPIC", "-shared"
_MACHINES = {"AVX512": "-march=x86-64-v4", "AVX2": "-march=x86-64-v3"}  # by what torch finds in the processor


@functools.cache
def compiled(source: Path, what: str, *flags: str) -> ctypes.CDLL | None:
    """The library that a C++ source makes; None, with a warning, where there is no compiler that can.

    The compiler, ``c++`` or what the environment's ``CXX`` names, is asked once (1 to 2 s): what it makes is kept in
    ``~/.cache/selectlib/compiled``, or under ``XDG_CACHE_HOME`` where that is set, by a name that tells source, flags
    and machine.

    Parameters
    ----------
    source
        A file that needs no headers but those of C++.
    what
        Named in the warning: ``no compiled {what}, plain torch is used instead``.
    flags
        More flags for the compiler.
    """
    command = [
        *shlex.split(os.environ.get("CXX", "c++")),
        *_FLAGS,
        *filter(None, [_MACHINES.get(torch.backends.cpu.get_cpu_capability())]),
        *flags,
    ]
    told = repr([command, platform.machine(), platform.libc_ver()]).encode() + source.read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "selectlib", "compiled").expanduser()
    kept = cache / f"{source.stem}-{hashlib.sha256(told).hexdigest()[:16]}.so"
    with suppress(OSError):  # it is not there, or of no use here
        return ctypes.CDLL(str(kept))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, kept.name)
        try:
            subprocess.run([*command, str(source), "-o", str(made)], check=True, capture_output=True, text=True)
            library = ctypes.CDLL(str(made))
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            warnings.warn(f"no compiled {what}, plain torch is used instead: {reason}", stacklevel=3)
            return None
        with suppress(OSError):  # a folder that cannot be written costs the next process the same seconds
            cache.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, made.read_bytes())
    return library
