"""Look at an installed wheel from outside the repository: every file that the code needs is there, every room imports.

    python -m venv clean && clean/bin/pip install dist/*.whl && cd / && clean/bin/python .../workflow/check_wheel.py

Needs nothing but the library and its core dependencies.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from importlib.metadata import files, version
from pathlib import Path

# Files that are no Python, and without which something fails only when it is used.
NEEDED = (
    "selectlib/py.typed",
    "selectlib/figures.mplstyle",
    "selectlib/kernels/_lion_cpu.cpp",
    "selectlib/support/_class_lloyd_cpu.cpp",
    "selectlib/attention/tiny_pair/draft/config.json",
    "selectlib/attention/tiny_pair/draft/model.safetensors",
    "selectlib/attention/tiny_pair/draft_text/config.json",
    "selectlib/attention/tiny_pair/draft_text/model.safetensors",
    "selectlib/attention/tiny_pair/provenance.json",
    "selectlib/attention/tiny_pair/target/config.json",
    "selectlib/attention/tiny_pair/target/model.safetensors",
    "selectlib/attention/tiny_pair/tokenizer.json",
    "selectlib/data/doc_topics/LICENCES.txt",
    "selectlib/data/doc_topics/features.npy",
    "selectlib/data/doc_topics/texts.json",
)


def problems(held: Iterable[str]) -> list[str]:
    """What is wrong with the files of a wheel: a needed one is missing, or one lies where it should not."""
    names = set(held)
    places = ("selectlib/", "what_to_keep-")
    return [f"{name} is missing" for name in NEEDED if name not in names] + [
        f"{name} does not belong there" for name in sorted(names) if not name.startswith(places)
    ]


def main() -> None:
    import selectlib

    home = Path(selectlib.__file__).parent
    found = problems(str(file) for file in files("what-to-keep") or ())
    if version("what-to-keep") != selectlib.__version__:
        found.append(f"the wheel is {version('what-to-keep')}, the code {selectlib.__version__}")
    if (home.parent / "pyproject.toml").exists():
        found.append(f"{home} is the repository, not an installed wheel")
    rooms = [module.name for module in pkgutil.iter_modules([str(home)]) if not module.name.startswith("_")]
    for room in rooms:
        importlib.import_module(f"selectlib.{room}")
    if found:
        sys.exit("\n".join(found))
    print(f"selectlib {selectlib.__version__}: {len(rooms)} modules import, {len(NEEDED)} data files are there")


if __name__ == "__main__":
    main()
