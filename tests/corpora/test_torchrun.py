"""Two processes of ``torchrun`` share a scoring job, and give the bytes of one process."""

import os
import re
import signal
import time

import scoring_job

# A rendezvous on this machine, at a port that is free: no network is needed.
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
SHARDS = -(-scoring_job.ROWS // scoring_job.SHARD_ROWS)


def test_two_processes_give_the_bytes_of_one(start, finished, manifests, tmp_path):
    store = tmp_path / "store"
    job = start(store, *LAUNCHER)
    said, _ = job.communicate(timeout=200)
    assert job.returncode == 0, said
    assert manifests(store) == SHARDS
    assert (store / "scores.npy").read_bytes() == finished


def test_when_one_of_two_dies_the_other_stops_and_one_process_finishes_the_work(start, finished, manifests, tmp_path):
    store = tmp_path / "store"
    job = start(store, *LAUNCHER)
    processes = {}
    while len(processes) < 2:
        line = job.stdout.readline()
        assert line, "the job ended before both processes were there"
        if found := re.match(r"rank (\d) is process (\d+)", line):
            processes[found[1]] = int(found[2])
    while job.poll() is None and not ((store / "shards").exists() and manifests(store) >= 4):
        time.sleep(0.001)
    os.kill(processes["1"], signal.SIGKILL)
    said, _ = job.communicate(timeout=200)
    assert job.returncode != 0 and "Signal 9" in said
    done = manifests(store)
    assert 4 <= done < SHARDS, "the job was done before it could be killed"
    job = start(store)
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 0, said
    assert (store / "scores.npy").read_bytes() == finished
