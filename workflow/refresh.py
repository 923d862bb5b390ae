"""Run every source notebook in place with its own defaults and keep the outputs that the tests compare, no others."""

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

CHECKED = "nbval-check-output"


def strip(notebook: nbformat.NotebookNode) -> None:
    """Drop what differs between machines: unchecked outputs, images, timings; execution counts stay for nbval."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        if CHECKED not in cell.metadata.get("tags", []):
            cell.outputs = []
        for output in cell.outputs:
            if "data" in output:
                output.data = {kind: text for kind, text in output.data.items() if kind == "text/plain"}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    kept = {name: notebook.metadata[name] for name in ("selectlib",) if name in notebook.metadata}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}, **kept})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("notebooks", nargs="*", type=Path, default=sorted(Path("notebooks").glob("*/*.ipynb")))
    for path in tqdm(arguments.parse_args().notebooks, unit="notebook"):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
        strip(notebook)
        partial = path.with_suffix(".partial")
        nbformat.write(notebook, partial)
        partial.replace(path)


if __name__ == "__main__":
    main()
