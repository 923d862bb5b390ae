"""The store keeps what was written, refuses what does not belong to it, and believes no damaged byte."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.corpora._store import ScoreStore, Shard

METADATA = {"projector": {"kind": "sjlt", "seed": 100}, "checkpoints": ["aa", "bb"], "damping": 0.1}


def _open(path, **changes):
    return ScoreStore(path, **{"rows": 23, "columns": 3, "shard_rows": 5, "metadata": METADATA, **changes})


def _values(rows=23, columns=3):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(100))


def _fill(store, shards, values):
    for shard in shards:
        store.write(shard, values[shard.start : shard.stop])


@pytest.mark.oracle
@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 4),
    shard_rows=st.integers(1, 50),
    world_size=st.integers(1, 5),
    data=st.data(),
)
def test_what_is_written_in_any_order_by_any_process_is_read(
    tmp_path_factory, rows, columns, shard_rows, world_size, data
):
    path = tmp_path_factory.mktemp("store")
    options = {"rows": rows, "columns": columns, "shard_rows": shard_rows}
    stores = [_open(path, **options) for _ in range(world_size)]
    parts = [list(store.pending(rank, world_size)) for rank, store in enumerate(stores)]
    everything = sorted((shard for part in parts for shard in part), key=lambda shard: shard.index)
    assert [row for shard in everything for row in range(shard.start, shard.stop)] == list(range(rows))
    values = _values(rows, columns)
    work = [(rank, shard) for rank, part in enumerate(parts) for shard in part]
    for rank, shard in data.draw(st.permutations(work)):
        assert not stores[0].complete
        _fill(stores[rank], [shard], values)
    for store in (*stores, _open(path, **options)):
        assert store.complete
        assert list(store.pending()) == []
        assert np.array_equal(store.read(), values.numpy())


def test_the_file_is_plain_npy_and_read_maps_it(tmp_path):
    store = _open(tmp_path / "deep" / "store")
    _fill(store, store.pending(), _values())
    scores = store.read()
    assert isinstance(scores, np.memmap) and scores.dtype == np.float32 and not scores.flags.writeable
    assert np.array_equal(np.load(tmp_path / "deep" / "store" / "scores.npy"), _values().numpy())
    size = (tmp_path / "deep" / "store" / "scores.npy").stat().st_size
    assert size == 128 + 23 * 3 * 4  # a page of header, and four bytes a number


def test_the_file_has_its_size_from_the_start(tmp_path):
    _open(tmp_path, rows=10**6, columns=2)
    assert (tmp_path / "scores.npy").stat().st_size == 128 + 8 * 10**6


def test_nan_and_infinity_are_kept(tmp_path):
    store = _open(tmp_path, rows=2, columns=2, shard_rows=2)
    odd = torch.tensor([[float("nan"), float("inf")], [-0.0, 1e-45]])
    _fill(store, store.pending(), odd)
    assert store.read().tobytes() == odd.numpy().tobytes()


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float16, torch.float64])
def test_arrays_and_other_precisions_are_stored_as_float32(tmp_path, kind):
    store = _open(tmp_path, rows=3, columns=1, shard_rows=3)
    values = np.array([[0.5], [0.25], [-4.0]])
    given_values = values.astype(kind) if isinstance(kind, type) else torch.tensor(values, dtype=kind)
    store.write(Shard(0, 0, 3), given_values)
    assert store.read().tolist() == values.tolist()


def test_a_tensor_of_other_strides_is_stored_by_its_rows(tmp_path):
    store = _open(tmp_path, rows=4, columns=3, shard_rows=4)
    values = _values(3, 4).t().requires_grad_()
    store.write(Shard(0, 0, 4), values)
    assert np.array_equal(store.read(), values.detach().numpy())


def test_a_store_goes_on_where_it_was(tmp_path):
    store = _open(tmp_path)
    first, second, *_ = store.pending()
    _fill(store, [second], _values())
    again = _open(tmp_path)
    assert [shard.index for shard in again.pending()] == [0, 2, 3, 4]
    assert [shard.index for shard in again.pending(1, 3)] == [4]
    _fill(again, [first], _values())
    assert [shard.index for shard in store.pending()] == [2, 3, 4]  # what another process wrote counts
    with pytest.raises(ValueError, match=re.escape("not complete: 3 shards pending, from 2")):
        store.read()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rows": 24}, "has rows = 23; got 24"),
        ({"columns": 1}, "has columns = 3; got 1"),
        ({"shard_rows": 4}, "has shard_rows = 5; got 4"),
        ({"metadata": METADATA | {"damping": 0.2}}, "has metadata['damping'] = 0.1; got 0.2"),
        (
            {"metadata": METADATA | {"projector": {"kind": "sjlt", "seed": 7}}},
            "has metadata['projector']['seed'] = 100; got 7",
        ),
        ({"metadata": METADATA | {"checkpoints": ["aa", "cc"]}}, "has metadata['checkpoints'][1] = bb; got cc"),
        ({"metadata": METADATA | {"checkpoints": ["aa"]}}, "has len(metadata['checkpoints']) = 2; got 1"),
        ({"metadata": METADATA | {"extra": 1}}, "has metadata['extra'] = nothing; got 1"),
        ({"metadata": {"damping": 0.1}}, "has metadata['checkpoints'] = ['aa', 'bb']; got nothing"),
        ({"metadata": METADATA | {"checkpoints": None}}, "has metadata['checkpoints'] = ['aa', 'bb']; got None"),
    ],
)
def test_a_store_of_other_scores_is_refused_and_kept(tmp_path, changes, message):
    store = _open(tmp_path)
    _fill(store, store.pending(), _values())
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=re.escape(message)):
        _open(tmp_path, **changes)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_metadata_is_compared_as_json_has_it(tmp_path):
    store = _open(tmp_path, metadata={"shape": (2, 3), "damping": 1})
    _fill(store, store.pending(), _values())
    assert _open(tmp_path, metadata={"damping": 1.0, "shape": [2, 3]}).complete


def test_a_folder_with_a_foreign_file_is_refused(tmp_path):
    np.save(tmp_path / "scores.npy", np.ones(3))
    with pytest.raises(ValueError, match="not part of a store"):
        _open(tmp_path)
    assert np.load(tmp_path / "scores.npy").tolist() == [1, 1, 1]


@pytest.mark.parametrize("damage", ["byte", "cut", "gone", "manifest cut", "manifest empty", "other store"])
def test_damaged_shards_are_pending_again(tmp_path, damage):
    store = _open(tmp_path)
    _fill(store, store.pending(), _values())
    right = (tmp_path / "scores.npy").read_bytes()
    file, manifest = tmp_path / "scores.npy", tmp_path / "shards" / "00000004.json"
    if damage == "byte":
        file.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    elif damage == "cut":
        file.write_bytes(right[:-7])
    elif damage == "gone":
        file.unlink()
    elif damage == "manifest cut":
        manifest.write_text(manifest.read_text()[:-3])
    elif damage == "manifest empty":
        manifest.write_text("")
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"store": "0" * 64}))
    again = _open(tmp_path)
    assert [shard.index for shard in again.pending()] == (list(range(5)) if damage == "gone" else [4])
    assert not again.complete
    _fill(again, again.pending(), _values())
    assert file.read_bytes() == right


def test_bytes_without_a_manifest_do_not_count(tmp_path):
    """What is left by a process killed between the bytes and the manifest."""
    store = _open(tmp_path)
    _fill(store, store.pending(), _values())
    (tmp_path / "shards" / "00000002.json").rename(tmp_path / "shards" / "00000002.json.abc.tmp")
    assert [shard.index for shard in _open(tmp_path).pending()] == [2]


def test_the_manifest_follows_the_bytes(tmp_path, monkeypatch):
    """When the manifest appears, the shard's bytes are in the file and were flushed to the disk."""
    store, seen, synced = _open(tmp_path), [], []
    replace, fsync = Path.replace, os.fsync

    def watched_fsync(file):
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    def watched_replace(source, target):
        with open(tmp_path / "scores.npy", "rb") as file:
            content = file.read()[128 + 12 * 5 : 128 + 12 * 10]
        seen.append((Path(target).name, content == _values()[5:10].numpy().tobytes(), list(synced), str(source)))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    _fill(store, [Shard(1, 5, 10)], _values())
    [(name, written, flushed, temporary)] = seen
    assert name == "00000001.json" and written
    assert flushed == [str(tmp_path / "scores.npy"), temporary]


