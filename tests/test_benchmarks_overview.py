"""The overview of the benchmarks: every recorded race, the fastest of both sides, and up to date."""

import importlib
import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
RECORDED = sorted(RESULTS.glob("*-c*.json"))


@pytest.fixture
def made(monkeypatch) -> SimpleNamespace:
    """The modules, and the rows of the CPU."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = ("_overview", "_overview_picture", "_all")
    overview, picture, driver = (importlib.import_module(name) for name in names)
    cpu, cuda = (overview.read(RESULTS, device) for device in ("cpu", "cuda"))
    rows = overview.rows(cpu, overview.machines(cpu, cuda))
    return SimpleNamespace(overview=overview, picture=picture, driver=driver, cpu=cpu, cuda=cuda, rows=rows)


def test_table_is_up_to_date(made):
    assert (RESULTS / "overview.md").read_text() == made.overview.markdown(made.cpu, made.cuda)


def test_picture_is_up_to_date(made):
    """By the digest of what it shows: its very bytes depend on matplotlib and its fonts."""
    assert made.picture.digest(made.rows) in (RESULTS / "overview.svg").read_text()


def test_picture_changes_with_what_it_shows(made):
    first = made.picture.picture(made.rows)
    assert made.picture.digest(made.rows) in first
    assert made.picture.digest(made.rows[1:]) not in first


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_race_and_every_contestant_is_named(made, path):
    """A part in which somebody else's code takes part belongs to a race, and so does each of its rows of others."""
    results = json.loads(path.read_text())
    races = made.overview.CHAPTERS[results["benchmark"]]["races"]
    for name, case in results["cases"].items():
        for part in case["parts"]:
            others = {row for row, about in part["rows"].items() if about.get("peer")}
            mine = [race for race in races if race["case"] == name and made.overview.takes_part(race, part)]
            assert others <= {peer for race in mine for peer in made.overview.peers(race)}


def test_every_race_on_the_cpu_has_one_row(made):
    listed = [(name, race["job"]) for name, about in made.overview.CHAPTERS.items() for race in about["races"]]
    elsewhere = {("lion", "The same, captured")}  # a case of CUDA
    assert [(row.benchmark, row.job) for row in made.rows] == [race for race in listed if race not in elsewhere]
    assert len(listed) == len(set(listed))


def test_rows_hold_the_fastest_of_both_sides_and_what_the_results_say(made):
    """From the results anew: no peer's row of that part is faster, no row of ours that does the job is."""
    for row in made.rows:
        results = made.cpu[row.benchmark]
        (race,) = [race for race in made.overview.CHAPTERS[row.benchmark]["races"] if race["job"] == row.job]
        parts = results["cases"][race["case"]]["parts"]
        (part,) = [part for part in parts if part["heading"] == row.size]
        medians = {name: np.median(about["seconds"]) for name, about in part["rows"].items() if about.get("seconds")}
        peers = [medians[name] for names in race["peers"].values() for name in names if name in medians]
        assert row.seconds == pytest.approx(min(medians[name] for name in race["ours"] if name in medians))
        if peers:
            assert row.over["value"] == pytest.approx(min(peers) / row.seconds)
            assert row.over["low"] <= row.over["value"] <= row.over["high"]
        else:
            assert row.at_least > 1 and row.peer is None


def test_floors_are_those_of_the_results(made):
    floors = 0
    for row in made.rows:
        for case in made.cpu[row.benchmark]["cases"].values():
            for part in case["parts"]:
                if row.floor and part["heading"] == row.size and "distance" in part.get("floor", {}):
                    assert row.floor == pytest.approx(part["floor"]["distance"])
                    floors += 1
    assert floors >= 8
    dsdm = next(row for row in made.rows if row.job == "Features to scores")
    said = re.search(r"its median is ([\d.]+) times", (RESULTS / "dsdm-cpu.md").read_text())[1]
    assert dsdm.floor == pytest.approx(float(said), rel=0.005)


def part(heading: str, **seconds: list[float]) -> dict:
    rows = {name: {"label": name, "seconds": list(value), "peer": name != "us"} for name, value in seconds.items()}
    for row in rows.values():
        middle = np.median(row["seconds"]) / np.median(seconds["us"]) if row["seconds"] else None
        row["over"] = {"us": {"value": middle, "low": middle, "high": middle}}
        row |= {"timeouts": 0, "limit": None}
    return {"heading": heading, "rows": rows}


