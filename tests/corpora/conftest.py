"""One finished scoring job, and the way to start more of them, for the tests that kill and share such jobs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

JOB = Path(__file__).with_name("scoring_job.py")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    import scoring_job  # not above: this file is read before the second pass checks what it imports

    folder = tmp_path_factory.mktemp("job") / "checkpoints"
    scoring_job.save_checkpoints(folder)
    return folder


@pytest.fixture(scope="session")
def start(checkpoints):
    """Start the job on a store, by itself or under a launcher."""

    def start(store, *launcher):
        return subprocess.Popen(
            [sys.executable, *launcher, str(JOB), str(checkpoints), str(store)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def finished(start, tmp_path_factory):
    """The bytes of the scores of one process that nobody disturbed."""
    store = tmp_path_factory.mktemp("job") / "undisturbed"
    job = start(store)
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 0, said
    return (store / "scores.npy").read_bytes()


@pytest.fixture
def manifests():
    """Count the shards that a store calls done."""
    return lambda store: len(list((store / "shards").glob("*.json")))
