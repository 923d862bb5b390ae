"""Stage the book's pages with one scale's executed notebooks, build the site, and put it in place in one step."""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path

import nbformat
from full_disk import advice, is_full

LINK = "selectlib_figure_data"  # in the metadata of an output that links to a figure's data


def papermill_command(made: dict) -> str:
    """The command that makes this notebook again, parameters included."""
    words = ["papermill", made["source"], "out.ipynb"]
    for name, value in made["overrides"].items():
        words += ["-y", json.dumps({name: value})]
    return shlex.join(words)


def foot(name: str, made: dict) -> nbformat.NotebookNode:
    """The small print under an executed notebook: how it was made, how to make it again, and the notebook itself."""
    versions = ", ".join(f"{package} {version}" for package, version in made["versions"].items())
    memory = f"; {made['peak_mb']} MB of memory at its peak" if "peak_mb" in made else ""  # not in older runs
    threads = f"{made['threads']} thread{'s' if made['threads'] > 1 else ''}"
    facts = [
        f"scale {made['scale']}",
        f"seed {made['seed']}",
        f"{made['seconds']} s on {made['device']}, {threads}{memory}",
        f"{versions}, Python {made['python']}",
        f"commit {made['git']}" if made["git"] else "no commit",
    ]
    parameters = ", ".join(f"{key} = {value}" for key, value in made["parameters"].items())
    return nbformat.v4.new_markdown_cell(
        f"""```{{raw}} html
<footer class="provenance">
<p><strong>How this page was made.</strong> {escape(" · ".join(facts))}</p>
<details><summary>Parameters</summary><p>{escape(parameters)}</p></details>
<p><a href="{name}.ipynb" download>Download this notebook</a>, or make it again:</p>
<pre><code>{escape(papermill_command(made))}</code></pre>
</footer>
```"""
    )


def take_figure_data(notebook: nbformat.NotebookNode, page: str) -> dict[str, str]:
    """Take the data out of the outputs of figures and put a link below each; gives the files that the links name."""
    files: dict[str, str] = {}
    for cell in notebook.cells:
        outputs = []
        for output in cell.get("outputs", []):
            outputs.append(output)
            data = output.get("data", {}).pop("text/csv", None)
            if data is not None:
                name = f"{page}.figure-{len(files) + 1}.csv"
                files[name] = data
                outputs.append(data_link(name, len(data.encode())))
        if outputs:
            cell.outputs = outputs
    return files


def data_link(name: str, size: int) -> nbformat.NotebookNode:
    link = f'<a href="{name}" download>Data of this figure (CSV, {-(-size // 1000)} kB)</a>'
    data = {"text/html": f'<p class="figure-data">{link}</p>'}
    return nbformat.v4.new_output("display_data", data=data, metadata={LINK: True})


def without_links(staged: Path) -> str:
    """A staged notebook as it is offered: links to files beside the page would lead nowhere from another folder."""
    notebook = nbformat.read(staged, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if LINK not in output.get("metadata", {})]
    return nbformat.writes(notebook)


def copy_if_changed(source: Path, target: Path) -> None:
    """Leave an equal file alone, so that Sphinx reads only the pages that changed."""
    if not target.exists() or target.read_bytes() != source.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def write_if_changed(text: str, target: Path) -> None:
    if not target.exists() or target.read_text() != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def stage_notebook(run: Path, target: Path) -> set[Path]:
    """Write the page `target`, and beside it the data of its figures; gives all that was written."""
    notebook = nbformat.read(run, as_version=4)
    files = take_figure_data(notebook, target.stem)
    notebook.cells.append(foot(target.stem, notebook.metadata["selectlib"]))
    staged = {target: nbformat.writes(notebook)} | {target.with_name(name): files[name] for name in files}
    for path, text in staged.items():
        write_if_changed(text, path)
    return set(staged)


def stage(source: Path, runs: list[Path]) -> None:
    """Make `source` hold the pages, notebooks, benchmark results and the code that pages show, and nothing else."""
    wanted = {Path(name): source / name for name in ("_config.yml", "_toc.yml")}
    for path in Path("book").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            wanted[path] = source / path.relative_to("book")
    for path in Path("benchmarks/results").glob("*"):
        wanted[path] = source / "benchmarks" / path.name
    for path in (*Path("selectlib").rglob("*.py"), Path("CONTRIBUTING.md"), Path("CITATION.cff")):
        wanted[path] = source / "_code" / path  # for pages that show the library's own code, and these two files
    notebooks = {run: source / run.parent.name / run.name for run in runs}
    kept = {*wanted.values()}.union(*(stage_notebook(run, target) for run, target in notebooks.items()))
    for path in source.rglob("*"):
        if path.is_file() and "_build" not in path.relative_to(source).parts and path not in kept:
            path.unlink()
    for page, target in wanted.items():
        copy_if_changed(page, target)


def build(source: Path, html: Path) -> None:
    """Run Jupyter Book with warnings as errors; the site that stood before stays until the new one is whole."""
    jupyter_book = str(Path(sys.executable).with_name("jupyter-book"))
    command = [jupyter_book, "build", str(source), "-W", "--keep-going", "-q"]
    if subprocess.run(command).returncode:
        sys.exit("The site could not be built; the messages above name the page and line.")
    built, old, new = source / "_build/html", html.with_suffix(".old"), html.with_suffix(".new")
    for leftover in (old, new):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(built, new, ignore=shutil.ignore_patterns(".buildinfo*"))
    for notebook in source.glob("*/*.ipynb"):
        (new / notebook.relative_to(source)).write_text(without_links(notebook))
    for data in source.glob("*/*.figure-*.csv"):
        shutil.copyfile(data, new / data.relative_to(source))
    if html.exists():
        html.rename(old)
    new.rename(html)
    shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--build", type=Path, default=Path("_build"), help="folder of everything that is made")
    arguments.add_argument("--runs", nargs="*", type=Path, default=[])
    given = arguments.parse_args()
    try:
        stage(given.build / "site", given.runs)
        build(given.build / "site", given.build / "html")
    except OSError as error:
        if not is_full(error):
            raise
        sys.exit(f"The site could not be written: {error}\n{advice(given.build)}")


if __name__ == "__main__":
    main()
