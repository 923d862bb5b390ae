"""DsDm's scores of a pool of texts, by as many processes as `torchrun` starts: a script to adapt.

    torchrun --nproc-per-node 2 workflow/scale_out/score_torchrun.py folder/of/scores

The pool is windows of the texts that are installed beside the library, and the targets are windows of numpy's
docstrings that the pool does not have. Put your own in `examples`, `network` and `checkpoints`; the rest stays. After a
crash the same command does what is left.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from measured import Stopwatch, peak_mb
from torch import Tensor, distributed
from torch.nn import functional as F

from selectlib.corpora import CausalLMMargin, DatamodelEstimator, JLProjector
from selectlib.data import package_texts
from selectlib.nets import GPT
from selectlib.seeding import generator

LENGTH, TARGETS, LIKE, SEED = 65, 32, "numpy docstrings", 100  # bytes a window, windows, the domain they come from


def examples(characters: int) -> tuple[Tensor, Tensor, Tensor]:
    """Windows of the pool (n, LENGTH), which of them are of the targets' domain (n,), and the targets."""
    windows, like = [], []
    texts = package_texts(per_domain=characters)
    for domain in texts.names:
        symbols = torch.tensor(list("".join(texts.of(domain)).encode()))
        pieces = symbols[: len(symbols) // LENGTH * LENGTH].view(-1, LENGTH)
        windows.append(pieces)
        like += [domain == LIKE] * len(pieces)
    rows, alike = torch.cat(windows), torch.tensor(like)
    order = torch.randperm(len(rows), generator=generator(SEED))
    rows, alike = rows[order], alike[order]
    held = alike.nonzero()[:TARGETS, 0]
    kept = torch.ones(len(rows), dtype=torch.bool).index_fill_(0, held, False)
    return rows[kept], alike[kept], rows[held]


def network() -> GPT:
    return GPT(256, LENGTH - 1, width=32, heads=4, layers=2)


def checkpoints(folder: Path, pool: Tensor, steps: int, count: int = 2) -> list[Path]:
    """Models trained on random halves of the pool, in files; trained here because this example has none to load."""
    paths = [folder / f"{m}.pt" for m in range(count)]
    for m, path in enumerate(paths):
        if path.exists():
            continue
        draws = generator(SEED + 1 + m)
        half = pool[torch.randperm(len(pool), generator=draws)[: len(pool) // 2]]
        torch.manual_seed(SEED + m)
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(steps):
            batch = half[torch.randint(len(half), (32,), generator=draws)]
            loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        torch.save(model.state_dict(), partial)
        partial.replace(path)
    return paths


def say(line: str) -> None:
    """Print in one piece: `print` writes the end of a line by itself, and another process may come between."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("store", type=Path, help="folder of the scores, which all processes see")
    arguments.add_argument("--characters", type=int, default=16_000, help="of each kind of text in the pool")
    arguments.add_argument("--steps", type=int, default=200, help="of training, for the example's own checkpoints")
    arguments.add_argument("--shard-rows", type=int, default=200, help="rows that a crash may cost each process")
    arguments.add_argument("--kernel-rows", type=int, default=512, help="rows that the kernel is made of")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    say(f"process {rank} of {world} has number {os.getpid()}")
    if world > 1:
        distributed.init_process_group("gloo")  # it only waits for the others; scores go through files

    pool, alike, targets = examples(given.characters)
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    if rank == 0:
        checkpoints(given.store.parent / "checkpoints", pool, given.steps)
    if world > 1:
        distributed.barrier()
    start_mb, watch = peak_mb(), Stopwatch()
    estimator = DatamodelEstimator(
        network().to(device), CausalLMMargin(), projector=JLProjector(256, kind="sjlt", seed=SEED), chunk_size=50
    )
    files = checkpoints(given.store.parent / "checkpoints", pool, given.steps)
    estimator.fit(files, (pool,), kernel_rows=given.kernel_rows, generator=generator(SEED))
    scores = estimator.score_mean((pool,), (targets,), store=given.store, shard_rows=given.shard_rows).scores

    best = scores.topk(len(pool) // 20).indices
    found = {"rank": rank, "rows": len(pool), **watch.read(), "start_mb": round(start_mb), "peak_mb": round(peak_mb())}
    found |= {"share_of_pool": round(float(alike.float().mean()), 4)}
    found |= {"share_of_best": round(float(alike[best.to(alike.device)].float().mean()), 4)}
    say(json.dumps(found))
    if world > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
