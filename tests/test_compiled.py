"""C++ sources: compiled once for a machine, and again where anything is different."""

import subprocess

import pytest

from selectlib import _compiled

SOURCE = 'extern "C" int answer() { return ANSWER; }'


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A fresh cache folder and a source; calls look like calls of new processes."""
    source = tmp_path / "answer.cpp"
    source.write_text(SOURCE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def call(*flags):
        _compiled.compiled.cache_clear()
        return _compiled.compiled(source, "answer", *flags)

    yield call
    _compiled.compiled.cache_clear()


@pytest.fixture
def runs(monkeypatch):
    made, run = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: made.append(args) or run(*args, **options))
    return made


def test_what_was_compiled_is_kept(compiled, runs, tmp_path):
    assert [compiled("-DANSWER=42").answer() for _ in range(2)] == [42, 42]
    assert len(runs) == 1
    assert [path.suffix for path in (tmp_path / "selectlib" / "compiled").iterdir()] == [".so"]


def test_what_cannot_be_loaded_is_compiled_again(compiled, runs, tmp_path):
    (tmp_path / "selectlib" / "compiled").mkdir(parents=True)
    assert compiled("-DANSWER=42").answer() == 42
    (kept,) = (tmp_path / "selectlib" / "compiled").iterdir()
    kept.unlink()  # not overwritten: this process still runs from it
    kept.write_bytes(b"half of it")
    assert compiled("-DANSWER=42").answer() == 42
    assert len(runs) == 2 and kept.stat().st_size > 1000


def test_other_flags_sources_and_machines_are_compiled_anew(compiled, runs, tmp_path, monkeypatch):
    assert [compiled(f"-DANSWER={i}").answer() for i in (1, 2)] == [1, 2]
    (tmp_path / "answer.cpp").write_text(SOURCE.replace("ANSWER", "ANSWER + 1"))
    assert compiled("-DANSWER=1").answer() == 2
    monkeypatch.setattr(_compiled.platform, "machine", lambda: "another")
    assert compiled("-DANSWER=1").answer() == 2
    assert len(runs) == 4


def test_a_folder_that_cannot_be_written_costs_only_time(compiled, runs, tmp_path):
    (tmp_path / "selectlib").write_text("a file where the folder would be")
    assert [compiled("-DANSWER=42").answer() for _ in range(2)] == [42, 42]
    assert len(runs) == 2


def test_what_the_compiler_says_is_told(compiled):
    with pytest.warns(UserWarning, match=r"no compiled answer, plain torch is used instead: (?s:.*)ANSWER"):
        assert compiled() is None


def test_the_compiler_may_come_with_words(compiled, monkeypatch):
    monkeypatch.setenv("CXX", "env c++ -DANSWER=7")
    assert compiled().answer() == 7


def test_a_missing_compiler_is_named(compiled, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(UserWarning, match="no compiled answer.*no-such-compiler"):
        assert compiled("-DANSWER=1") is None
