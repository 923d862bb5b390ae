"""The data of figures: tables known line by line, the kernel that makes them, and the links on a page."""

import csv
import io
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from build_site import stage_notebook, without_links
from figure_data import MOST_ROWS, csv_of, csv_or_note
from small_project import RUN, make_project, snakemake, write_notebook


@pytest.fixture(autouse=True)
def fresh():
    plt.switch_backend("agg")
    with plt.rc_context():
        plt.style.use("default")
        yield
    plt.close("all")


def rows(figure) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_of(figure))))


def only(figure, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(row[column] for column in columns) for row in rows(figure)]


def test_two_panels_line_by_line():
    figure, (left, right) = plt.subplots(1, 2, sharey=True)
    left.plot([1, 2], [3, np.nan], color="#112233", label="a")
    left.errorbar([1, 2], [2, 1 / 3], [[0.5, 0.25], [1, 0]], fmt="s", color="#445566", label="b")
    left.set(title="first", xlabel="budget\n[items]", ylabel="accuracy [%]")
    right.fill_between([0, 1], [1, 5], [2, 3], color="#778899", label="95 %")
    right.set_xlabel("queries")
    assert csv_of(figure) == (
        "panel,title,item,mark,series,colour,x,y,y_low,y_high,x_label,y_label\n"
        "1,first,1,line,a,#112233,1,3,,,budget [items],accuracy [%]\n"
        "1,first,1,line,a,#112233,2,,,,budget [items],accuracy [%]\n"
        "1,first,2,point,b,#445566,1,2,1.5,3,budget [items],accuracy [%]\n"
        "1,first,2,point,b,#445566,2,0.333333,0.0833333,0.333333,budget [items],accuracy [%]\n"
        "2,,3,band,95 %,#778899,0,,1,2,queries,accuracy [%]\n"
        "2,,3,band,95 %,#778899,1,,3,5,queries,accuracy [%]\n"
    )


def test_a_forest_plot_has_the_names_of_its_rows_and_sideways_intervals():
    figure, ax = plt.subplots()
    for y, middle in enumerate((0.5, -1)):
        ax.errorbar(middle, y + 0.2, xerr=[[0.25], [0.5]], fmt="o", color="black")
    ax.set_yticks([0, 1], ["EADA", "random"])
    columns = ("x", "x_low", "x_high", "y", "y_text")
    assert only(figure, *columns) == [("0.5", "0.25", "1", "0.2", "EADA"), ("-1", "-1.25", "-0.5", "1.2", "random")]


def test_intervals_without_points():
    figure, ax = plt.subplots()
    ax.errorbar([1, 2], [3, 4], yerr=0.5, fmt="none")
    ax.vlines([7, 8], [0, 1], 2)
    ax.hlines(9, 0, 3)
    found = only(figure, "mark", "x", "x_low", "x_high", "y", "y_low", "y_high")
    assert found == [
        ("interval", "1", "", "", "", "2.5", "3.5"),
        ("interval", "2", "", "", "", "3.5", "4.5"),
        ("interval", "7", "", "", "", "0", "2"),
        ("interval", "8", "", "", "", "1", "2"),
        ("interval", "", "0", "3", "9", "", ""),
    ]


def test_bars_stand_stacked_or_with_error_bars():
    figure, ax = plt.subplots()
    ax.bar(["p", "q"], [1, 2], yerr=[[0.1, 0.2], [0.3, 0.4]], color="C0", label="below")
    ax.bar(["p", "q"], [3, 4], bottom=[1, 2], color=["#ff0000", "#00ff00"], label="above")
    columns = ("series", "colour", "x", "x_text", "y", "y_low", "y_high")
    assert only(figure, *columns) == [
        ("below", "#1f77b4", "0", "p", "1", "0.9", "1.3"),
        ("below", "#1f77b4", "1", "q", "2", "1.8", "2.4"),
        ("above", "#ff0000", "0", "p", "3", "1", "4"),
        ("above", "#00ff00", "1", "q", "4", "2", "6"),
    ]


@pytest.mark.parametrize("kind", ["bar", "step", "stepfilled"])
def test_a_histogram_is_bars_with_the_edges_of_their_bins(kind):
    figure, ax = plt.subplots()
    ax.hist([1, 1, 2.5, 4], [0, 2, 3, 5], histtype=kind, label="scores", color="#0072b2")
    columns = ("mark", "series", "colour", "x_low", "x_high", "y")
    assert only(figure, *columns) == [
        ("bar", "scores", "#0072b2", "0", "2", "2"),
        ("bar", "scores", "#0072b2", "2", "3", "1"),
        ("bar", "scores", "#0072b2", "3", "5", "1"),
    ]


