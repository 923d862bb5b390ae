"""The version is one, the wheel is whole, the changelog can be read, and the release workflow keeps its promises."""

import datetime
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import check_wheel
import pytest
import yaml
from cite import own_entry
from pybtex.database import parse_file, parse_string

import selectlib

ROOT = Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", re.MULTILINE)


def test_the_version_is_one():
    newest, day = RELEASE.findall(CHANGELOG)[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "selectlib.__version__"}
    assert selectlib.__version__ == newest == CITATION["version"]
    assert version("what-to-keep").startswith(newest), "pip install -e . again: the environment has another version"
    assert day == CITATION["date-released"]


def test_the_changelog_has_the_newest_on_top_and_known_headings():
    assert re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)[0] == "[Unreleased]"
    found = RELEASE.findall(CHANGELOG)
    days = [datetime.date.fromisoformat(day) for _, day in found]
    versions = [tuple(map(int, number.split("."))) for number, _ in found]
    assert days == sorted(days, reverse=True) and versions == sorted(set(versions), reverse=True)
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
    assert len(re.findall(r"^## ", CHANGELOG, re.MULTILINE)) == 1 + len(found)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel made from a copy of what it is made from, without network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "selectlib", source / "selectlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(source)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert made.returncode == 0, made.stdout + made.stderr
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_is_whole(wheel):
    assert wheel.name == f"what_to_keep-{selectlib.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert check_wheel.problems(archive.namelist()) == []
        held = {name for name in archive.namelist() if name.startswith("selectlib/")}
    written = {str(path.relative_to(ROOT)) for path in (ROOT / "selectlib").rglob("*") if path.is_file()}
    assert held == {name for name in written if "__pycache__" not in name}
    assert wheel.stat().st_size < 10_000_000


def test_a_wheel_that_lacks_a_file_or_has_too_much_is_refused():
    whole = [*check_wheel.NEEDED, "what_to_keep-0.1.0.dist-info/METADATA"]
    assert check_wheel.problems(whole) == []
    assert check_wheel.problems(whole[1:]) == [f"{whole[0]} is missing"]
    assert check_wheel.problems([*whole, "tests/test_pool.py"]) == ["tests/test_pool.py does not belong there"]


def test_the_wheel_check_refuses_the_repository_itself():
    command = [sys.executable, str(ROOT / "workflow/check_wheel.py")]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert checked.returncode == 1 and "is the repository, not an installed wheel" in checked.stderr


def test_the_release_needs_the_tests_and_no_password():
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    steps = [step.get("run", "") for step in workflow["jobs"]["build"]["steps"]]
    order = [
        next(i for i, run in enumerate(steps) if word in run) for word in ("make test", "-m build", "check_wheel.py")
    ]
    assert order == sorted(order)
    publish = workflow["jobs"]["publish"]
    assert publish["needs"] == "build" and publish["permissions"] == {"id-token": "write"}
    assert "password" not in str(publish) and "secrets" not in str(workflow)


def test_own_entries_are_bibtex_with_this_version():
    for chapter, title in ((None, None), ("kdpp", "k-DPP without looking at all items")):
        (entry,) = parse_string(own_entry(CITATION, chapter, title), "bibtex").entries.values()
        assert (
            entry.fields["version"] == selectlib.__version__ and entry.fields["year"] == CITATION["date-released"][:4]
        )
        assert entry.fields["title"].strip("{}") == (title or CITATION["title"])


def test_each_chapter_can_be_cited_with_the_paper_that_it_is_about():
    page = (ROOT / "book/cite.md").read_text(encoding="utf-8")
    cited = dict(re.findall(r"```\{cite_chapter\} (\w+)\n(?::paper: (\S+)\n)?```", page))
    chapters = {path.parent.name for path in ROOT.glob("book/*/index.md")} - {"api"}
    assert cited.keys() == chapters
    papers = parse_file(ROOT / "book/references.bib", "bibtex").entries
    for chapter, key in cited.items():
        assert (key in papers and f"{{cite}}`{key}`" in (ROOT / f"book/{chapter}/index.md").read_text()) or not key
        assert f"(cite-{chapter.replace('_', '-')})=" in page
    assert [chapter for chapter, key in cited.items() if not key] == ["tournament"]
