import hashlib
import os
import re
import sys
import time

import pytest

from selectlib.data import _download
from selectlib.data._download import FILES, local_copy

NAME = "things.bin"
CONTENT = bytes(range(256)) * 200
RIGHT = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def listed(server, register):
    register(NAME, CONTENT, server.url)
    return server


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Lengths of the pauses between attempts, which the tests do not wait for."""
    lengths = []
    monkeypatch.setattr(time, "sleep", lengths.append)
    return lengths


def forbid_writing(monkeypatch, folder):
    """Refuse new files in the folder, as a read-only one does; a mode would not stop the root user."""
    real = os.open

    def guarded(path, flags, *rest, **options):
        if flags & os.O_CREAT and str(path).startswith(str(folder)):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", guarded)


def check_message(error, server, folder):
    for part in (NAME, server.url, str(folder), RIGHT, "SELECTLIB_DATA"):
        assert part in str(error.value)


def test_a_download_is_kept_and_used_again(listed, folder):
    listed.answer = lambda request: request.send_body(CONTENT)
    for _ in range(2):
        assert local_copy(NAME) == folder / NAME
        assert (folder / NAME).read_bytes() == CONTENT
    assert listed.paths == ["/file"]
    assert os.listdir(folder) == [NAME]


def test_the_folder_is_made(listed, folder, monkeypatch):
    monkeypatch.setenv("SELECTLIB_DATA", str(folder / "new" / "deep"))
    listed.answer = lambda request: request.send_body(CONTENT)
    assert local_copy(NAME) == folder / "new" / "deep" / NAME


def test_a_folder_in_the_name_is_made(server, register, folder):
    register("task/things.bin", CONTENT, server.url)
    server.answer = lambda request: request.send_body(CONTENT)
    assert local_copy("task/things.bin") == folder / "task" / "things.bin"
    assert (folder / "task" / "things.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_the_users_cache_folder_is_used(listed, tmp_path, monkeypatch, value):
    monkeypatch.delenv("SELECTLIB_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("SELECTLIB_DATA", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    listed.answer = lambda request: request.send_body(CONTENT)
    assert local_copy(NAME) == tmp_path / "selectlib" / NAME


def test_a_file_already_there_needs_no_network_and_no_writing(listed, folder, monkeypatch):
    (folder / NAME).write_bytes(CONTENT)
    forbid_writing(monkeypatch, folder)
    assert local_copy(NAME) == folder / NAME
    assert listed.paths == []


def test_a_relative_folder_is_taken_from_here(listed, folder, monkeypatch):
    (folder / NAME).write_bytes(CONTENT)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("SELECTLIB_DATA", "data")
    assert local_copy(NAME) == folder / NAME


def test_a_wrong_file_is_replaced(listed, folder):
    (folder / NAME).write_bytes(b"old")
    listed.answer = lambda request: request.send_body(CONTENT)
    assert local_copy(NAME).read_bytes() == CONTENT
    assert os.listdir(folder) == [NAME]


def test_a_wrong_file_in_a_read_only_folder_is_named_and_left(listed, folder, monkeypatch):
    (folder / NAME).write_bytes(b"old")
    forbid_writing(monkeypatch, folder)
    with pytest.raises(OSError, match="Permission denied") as error:
        local_copy(NAME)
    check_message(error, listed, folder)
    assert hashlib.sha256(b"old").hexdigest() in str(error.value)
    assert (folder / NAME).read_bytes() == b"old"
    assert listed.paths == []


def test_a_wrong_file_outlives_a_failed_download(listed, folder):
    (folder / NAME).write_bytes(b"old")
    with pytest.raises(OSError, match="404") as error:
        local_copy(NAME)
    assert hashlib.sha256(b"old").hexdigest() in str(error.value)
    assert (folder / NAME).read_bytes() == b"old"


def hang(request):
    request.server.released.wait(20)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda request: request.send_error(404), "404"),
        (lambda request: request.send_error(500), "500"),
        (lambda request: request.send_body(b"something else"), hashlib.sha256(b"something else").hexdigest()),
        (lambda request: request.send_body(b""), hashlib.sha256(b"").hexdigest()),
        (lambda request: request.send_body(CONTENT[:-1]), hashlib.sha256(CONTENT[:-1]).hexdigest()),
        (lambda request: request.send_body(CONTENT[:999], length=len(CONTENT)), "999 bytes read"),
        (lambda request: request.cut(), "Connection aborted"),
        (hang, "timed out"),
    ],
    ids=["missing", "broken", "other", "empty", "shorter", "cut in the body", "cut at once", "silent"],
)
def test_a_failed_download_is_explained_and_leaves_nothing(listed, folder, monkeypatch, pauses, answer, reason):
    monkeypatch.setattr(_download, "_TIMEOUT", 0.3)
    listed.answer = answer
    with pytest.raises(OSError, match=reason) as error:
        local_copy(NAME)
    check_message(error, listed, folder)
    assert os.listdir(folder) == []
    assert len(listed.paths) == 2 and sum(pauses) <= 2  # one more attempt, after a short pause


def test_nobody_listening_is_explained(register, folder, server):
    server.shutdown()
    server.server_close()
    register(NAME, CONTENT, server.url)
    with pytest.raises(OSError, match="refused") as error:
        local_copy(NAME)
    check_message(error, server, folder)
    assert os.listdir(folder) == []


def test_the_second_attempt_may_succeed(listed, folder):
    def fail_once(request):
        if len(listed.paths) == 1:
            request.cut()
        else:
            request.send_body(CONTENT)

    listed.answer = fail_once
    assert local_copy(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("obstacle", ["a file in its way", "read-only"])
def test_a_folder_that_cannot_be_written_is_named_before_anything_is_fetched(listed, folder, monkeypatch, obstacle):
    if obstacle == "read-only":
        forbid_writing(monkeypatch, folder)
    else:
        (folder / "file").write_bytes(b"")
        folder = folder / "file" / "data"
        monkeypatch.setenv("SELECTLIB_DATA", str(folder))
    with pytest.raises(OSError, match=rf"into: {re.escape(str(folder))}\n") as error:
        local_copy(NAME)
    check_message(error, listed, folder)
    assert listed.paths == []


def test_an_interrupted_download_leaves_nothing(listed, folder, monkeypatch):
    def interrupt(*_):
        assert len(os.listdir(folder)) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        local_copy(NAME)
    assert os.listdir(folder) == []


def test_without_pooch_the_extra_is_named(register, folder, monkeypatch):
    register(NAME, CONTENT)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"things.bin is fetched with pooch: pip install 'what-to-keep\[book\]'"):
        local_copy(NAME)


def test_listed_files_have_a_checksum_and_a_safe_address():
    for remote in FILES.values():
        assert re.fullmatch("[0-9a-f]{64}", remote.sha256)
        assert remote.url.startswith("https://")


def test_listed_checksums_are_those_of_the_real_files_that_are_there(real_data):
    there = [name for name in FILES if (real_data / name).is_file()]
    assert there
    for name in there:
        assert hashlib.sha256((real_data / name).read_bytes()).hexdigest() == FILES[name].sha256
        assert local_copy(name) == real_data / name
