"""A sweep over notebook parameters: its grid, and one tidy table and figure of what the runs measured."""

import argparse
import csv
import itertools
import math
import sys
from pathlib import Path

import yaml
from parameters import check


def points(notebook: str, over: str) -> dict[str, dict]:
    """The grid of `over` ("k:5,10;seed:0,1"): file name of each point -> its parameters.

    >>> points("kdpp/exactness", "k:5,10;seed:0")
    {'k=5,seed=0': {'k': 5, 'seed': 0}, 'k=10,seed=0': {'k': 10, 'seed': 0}}
    """
    if not Path("notebooks", f"{notebook}.ipynb").exists():
        sys.exit(f"sweep: notebook={notebook}: there is no notebooks/{notebook}.ipynb")
    axes = {}
    for axis in filter(None, over.split(";")):
        name, colon, values = axis.partition(":")
        if not colon or not name.strip() or not values.strip():
            sys.exit(f'sweep: over="{over}": "name:value,value;name:value" is needed, "{axis}" is not of that form')
        axes[name.strip()] = [yaml.safe_load(value) for value in values.split(",")]
    if not axes:
        sys.exit('sweep: over="k:5,10;seed:0,1" names the parameters and their values')
    for name, values in axes.items():
        for value in values:
            check(f"notebooks/{notebook}.ipynb", {name: value})
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return {",".join(f"{name}={value}" for name, value in point.items()).replace("/", "_"): point for point in grid}


def rows(runs: list[Path]) -> list[dict]:
    """One row a run and measured claim: the point's parameters, the claim, its value and interval, the wall time."""
    import nbformat

    from selectlib.claims import read_measurements

    table = []
    for path in runs:
        made = nbformat.read(path, as_version=4).metadata["selectlib"]
        for measured in read_measurements(path):
            claim = {"claim": measured.id, "value": measured.value, "low": measured.low, "high": measured.high}
            table.append({**made["parameters"], **claim, "n": measured.n, "p": measured.p, "seconds": made["seconds"]})
    return table


def write_table(table: list[dict], path: Path) -> None:
    columns = list(dict.fromkeys(column for row in table for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(table)


def swept(table: list[dict]) -> list[str]:
    """The parameters that take more than one value."""
    names = list(table[0])[: list(table[0]).index("claim")]
    return [name for name in names if len({str(row[name]) for row in table}) > 1] or names[:1]


def write_figure(table: list[dict], path: Path) -> None:
    """One panel a claim: its value with interval against the first swept parameter, one line for each other setting."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.style.use("selectlib.figures")
    first, *others = swept(table)
    claims = list(dict.fromkeys(row["claim"] for row in table))
    across = min(3, len(claims))
    down = math.ceil(len(claims) / across)
    figure, axes = plt.subplots(down, across, figsize=(3.6 * across, 2.8 * down), squeeze=False, layout="constrained")
    for panel, claim in itertools.zip_longest(axes.flat, claims):
        if claim is None:
            panel.set_axis_off()
            continue
        lines: dict[str, list[dict]] = {}
        for row in (row for row in table if row["claim"] == claim):
            lines.setdefault(", ".join(f"{name} = {row[name]}" for name in others), []).append(row)
        for label, line in lines.items():
            value = [row["value"] for row in line]
            below = [row["value"] - row["low"] for row in line]
            above = [row["high"] - row["value"] for row in line]
            where = [row[first] if isinstance(row[first], int | float) else str(row[first]) for row in line]
            panel.errorbar(where, value, yerr=[below, above], marker="o", capsize=2, label=label)
        panel.set(title=claim, xlabel=first, ylabel="measured value")
        if others:
            panel.legend(fontsize="x-small")
    figure.savefig(path)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", nargs="+", type=Path, required=True)
    arguments.add_argument("--table", type=Path, required=True)
    arguments.add_argument("--figure", type=Path, required=True)
    given = arguments.parse_args()
    table = rows(given.runs)
    if not table:
        sys.exit("sweep: the notebook records no claim, so there is nothing to tabulate")
    write_table(table, given.table)
    write_figure(table, given.figure)
    print(f"{len(given.runs)} runs: {given.table}, {given.figure}")


if __name__ == "__main__":
    main()