def test_points_of_scatter_plots():
    figure, ax = plt.subplots()
    ax.scatter([1, 2, 3], [3, 4, 5], c=[0.25, 1e-7, np.nan], label="free energy")
    ax.scatter([5, 6], [7, 8], c=["red", "blue"])
    ax.scatter(9, 10, facecolor="none", edgecolor="black")
    columns = ("series", "colour", "x", "y", "value")
    assert only(figure, *columns) == [
        ("free energy", "", "1", "3", "0.25"),
        ("free energy", "", "2", "4", "1e-07"),
        ("", "#ff0000", "5", "7", ""),
        ("", "#0000ff", "6", "8", ""),
        ("", "#000000", "9", "10", ""),
    ]


@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_a_heat_map_names_its_values_and_the_places_on_its_axes(origin):
    figure, ax = plt.subplots()
    image = ax.imshow([[1, 2], [3, np.nan]], origin=origin)
    ax.set_xticks([0, 1], ["8", "16"])
    ax.set_yticks([0, 1], [0, 1])
    figure.colorbar(image, label="KL divergence [nats]")
    columns = ("x", "x_text", "y", "value", "value_label")
    values, label = ("1", "2", "3", ""), "KL divergence [nats]"
    expected = zip("0101", ("8", "16") * 2, "0011", values, (label,) * 4, strict=True)
    assert only(figure, *columns) == list(expected)
    assert "y_text" not in rows(figure)[0] and "panel" not in rows(figure)[0]


def test_a_picture_in_a_place_of_its_own_is_read_from_its_first_row():
    figure, ax = plt.subplots()
    ax.imshow(np.array([[[255, 0, 0]], [[0, 0, 255]]], dtype=np.uint8), extent=(10, 20, 0, 4))
    assert only(figure, "x", "y", "colour") == [("15", "3", "#ff0000"), ("15", "1", "#0000ff")]


def test_contours_and_arrows():
    figure, ax = plt.subplots()
    ax.contour([[0, 0], [1, 1]], [0.25])
    ax.quiver([1], [2], [3], [-4])
    assert only(figure, "mark", "x", "y", "value", "dx", "dy") == [
        ("contour", "0", "0.25", "0.25", "", ""),
        ("contour", "1", "0.25", "0.25", "", ""),
        ("arrow", "1", "2", "", "3", "-4"),
    ]


def test_a_legend_made_of_empty_plots_names_the_lone_points():
    figure, ax = plt.subplots()
    ax.plot([], [], "D", color="C0", label="mean")
    ax.plot([], [], "D", color="C0", mfc="white", label="network")
    ax.plot(1, 2, "D", color="C0")
    ax.plot(3, 4, "D", color="C0", mfc="white")
    ax.plot(5, 6, "o", color="C0")
    ax.annotate("EADA", (5, 6), (4, 4), textcoords="offset points")
    ax.annotate("elsewhere", (7, 8))
    ax.text(0.5, 0.5, "of no place", transform=ax.transAxes)
    assert only(figure, "mark", "series", "x", "y", "text") == [
        ("point", "mean", "1", "2", ""),
        ("point", "network", "3", "4", ""),
        ("point", "", "5", "6", "EADA"),
        ("text", "", "7", "8", "elsewhere"),
    ]


def test_error_bars_of_one_panel_name_those_of_the_next():
    figure, (left, right) = plt.subplots(1, 2)
    left.errorbar([], [], xerr=[], fmt="o", color="C1", label="sees the sample")
    right.errorbar(1, 2, xerr=0.5, fmt="o", color="C1")
    right.errorbar(3, 4, xerr=0.5, fmt="o", color="C2")
    assert only(figure, "series", "x") == [("sees the sample", "1"), ("", "3")]


def test_two_names_for_one_look_name_nothing():
    figure, ax = plt.subplots()
    for label in ("one", "other"):
        ax.plot([], [], "o", color="black", label=label)
    ax.plot(1, 2, "o", color="black")
    assert "series" not in rows(figure)[0]


def test_guides_across_a_panel_are_marked_as_such():
    figure, ax = plt.subplots()
    ax.plot([0, 1], [0, 1])
    ax.axhline(0.7, color="black", label="ceiling")
    ax.axvline(0.3)
    ax.axvspan(0.1, 0.2)
    found = only(figure, "mark", "series", "x", "x_low", "x_high", "y")[2:]
    assert found == [
        ("guide", "ceiling", "", "", "", "0.7"),
        ("guide", "", "0.3", "", "", ""),
        ("guide", "", "", "0.1", "0.2", ""),
    ]


def test_insets_and_twins_are_panels_and_labels_of_the_figure_count():
    figure, ax = plt.subplots()
    ax.plot(1, 1, "o")
    ax.twinx().plot(1, 20, "o")
    ax.inset_axes([0.5, 0.5, 0.4, 0.4]).plot(1, 300, "o")
    figure.supxlabel("rows")
    assert only(figure, "panel", "y") == [("1", "1"), ("2", "300"), ("3", "20")]
    assert rows(figure)[0]["x_label"] == "rows"


@pytest.mark.parametrize("decorated", [False, True])
def test_a_figure_without_data_has_no_table(decorated):
    figure, ax = plt.subplots()
    if decorated:
        ax.axhline(1)
        ax.text(0, 0, "nothing to show")
        ax.plot([], [], label="none")
    assert csv_of(figure) is None


