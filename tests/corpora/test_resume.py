"""A scoring job may be killed at any moment: it goes on where it was, and ends with the same bytes."""

import signal
import time

import numpy as np
import pytest
import scoring_job

from selectlib.nets import GPT

SHARDS = -(-scoring_job.ROWS // scoring_job.SHARD_ROWS)


def test_killed_again_and_again_it_ends_with_the_same_bytes(start, finished, manifests, tmp_path):
    random = np.random.default_rng(100)
    store, done = tmp_path / "store", [0]
    for _ in range(3):
        job = start(store)
        enough = done[-1] + random.integers(0, 6)
        while job.poll() is None and not ((store / "shards").exists() and manifests(store) >= enough):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.05))  # a shard takes about as long
        job.send_signal(signal.SIGKILL)
        said, _ = job.communicate()
        assert job.returncode == -signal.SIGKILL, said
        done.append(manifests(store))
        assert done[-2] <= done[-1] < SHARDS, "the job was done before it could be killed"
    assert done[-1] > 0
    before = {path: path.stat().st_mtime_ns for path in (store / "shards").glob("*.json")}
    job = start(store)
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was scored twice
    assert manifests(store) == SHARDS
    assert (store / "scores.npy").read_bytes() == finished


def test_a_damaged_file_is_mended(checkpoints, tmp_path):
    store, file = tmp_path / "store", tmp_path / "store" / "scores.npy"
    scoring_job.run(checkpoints, store)
    right = file.read_bytes()
    file.write_bytes(right[:800] + b"damage" + right[806:])
    scoring_job.run(checkpoints, store)
    assert file.read_bytes() == right


@pytest.fixture(scope="module")
def begun(checkpoints, tmp_path_factory):
    """A store with one shard done."""
    store = tmp_path_factory.mktemp("begun")

    def stops(blocks):
        for block in blocks:
            if (store / "shards" / "00000000.json").exists():
                raise KeyboardInterrupt
            yield block

    with pytest.raises(KeyboardInterrupt):
        scoring_job.run(checkpoints, store, progress=stops)
    return store


@pytest.mark.parametrize(
    "changes, key",
    [
        ({"projector": {"seed": 101}}, r"metadata\['projector'\]\['seed'\] = 100; got 101"),
        ({"projector": {"kind": "rademacher"}}, r"metadata\['projector'\]\['kind'\] = sjlt; got rademacher"),
        ({"projector": {"proj_dim": 33}}, r"metadata\['projector'\]\['proj_dim'\] = 32; got 33"),
        ({"projector": {"nnz": 2}}, r"metadata\['projector'\]\['nnz'\] = 1; got 2"),
        ({"reverse": True}, r"metadata\['parameters_sha256'\]\[0\]"),
        ({"targets": 8}, r"metadata\['targets_sha256'\]\[0\]"),
        ({"rows": 149}, r"metadata\['kernel_rows_sha256'\]|metadata\['pool_sha256'\]"),
        ({"damping": 0.2}, r"metadata\['damping'\] = 0.1; got 0.2"),
        ({"reweight": None}, r"metadata\['reweight'\] = mean; got None"),
        ({"mode": "project"}, r"metadata\['mode'\] = jvp; got project"),
    ],
)
def test_a_job_of_other_work_is_refused(checkpoints, begun, changes, key):
    before = (begun / "scores.npy").read_bytes()
    with pytest.raises(ValueError, match=f"the store in .* has {key}"):
        scoring_job.run(checkpoints, begun, **changes)
    assert (begun / "scores.npy").read_bytes() == before


def test_another_model_does_not_take_the_checkpoints(checkpoints, begun, monkeypatch):
    monkeypatch.setattr(scoring_job, "model", lambda: GPT(scoring_job.VOCAB, scoring_job.LENGTH, 8, 2, 1))
    with pytest.raises(ValueError, match="checkpoint"):
        scoring_job.run(checkpoints, begun)
