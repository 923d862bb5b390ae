"""Our side of every switch on the page "Coming from another package" runs as it stands."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book/coming_from.md").read_text(encoding="utf-8")


def test_our_blocks_run_and_give_the_shapes_that_they_name():
    names: dict = {}
    shapes = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block, "book/coming_from.md", "exec"), names)
        for name, shape in re.findall(r"^(\w+) = .*# .*?(\(\d+,(?: \d+)*,?(?: \d+)*\))", block, re.MULTILINE):
            assert tuple(names[name].shape) == eval(shape), (
                f"{name} is {tuple(names[name].shape)}, the page says {shape}"
            )
            shapes[name] = shape
    assert {"sets", "scores", "mean_effect", "tasks", "chosen"} <= shapes.keys()


def test_each_heading_names_the_version_that_benchmarks_use():
    bench = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["bench"]
    pinned = dict(line.split("==") for line in bench)
    headings = re.findall(r"^## (\S+) ([\d.]+)$", PAGE, re.MULTILINE)
    assert len(headings) == 5
    assert {name.lower(): version for name, version in headings} == {
        name.lower(): pinned[name.lower()] for name, _ in headings
    }