def test_a_large_figure_is_thinned_and_says_so():
    figure, ax = plt.subplots()
    ax.plot(np.arange(2.5 * MOST_ROWS))
    ax.plot(1, 2, "o")
    found = rows(figure)
    assert found[-1]["text"] == "16,668 of 50,001 rows are here: of each item one in 3"
    assert found[1]["x"] == "3" and found[-2]["mark"] == "point" and len(found) == 16_669


def test_what_cannot_be_read_is_noted_or_left_out_and_stops_nothing(capsys):
    figure, ax = plt.subplots()
    ax.plot([1, 2])
    ax.add_patch(plt.Circle((0, 0), 1))
    assert rows(figure)[-1]["text"] == "not in this table: Circle"
    ax.plot([3, 4])[0].get_xdata = lambda orig: 1 / 0
    assert csv_or_note(figure) is None
    assert capsys.readouterr().err == "The data of this figure could not be read: ZeroDivisionError: division by zero\n"


DRAW = "%config InlineBackend.figure_formats = ['svg']\nimport matplotlib.pyplot as plt\n"
BROKEN = "figure, ax = plt.subplots()\nax.plot([3, 4])\n"
BROKEN += "ax.get_subplotspec = lambda: 1 / 0\nfigure.set_layout_engine('none')\n"  # the picture needs no such call


def test_a_run_carries_the_data_and_a_page_offers_it(tmp_path):
    """From the notebook through the graph to the staged page: no line of the notebook knows of it."""
    make_project(tmp_path)
    clean = "import sys\nprint('matplotlib' in sys.modules, 'figure_data' in globals(), 'np' in globals())"
    two = "print('before')\nplt.plot([1, 2]); plt.show(); plt.plot([3, 4]); plt.show(); print('after')"
    write_notebook(tmp_path / "notebooks/kdpp/drawn.ipynb", clean, DRAW + two, BROKEN + "plt.show()\nprint('goes on')")
    made = snakemake(tmp_path, RUN.format("drawn"))
    assert made.returncode == 0, made.stderr
    run = nbformat.read(tmp_path / RUN.format("drawn"), as_version=4)
    named, figures, broken = ([*cell.outputs] for cell in run.cells[-3:])
    assert named[0].text == "False False False\n"
    assert [sorted(output.get("data", {})) for output in figures if "data" in output] == [
        ["image/svg+xml", "text/csv", "text/plain"]
    ] * 2
    said = SimpleNamespace(**{output.get("name", "figure"): output for output in broken})
    assert "ZeroDivisionError" in said.stderr.text and said.stdout.text == "goes on\n"
    assert sorted(said.figure.data) == ["image/svg+xml", "text/plain"]

    page = tmp_path / "site/kdpp/drawn.ipynb"
    written = stage_notebook(tmp_path / RUN.format("drawn"), page)
    tables = [page.with_name(f"drawn.figure-{count}.csv") for count in (1, 2)]
    assert written == {page, *tables}
    assert tables[1].read_text() == "item,mark,colour,x,y\n1,line,#1f77b4,0,3\n1,line,#1f77b4,1,4\n"
    staged = nbformat.read(page, as_version=4)
    outputs = [output for cell in staged.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if "text/csv" in output.get("data", {})]
    of_figures = staged.cells[-3].outputs
    kinds = ["text" if "text" in output else sorted(output.data)[0] for output in of_figures]
    assert kinds == ["text", "image/svg+xml", "text/html", "image/svg+xml", "text/html", "text"]
    link = '<a href="drawn.figure-1.csv" download>Data of this figure (CSV, 1 kB)</a>'
    assert link in of_figures[2].data["text/html"]
    offered = nbformat.reads(without_links(page), as_version=4)
    assert "figure-1.csv" not in nbformat.writes(offered) and len(offered.cells) == len(staged.cells)
    assert len(offered.cells[-3].outputs) == 4


def without_data(run) -> list[str]:
    """Figures of an executed notebook that carry no table, or a table that misses more than a picture set into it."""
    found = []
    for count, cell in enumerate(nbformat.read(run, as_version=4).cells):
        figures = [
            each.data for each in cell.get("outputs", []) if "<Figure" in each.get("data", {}).get("text/plain", "")
        ]
        for data in figures:
            missing = {line for line in data.get("text/csv", "none").splitlines() if "not in this table" in line}
            if "text/csv" not in data or any("AnnotationBbox" not in line for line in missing):
                found.append(f"{run.parent.name}/{run.stem}, cell {count}: {sorted(missing) or 'no data'}")
    return found


@pytest.mark.timeout(300, func_only=True)  # a first build has a limit of its own
def test_every_figure_of_the_book_has_its_data(built):
    runs = sorted((built / "runs/quick").glob("*/*.ipynb"))
    faults = [fault for run in runs for fault in without_data(run)]
    assert runs and not faults, "\n".join(faults)
