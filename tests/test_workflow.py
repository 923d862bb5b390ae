"""The graph: what runs, what a failing cell does, what a SIGKILL leaves, and a sweep's table."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
RUN = "_build/runs/quick/kdpp/{}.ipynb"
MEASURE = (
    "from selectlib import claims\n"
    "claims.record('kdpp/good/double', value=2.0 * k + seed, low=2.0 * k + seed, high=2.0 * k + seed, n=1)"
)


def write_notebook(path: Path, *cells: str) -> None:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    parameters = nbformat.v4.new_code_cell(
        "k: int = 3  # size of the subset [items]\nseed: int = 100  # of every draw\ndevice: str = 'auto'  # device",
        metadata={"tags": ["parameters"]},
    )
    notebook.cells = [parameters, *map(nbformat.v4.new_code_cell, cells)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@pytest.fixture
def project(tmp_path):
    """A small project that the real graph runs in."""
    write_notebook(tmp_path / "notebooks/kdpp/good.ipynb", MEASURE)
    for file in ("selectlib/subsets/_a.py", "selectlib/queries/_b.py", "selectlib/pool.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    return tmp_path


def snakemake_command(*targets: str, config: tuple[str, ...] = ()) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), *targets, "--cores", "2"]
    command += ["--workflow-profile", str(ROOT / "profiles/default")]
    return command + (["--config", *config] if config else [])


def snakemake(project: Path, *targets: str, config: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = snakemake_command(*targets, config=config)
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=200)


def test_a_run_notes_how_it_was_made_and_runs_again_only_after_a_change_of_its_own(project):
    target = RUN.format("good")
    first = snakemake(project, target)
    assert first.returncode == 0, first.stderr
    made = nbformat.read(project / target, as_version=4).metadata["selectlib"]
    assert made["scale"] == "quick" and made["seed"] == 100 and made["seconds"] > 0 and made["device"]
    assert made["parameters"] == {"k": 3, "seed": 100, "device": "auto"}
    assert set(made["versions"]) == {"selectlib", "torch", "numpy"}
    assert "Nothing to be done" in snakemake(project, target).stderr
    (project / "selectlib/queries/_b.py").write_text("# another chapter's room\n")
    assert "Nothing to be done" in snakemake(project, target).stderr
    (project / "selectlib/subsets/_a.py").write_text("# this chapter's room\n")
    assert "Nothing to be done" not in snakemake(project, target, "--dry-run").stderr


def test_a_failing_cell_is_named_and_leaves_the_other_results(project):
    write_notebook(project / "notebooks/kdpp/bad.ipynb", "x = 1", "raise KeyError('lost thing')")
    result = snakemake(project, RUN.format("bad"), RUN.format("good"))
    assert result.returncode != 0
    assert (project / RUN.format("good")).exists() and not (project / RUN.format("bad")).exists()
    assert (project / RUN.format("bad.failed")).exists()
    for word in ("notebooks/kdpp/bad.ipynb", "In [3]", "raise KeyError('lost thing')", "KeyError"):
        assert word in result.stderr


def test_an_unknown_parameter_is_refused_before_any_work(project):
    (project / "notebooks/kdpp/good.full.yml").write_text("kk: 5\n")
    result = snakemake(project, "_build/runs/full/kdpp/good.ipynb")
    assert result.returncode != 0 and "has no parameter kk" in result.stderr


def test_it_goes_on_after_a_sigkill(project):
    write_notebook(
        project / "notebooks/kdpp/slow.ipynb",
        "import pathlib, time\nfirst = not pathlib.Path('seen').exists()\npathlib.Path('seen').touch()",
        "if first:\n    time.sleep(600)",
    )
    assert snakemake(project, RUN.format("good")).returncode == 0
    good = (project / RUN.format("good")).stat().st_mtime
    process = subprocess.Popen(
        snakemake_command(RUN.format("good"), RUN.format("slow")),
        cwd=project,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (project / "seen").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (project / RUN.format("slow")).exists()
    again = snakemake(project, RUN.format("good"), RUN.format("slow"))
    assert again.returncode == 0, again.stderr
    assert (project / RUN.format("slow")).exists()
    assert (project / RUN.format("good")).stat().st_mtime == good


def test_a_sweep_writes_one_tidy_table_and_a_figure(project):
    result = snakemake(project, "sweep", config=("notebook=kdpp/good", "over=k:5,10;seed:0,1"))
    assert result.returncode == 0, result.stderr
    with (project / "_build/sweeps/kdpp/good/table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {(row["k"], row["seed"], float(row["value"])) for row in table} == {
        ("5", "0", 10.0),
        ("5", "1", 11.0),
        ("10", "0", 20.0),
        ("10", "1", 21.0),
    }
    assert all(row["claim"] == "kdpp/good/double" and float(row["seconds"]) > 0 for row in table)
    assert (project / "_build/sweeps/kdpp/good/figure.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (("notebook=kdpp/none", "over=k:1"), "there is no notebooks/kdpp/none.ipynb"),
        (("notebook=kdpp/good", "over=k"), "is not of that form"),
        (("notebook=kdpp/good",), "names the parameters and their values"),
        (("scale=huge",), "one of quick, full, long, gpu, paper is needed"),
    ],
)
def test_a_bad_request_gets_a_plain_answer(project, config, words):
    result = snakemake(project, "sweep", config=config)
    assert result.returncode != 0 and words in result.stderr + result.stdout


PARAMETER_FILES = sorted(path.relative_to(ROOT / "notebooks") for path in (ROOT / "notebooks").glob("*/*.yml"))


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=str)
def test_parameter_files_pass_the_checks_of_their_notebook(path):
    """Each names parameters that there are, with values that the notebook's own check lets through."""
    given = yaml.safe_load((ROOT / "notebooks" / path).read_text())
    notebook = ROOT / "notebooks" / path.parent / f"{path.name.split('.')[0]}.ipynb"
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    first = next(i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", []))
    defaults, check = ("".join(cell["source"]) for cell in cells[first : first + 2])
    names: dict[str, object] = {}
    exec(defaults, names)
    assert set(given) <= set(names)
    exec(check, names | given)
