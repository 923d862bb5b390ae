"""Run one notebook with papermill and note in its metadata how it was made.

The output appears only when every cell has run; of a run that failed, `<output>.failed.ipynb` stays for a look.
"""

import argparse
import ast
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import nbformat
import papermill
import yaml

VERSIONS = {"selectlib": "what-to-keep", "torch": "torch", "numpy": "numpy"}


def commit() -> str | None:
    """The git commit of the working tree, marked when tracked files differ from it; None outside a repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    if head.returncode:
        return None
    changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True)
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def device_name(device: str) -> str:
    """What the notebook's `device` parameter stands for on this machine."""
    import torch

    from selectlib.device import pick_device

    chosen = pick_device(device)
    return torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{chosen.type} ({platform.machine()})"


def parameters_of(notebook: nbformat.NotebookNode, path: str) -> dict:
    """Every parameter's value in this run: the notebook's defaults, then what was handed in."""

    def value(text: str):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):  # an expression: its text says it best
            return text

    defaults = {name: value(entry["default"]) for name, entry in papermill.inspect_notebook(path).items()}
    return defaults | dict(notebook.metadata.papermill.parameters)


def execute(source: str, output: Path, scale: str, threads: int, overrides: dict) -> None:
    """Run `source` with `overrides` and move the result to `output` when all of it has run."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("PYTHONHASHSEED", "0")
    output.parent.mkdir(parents=True, exist_ok=True)
    partial, failed = output.with_suffix(".partial.ipynb"), output.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    start = time.perf_counter()
    try:
        papermill.execute_notebook(source, partial, parameters=overrides, progress_bar=False)
    except papermill.PapermillExecutionError as error:
        partial.replace(failed)
        sys.exit(f"{source}: a cell failed\n{error}\nThe run up to there: {failed}")
    notebook = nbformat.read(partial, as_version=4)
    parameters = parameters_of(notebook, source)
    notebook.metadata["selectlib"] = {
        **notebook.metadata.get("selectlib", {}),
        "source": source,
        "scale": scale,
        "parameters": parameters,
        "overrides": overrides,
        "seed": parameters.get("seed"),
        "seconds": round(time.perf_counter() - start, 1),
        "threads": threads,
        "device": device_name(parameters.get("device", "auto")),
        "python": platform.python_version(),
        "versions": {name: version(distribution) for name, distribution in VERSIONS.items()},
        "git": commit(),
    }
    nbformat.write(notebook, partial)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(output)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("source")
    arguments.add_argument("output", type=Path)
    arguments.add_argument("--scale", default="quick")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--parameters", nargs="*", default=[], help="YAML files, later ones win")
    arguments.add_argument("--override", type=json.loads, default={}, help="JSON object, wins over the files")
    given = arguments.parse_args()
    overrides: dict = {}
    for path in given.parameters:
        overrides |= yaml.safe_load(Path(path).read_text()) or {}
    unknown = set(overrides | given.override) - set(papermill.inspect_notebook(given.source))
    if unknown:
        sys.exit(f"{given.source} has no parameter {', '.join(sorted(unknown))}")
    execute(given.source, given.output, given.scale, given.threads, overrides | given.override)


if __name__ == "__main__":
    main()