def row_of(made, monkeypatch, *parts: dict):
    race = {"case": "c", "job": "j", "ours": ["us"], "peers": {"numpy": ["slow", "fast"]}}
    monkeypatch.setitem(made.overview.CHAPTERS, "new", {"title": "New", "races": [race]})
    machine = {"processor": "p", "cores": 1, "threads": 1, "memory_gb": 1, "system": "s", "device": "cpu"}
    results = {"cases": {"c": {"parts": parts}}, "machine": machine, "date": "2030-01-01", "versions": {"numpy": "9"}}
    (row,) = made.overview.rows({"new": results}, made.overview.machines({"new": results}))
    return row


def test_the_largest_size_and_the_fastest_setting_count(made, monkeypatch):
    small, large = part("small", us=[1], slow=[9], fast=[3]), part("large", us=[2], slow=[90], fast=[4])
    row = row_of(made, monkeypatch, large, small)
    assert (row.size, row.peer, row.over["value"]) == ("large", "fast (numpy 9)", 2)
    assert row.measured == "A, 1 thread, 2030-01-01"


def test_a_faster_peer_is_shown_as_faster(made, monkeypatch):
    row = row_of(made, monkeypatch, part("size", us=[4], slow=[9], fast=[1]))
    assert made.overview.verdict(row) == "peer"
    assert "the peer is faster" in made.picture.MARKS["peer"]


def test_where_every_peer_was_stopped_the_ratio_has_a_bound_only(made, monkeypatch):
    stopped = part("size", us=[2], slow=[], fast=[])
    for name, limit in (("slow", 10.0), ("fast", 8.0)):
        stopped["rows"][name] |= {"timeouts": 1, "limit": limit}
    row = row_of(made, monkeypatch, stopped)
    assert (row.over, row.at_least, made.overview.ratio_words(row)) == (None, 5.0, "above 5")


def test_the_page_shows_every_recorded_table_and_every_file(made):
    page = (ROOT / "book/benchmarks.md").read_text()
    for path in RECORDED:
        assert f"{{include}} benchmarks/{path.stem}.md" in page
        assert f"<benchmarks/{path.name}>" in page
        assert path.with_suffix(".md").read_text().startswith("## ")  # the page leaves this line out
    headings = [line for line in page.splitlines() if line.startswith("### ")]
    assert headings == [f"### {about['title']}" for about in made.overview.CHAPTERS.values()]


def test_the_driver_runs_every_script_that_has_a_side_on_the_device(made):
    there = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert {path.stem for path in made.driver.scripts("cpu")} == set(there)
    one_device = {name for name, text in there.items() if re.search(r"devices=[\[(]\"cpu\"", text)}
    assert {path.stem for path in made.driver.scripts("cuda")} == set(there) - one_device


def test_one_that_fails_is_named_and_the_others_run(made, tmp_path, capfd):
    for name, text in (("good", "print('ran')"), ("bad", "raise SystemExit(3)"), ("killed", "import os; os.abort()")):
        (tmp_path / f"{name}.py").write_text(text)
    scripts = [tmp_path / f"{name}.py" for name in ("bad", "killed", "good")]
    assert made.driver.run(scripts, ["--quick"]) == ["bad", "killed"]
    said = capfd.readouterr()
    assert "ran" in said.out and "[3/3] good" in said.out
    assert "bad: ended with code 3" in said.err


def test_the_time_is_said_before(made):
    total = sum(results["seconds"] for results in made.cpu.values()) / 60
    assert made.driver.expected(list(made.cpu), "cpu") == f"{total:.0f} minutes when last recorded"
    assert "not recorded so far: unheard" in made.driver.expected(["kdpp", "unheard"], "cpu")


def test_make_bench_goes_through_the_driver():
    command = ["make", "-n", "bench", "BENCH=--quick"]
    # `make test` hands its own level down; a make that thinks it is a sub-make says so around its lines.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith(".venv-bench/bin/python benchmarks/_all.py --quick")
