"""What the Makefile tells a newcomer whose machine lacks something, and what keeps two builds apart."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import before_setup
import pytest

ROOT = Path(__file__).parents[1]
MAKE = shutil.which("make")
TOOLS = ("bash", "touch", "id", "python3")  # all that the commands under test need of a machine


@pytest.fixture
def folder(tmp_path):
    """The Makefile and what it reads, in a folder of its own whose PATH holds TOOLS and nothing else."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "workflow/before_setup.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(sys.executable if tool == "python3" else shutil.which(tool))
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {"PATH": str(folder / "bin"), "HOME": str(folder)}
    return subprocess.run([MAKE, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n".replace("/usr/bin/env bash", shutil.which("bash")))
    path.chmod(0o755)


def test_every_command_is_in_the_list(folder):
    for tool in ("grep", "sed", "expand"):
        (folder / "bin" / tool).symlink_to(shutil.which(tool))
    said = make(folder).stdout
    assert all(
        f"\n{word}" in f"\n{said}" for word in ("book", "test", "refresh", "serve", "bench", "clean", "distclean")
    )


def test_a_make_that_is_too_old_is_named(folder):
    assert "GNU make 3.82 or newer is needed" in make(folder, ".FEATURES=", "help").stderr


def test_a_missing_python_is_named(folder):
    result = make(folder, "book", "PYTHON=python-of-nobody")
    assert result.returncode and "there is no python-of-nobody here" in result.stderr


def test_an_old_python_is_told_what_is_needed():
    assert before_setup.old_python((3, 11, 0)) is None
    assert "Python 3.11 or newer is needed" in before_setup.old_python((3, 9, 2))
    assert "is 3.9. Install one and name it: make PYTHON=" in before_setup.old_python((3, 9, 2))
    ast.parse((ROOT / "workflow/before_setup.py").read_text(), feature_version=(3, 6))  # it must be able to read it


def test_a_python_that_does_not_do_stops_the_set_up(folder):
    script(folder / "bin/python-old", "echo 'Python 3.11 or newer is needed' >&2; exit 1")
    result = make(folder, "book", "PYTHON=python-old")
    assert result.returncode and "3.11" in result.stderr and not (folder / ".venv").exists()


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_names_the_package(missing):
    complaint = before_setup.no_venv(find=lambda name: None if name == missing else name)
    assert "apt install python3-venv" in complaint
    assert before_setup.no_venv() is None


@pytest.mark.parametrize(
    ("free", "torch", "cuda", "fatal", "words"),
    [
        (2.0, "cpu", True, True, "needs 2.7 GB of disk, and 2.0 GB are free"),
        (2.0, "", False, True, "needs 2.7 GB of disk, and 2.0 GB are free"),
        (5.0, "", True, False, "needs 7 GB of disk, and 5.0 GB are free here. Without an NVIDIA GPU"),
    ],
)
def test_a_full_disk_is_told_before_anything_is_fetched(free, torch, cuda, fatal, words):
    found, complaint = before_setup.little_space(free * 1e9, torch, cuda)
    assert found is fatal and words in complaint


@pytest.mark.parametrize(("free", "torch", "cuda"), [(5.0, "cpu", True), (5.0, "", False), (9.0, "", True)])
def test_enough_disk_needs_no_words(free, torch, cuda):
    assert before_setup.little_space(free * 1e9, torch, cuda) is None


def test_the_figures_of_disk_are_the_readmes():
    (row,) = (line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| set-up"))
    assert f"{before_setup.NEEDS['cpu']} GB (CPU torch)" in row
    assert f"{before_setup.NEEDS['']:.0f} GB (CUDA torch)" in row


@pytest.mark.parametrize("torch", ["", "cpu"])
def test_without_a_network_pips_reason_is_followed_by_what_to_do(folder, torch):
    script(folder / ".venv/bin/pip", "echo 'ERROR: no route to host' >&2; exit 1")
    result = make(folder, "book", f"TORCH={torch}")
    assert result.returncode
    assert "no route to host" in result.stderr and "Is the network there" in result.stderr
    assert not (folder / ".venv/.ready").exists()  # the next call tries again


def test_a_machine_without_chromium_compiler_and_apt_is_told_the_packages(folder):
    result = make(folder, "tools")
    assert result.returncode and "the tests need chromium g++: install it" in result.stderr
    script(folder / "bin/google-chrome", "")
    result = make(folder, "tools")
    assert result.returncode and "the tests need g++: install it" in result.stderr
    script(folder / "bin/c++", "")
    assert make(folder, "tools").returncode == 0


def test_an_apt_without_a_network_is_followed_by_what_to_do(folder):
    script(folder / "bin/apt-get", "echo 'E: could not resolve' >&2; exit 100")
    script(folder / "bin/sudo", '[ "$1" = -n ] && shift; "$@"')
    script(folder / "bin/true", "exit 0")
    result = make(folder, "tools")
    assert result.returncode and "could not resolve" in result.stderr
    assert "chromium g++ could not be installed" in result.stderr


def test_oracles_and_all_other_tests_are_both_run(folder):
    """Every test carries the mark or not: together the two passes leave none out."""
    said = (ROOT / "Makefile").read_text()
    assert "-m oracle --jaxtyping-packages=selectlib,sparing.checker tests &&" in said
    assert '-m "not oracle" --doctest-modules tests selectlib &&' in said


def test_each_step_of_the_tests_says_its_time(folder):
    (folder / ".venv").mkdir()
    (folder / ".venv/.ready").touch()
    for tool in ("chromium", "c++"):
        script(folder / "bin" / tool, "")
    for tool in ("ruff", "mypy", "pytest", "python"):
        script(folder / ".venv/bin" / tool, "")
    result = make(folder, "test")
    assert result.returncode == 0, result.stderr
    steps = [line for line in result.stdout.splitlines() if line.startswith("== ")]
    assert len(steps) == 4 and all(line.endswith(" s)") for line in steps)
    script(folder / ".venv/bin/mypy", "exit 1")
    result = make(folder, "test")
    assert result.returncode and "==" not in result.stdout  # a step that failed is the last


def test_a_second_build_is_refused_until_the_first_is_gone(tmp_path):
    """Even by SIGKILL."""
    alone = [sys.executable, ROOT / "workflow/alone.py", tmp_path / "build/.lock"]
    seen = tmp_path / "seen"
    first = subprocess.Popen([*alone, sys.executable, "-c", f"open({str(seen)!r}, 'w'); import time; time.sleep(60)"])
    deadline = time.monotonic() + 30
    while not seen.exists():
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.05)
    second = subprocess.run([*alone, "true"], capture_output=True, text=True)
    assert second.returncode == 75 and "another build is running in this folder" in second.stderr
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert subprocess.run([*alone, "true"]).returncode == 0
