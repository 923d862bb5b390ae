"""Every benchmark in turn, then the overview. One that fails does not stop the others; it is named at the end.

python benchmarks/_all.py                    what `make bench` does
python benchmarks/_all.py --device cuda      our sides on the GPU, of the chapters that have one
python benchmarks/_all.py --quick            tiny sizes, to see that all works; writes to _build/benchmarks
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from _overview import CHAPTERS, HERE, read, write


def scripts(device: str) -> list[Path]:
    """Those that have a side on the device, in the book's order."""
    return [HERE / f"{name}.py" for name, about in CHAPTERS.items() if device == "cpu" or about.get("gpu", True)]


def expected(names: list[str], device: str) -> str:
    """What the recorded runs took."""
    took = {name: results["seconds"] for name, results in read(HERE / "results", device).items() if name in names}
    unknown = [name for name in names if name not in took]
    said = f"{sum(took.values()) / 60:.0f} minutes when last recorded" if took else "no time is known yet"
    return said + (f"; not recorded so far: {', '.join(unknown)}" if took and unknown else "")


def run(chosen: list[Path], options: list[str]) -> list[str]:
    """Run them one after another; the names of those that failed."""
    failed = []
    for at, script in enumerate(chosen, 1):
        print(f"\n[{at}/{len(chosen)}] {script.stem}", flush=True)
        start = time.perf_counter()
        code = subprocess.run([sys.executable, str(script), *options]).returncode
        if code:
            failed.append(script.stem)
            print(f"{script.stem}: ended with code {code} after {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, two repeats: a smoke run")
    given = parser.parse_args()
    chosen = scripts(given.device)
    time_needed = "a few minutes" if given.quick else expected([script.stem for script in chosen], given.device)
    print(f"{len(chosen)} benchmarks on {given.device}, one after another: {time_needed}.")
    print(f"Load of this machine now: {os.getloadavg()[0]:.1f}. Whatever else runs will show in the numbers.")
    failed = run(chosen, ["--device", given.device, *["--quick"] * given.quick])
    write(HERE.parent / "_build/benchmarks" if given.quick else HERE / "results")
    if failed:
        raise SystemExit(f"{len(failed)} of {len(chosen)} failed: {', '.join(failed)}. Their older results stand.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("stopped; what was finished is kept") from None
