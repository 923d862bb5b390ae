"""What the page on scaling out shows: its scripts at a small size, the profile for a cluster, the kept results."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_project import make_project

ROOT = Path(__file__).parents[1]
SCRIPTS, PAGE, PROFILE = ROOT / "workflow/scale_out", ROOT / "book/scale_out", ROOT / "profiles/slurm"
LOCAL = re.compile(r"/(root|home|work|tmp|Users|run)/|\d\d:\d\d:\d\d")


def run(script: str) -> dict:
    """Run a script at its small size; what it measured."""
    command = [sys.executable, str(SCRIPTS / script), "--quick"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_features_are_found_in_a_table_that_is_not_in_memory():
    found = run("features_out_of_core.py")
    assert set(found["found_columns"]) <= set(found["true_columns"]) and len(found["found_columns"]) >= 5
    assert abs(found["explained"] - found["explained_true"]) < 4 * found["explained_standard_error"] + 0.01
    assert found["steps"] == 100 and found["peak_mb"] - found["start_mb"] < 250


def test_a_million_items_are_not_all_looked_at():
    found = run("kdpp_hundred_million.py")
    assert found["looks"] < found["items"] / 10
    assert found["nearest_pair"] > 1.1 * found["nearest_pair_uniform"]


@pytest.mark.timeout(600)
def test_two_processes_of_which_one_is_killed_give_the_bytes_of_one():
    found = run("torchrun_killed.py")
    assert found["equal"] and 0 < found["shards_done_at_kill"] < found["shards"]


def test_the_profile_plans_the_graph(tmp_path):
    project = make_project(tmp_path)
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--dry-run"]
    command += ["--profile", str(PROFILE), "--workflow-profile", str(ROOT / "profiles/default")]
    command += ["_build/runs/quick/kdpp/good.ipynb"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "slurm_partition=cpu" in said and "rule execute" in said


def test_the_page_shows_the_profile():
    text = (PROFILE / "config.yaml").read_text()
    assert f"```yaml\n{text}```" in (ROOT / "book/scale_out.md").read_text()
    settings = yaml.safe_load(text)
    assert settings["executor"] == "slurm" and settings["slurm-status-command"] == "squeue"


def test_the_script_that_starts_a_slurm_says_what_is_missing(tmp_path):
    script = str(SCRIPTS / "slurm.sh")
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    environment = {**os.environ, "PYTHON": str(tmp_path / "no-python"), "BUILD": str(tmp_path / "build")}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("slurm.sh: ")
    assert not (tmp_path / "build").exists()


def test_the_table_is_that_of_the_kept_results(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    assert (PAGE / "table.md").read_text() == runpy.run_path(str(SCRIPTS / "measured.py"))["table"]()


@pytest.mark.parametrize("path", sorted(PAGE.glob("*.*")), ids=lambda path: path.name)
def test_kept_results_name_no_place(path):
    assert not LOCAL.search(path.read_text())


def test_kept_logs_are_of_runs_that_went_well():
    slurm, torchrun = ((PAGE / f"{name}.log").read_text() for name in ("slurm", "torchrun"))
    assert slurm.count(" COMPLETED ") == 3 and " RUNNING " in slurm and "3 notebooks were run by SLURM" in slurm
    assert "SIGKILL" in torchrun and torchrun.endswith("equal\n")
