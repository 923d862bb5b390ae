"""The graph: notebook + parameters -> executed notebook -> site, or -> one row of a sweep.

snakemake book --cores 2 --config scale=full
snakemake sweep --cores 2 --config notebook=kdpp/exactness over="k:2,3;seed:100,101"
"""

import json
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))
import estimate
import sweep as grid
from parameters import nearest

SETTINGS = ("scale", "notebook", "over", "build")
for name in config:
    if name not in SETTINGS:
        raise WorkflowError(f"--config {name}=...: {', '.join(SETTINGS)} can be set{nearest(name, SETTINGS)}")

BUILD = config.get("build", "_build")  # the tests have a folder of their own
SCALES = ("quick", "full", "long", "gpu", "paper")
SCALE = str(config.get("scale", "quick"))
if SCALE not in SCALES:
    raise WorkflowError(f"scale={SCALE}: one of {', '.join(SCALES)} is needed{nearest(SCALE, SCALES)}")

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

for path in Path("notebooks").glob("*/*.yml"):  # a misspelt name would be left out without a word
    notebook, _, scale = path.stem.partition(".")
    if scale not in SCALES[1:] or f"{path.parent.name}/{notebook}" not in NOTEBOOKS:
        scales = ", ".join(SCALES[1:])
        raise WorkflowError(f"{path}: <notebook>.<scale>.yml is needed, with a notebook beside it and one of {scales}")


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


def scale_of(wildcards):
    return getattr(wildcards, "scale", SCALE)  # a point of a sweep has that of the command


@cache
def measures_time(notebook):
    content = json.loads(Path(f"notebooks/{notebook}.ipynb").read_text())
    return content["metadata"].get("selectlib", {}).get("measures_time", False)


def alone(wildcards):
    """Whether a notebook runs by itself: where it measures time, but not at `quick`, where no claim rests on a time."""
    return scale_of(wildcards) != "quick" and measures_time(f"{wildcards.chapter}/{wildcards.notebook}")


def cores_of(wildcards):
    """One core a notebook, and the whole machine for one that runs alone."""
    return workflow.cores if alone(wildcards) else 1


def set_aside(resource):
    """What a batch system keeps for the notebook; on this machine it limits nothing."""

    def ask(wildcards, attempt):
        known = estimate.cost(f"{wildcards.chapter}/{wildcards.notebook}", scale_of(wildcards), Path(BUILD))
        return estimate.set_aside(known, attempt)[resource]

    return ask


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
    resources:
        mem_mb=set_aside("mem_mb"),
        runtime=set_aside("runtime"),
    shell:
        "{RUN}/execute.py {input.notebook} {output} --scale {wildcards.scale} --threads {threads}"
        " --parameters {input.parameters:q}"


rule site:
    input:
        runs(SCALE),
        "_config.yml",
        "_toc.yml",
        "CONTRIBUTING.md",
        "CITATION.cff",
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
    resources:
        mem_mb=set_aside("mem_mb"),
        runtime=set_aside("runtime"),
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


def announce(dag):
    """Say what will run and what it takes, before it starts."""
    waiting = [job for job in dag.needrun_jobs() if job.rule.name in ("execute", "sweep_point")]
    jobs = [
        (f"{job.wildcards.chapter}/{job.wildcards.notebook}", scale_of(job.wildcards), alone(job.wildcards))
        for job in waiting
    ]
    if jobs:
        site = any(job.rule.name == "site" for job in dag.needrun_jobs())
        print(estimate.report(jobs, workflow.cores, Path(BUILD), site), file=sys.stderr, flush=True)


onstart:
    announce(workflow.dag)
