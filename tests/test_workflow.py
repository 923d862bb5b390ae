"""The graph: what runs, what a failing cell does, and a sweep's table. Faults: tests/faults."""

import csv
import json

import nbformat
import pytest
import yaml
from parameters import check
from small_project import ROOT, RUN, make_project, snakemake, write_notebook

MEASURE = (
    "from selectlib import claims\n"
    "claims.record('kdpp/good/double', value=2.0 * k + seed, low=2.0 * k + seed, high=2.0 * k + seed, n=1)"
)


@pytest.fixture
def project(tmp_path):
    make_project(tmp_path)
    write_notebook(tmp_path / "notebooks/kdpp/good.ipynb", MEASURE)
    return tmp_path


def test_a_run_notes_how_it_was_made_and_runs_again_only_after_a_change_of_its_own(project):
    write_notebook(project / "notebooks/kdpp/good.ipynb", "large = b'x' * 200 * 2**20", MEASURE)
    target = RUN.format("good")
    first = snakemake(project, target)
    assert first.returncode == 0, first.stderr
    made = nbformat.read(project / target, as_version=4).metadata["selectlib"]
    assert made["scale"] == "quick" and made["seed"] == 100 and made["seconds"] > 0 and made["device"]
    assert 0.1 < made["cpu_seconds"] < 60 and 200 < made["peak_mb"] < 500
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
    assert result.returncode != 0 and "there is no parameter kk; did you mean k?" in result.stderr


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
        (("notebook=kdpp/good", "over=kk:1"), "there is no parameter kk; did you mean k?"),
        (("notebook=kdpp/good", "over=k:many"), "k is int, default 3; got 'many'"),
        (("scale=huge",), "one of quick, full, long, gpu, paper is needed"),
        (("scale=ful",), "did you mean full?"),
        (("scal=full",), "did you mean scale?"),
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
    defaults, own_check = ("".join(cell["source"]) for cell in cells[first : first + 2])
    names: dict[str, object] = {}
    exec(defaults, names)
    check(str(notebook), given)
    exec(own_check, names | given)
