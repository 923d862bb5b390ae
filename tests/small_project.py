"""A small project that the real graph runs in, for the tests of the graph and of its faults."""

import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
RUN = "_build/runs/quick/kdpp/{}.ipynb"


PARAMETERS = (
    "k: int = 3  # size of the subset [items]\nseed: int = 100  # of every draw\ndevice: str = 'auto'  # device"
)


def write_notebook(path: Path, *cells: str, parameters: str = PARAMETERS) -> None:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    notebook.cells = [first, *map(nbformat.v4.new_code_cell, cells)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def make_project(folder: Path) -> Path:
    """One notebook, `kdpp/good`, that only prints, and a file in a room of its chapter and of another."""
    write_notebook(folder / "notebooks/kdpp/good.ipynb", "print(k)")
    for file in ("selectlib/subsets/_a.py", "selectlib/queries/_b.py", "selectlib/pool.py"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    return folder


def snakemake_command(*targets: str, config: tuple[str, ...] = ()) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), *targets, "--cores", "2"]
    command += ["--workflow-profile", str(ROOT / "profiles/default")]
    return command + (["--config", *config] if config else [])


def snakemake(project: Path, *targets: str, config: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = snakemake_command(*targets, config=config)
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=200)
