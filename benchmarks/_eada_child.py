"""One selection in a process of its own, for `_eada_scale.py`: its memory is then nobody else's.

python benchmarks/_eada_child.py STRATEGY ITEMS WIDTH PICKS SEED THREADS

Writes a line when the pool is there, selects when it reads one, and answers with its memory as JSON.
"""

import json
import sys
from pathlib import Path

import torch
from _eada_pools import items, select


def memory(name: str) -> float:
    """Gigabytes of this process: VmRSS is what it has in memory now, VmHWM the most so far.

    The usual `ru_maxrss` will not do: a child inherits its parent's.
    """
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1]) / 1e9


def main() -> None:
    strategy, *numbers = sys.argv[1:]
    n, d, k, seed, threads = map(int, numbers)
    torch.set_num_threads(threads)
    made = items(n, d, seed, torch.device("cpu"))
    select(strategy, items(2 * k, d, seed, torch.device("cpu")), k, seed)  # the first call loads libraries
    before = memory("VmRSS")
    print("ready", flush=True)
    input()
    select(strategy, made, k, seed)
    most = max(before, memory("VmHWM"))  # the system counts in batches of pages, and its maximum may lag behind
    print(json.dumps({"gigabytes": most, "extra": most - before}), flush=True)


if __name__ == "__main__":
    main()
