"""What a build will take: where the numbers come from, how they add up, and what is not known."""

import json

import estimate
import pytest
from estimate import Cost, cost, duration, memory, report, set_aside
from small_project import RUN, make_project, snakemake

from selectlib.data._download import FILES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELECTLIB_DATA", str(tmp_path / "data"))
    (tmp_path / "book/recorded").mkdir(parents=True)
    (tmp_path / "notebooks/kdpp").mkdir(parents=True)
    return tmp_path


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_run_here_counts_before_a_recorded_one_and_that_before_the_limit(folder):
    build = folder / "_build"
    assert cost("kdpp/a", "full", build) == Cost(180, None, "limit")
    assert cost("kdpp/a", "paper", build).seconds is None
    for name, seconds in (("a.full", 50), ("a.full.seed400", 60), ("ab.full", 999), ("a.fuller", 999)):
        put(folder / f"book/recorded/kdpp.{name}.json", {"provenance": {"seconds": seconds, "device": "cpu (x)"}})
    assert cost("kdpp/a", "full", build) == Cost(60, None, "recorded", "cpu (x)", fastest=50)
    assert "They take 50 s to 60 s on 2 cores" in report([("kdpp/a", "full", False)], 2, build, site=True)
    made = {"seconds": 70.0, "peak_mb": 800, "device": "cpu (y)"}
    put(build / "runs/full/kdpp/a.ipynb", {"cells": [], "metadata": {"selectlib": made}})
    assert cost("kdpp/a", "full", build) == Cost(70.0, 800, "here", "cpu (y)")
    (build / "runs/full/kdpp/a.ipynb").write_text("no json")
    assert cost("kdpp/a", "full", build).origin == "recorded"


def test_notebooks_run_side_by_side_except_those_that_measure_time():
    times = [(30.0, False), (20.0, False), (10.0, False), (7.0, True)]
    assert duration(times, 1) == 67
    assert duration(times, 2) == 37
    assert duration(times, 8) == 37
    assert memory([Cost(1, peak, "here") for peak in (100, 700, 300)], 2) == 1000
    assert memory([Cost(1, None, "limit")], 2) == estimate.UNMEASURED_MB


def test_a_batch_system_is_asked_for_twice_what_is_known_and_for_more_after_a_failure():
    assert set_aside(Cost(900, 1500, "here")) == {"mem_mb": 3000, "runtime": 30}
    assert set_aside(Cost(900, 1500, "here"), attempt=2) == {"mem_mb": 6000, "runtime": 60}
    assert set_aside(Cost(1, 10, "here")) == {"mem_mb": 2000, "runtime": 10}
    assert set_aside(Cost(None, None, "limit"))["runtime"] == 120


def test_the_report_says_what_is_not_known(folder):
    (folder / "notebooks/kdpp/a.paper.yml").write_text("settings: [usps]\n")
    text = report([("kdpp/a", "paper", False)], 2, folder / "_build", site=True)
    assert "1 at paper. They take a time that is not known, 1.5 GB of memory" in text
    assert "1 have no known time: not counted." in text
    assert f"1 read data that are not in {folder / 'data'} and need the network: usps 4.6 MB." in text
    for name in ("usps.h5", *(name for name in FILES if name.startswith("t10k-"))):
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / name).touch()
    assert "network" not in report([("kdpp/a", "paper", False)], 2, folder / "_build", site=True)


def test_too_little_disk_or_memory_is_warned_of(folder):
    assert estimate.warnings(1, 1, folder) == []
    disk, room = estimate.warnings(1e9, 1e9, folder / "not" / "there")
    assert "of disk are free" in disk and "of memory are free" in room


def test_every_word_for_data_stands_for_files_that_are_listed():
    for prefixes, _ in estimate.DATA.values():
        assert all(any(name.startswith(prefix) for name in FILES) for prefix in prefixes)


def test_the_graph_says_what_it_will_take_before_it_starts_and_counts_only_what_is_left(tmp_path):
    make_project(tmp_path)
    (tmp_path / "notebooks/kdpp/good.full.yml").write_text("k: 5\n")
    full = "_build/runs/full/kdpp/good.ipynb"
    said = snakemake(tmp_path, RUN.format("good"), full).stderr
    assert said.index("1 at full") < said.index("Finished jobid")
    assert "Notebooks to run: 1 at" in said and "2 were not timed yet" in said
    (tmp_path / "notebooks/kdpp/good.full.yml").write_text("k: 6\n")
    said = snakemake(tmp_path, RUN.format("good"), full).stderr
    assert "Notebooks to run: 1 at full." in said and "not timed yet" not in said and "no measured memory" not in said
