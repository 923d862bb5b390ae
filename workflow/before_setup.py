"""What the set-up needs of this machine, looked at first. Python 3.6 can read this file, to be told that it is old.

python3 workflow/before_setup.py FOLDER [cpu]     (cpu: torch's CPU build is asked for)
"""

import importlib.util
import platform
import shutil
import sys

NEEDS = {"cpu": 2.7, "": 7.0}  # README's figures [GB]


def old_python(version):
    """The complaint about a Python that is too old, or None."""
    if tuple(version[:2]) >= (3, 11):
        return None
    found = f"{sys.executable} is {version[0]}.{version[1]}"
    return f"Python 3.11 or newer is needed, and {found}. Install one and name it: make PYTHON=python3.11 ..."


def no_venv(find=importlib.util.find_spec):
    """The complaint about a Python without its module for environments, as Debian and Ubuntu package it, or None."""
    if find("venv") and find("ensurepip"):
        return None
    return "This Python cannot make environments: on Debian and Ubuntu, run 'apt install python3-venv' and try again."


def default_is_cuda():
    """Whether torch's default build for this platform brings CUDA."""
    return platform.system() == "Linux" and platform.machine() == "x86_64"


def little_space(free, torch, cuda):
    """(fatal, complaint) about `free` bytes of disk, or None; only a warning where a smaller torch may yet be found."""
    gigabytes, least = free / 1e9, NEEDS["cpu"]
    if gigabytes < least:
        return (
            True,
            f"The set-up needs {least} GB of disk, and {gigabytes:.1f} GB are free here. Free some and try again.",
        )
    if torch != "cpu" and cuda and gigabytes < NEEDS[""]:
        return False, (
            f"torch's CUDA build needs {NEEDS['']:.0f} GB of disk, and {gigabytes:.1f} GB are free here. "
            "Without an NVIDIA GPU, stop and add TORCH=cpu to the command."
        )
    return None


def main(folder, torch):
    """The exit status: 0 to go on, 1 after a complaint."""
    complaint = old_python(sys.version_info) or no_venv()
    fatal, space = little_space(shutil.disk_usage(folder).free, torch, default_is_cuda()) or (False, None)
    if space:
        sys.stderr.write("make: " + space + "\n")
    if complaint:
        sys.stderr.write("make: " + complaint + "\n")
    return int(bool(complaint) or fatal)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
