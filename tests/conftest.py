"""What all tests share: what is left out without a CUDA device, and the book that some of them look at."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
import sparing
import torch

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "_build/test"


def pytest_collection_modifyitems(config, items):
    """Deselect the CUDA tests where there is no device, and nothing else ever; the summary line counts them."""
    left_out = [] if torch.cuda.is_available() else [item for item in items if item.get_closest_marker("cuda")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Shapes and types, where they are checked, are checked from the start of each test; fixtures are a part of it."""
    sparing.begin()


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the book at `quick`, up to date: `runs/` holds executed notebooks, `html/` the site.

    Test processes that run side by side take turns, so that one of them builds and the others find it built.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "book", "--cores", "2", "--config", "build=_build/test"]
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert made.returncode == 0, made.stdout + made.stderr
    return BUILD
