"""Score a pool by one process, by two under `torchrun`, and by two of which one is killed; then compare the bytes.

    python workflow/scale_out/torchrun_killed.py
    python workflow/scale_out/torchrun_killed.py --quick

Prints what it does, and one line of JSON at the end; `--record` keeps both for the book.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import PAGE, report

SCRIPT = Path(__file__).with_name("score_torchrun.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


class Job:
    """One start of the script, its output copied to a log."""

    def __init__(self, log: list[str], store: Path, options: list[str], *launcher: str):
        self.log, self.store, self.numbers = log, store, {}
        said = "torchrun --nproc-per-node 2" if launcher else "python"
        self._say(f"\n$ {said} workflow/scale_out/{SCRIPT.name} {' '.join([store.name, *options])}")
        command = [sys.executable, *launcher, str(SCRIPT), str(store), *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def _say(self, line: str) -> None:
        print(line, flush=True)
        self.log.append(line)

    def done(self) -> int:
        """How many shards of the store have their manifest."""
        return len(list((self.store / "shards").glob("*.json")))

    def started(self, count: int) -> dict[int, int]:
        """The system's number of each process, once all are there."""
        while len(self.numbers) < count:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("the job ended before all its processes were there")
            if found := re.match(r"process (\d) of \d has number (\d+)", line):
                self.numbers[int(found[1])] = int(found[2])
        return self.numbers

    def kill(self, rank: int, shards: int) -> None:
        """End one of two processes at once, when so many shards are done."""
        number = self.started(2)[rank]
        while self.done() < shards and self.process.poll() is None:
            time.sleep(0.01)
        os.kill(number, signal.SIGKILL)
        self._say(f"process {rank} is killed (SIGKILL) after {self.done()} shards")

    def finish(self) -> tuple[int, list[dict]]:
        """Wait for the end; the exit code, and what each process measured."""
        text, _ = self.process.communicate(timeout=3600)
        found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        for row in sorted(found, key=lambda row: row["rank"]):
            self._say(json.dumps(row))
        if self.process.returncode and not self.numbers:
            print(text, file=sys.stderr)
        self._say(f"exit code {self.process.returncode}; {self.done()} shards are done")
        return self.process.returncode, found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="fewer texts, models that are hardly trained")
    arguments.add_argument("--record", action="store_true", help="keep the result and the log in book/scale_out")
    given = arguments.parse_args()
    options = (
        ["--characters", "4000", "--steps", "5", "--kernel-rows", "64", "--shard-rows", "50"] if given.quick else []
    )
    log: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def run(store: str, *launcher: str) -> tuple[list[dict], bytes]:
            code, found = Job(log, folder / store, options, *launcher).finish()
            if code:
                raise SystemExit(f"the run of {store} failed")
            return found, (folder / store / "scores.npy").read_bytes()

        alone, one = run("scores_of_one")
        both, two = run("scores_of_two", *TORCHRUN)
        job = Job(log, folder / "scores_killed", options, *TORCHRUN)
        job.kill(rank=1, shards=4)
        code, _ = job.finish()
        left = job.done()
        shards = -(-alone[0]["rows"] // int(options[-1] if options else 200))
        if not code or left >= shards:
            raise SystemExit("the killed job was not interrupted")
        _, resumed = run("scores_killed", *TORCHRUN)
    equal = one == two == resumed
    line = (
        f"the bytes of one process, of two, and of two that went on after the kill: {'equal' if equal else 'DIFFERENT'}"
    )
    print(line)
    log += ["", line]
    found = {
        "rows": alone[0]["rows"],
        "seconds": max(row["seconds"] for row in both),
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in both), 2),
        "seconds_of_one": alone[0]["seconds"],
        "cpu_seconds_of_one": alone[0]["cpu_seconds"],
        "start_mb": max(row["start_mb"] for row in both),
        "peak_mb": max(row["peak_mb"] for row in both),
        "share_of_pool": alone[0]["share_of_pool"],
        "share_of_best": alone[0]["share_of_best"],
        "shards": shards,
        "shards_done_at_kill": left,
        "equal": equal,
        "result": f"bytes {'equal' if equal else 'not equal'} to those of one process, also after a kill with "
        f"{left} of {shards} shards done; texts like the targets: {alone[0]['share_of_best']:.1%} of the best 5 %, "
        f"{alone[0]['share_of_pool']:.1%} of the pool",
    }
    report("score_torchrun", found, record=given.record)
    if given.record:
        (PAGE / "torchrun.log").write_text("\n".join(log).strip() + "\n")
    if not equal:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
