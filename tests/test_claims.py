"""Recording: what is checked, what a notebook holds afterwards, and what is read back."""

import json
import math

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from selectlib.claims import MIME_TYPE, Measurement, format_number, read_measurements, record

ID = "kdpp/exactness/tv"


def _notebook(*outputs):
    cells = [nbformat.v4.new_code_cell("", outputs=[o]) for o in outputs]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), *cells])


def _output(**changes):
    data = {"id": ID, "value": 0.5, "low": 0.25, "high": 0.75, "n": 7, "p": None, "level": 0.95} | changes
    return nbformat.v4.new_output("display_data", {MIME_TYPE: data, "text/plain": "shown"})


def test_outside_ipython_it_returns_and_is_silent(capsys):
    measurement = record(ID, value=0.5, low=0.25, high=0.75, n=7, p=0.01, level=0.9)
    assert measurement == Measurement(ID, 0.5, 0.25, 0.75, 7, 0.01, 0.9)
    assert capsys.readouterr() == ("", "")


def test_numbers_of_every_kind_become_plain():
    measurement = record(
        ID, value=torch.tensor(0.5), low=np.float32(0.25), high=np.array(0.75), n=np.int64(7), p=np.float64(0.5)
    )
    assert measurement == Measurement(ID, 0.5, 0.25, 0.75, 7, 0.5, 0.95)
    assert json.loads(json.dumps(vars(measurement))) == vars(measurement)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "kdpp/tv"}, "id must be"),
        ({"id": "kdpp/exactness/TV"}, "id must be"),
        ({"id": "kdpp/exactness/tv "}, "id must be"),
        ({"id": "kdpp/exactness/a/b"}, "id must be"),
        ({"value": math.nan}, f"{ID}: value must be finite"),
        ({"high": math.inf}, f"{ID}: high must be finite"),
        ({"low": 0.6}, f"{ID}: need low <= value <= high"),
        ({"high": 0.4}, f"{ID}: need low <= value <= high"),
        ({"n": 0}, f"{ID}: n must be at least 1"),
        ({"p": 1.1}, f"{ID}: p must lie"),
        ({"p": math.nan}, f"{ID}: p must lie"),
        ({"level": 95.0}, f"{ID}: level must lie"),
    ],
)
def test_bad_values(changes, message):
    arguments = {"id": ID, "value": 0.5, "low": 0.25, "high": 0.75, "n": 7} | changes
    with pytest.raises(ValueError, match=message):
        record(arguments.pop("id"), **arguments)
    with pytest.raises(ValueError, match=message):
        Measurement(**{"id": ID, "value": 0.5, "low": 0.25, "high": 0.75, "n": 7} | changes)


@pytest.mark.parametrize("n", [7.0, "7"])
def test_n_is_a_whole_number(n):
    with pytest.raises(TypeError):
        record(ID, value=0.5, low=0.5, high=0.5, n=n)
    with pytest.raises(TypeError, match=f"{ID}: n must be an integer"):
        Measurement(ID, 0.5, 0.5, 0.5, n)


@pytest.mark.parametrize(
    ("value", "low", "high", "written"),
    [
        (0.162581, -0.370512, 0.695612, "0.16 [-0.37, 0.7]"),
        (1.035123, 0.001234, 2.071234, "1.035 [0.0012, 2.071]"),  # never an end of 0 that is not 0
        (12.31234, -0.000123, 24.7, "12.31 [-0.00012, 24.7]"),
        (531_720.4, 519_999.9, 545_000.2, "531,720 [520,000, 545,000]"),
        (0.0, 0.0, 0.031234, "0 [0, 0.031]"),
        (-0.004, -0.41, 0.39, "0 [-0.41, 0.39]"),
        (2e-9, 1e-9, 3e-9, "2e-09 [1e-09, 3e-09]"),
    ],
)
def test_digits_follow_the_interval(value, low, high, written):
    assert record(ID, value=value, low=low, high=high, n=9).estimate == written


def test_exact_identity_is_allowed_and_stands_alone():
    assert record(ID, value=1, low=1, high=1, n=1).estimate == "1"


def test_reads_back_from_a_node_and_from_a_file(tmp_path):
    notebook = _notebook(
        _output(), nbformat.v4.new_output("stream", text="other"), _output(id="kdpp/exactness/looks", p=0.5)
    )
    path = tmp_path / "exactness.ipynb"
    nbformat.write(notebook, path)
    expected = [
        Measurement(ID, 0.5, 0.25, 0.75, 7),
        Measurement("kdpp/exactness/looks", 0.5, 0.25, 0.75, 7, p=0.5),
    ]
    assert read_measurements(notebook) == read_measurements(path) == read_measurements(str(path)) == expected
    assert read_measurements(_notebook()) == []


def test_recorded_twice_is_an_error(tmp_path):
    path = tmp_path / "exactness.ipynb"
    nbformat.write(_notebook(_output(), _output(value=0.3)), path)
    with pytest.raises(ValueError, match=rf"exactness.ipynb: claim {ID} is recorded twice"):
        read_measurements(path)


def test_a_tampered_measurement_is_refused():
    with pytest.raises(ValueError, match="need low <= value <= high"):
        read_measurements(_notebook(_output(value=2.0)))


def test_in_a_real_kernel_each_record_is_one_output():
    """A cell that ends in `record` must not show its value a second time."""
    source = (
        "from selectlib.claims import record\n"
        "record('kdpp/exactness/one', value=0.5, low=0.25, high=0.75, n=1200, p=0.04)\n"
        "record('kdpp/exactness/two', value=3, low=3, high=3, n=1)"
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    NotebookClient(notebook, timeout=120).execute()
    outputs = notebook.cells[0].outputs
    assert [o.output_type for o in outputs] == ["display_data", "display_data"]
    assert {MIME_TYPE, "text/plain", "text/html"} == set(outputs[0].data)
    assert outputs[0].data["text/plain"] == "kdpp/exactness/one: 0.5 [0.25, 0.75], n = 1,200, p = 0.04"
    assert "<code>kdpp/<wbr>exactness/<wbr>one</code>" in outputs[0].data["text/html"]
    assert "exact" in outputs[1].data["text/html"]
    assert [m.value for m in read_measurements(notebook)] == [0.5, 3.0]


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.0, "0"),
        (-3.0, "-3"),
        (0.123456, "0.1235"),
        (9999.6, "10,000"),
        (123456.7, "123,457"),
        (1e-12, "1e-12"),
        (531720, "531,720"),
    ],
)
def test_format_number(x, text):
    assert format_number(x) == text
