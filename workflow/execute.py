"""Run one notebook with papermill and note in its metadata how it was made.

The output appears only when every cell has run; of a run that failed, `<output>.failed.ipynb` stays for a look.
Parameters are checked before the notebook starts. An interrupted run leaves nothing behind.
"""

import argparse
import ast
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import nbformat
import papermill
from full_disk import advice, is_full
from parameters import check, read

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
    if version("torch").endswith("+cpu") and device in ("auto", "cpu"):  # to import torch takes seconds
        return f"cpu ({platform.machine()})"
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


def used(before: resource.struct_rusage) -> dict[str, float]:
    """Seconds of processor time of the kernel since `before`, and the memory of its largest process at its peak."""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024
    return {"cpu_seconds": round(seconds, 1), "peak_mb": round(after.ru_maxrss * unit / 2**20)}


def failure(source: str, error: papermill.PapermillExecutionError, failed: Path) -> str:
    """The reason in one line, then the cell's traceback, then where to look."""
    said = [f"{source}: the cell In [{error.exec_count}] failed: {error.ename}: {error.evalue}"]
    if is_full(error.evalue):
        said.append(advice(failed.parent))
    return "\n".join([*said, str(error), f"The run up to there: {failed}"])


def execute(source: str, output: Path, scale: str, threads: int, overrides: dict) -> None:
    """Run `source` with `overrides` and move the result to `output` when all of it has run."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("PYTHONHASHSEED", "0")
    os.environ["PYTHONSTARTUP"] = str(Path(__file__).with_name("kernel_startup.py"))  # figures carry their data
    output.parent.mkdir(parents=True, exist_ok=True)
    partial, failed = output.with_suffix(".partial.ipynb"), output.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    try:
        cost = run(source, partial, scale, threads, overrides)
        partial.replace(output)
        print(f"{output}: {cost['seconds']:.0f} s, {cost['peak_mb']} MB", file=sys.stderr)
    except papermill.PapermillExecutionError as error:
        partial.replace(failed)
        sys.exit(failure(source, error, failed))
    except OSError as error:
        partial.unlink(missing_ok=True)  # which makes room again
        if not is_full(error):
            raise
        sys.exit(f"{source}: {error.strerror or error} while {partial} was written.\n{advice(output.parent)}")
    except KeyboardInterrupt:
        partial.unlink(missing_ok=True)
        print(f"{source}: stopped. The same command runs it again from its start.", file=sys.stderr)
        sys.exit(130)


def run(source: str, partial: Path, scale: str, threads: int, overrides: dict) -> dict[str, float]:
    """Run `source` into the file `partial`, note in it how it was made, bring it to the disk, and give its cost."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = ["--log-level=ERROR"]  # the kernel warns that it listens on a local port, as all kernels do
    papermill.execute_notebook(source, partial, parameters=overrides, progress_bar=False, extra_arguments=quiet)
    cost = {"seconds": round(time.perf_counter() - start, 1), **used(before)}
    notebook = nbformat.read(partial, as_version=4)
    parameters = parameters_of(notebook, source)
    notebook.metadata["selectlib"] = {
        **notebook.metadata.get("selectlib", {}),
        "source": source,
        "scale": scale,
        "parameters": parameters,
        "overrides": overrides,
        "seed": parameters.get("seed"),
        **cost,
        "threads": threads,
        "device": device_name(parameters.get("device", "auto")),
        "python": platform.python_version(),
        "versions": {name: version(distribution) for name, distribution in VERSIONS.items()},
        "git": commit(),
    }
    nbformat.write(notebook, partial)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    return cost


def interrupt(*_) -> None:
    """What Ctrl-C does, for a batch system's SIGTERM too."""
    raise KeyboardInterrupt


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("source")
    arguments.add_argument("output", type=Path)
    arguments.add_argument("--scale", default="quick")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--parameters", nargs="*", default=[], type=Path, help="YAML files, later ones win")
    arguments.add_argument("--override", type=json.loads, default={}, help="JSON object, wins over the files")
    given = arguments.parse_args()
    if not Path(given.source).is_file():
        sys.exit(f"{given.source}: there is no such notebook")
    overrides: dict = {}
    for path in given.parameters:
        overrides |= read(path)
    overrides |= given.override
    check(given.source, overrides)
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    execute(given.source, given.output, given.scale, given.threads, overrides)


if __name__ == "__main__":
    main()
