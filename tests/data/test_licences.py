"""The page of licences and the loaders say the same, and neither leaves anything out."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import selectlib.data
from selectlib.data._download import FILES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book/licences.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
LOADERS = {name: getattr(selectlib.data, name) for name in selectlib.data.__all__ if name.startswith("load_")}
DATA = {".npy", ".json", ".safetensors", ".gz", ".h5", ".csv", ".txt"}
NOT_DATA = {"encode_pairs", "digit_pair_views", "sequences", "train_bpe", "transform_domain"}


def rows_of(function: str) -> list[list[str]]:
    return [row for row in ROWS if len(row) == 5 and f"`{function}`" in row[1]]


def stated(function) -> set[str]:
    """Texts that a loader gives as a licence: in its own code, or else anywhere in its module."""
    module = inspect.getmodule(function)
    return _stated(inspect.getsource(function)) or (
        _stated(inspect.getsource(module))
        | {text for text in [getattr(module, "LICENCE", None)] if text}
        | {about.licence for about in getattr(module, "_TASKS", {}).values() if hasattr(about, "licence")}
    )


def _stated(code: str) -> set[str]:
    keywords = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.keyword) and node.arg == "licence"]
    return {keyword.value.value for keyword in keywords if isinstance(keyword.value, ast.Constant)}


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_the_page_has_the_licence_that_the_loader_states(name):
    licences = stated(LOADERS[name])
    on_page = {row[2] for row in rows_of(name)}
    if name == "load_svmlight":  # reads files of any kind, and states nothing
        assert not licences and on_page == {"those of each set"}
    else:
        assert licences and on_page == licences


def test_every_public_function_that_gives_data_is_on_the_page():
    functions = {name for name in selectlib.data.__all__ if inspect.isfunction(getattr(selectlib.data, name))}
    assert {name for name in functions - NOT_DATA if f"`{name}`" not in PAGE} == set()


def test_every_file_that_may_be_downloaded_has_a_row():
    prefixes = [prefix for row in ROWS if len(row) == 5 for prefix in re.findall(r"`([^`]+)`", row[3])]
    prefixes = [prefix for prefix in prefixes if prefix not in ("full", "paper")]
    assert {name for name in FILES if not name.startswith(tuple(prefixes))} == set()
    assert {prefix for prefix in prefixes if not prefix.startswith("selectlib/")} == {
        prefix for prefix in prefixes if any(name.startswith(prefix) for name in FILES)
    }


def test_what_is_shipped_is_on_the_page():
    data = (path for path in (ROOT / "selectlib").rglob("*") if path.suffix in DATA)
    shipped = {f"{'/'.join(path.relative_to(ROOT).parts[:3])}/" for path in data}
    assert shipped and {folder for folder in shipped if f"`{folder}" not in PAGE} == set()
