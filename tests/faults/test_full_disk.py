"""A full disk: it is named, nothing that was built is lost, and the same command goes on when there is room.

`/dev/full` answers each write as a full disk does, for any user.
"""

import errno
import os
import resource
import shutil
import subprocess
import sys

import build_site
import pytest
from small_project import ROOT, RUN, snakemake, write_notebook

from selectlib.data._download import FILES, local_copy


def execute(project, notebook, **options):
    command = [
        sys.executable,
        ROOT / "workflow/execute.py",
        f"notebooks/kdpp/{notebook}.ipynb",
        f"out/{notebook}.ipynb",
    ]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120, **options)


def test_a_full_disk_is_named_and_the_same_command_goes_on(project):
    write_notebook(project / "notebooks/kdpp/other.ipynb", "print(k)")
    good, other = RUN.format("good"), RUN.format("other")
    assert snakemake(project, good).returncode == 0
    before = (project / good).stat().st_mtime_ns
    partial = (project / other).with_suffix(".partial.ipynb")
    partial.symlink_to("/dev/full")
    result = snakemake(project, good, other)
    assert result.returncode != 0
    assert "notebooks/kdpp/other.ipynb: No space left on device while" in result.stderr
    assert "The disk is full: " in result.stderr and "give the same command again" in result.stderr
    assert "Traceback" not in result.stderr
    assert not partial.is_symlink() and not (project / other).exists()
    again = snakemake(project, good, other)
    assert again.returncode == 0, again.stderr
    assert (project / other).exists() and (project / good).stat().st_mtime_ns == before


def test_a_limit_on_the_size_of_files(project):
    write_notebook(project / "notebooks/kdpp/large.ipynb", "print('x' * 300_000)")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    result = execute(project, "large", preexec_fn=limit)
    assert result.returncode == 1
    assert "notebooks/kdpp/large.ipynb: File too large while out/large.partial.ipynb was written." in result.stderr, (
        result.stderr
    )
    assert "a quota or `ulimit -f` may allow less" in result.stderr
    assert os.listdir(project / "out") == []


def test_a_cell_that_fills_the_disk(project):
    write_notebook(
        project / "notebooks/kdpp/filling.ipynb", "with open('/dev/full', 'w') as file:\n    file.write('a')"
    )
    result = execute(project, "filling")
    assert result.returncode == 1
    said = "notebooks/kdpp/filling.ipynb: the cell In [2] failed: OSError: [Errno 28] No space left on device\n"
    assert said + "The disk is full" in result.stderr, result.stderr
    assert os.listdir(project / "out") == ["filling.failed.ipynb"]


def test_the_site_that_stood_stays(tmp_path, monkeypatch):
    (tmp_path / "site/_build/html").mkdir(parents=True)
    (tmp_path / "html").mkdir()
    (tmp_path / "html/index.html").write_text("the old site")

    def fill(source, target, **_):
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        raise shutil.Error([(str(source), str(target), str(error))])  # as copytree collects them

    monkeypatch.setattr(shutil, "copytree", fill)
    monkeypatch.setattr(build_site, "stage", lambda *_: None)
    monkeypatch.setattr(subprocess, "run", lambda command: subprocess.CompletedProcess(command, 0))
    monkeypatch.setattr(sys, "argv", ["build_site.py", "--build", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"(?s)The site could not be written.*The disk is full"):
        build_site.main()
    assert (tmp_path / "html/index.html").read_text() == "the old site"


def test_a_download_leaves_nothing_on_a_full_disk(tmp_path, monkeypatch):
    def fill(self, url, output_file, pooch):
        with open(output_file, "wb") as file:
            file.write(b"a part")
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"the rest")

    monkeypatch.setenv("SELECTLIB_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", fill)
    with pytest.raises(OSError, match="No space left on device") as error:
        local_copy("usps.h5")
    assert str(tmp_path) in str(error.value) and FILES["usps.h5"].sha256 in str(error.value)
    assert os.listdir(tmp_path) == []
