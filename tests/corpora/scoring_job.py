"""A scoring job as one writes it for a cluster; tests run it as a program, kill it and run it again.

``python scoring_job.py CHECKPOINTS STORE``: CHECKPOINTS is a folder of ``.pt`` files.
"""

import os
import sys
from pathlib import Path

import torch
from torch import distributed

from selectlib.corpora._estimator import DatamodelEstimator
from selectlib.corpora._outputs import CausalLMMargin
from selectlib.corpora._projector import JLProjector
from selectlib.nets import GPT
from selectlib.seeding import generator

ROWS, SHARD_ROWS, LENGTH, VOCAB = 150, 6, 12, 20
MODELS = 2


def model():
    return GPT(VOCAB, LENGTH, width=16, heads=2, layers=1)


def save_checkpoints(folder):
    """Save models of random weights: what they know does not matter here."""
    folder.mkdir(parents=True)
    draws = generator(100)
    for m in range(MODELS):
        state = {
            name: 0.3 * torch.randn(weights.shape, generator=draws) for name, weights in model().state_dict().items()
        }
        torch.save(state, folder / f"{m}.pt")


def run(
    checkpoints, store, *, projector=None, reverse=False, targets=9, rows=ROWS, mode="jvp", progress=None, **options
):
    """Score the pool; return its scores."""
    draws = generator(101)
    pool = (torch.randint(VOCAB, (rows, LENGTH), generator=draws),)
    wanted = torch.randint(VOCAB, (9, LENGTH), generator=generator(102))[:targets]
    answer = (torch.arange(LENGTH) >= LENGTH // 2).expand(len(wanted), -1)
    files = sorted(checkpoints.glob("*.pt"), reverse=reverse)
    estimator = DatamodelEstimator(
        model(),
        CausalLMMargin(),
        projector=JLProjector(**({"proj_dim": 32, "kind": "sjlt", "seed": 100} | (projector or {}))),
        chunk_size=SHARD_ROWS,
        **options,
    )
    estimator.fit(files, pool, kernel_rows=40, generator=generator(103))
    found = estimator.score_mean(
        pool, (wanted, answer), mode=mode, store=store, shard_rows=SHARD_ROWS, progress=progress
    )
    return found.scores


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, together = os.environ.get("RANK", "0"), "WORLD_SIZE" in os.environ
    print(f"rank {rank} is process {os.getpid()}", flush=True)
    if together:
        distributed.init_process_group("gloo")
    assert run(Path(sys.argv[1]), Path(sys.argv[2])).isfinite().all()
    if together:
        distributed.destroy_process_group()
