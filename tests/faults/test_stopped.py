"""The graph and a run that are stopped: nothing is half there, no kernel stays, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest
from small_project import ROOT, RUN, snakemake, snakemake_command, write_notebook

SLOW = """import os, pathlib, time
kernel = pathlib.Path("kernel")
first = not kernel.exists()
kernel.write_text(str(os.getpid()))"""


@pytest.fixture
def started(project):
    """A project with one finished notebook, and a function that starts a command and waits until its kernel works."""
    write_notebook(project / "notebooks/kdpp/slow.ipynb", SLOW, "if first:\n    time.sleep(600)")

    def start(command):
        process = subprocess.Popen(
            command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        wait_until(lambda: (project / "kernel").exists() and (project / "kernel").read_text(), process)
        return process

    return start


def wait_until(condition, process=None, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and (process is None or process.poll() is None)
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def check_nothing_is_half_there(project):
    folder = project / RUN.format("slow")
    assert not list(folder.parent.glob("slow.*")) if folder.parent.exists() else True
    kernel = int((project / "kernel").read_text())
    wait_until(lambda: not is_running(kernel))


def check_it_goes_on(project, good_before):
    again = snakemake(project, RUN.format("good"), RUN.format("slow"))
    assert again.returncode == 0, again.stderr
    assert (project / RUN.format("slow")).exists()
    assert (project / RUN.format("good")).stat().st_mtime_ns == good_before


def test_the_graph_goes_on_after_a_sigkill(project, started):
    assert snakemake(project, RUN.format("good")).returncode == 0
    before = (project / RUN.format("good")).stat().st_mtime_ns
    process = started(snakemake_command(RUN.format("good"), RUN.format("slow")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (project / RUN.format("slow")).exists()
    check_it_goes_on(project, before)


def test_the_graph_goes_on_after_ctrl_c(project, started):
    assert snakemake(project, RUN.format("good")).returncode == 0
    before = (project / RUN.format("good")).stat().st_mtime_ns
    process = started(snakemake_command(RUN.format("good"), RUN.format("slow")))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "notebooks/kdpp/slow.ipynb: stopped. The same command runs it again" in said
    check_nothing_is_half_there(project)
    check_it_goes_on(project, before)


def test_a_run_that_is_told_to_end(project, started):
    output = RUN.format("slow")
    process = started([sys.executable, str(ROOT / "workflow/execute.py"), "notebooks/kdpp/slow.ipynb", output])
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "notebooks/kdpp/slow.ipynb: stopped." in said
    check_nothing_is_half_there(project)
