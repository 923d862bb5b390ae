"""Keep what executed notebooks measured in book/recorded/, so that the book shows it without running them again.

    python workflow/record.py _build/runs/gpu/kdpp/few_looks.ipynb

writes book/recorded/kdpp.few_looks.gpu.json: {"scale": "gpu", "provenance": {...}, "measurements": [{"id": ...}, ...]}
with the notebook's own metadata as provenance. The first run that is kept of a notebook and scale decides its claims. A
run with another seed goes beside it, as kdpp.few_looks.gpu.seed400.json: it changes no verdict, and shows whether one
depends on the seed. A run with a seed that is kept already replaces that file.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
from ledger import LedgerError, load_claims
from runs import changed_parameters, recording
from verdicts import check_listed

from selectlib.claims import Measurement


def record(notebook: Path, book: Path) -> Path | None:
    """Write one notebook's measurements under `book`/recorded; None when it has none."""
    kept = recording(notebook)
    if not kept["measurements"]:
        return None
    claims = load_claims(book / "claims.yml")
    for row in kept["measurements"]:
        check_listed(claims, Measurement(**row), str(notebook))
    path = place(kept, book / "recorded" / f"{notebook.parent.name}.{notebook.stem}.{kept['scale']}.json")
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def place(kept: dict[str, Any], first: Path) -> Path:
    """Where a run is kept: as the first of its notebook and scale, or beside it under its own seed."""
    if not first.exists():
        return first
    decides = json.loads(first.read_text(encoding="utf-8"))["provenance"]
    seed = kept["provenance"].get("seed")
    if seed == decides.get("seed"):
        return first
    if seed is None:
        raise LedgerError(f"{first.name} is of seed {decides.get('seed')}, and this run does not say its seed")
    if changed := changed_parameters(decides, kept["provenance"]):
        raise LedgerError(
            f"{first.name} was made with other values of {', '.join(changed)}: a run with another seed repeats it as it"
            f" was. To let this run decide in its stead, remove that file and those of its further seeds first."
        )
    return first.with_name(f"{first.stem}.seed{seed}.json")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("notebooks", nargs="+", type=Path, help="executed notebooks, <chapter>/<notebook>.ipynb")
    arguments.add_argument("--book", type=Path, default=Path("book"))
    given = arguments.parse_args()
    for notebook in given.notebooks:
        try:
            path = record(notebook, given.book)
        except LedgerError as error:
            sys.exit(str(error))
        print(f"{notebook}: nothing was measured" if path is None else path)


if __name__ == "__main__":
    main()
