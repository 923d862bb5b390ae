"""Every notebook's run by the graph against the outputs that its source stores, compared by nbval.

The notebooks are not run again: nbval talks to a kernel that replays what the graph's run wrote.
"""

import difflib
import re
from pathlib import Path

import nbformat
import pytest
from nbval.plugin import IPyNbFile, NbCellError

# A first build runs every notebook, and has a limit of its own: here only the comparison is timed.
pytestmark = pytest.mark.timeout(300, func_only=True)
ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path.relative_to(ROOT / "notebooks") for path in (ROOT / "notebooks").glob("*/*.ipynb"))


class Replay:
    """What nbval needs of a kernel, answered from an executed notebook; cells must come in its order."""

    def __init__(self, executed: Path):
        self.cells = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
        self.number, self.messages = 0, []

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None:
        self.messages = []

    def execute_cell_input(self, source: str, allow_stdin=None) -> str:
        cell = self.cells[self.number] if self.number < len(self.cells) else None
        name = f"cell {self.number}"
        if cell is None or not cell.execution_count:
            pytest.fail(f"the run has no {name}:\n{source}", pytrace=False)
        if cell.source != source:
            changed = "\n".join(
                difflib.unified_diff(*(text.splitlines() for text in (cell.source, source)), lineterm="")
            )
            pytest.fail(f"{name} has changed since the run:\n{changed}", pytrace=False)
        self.number += 1
        said = [(output.output_type, output) for output in cell.outputs]
        said.append(("status", {"execution_state": "idle"}))
        header = {"msg_id": name}
        self.messages = [{"msg_type": kind, "content": what, "parent_header": header} for kind, what in said]
        return name

    def await_reply(self, msg_id: str, timeout=None) -> None:
        """The replayed cell has ended."""

    def await_idle(self, msg_id: str, timeout=None) -> None:
        """Nothing is left to wait for."""

    def get_message(self, stream: str, timeout=None) -> dict:
        return self.messages.pop(0)


def compare(session: pytest.Session, source: Path, executed: Path) -> None:
    """Fail with nbval's own words at each cell whose checked output differs, as `--nbval-lax` does."""
    notebook = IPyNbFile.from_parent(session, path=source)
    notebook.compare_outputs = False  # only cells that ask for it
    notebook.kernel = Replay(executed)
    notebook.setup_sanitize_files()
    failures = []
    for cell in notebook.collect():
        try:
            cell.runtest()
        except NbCellError:
            failures.append(f"{source}\n{cell.repr_failure(pytest.ExceptionInfo.from_current())}")
    if notebook.kernel.number < len(notebook.kernel.cells):
        failures.append(f"{source}: the run has more cells than the source")
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)


@pytest.mark.parametrize("name", NOTEBOOKS, ids=str)
def test_a_run_gives_the_stored_outputs(request, built, name):
    compare(request.session, ROOT / "notebooks" / name, built / "runs/quick" / name)


def text_output(text: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def write(path: Path, *cells: tuple[str, str, list[str]]) -> Path:
    """A notebook of (source, printed text, tags) cells that has been run."""
    notebook = nbformat.v4.new_notebook()
    for count, (source, printed, tags) in enumerate(cells, 1):
        outputs = [text_output(printed)] if printed else []
        metadata = {"tags": tags}
        cell = nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=count, metadata=metadata)
        notebook.cells.append(cell)
    nbformat.write(notebook, path)
    return path


CHECKED = ["nbval-check-output"]


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "source.ipynb", ("print(x)", "12 items\n", CHECKED), ("print(clock)", "3.1 s\n", []))


def plain(error: BaseException) -> str:
    return re.sub(r"\x1b\[\d+m", "", str(error))


def test_an_output_that_nobody_checks_may_differ(request, source, tmp_path):
    run = write(tmp_path / "run.ipynb", ("print(x)", "12 items\n", CHECKED), ("print(clock)", "9.9 s\n", []))
    compare(request.session, source, run)


@pytest.mark.parametrize(
    ("printed", "words"), [("13 items\n", ["12 items", "13 items"]), ("", ["Missing output fields", "stdout"])]
)
def test_a_wrong_output_is_shown_beside_the_right_one(request, source, tmp_path, printed, words):
    run = write(tmp_path / "run.ipynb", ("print(x)", printed, CHECKED), ("print(clock)", "3.1 s\n", []))
    with pytest.raises(pytest.fail.Exception) as failed:
        compare(request.session, source, run)
    said = plain(failed.value)
    for word in ("source.ipynb", "Cell 0: Cell outputs differ", "print(x)", *words):
        assert word in said


def test_a_wrong_number_in_a_real_run_is_found(request, built, tmp_path):
    """One digit of one checked output, changed in a copy of a run."""
    name = Path("kdpp/exactness.ipynb")
    run = nbformat.read(built / "runs/quick" / name, as_version=4)
    cells = [cell for cell in run.cells if "nbval-check-output" in cell.metadata.get("tags", [])]
    changed = 0
    for output in cells[-1].outputs:
        texts = output.data if "data" in output else output
        key = "text/plain" if "data" in output else "text"
        texts[key], count = re.subn(r"\d", lambda digit: str(9 - int(digit[0])), texts[key], count=1)
        changed += count
    assert changed
    nbformat.write(run, tmp_path / "doctored.ipynb")
    with pytest.raises(pytest.fail.Exception, match="Cell outputs differ"):
        compare(request.session, ROOT / "notebooks" / name, tmp_path / "doctored.ipynb")


def test_a_run_of_another_source_is_refused(request, source, tmp_path):
    run = write(tmp_path / "run.ipynb", ("print(y)", "12 items\n", CHECKED), ("print(clock)", "3.1 s\n", []))
    with pytest.raises(
        pytest.fail.Exception, match=r"(?s)cell 0 has changed since the run.*\n-print\(y\)\n\+print\(x\)"
    ):
        compare(request.session, source, run)


@pytest.mark.parametrize(
    ("kept", "words"), [(1, "the run has no cell 1"), (3, "the run has more cells than the source")]
)
def test_a_run_with_other_cells_is_refused(request, source, tmp_path, kept, words):
    cells = [("print(x)", "12 items\n", CHECKED), ("print(clock)", "3.1 s\n", []), ("print(1)", "1\n", [])]
    with pytest.raises(pytest.fail.Exception, match=words):
        compare(request.session, source, write(tmp_path / "run.ipynb", *cells[:kept]))


def test_a_run_that_failed_is_shown(request, source, tmp_path):
    run = nbformat.read(source, as_version=4)
    run.cells[1].outputs = [nbformat.v4.new_output("error", ename="KeyError", evalue="'x'", traceback=["lost thing"])]
    nbformat.write(run, tmp_path / "run.ipynb")
    with pytest.raises(pytest.fail.Exception, match=r"(?s)Cell execution caused an exception.*lost thing"):
        compare(request.session, source, tmp_path / "run.ipynb")
