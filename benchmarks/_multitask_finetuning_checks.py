"""What must be right before the multitask benchmark times anything."""

import numpy as np
import torch
from _multitask_finetuning_races import PEER, Sentences, candidates, sentences
from _multitask_finetuning_selection import select
from _setting import SEED, Setting
from scipy import stats

from selectlib.tasks import (
    ConsistencyDiversitySelector,
    EpisodeGram,
    EpisodeSampler,
    episodic_accuracy,
    nearest_centroid_logits,
)

SIZES = {"n_way": 15, "n_query": 10, "n_tasks": 400, "seed": SEED}


def correctness(setting: Setting) -> dict[str, dict]:
    """Gram against dense, both against the peer, the sampler's law, and the selection against the rule written out.

    Raises
    ------
    RuntimeError
        If something is wrong: then nothing is timed.
    """
    made = sentences(setting.device)
    checks = {f"gram_{n_shot}": gram(made, n_shot) for n_shot in (1, 5)} | selection(made)
    checks |= {f"{what}_law": law(what) for what in ("classes", "items")}
    if PEER and setting.device.type == "cpu":
        for n_shot in (1, 5):
            checks |= {f"easyfsl_scores_{n_shot}": scores(made, n_shot), f"easyfsl_{n_shot}": accuracies(made, n_shot)}
    for check in checks.values():
        if not (check["p"] >= 1e-4 if "p" in check else check["error"] <= check["allowed"]):
            raise RuntimeError(f"{check['label']} is wrong: {check}; nothing is timed")
    return checks


def gram(made: Sentences, n_shot: int) -> dict:
    """Cosines from the Gram matrix and from the features."""
    tasks = EpisodeSampler(made.labels, n_shot=n_shot, **SIZES).tasks()
    found = EpisodeGram(made.features).logits(tasks, n_shot, 1.0)
    shots, queries = made.features[tasks[:, :, :n_shot]], made.features[tasks[:, :, n_shot:]].flatten(1, 2)
    off = (found - nearest_centroid_logits(shots, queries, 1.0)).abs()
    return {
        "label": f"cosines, Gram matrix and features, {n_shot}-shot",
        "n": off.numel(),
        "error": float(off.max()),
        "allowed": 1e-5,
    }


def scores(made: Sentences, n_shot: int) -> dict:
    """Cosines of ours and of SimpleShot."""
    from _multitask_finetuning_peer import scores as theirs

    tasks = EpisodeSampler(made.labels, n_shot=n_shot, **SIZES).tasks()
    ours = EpisodeGram(made.features).logits(tasks, n_shot, 1.0)
    off = (ours - torch.stack([theirs(made.features, task, n_shot) for task in tasks])).abs()
    return {
        "label": f"cosines, Gram matrix and SimpleShot, {n_shot}-shot",
        "n": off.numel(),
        "error": float(off.max()),
        "allowed": 1e-5,
    }


def accuracies(made: Sentences, n_shot: int) -> dict:
    """Accuracy of ours and of SimpleShot on the same tasks."""
    from _multitask_finetuning_peer import accuracy

    tasks = EpisodeSampler(made.labels, n_shot=n_shot, **SIZES).tasks()
    ours = episodic_accuracy(made.features, made.labels, n_shot=n_shot, method="gram", **SIZES).mean
    return {
        "label": f"accuracy of ours and of SimpleShot, {n_shot}-shot",
        "n": tasks[:, :, n_shot:].numel(),
        "error": abs(ours - accuracy("simple_shot", made.features, tasks, n_shot)),
        "allowed": 1e-4,
    }


def law(what: str) -> dict:
    """First classes, and first items of a class, of 20,000 tasks."""
    tasks = EpisodeSampler(torch.arange(20).repeat_interleave(30), 5, 1, 2, 20_000, seed=SEED).tasks()[:, 0, 0]
    counts = torch.bincount(tasks // 30 if what == "classes" else tasks % 30)
    return {"label": f"EpisodeSampler, {what}", "n": len(tasks), "p": float(stats.chisquare(counts).pvalue)}


def selection(made: Sentences) -> dict[str, dict]:
    """The tasks that are kept, and the coverage at each step."""
    wrong, off, n = 0, 0.0, 0
    for seed in range(SEED, SEED + 4):
        tasks, target = candidates(made, 30, seed)
        ours = ConsistencyDiversitySelector(patience=30).fit(tasks, target)
        kept, path = select(tasks, target, 30)
        wrong += len(set(kept) ^ set(ours.selected_.tolist())) + (kept != ours.selected_.tolist())
        off = max(off, float(np.abs(ours.coverage_path_["coverage"] / path - 1).max()))
        n += len(path)
    labels = {"selected": "tasks, merged statistics and all samples", "coverage": "coverage, relative"}
    return {
        "selected": {"label": labels["selected"], "n": n, "error": wrong, "allowed": 0},
        "coverage": {"label": labels["coverage"], "n": n, "error": off, "allowed": 1e-9},
    }
