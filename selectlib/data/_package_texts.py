import hashlib
import inspect
import os
import re
import sysconfig
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from selectlib.data._texts import Texts

_LONGEST = 400_000  # bytes of a file; longer ones are tables and bundles
_SHORTEST = 200  # characters of a text
_FEWEST = 20  # texts of a full domain
# A string in triple quotes at the top of a file, or after the colon of a definition.
_DOCSTRING = re.compile(
    r"""(?:\A(?:[ \t]*(?:\#[^\n]*)?\n)*|:[ \t]*\n[ \t]*)[rR]?(?P<quotes>\"{3}|'{3})(?P<text>.*?)(?P=quotes)""",
    re.DOTALL,
)


def package_texts(per_domain: int = 1_000_000) -> Texts:
    """Collect text of 15 domains from what is installed beside the library: a small pool of natural text, offline.

    The domains are docstrings of six packages (one text a module), sources of three, C++ headers, tables, translations,
    JavaScript, licences with package descriptions, and JSON.

    Parameters
    ----------
    per_domain : int, default 1_000_000
        Largest number of characters of a domain, at least 4,000. A text longer than a twentieth of it is cut there.

    Returns
    -------
    Texts
        Domains in a fixed order; files in an order that is fixed but mixes the parts of a package. Domains of packages
        that are not installed are in `absent`.

    Raises
    ------
    ValueError
        If `per_domain` is below 4,000.

    Notes
    -----
    The texts change with the versions of the packages: `Texts.sha256` says which ones they are. The docstrings of
    numpy, scipy, scikit-learn and the standard library are always there. The help topics of `topic_texts` are left out,
    and so are the packages' tests. Time grows with `per_domain`: about 4 s for the default.

    Examples
    --------
    >>> corpus = package_texts(per_domain=4_000)
    >>> corpus.names[:2], len("".join(corpus.of("numpy docstrings")))
    (('numpy docstrings', 'scipy docstrings'), 4000)
    """
    if per_domain < _FEWEST * _SHORTEST:
        raise ValueError(f"per_domain must be at least {_FEWEST * _SHORTEST:,} characters, got {per_domain:,}")
    texts: list[str] = []
    domains: list[str] = []
    absent: list[str] = []
    for name, source in _DOMAINS.items():
        room = per_domain
        for text in source():
            text = text.strip()[: min(per_domain // _FEWEST, room)]
            if len(text) < min(_SHORTEST, room):
                continue
            texts.append(text)
            domains.append(name)
            room -= len(text)
            if room == 0:
                break
        if room == per_domain:
            absent.append(name)
    return Texts(
        tuple(texts),
        tuple(domains),
        tuple(absent),
        description="docstrings, sources and data files of the installed Python packages",
        licence="the licence of each package",
    )


def _docstrings(package: str) -> Iterator[str]:
    """The docstrings of each module of a package, joined; modules are read and never run."""
    for file in package_files(package, (".py",)):
        found = (match["text"] for match in _DOCSTRING.finditer(read_text(file)))
        yield "\n\n".join(inspect.cleandoc(text) for text in found)


def _contents(packages: tuple[str, ...], endings: tuple[str, ...]) -> Iterator[str]:
    """The files of packages that have one of the endings."""
    for package in packages:
        yield from map(read_text, package_files(package, endings))


def _licences() -> Iterator[str]:
    """Licences and descriptions of the installed distributions, apart from this one."""
    found = sorted(distributions(), key=lambda d: (d.metadata["Name"] or "").lower())
    for distribution in found:
        if distribution.metadata["Name"] == "what-to-keep":
            continue
        for path in sorted(distribution.files or (), key=str):
            if path.name == "METADATA" or path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")):
                yield read_text(Path(str(path.locate())))


def package_files(package: str, endings: tuple[str, ...]) -> list[Path]:
    """Files of a package in an order that depends on their names alone, and mixes its folders."""
    root = _root(package)
    if root is None:
        return []
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in _SKIPPED]
        found += [os.path.join(folder, name) for name in names if name.endswith(endings)]
    files = [Path(name) for name in found]
    return sorted(files, key=lambda file: hashlib.sha256(file.relative_to(root).as_posix().encode()).digest())


def _root(package: str) -> Path | None:
    """Folder of a package, found without importing it; None when it is not installed."""
    if package == "stdlib":
        return Path(sysconfig.get_path("stdlib"))
    spec = find_spec(package)
    return None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0])


def read_text(file: Path) -> str:
    """The text of a file, or nothing when it is long or no text."""
    if not file.is_file() or file.stat().st_size > _LONGEST:
        return ""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


_SKIPPED = {"__pycache__", "site-packages", "dist-packages", "pydoc_data", "test", "tests", "idlelib", "lib2to3"}
_DOCUMENTED = ("numpy", "scipy", "sklearn", "matplotlib", "stdlib", "networkx")
_DOMAINS: dict[str, Callable[[], Iterator[str]]] = {
    **{f"{package} docstrings": partial(_docstrings, package) for package in _DOCUMENTED},
    **{f"{package} source": partial(_contents, (package,), (".py",)) for package in ("torch", "sympy", "sqlalchemy")},
    "C++ headers": partial(_contents, ("torch",), (".h", ".hpp")),
    "tables": partial(_contents, ("sklearn", "matplotlib", "scipy", "numpy"), (".csv",)),
    "translations": partial(_contents, ("sphinx", "sphinx_togglebutton"), (".po",)),
    "JavaScript": partial(_contents, ("sphinx", "pydata_sphinx_theme", "snakemake", "matplotlib"), (".js",)),
    "licences": _licences,
    "JSON": partial(_contents, ("sphinx_togglebutton", "jsonschema_specifications", "debugpy", "scipy"), (".json",)),
}
