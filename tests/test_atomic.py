import os

import pytest

from selectlib._atomic import write_atomically


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "notes.txt"
    for text in ("first — and longer", "second", ""):
        write_atomically(path, text)
        assert path.read_text(encoding="utf-8") == text
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, step):
    path = tmp_path / "notes.txt"
    write_atomically(path, "old")

    def refuse(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "notes.txt", "text")
