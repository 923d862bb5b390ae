"""Keep what executed notebooks measured in book/recorded/, so that the book shows it without running them again.

    python workflow/record.py _build/runs/gpu/kdpp/few_looks.ipynb

writes book/recorded/kdpp.few_looks.gpu.json: {"scale": "gpu", "provenance": {...}, "measurements": [{"id": ...}, ...]}
with the notebook's own metadata as provenance. A file of the same notebook and scale is replaced.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
from ledger import LedgerError, load_claims
from verdicts import check_listed, recording

from selectlib.claims import Measurement


def record(notebook: Path, book: Path) -> Path | None:
    """Write one notebook's measurements under `book`/recorded; None when it has none."""
    kept = recording(notebook)
    if not kept["measurements"]:
        return None
    claims = load_claims(book / "claims.yml")
    for row in kept["measurements"]:
        check_listed(claims, Measurement(**row), str(notebook))
    path = book / "recorded" / f"{notebook.parent.name}.{notebook.stem}.{kept['scale']}.json"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


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
