"""What must be right before the SelectNAdapt benchmark times anything."""

from collections.abc import Iterable

import numpy as np
import torch
from _selectnadapt_pieces import cluster_each_class, select_each_class
from _selectnadapt_pools import Classed, classed, starts
from _selectnadapt_races import PRECISIONS, members_and_places, radius, support_set
from _setting import SEED, Setting
from scipy.spatial.distance import cdist

from selectlib.kernels import kmeans
from selectlib.nets import PooledConvNet
from selectlib.seeding import generator
from selectlib.support import LCCS, ProbCover, TypiClust, class_kmeans


def correctness(setting: Setting) -> dict[str, dict]:
    """Ours against scikit-learn where starts are equal, and against the rules written out where they are drawn.

    Raises
    ------
    RuntimeError
        If something is wrong: then nothing is timed.
    """
    checks = class_kmeans_and_pieces(setting) | {
        "one_shot": one_shot(),
        "typi_clust": typi_clust(),
        "prob_cover": prob_cover(),
        "lccs": alphas_together(),
    }
    for check in checks.values():
        if not check["error"] <= check["allowed"]:
            raise RuntimeError(f"{check['label']}: {check['error']:.2g} of {check['n']}; nothing is timed")
    return checks


def counted(label: str, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict:
    """How many numbers differ, of all pairs of arrays."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in pairs]
    wrong = sum(int((a != b).sum()) for a, b in pairs)
    return {"label": label, "n": sum(len(a) for a, _ in pairs), "error": wrong, "allowed": 0}


def class_kmeans_and_pieces(setting: Setting) -> dict[str, dict]:
    n, d, n_classes = (2_000, 16, 50) if setting.quick else (20_000, 256, 65)
    labels, off = [], {}
    for name, dtype in PRECISIONS.items():
        off[name] = []
        for seed in (SEED, SEED + 1):
            made = classed(n, d, n_classes, seed, dtype)
            init = starts(made.classes, n_classes, 5, 10, seed)
            ours = class_kmeans(made.features, made.classes, 5, init=init)
            theirs, inertia = cluster_each_class(made.features.numpy(), *members_and_places(made, init))
            off[name].append(np.abs(ours.inertia.numpy() / inertia - 1))
            if dtype == torch.float64:
                labels.append((ours.labels.numpy(), theirs))
    checks = {"class_kmeans_labels": counted("class k-means, labels of ours and scikit-learn's, float64", labels)}
    for name, values in off.items():
        found = np.concatenate(values)
        checks[f"class_kmeans_{name}"] = {
            "label": f"class k-means, inertia of ours over scikit-learn's, less 1, {name}",
            "n": len(found),
            "error": float(found.max()),
            "allowed": 1e-6,
        }
    return checks


def one_shot() -> dict:
    """For one item a class nothing is drawn: it is the item nearest the mean of its pseudo-class."""
    pairs = []
    for seed in range(SEED, SEED + 10):
        made = classed(1_000, 16, 10, seed, torch.float64)
        Z, _, proba = made.arrays()
        pairs.append((support_set(made, 1, seed).support_indices_, select_each_class(Z, proba, 1, seed)[0]))
    return counted("SelectNAdapt at K = 1, ours and by hand", pairs)


def typi_clust() -> dict:
    """The rule, item by item, on the clusters that ours makes."""
    pairs = []
    for seed in range(SEED, SEED + 3):
        made = classed(600, 16, 10, seed, torch.float64)
        picks = TypiClust().select(made.pool(), 60, generator=generator(seed))
        labels = kmeans(made.features, 60, restarts=1, generator=generator(seed)).labels.numpy()
        pairs.append((picks.numpy(), typical(made.features.numpy(), labels, 60)))
    return counted("TypiClust, ours and the rule written out", pairs)


def typical(X: np.ndarray, labels: np.ndarray, k: int) -> list[int]:
    """Of each cluster the member with the least mean distance from its neighbours; the largest cluster first."""
    between, chosen = cdist(X, X), []
    clusters = [list(np.flatnonzero(labels == c)) for c in range(labels.max() + 1)]
    order = sorted(range(len(clusters)), key=lambda c: -len(clusters[c]))
    for large in (True, False):
        some = [clusters[c] for c in order if clusters[c] and (np.sum(labels == c) >= 6) == large]
        while any(some) and len(chosen) < k:
            for members in some:
                if not members or len(chosen) == k:
                    continue
                neighbors = min(20, max(1, len(members) // 2))
                far = [np.sort(between[i, [j for j in members if j != i]])[:neighbors].mean() for i in members]
                chosen.append(members.pop(int(np.argmin(far))) if len(members) > 1 else members.pop())
    return chosen


def prob_cover() -> dict:
    """The greedy cover, with all pairs of items in memory."""
    pairs = []
    for seed in range(SEED, SEED + 3):
        made = classed(600, 16, 10, seed, torch.float64)
        delta = radius(made)
        picks = ProbCover(delta).select(made.pool(), 40, generator=generator(seed))
        pairs.append((picks.numpy(), covering(made, delta, 40)))
    return counted("ProbCover, ours and the rule written out", pairs)


def covering(made: Classed, delta: float, k: int) -> list[int]:
    X = made.features.numpy()
    near, chosen = cdist(X, X) < delta, []
    while len(chosen) < k:
        chosen.append(int(near.sum(1).argmax()))
        near[:, near[chosen[-1]].copy()] = False
    return chosen


def alphas_together() -> dict:
    """LCCS' cross-entropies of all alphas in one pass, and of one at a time."""
    off = []
    for seed in range(SEED, SEED + 10):
        draw = generator(seed)
        images, labels = torch.rand(20, 1, 16, 16, generator=draw), torch.arange(20) % 10
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = PooledConvNet().eval()
        together = LCCS(steps=0).fit(model, images, labels, generator=generator(seed))
        for alpha, loss in zip(together.alphas, together.losses_.tolist(), strict=True):
            alone = LCCS(steps=0, alphas=[alpha]).fit(model, images, labels, generator=generator(seed))
            off.append(abs(float(alone.losses_[0]) / loss - 1))
    return {"label": "LCCS, losses of all alphas in one pass over one by one, less 1", "n": len(off)} | {
        "error": max(off),
        "allowed": 1e-5,
    }
