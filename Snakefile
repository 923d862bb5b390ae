"""The graph: notebook + parameters -> executed notebook -> site, or -> one row of a sweep.

snakemake book --cores 2 --config scale=full
snakemake sweep --cores 2 --config notebook=kdpp/exactness over="k:2,3;seed:100,101"
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))
import sweep as grid

BUILD = config.get("build", "_build")  # the tests have a folder of their own
SCALES = ("quick", "full", "long", "gpu", "paper")
SCALE = config.get("scale", "quick")
if SCALE not in SCALES:
    raise WorkflowError(f"scale={SCALE}: one of {', '.join(SCALES)} is needed")

# The rooms of `selectlib` that a chapter's notebooks use: what re-runs them when it changes, beside the shared modules.
ROOMS = {
    "feature_gradients": ["features"],
    "kdpp": ["subsets"],
    "eada": ["queries"],
    "selectnadapt": ["support"],
    "dsdm": ["corpora"],
    "multitask_finetuning": ["tasks"],
    "specattn": ["attention"],
    "lion": ["programs", "optim"],
}
ROOMS["tournament"] = [room for rooms in ROOMS.values() for room in rooms] + ["tournament"]
SHARED = ["kernels", "data", "nets", "stats"]

SCRIPTS = Path(workflow.basedir) / "workflow"
RUN = f"{sys.executable} {SCRIPTS}"
NOTEBOOKS = sorted(str(path.relative_to("notebooks").with_suffix("")) for path in Path("notebooks").glob("*/*.ipynb"))


def parameter_file(notebook, scale):
    """The notebook's parameters at a scale; `quick` is the notebook's own defaults and has no file."""
    path = Path(f"notebooks/{notebook}.{scale}.yml")
    return [str(path)] if path.exists() else []


def code(wildcards):
    """The library's files that a notebook depends on, and the recorded results of its chapter's benchmark."""
    if wildcards.chapter not in ROOMS:
        raise WorkflowError(f"notebooks/{wildcards.chapter}: name its rooms of selectlib in ROOMS in the Snakefile")
    folders = [Path("selectlib", room) for room in ROOMS[wildcards.chapter] + SHARED]
    modules = [path for folder in folders for path in folder.rglob("*.py")]
    modules += [*Path("selectlib").glob("*.py"), *Path("selectlib").glob("*.mplstyle")]
    return sorted(map(str, [*modules, *Path("benchmarks/results").glob(f"{wildcards.chapter}-*.json")]))


def cores_of(wildcards):
    """One core a notebook, and the whole machine for one that measures time."""
    notebook = json.loads(Path(f"notebooks/{wildcards.chapter}/{wildcards.notebook}.ipynb").read_text())
    return workflow.cores if notebook["metadata"].get("selectlib", {}).get("measures_time") else 1


def runs(scale):
    """Executed notebooks of the site: at `scale` where a notebook has parameters for it, else at `quick`."""
    return [f"{BUILD}/runs/{scale if parameter_file(nb, scale) else 'quick'}/{nb}.ipynb" for nb in NOTEBOOKS]


rule book:
    input:
        f"{BUILD}/html/index.html",


rule execute:
    input:
        notebook="notebooks/{chapter}/{notebook}.ipynb",
        parameters=lambda wc: parameter_file(f"{wc.chapter}/{wc.notebook}", wc.scale),
        code=code,
    output:
        f"{BUILD}/runs/{{scale}}/{{chapter}}/{{notebook}}.ipynb",
    wildcard_constraints:
        scale="|".join(SCALES),
        chapter="[^/]+",
        notebook="[^/]+",
    threads: cores_of
    shell:
        "{RUN}/execute.py {input.notebook} {output} --scale {wildcards.scale} --threads {threads}"
        " --parameters {input.parameters:q}"


rule site:
    input:
        runs(SCALE),
        "_config.yml",
        "_toc.yml",
        [str(path) for path in Path("book").rglob("*") if path.is_file() and "__pycache__" not in path.parts],
        [str(path) for path in Path("selectlib").rglob("*.py")],  # the API pages are made from docstrings
        [str(path) for path in Path("benchmarks/results").glob("*")],
    output:
        f"{BUILD}/html/index.html",
    params:
        runs=runs(SCALE),  # another scale is another site
    threads: workflow.cores
    shell:
        "{RUN}/build_site.py --build {BUILD} --runs {params.runs:q}"


SWEEP = config.get("notebook")
POINTS = grid.points(SWEEP, str(config.get("over", ""))) if SWEEP else {}


rule sweep:
    input:
        f"{BUILD}/sweeps/{SWEEP}/table.csv",


rule sweep_point:
    input:
        notebook="notebooks/{chapter}/{notebook}.ipynb",
        parameters=lambda wc: parameter_file(f"{wc.chapter}/{wc.notebook}", SCALE),
        code=code,
    output:
        f"{BUILD}/sweeps/{{chapter}}/{{notebook}}/{SCALE}/{{point}}.ipynb",
    params:
        overrides=lambda wc: json.dumps(POINTS[wc.point]),
    threads: cores_of
    shell:
        "{RUN}/execute.py {input.notebook} {output} --scale {SCALE} --threads {threads}"
        " --parameters {input.parameters:q} --override {params.overrides:q}"


rule sweep_table:
    input:
        [f"{BUILD}/sweeps/{SWEEP}/{SCALE}/{point}.ipynb" for point in POINTS],
    output:
        table=f"{BUILD}/sweeps/{SWEEP}/table.csv",
        figure=f"{BUILD}/sweeps/{SWEEP}/figure.svg",
    shell:
        "{RUN}/sweep.py --runs {input:q} --table {output.table} --figure {output.figure}"