@pytest.mark.parametrize(
    "shard, values, error, message",
    [
        (Shard(5, 25, 30), torch.ones(5, 3), ValueError, "not one of this store of 23 rows in shards of 5"),
        (Shard(-1, -5, 0), torch.ones(5, 3), ValueError, "not one of this store"),
        (Shard(1, 5, 9), torch.ones(4, 3), ValueError, "not one of this store"),
        (Shard(4, 20, 23), torch.ones(5, 3), ValueError, "values must have shape (3, 3)"),
        (Shard(0, 0, 5), torch.ones(5), ValueError, "values must have shape (5, 3)"),
        (Shard(0, 0, 5), torch.ones(5, 3, dtype=torch.int64), TypeError, "values must hold floats, got torch.int64"),
    ],
)
def test_wrong_writes_are_refused(tmp_path, shard, values, error, message):
    store = _open(tmp_path)
    with pytest.raises(error, match=re.escape(message)):
        store.write(shard, values)
    assert len(list(store.pending())) == 5


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"rows": 0}, ValueError, "rows must be at least 1, got 0"),
        ({"columns": -1}, ValueError, "columns must be at least 1, got -1"),
        ({"shard_rows": 2.5}, TypeError, "shard_rows must be an int, got float"),
        ({"rows": True}, TypeError, "rows must be an int, got bool"),
        ({"metadata": [1]}, TypeError, "metadata must be a mapping, got list"),
        ({"metadata": {"a": torch.ones(1)}}, TypeError, "metadata must hold what JSON can"),
        ({"metadata": {"a": float("nan")}}, ValueError, "metadata must be finite"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        _open(tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("rank, world_size", [(1, 1), (-1, 2), (0, 0)])
def test_wrong_ranks_are_refused_at_once(tmp_path, rank, world_size):
    with pytest.raises(ValueError, match="rank must lie in"):
        _open(tmp_path).pending(rank, world_size)


WRITER = """
import sys, time, torch
from selectlib.corpora._store import ScoreStore
path, rank, world_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = ScoreStore(path, rows=4000, columns=2, shard_rows=10, metadata={"seed": 100})
print("open", flush=True)
for shard in store.pending(rank, world_size):
    generator = torch.Generator().manual_seed(shard.index)
    store.write(shard, torch.randn(10, 2, generator=generator))
    time.sleep(0.003)
"""


def _writer(path, rank=0, world_size=1):
    command = [sys.executable, "-c", WRITER, str(path), str(rank), str(world_size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_writers_lose_nothing_and_change_nothing(tmp_path):
    """Two processes share one store, and both are killed after a random number of shards, again and again."""
    random = np.random.default_rng(100)
    path, done = tmp_path / "store", [0]
    for _ in range(4):
        writers = [_writer(path, rank, 2) for rank in range(2)]
        assert all(writer.stdout.readline() == "open\n" for writer in writers)
        enough = done[-1] + random.integers(1, 40)
        while len(list((path / "shards").glob("*.json"))) < enough:
            assert all(writer.poll() is None for writer in writers)
        time.sleep(random.uniform(0, 0.003))
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        assert all(writer.wait() == -signal.SIGKILL for writer in writers)
        for writer in writers:
            writer.communicate()
        done.append(len(list((path / "shards").glob("*.json"))))
        assert done[-2] < done[-1] < 400
    for rank in range(2):
        writer = _writer(path, rank, 2)
        _, errors = writer.communicate()
        assert writer.returncode == 0, errors
    expected = torch.cat([torch.randn(10, 2, generator=torch.Generator().manual_seed(i)) for i in range(400)])
    store = ScoreStore(path, rows=4000, columns=2, shard_rows=10, metadata={"seed": 100})
    assert store.read().tobytes() == expected.numpy().tobytes()
