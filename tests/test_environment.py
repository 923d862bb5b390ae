"""pyproject.toml, constraints.txt, environment.yml and the Makefile say the same about the environment."""

import itertools
import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED = ("book", "test", "hf", "minilm", "triton", "slurm")  # what `make` installs
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in [*PROJECT["dependencies"], *itertools.chain.from_iterable(EXTRAS[name] for name in INSTALLED)]
        if Requirement(line).name != PROJECT["name"]  # an extra that takes another one with it
    ],
)
def test_every_dependency_is_pinned_within_its_range(line):
    requirement = Requirement(line)
    assert canonicalize_name(requirement.name) in PINS, f"constraints.txt does not pin {requirement.name}"
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_no_dependency_is_named_twice():
    lines = [*PROJECT["dependencies"], *itertools.chain.from_iterable(EXTRAS.values())]
    named = [canonicalize_name(Requirement(line).name) for line in lines]
    assert len(named) == len(set(named))


def test_the_core_is_small():
    core = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert core == {"torch", "numpy", "scipy", "scikit-learn", "jaxtyping"}


def test_what_is_installed_is_what_is_pinned():
    for name in ("torch", "numpy", "jupyter-book", "papermill", "snakemake"):
        assert distribution(name).version.split("+")[0] == PINS[name]


def test_conda_users_get_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == ["-c constraints.txt", f"-e .[{','.join(INSTALLED)}]"]
    assert f"$(call install,.venv,{'$(comma)'.join(INSTALLED)})" in (ROOT / "Makefile").read_text()
