"""A bad parameter is refused before any work, by a message with its name, what was given, and what is allowed."""

import pytest
from parameters import check, read
from small_project import RUN, snakemake, write_notebook


@pytest.fixture
def notebook(project):
    write_notebook(
        project / "notebooks/kdpp/rates.ipynb",
        parameters="rate: float = 0.1  # step\nsizes: list = [3]\nfast: bool = True",
    )
    return str(project / "notebooks/kdpp/rates.ipynb")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rat": 0.2}, r"there is no parameter rat; did you mean rate\?; there are fast, rate, sizes"),
        ({"quux": 0.2}, "there is no parameter quux; there are fast, rate, sizes"),
        ({"rate": "fast"}, "rate is float, default 0.1; got 'fast'$"),
        ({"rate": "1e-3"}, r"rate is float, default 0.1; got '1e-3' \(a text: YAML needs a point, as in 1.0e-03\)"),
        ({"rate": True}, "rate is float, default 0.1; got True"),
        ({"rate": None}, "rate is float, default 0.1; got None"),
        ({"sizes": 3}, r"sizes is list, default \[3\]; got 3"),
        ({"fast": 1}, "fast is bool, default True; got 1"),
        ({"rat": 1, "fast": 1}, "(?s)no parameter rat.*fast is bool"),
    ],
)
def test_a_wrong_parameter_is_named(notebook, given, message):
    check(notebook, {"rate": 1, "sizes": [], "fast": False})
    with pytest.raises(SystemExit, match=message) as refused:
        check(notebook, given)
    assert str(refused.value).startswith(notebook)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("- 3\n", "the file holds a list"),
        ("five\n", "the file holds a str"),
        ("k: [1,\n", "this is not YAML"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_without_parameters_is_named(tmp_path, content, message):
    path = tmp_path / "some.full.yml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match=message) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_a_value_out_of_range_stops_before_the_work(project):
    range_check = "if k < 1:\n    raise ValueError(f'k must be at least 1, got {k}')"
    write_notebook(project / "notebooks/kdpp/ranged.ipynb", range_check, "open('worked', 'w')")
    (project / "notebooks/kdpp/ranged.full.yml").write_text("k: -1\n")
    result = snakemake(project, "_build/runs/full/kdpp/ranged.ipynb", RUN.format("good"))
    assert result.returncode != 0
    words = "notebooks/kdpp/ranged.ipynb: the cell In [3] failed: ValueError: k must be at least 1, got -1\n"
    assert words in result.stderr
    assert not (project / "worked").exists() and (project / RUN.format("good")).exists()


def test_a_misnamed_file_of_parameters_is_not_left_out_in_silence(project):
    (project / "notebooks/kdpp/good.ful.yml").write_text("k: 5\n")
    result = snakemake(project, RUN.format("good"), "--dry-run")
    assert result.returncode != 0 and "notebooks/kdpp/good.ful.yml: <notebook>.<scale>.yml is needed" in result.stdout
