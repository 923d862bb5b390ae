"""The races of the SelectNAdapt benchmark: beside scikit-learn class by class, and beside scikit-activeml."""

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from _harness import Contestant, take_turns
from _selectnadapt_pieces import cluster_each_class, select_each_class
from _selectnadapt_pools import Classed, classed, repeated, starts
from _setting import SEED, Setting, part
from scipy.spatial.distance import cdist, pdist

from selectlib.data import backdrop_digits
from selectlib.nets import PooledConvNet
from selectlib.pool import PoolSelector
from selectlib.seeding import generator
from selectlib.support import LCCS, ProbCover, SelectNAdapt, TypiClust, class_kmeans

PEER = importlib.util.find_spec("skactiveml") is not None
MISSING = "" if PEER else " scikit-activeml is not installed here: its rows are left out."
PRECISIONS = {"float64": torch.float64, "float32": torch.float32}
RESTARTS = 10


def members_and_places(made: Classed, init: torch.Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The rows of each class, and where among them the restarts begin."""
    members = [np.flatnonzero(made.classes.numpy() == c) for c in range(init.shape[1])]
    return members, [np.searchsorted(rows, init[:, c].numpy()) for c, rows in enumerate(members)]


def class_k_means(setting: Setting) -> dict:
    """All classes and restarts at once, and scikit-learn's KMeans in a loop over the classes."""
    shapes = [(500, 16, 5, 3)] if setting.quick else [(20_000, 256, 65, 5), (4_000, 64, 10, 5)]
    parts = []
    for n, d, n_classes, k in shapes:
        for precision, dtype in PRECISIONS.items():

            def prepare(seed: int, n=n, d=d, n_classes=n_classes, k=k, dtype=dtype) -> tuple:
                made = classed(n, d, n_classes, seed, dtype)
                init = starts(made.classes, n_classes, k, RESTARTS, seed)
                class_kmeans(made.features, made.classes, k, init=init, max_iter=1)  # the first call asks for memory
                return made, init, members_and_places(made, init)

            def ours(state: tuple, k=k) -> np.ndarray:
                made, init, _ = state
                return class_kmeans(made.features, made.classes, k, init=init).inertia.numpy()

            def theirs(state: tuple) -> np.ndarray:
                made, _, lists = state
                return cluster_each_class(made.features.numpy(), *lists)[1]

            repeats = setting.repeats(7)
            contestants = [
                Contestant("class_kmeans", "class_kmeans (ours)", prepare, ours, repeats, total),
                Contestant(
                    "sklearn", "scikit-learn KMeans, class by class", prepare, theirs, repeats, total, peer=True
                ),
            ]
            heading = f"n = {n:,}, d = {d}, {n_classes} classes, K = {k}, {precision}"
            rows = setting.race(contestants, heading)
            floor = setting.floor(n * d * dtype.itemsize, 2 * n * d * k * RESTARTS, rows["class_kmeans"])
            parts.append(part(heading, rows, floor, n=n, d=d, k=k, dtype=precision, facts={"inertia": "inertia"}))
    return {
        "title": "k-means within classes",
        "note": f"Seconds a call, {RESTARTS} restarts. Both sides start from the same rows, drawn before, and keep the "
        "best restart of each class; the peer is called once a class. Classes are made of five clusters each, and the "
        "largest has √65 or √10 times the rows of the smallest. The floor: the rows read once, and each compared once "
        "with each first centre of its class, at the rates measured on this machine in float32.",
        "parts": parts,
    }


def total(inertia: np.ndarray) -> dict[str, float]:
    return {"inertia": float(inertia.sum())}


def support_set(made: Classed, shots: int, seed: int) -> SelectNAdapt:
    return SelectNAdapt(n_shots=shots, random_state=seed).fit(made.features, made.logits.softmax(1))


def whole(setting: Setting) -> dict:
    """From features and probabilities to the support set."""
    n, d, n_classes = (500, 16, 5) if setting.quick else (4_000, 64, 10)
    parts = []
    for shots in (1, 5) if setting.quick else (1, 5, 10):

        def prepare(seed: int) -> tuple[Classed, tuple, int]:
            made = classed(n, d, n_classes, seed)
            return made, made.arrays(), seed

        def ours(state: tuple, shots=shots) -> float:
            made, _, seed = state
            return float(np.square(support_set(made, shots, seed).scores_).sum())

        def by_hand(state: tuple, shots=shots) -> float:
            _, (Z, _, proba), seed = state
            return select_each_class(Z, proba, shots, seed)[1]

        def facts(inertia: float) -> dict[str, float]:
            return {"inertia": inertia}

        repeats = setting.repeats(7)
        contestants = [
            Contestant("selectnadapt", "SelectNAdapt (ours)", prepare, ours, repeats, facts),
            Contestant("sklearn", "scikit-learn's pieces", prepare, by_hand, repeats, facts, peer=True),
        ]
        heading = f"n = {n:,}, d = {d}, C = {n_classes}, K = {shots}"
        rows = setting.race(contestants, f"SelectNAdapt, {heading}")
        floor = setting.floor(4 * n * (d + n_classes), 2 * n * d * shots * RESTARTS, rows["selectnadapt"])
        parts.append(part(heading, rows, floor, n=n, d=d, k=shots, facts={"inertia": "inertia"}))
    return {
        "title": "SelectNAdapt, whole",
        "note": "Seconds from features and probabilities in float32 to the support set, checks of the input included. "
        f"Each side draws its own starts by k-means++, {RESTARTS} restarts; for K = 1 the choice is the same. By hand, "
        "nothing sees to it that items are distinct and none is missing.",
        "parts": parts,
    }


def radius(made: Classed) -> float:
    """One pair of items in a hundred is nearer than this."""
    X = made.features[:2_000].double().numpy()
    return float(np.quantile(pdist(X), 0.01))


def baselines(setting: Setting) -> dict:
    """TypiClust and ProbCover beside scikit-activeml's, and both where items repeat."""
    n, d, k = (300, 16, 10) if setting.quick else (5_000, 256, 100)

    def prepare(seed: int) -> tuple[Classed, float, int]:
        made = classed(n, d, 10, seed)
        return made, radius(made), seed

    def facts(found: tuple) -> dict[str, float]:
        (made, delta, _), picks = found
        X = made.features.double().numpy()
        nearest = np.concatenate([cdist(x, X[picks]).min(1) for x in np.array_split(X, 10)])
        return {
            "distinct": len(set(picks)),
            "spread": float(nearest.mean()),
            "covered": float((nearest < delta).mean()),
        }

    def chosen(strategy: Callable[[float], PoolSelector]) -> Callable[[tuple], tuple]:
        def run(state: tuple) -> tuple:
            made, delta, seed = state
            return state, strategy(delta).select(made.pool(), k, generator=generator(seed)).tolist()

        return run

    races = {
        "typi_clust": ("TypiClust", lambda delta: TypiClust()),
        "prob_cover": ("ProbCover", lambda delta: ProbCover(delta)),
    }
    parts = []
    for name, (label, strategy) in races.items():
        repeats = setting.repeats(5)
        contestants = [Contestant(name, f"{label} (ours)", prepare, chosen(strategy), repeats, facts)]
        if PEER:
            contestants.append(peer(name, label, prepare, k, repeats, facts))
        rows = setting.race(contestants, label)
        # Each item is compared with each centre, or with each other item.
        floor = setting.floor(4 * n * d, 2 * n * d * k if name == "typi_clust" else n * n * d, rows[name])
        named = {"distinct": "distinct", "spread": "mean distance", "covered": "covered"}
        parts.append(part(f"{label}, n = {n:,}, d = {d}, k = {k}", rows, floor, n=n, d=d, k=k, facts=named))
    parts.append(repeats_of_items())
    return {
        "title": "TypiClust and ProbCover",
        "note": "Seconds a call, from float32 arrays in memory to picks, nothing labelled yet. ProbCover is told the "
        "radius, at which 1 % of all pairs are near. Beside it: how many picks are distinct, the mean distance of an "
        "item from the nearest pick, and the share of items within the radius of one. The two TypiClusts average over "
        "up to 20 and over 5 neighbours, each its default. The floors: the items read once, each compared once with "
        f"every centre of the k-means or every other item, at the rates measured on this machine in float32.{MISSING}",
        "parts": parts,
    }


def peer(name: str, label: str, prepare: Callable, k: int, repeats: int, facts: Callable) -> Contestant:
    from _selectnadapt_peer import prob_cover, typi_clust

    def run(state: tuple) -> tuple:
        made, delta, seed = state
        X = made.features.numpy()
        picks = typi_clust(X, k, seed) if name == "typi_clust" else prob_cover(X, k, delta, seed)
        return state, picks.tolist()

    return Contestant(f"skactiveml_{name}", f"scikit-activeml {label}", prepare, run, repeats, facts, peer=True)


def repeats_of_items() -> dict:
    """Eight picks of twelve items, of which three are distinct, for ten seeds."""
    k, repeats = 8, 10

    def prepare(seed: int) -> tuple[Classed, float, int]:
        return repeated(seed), 0.1, seed

    def facts(found: tuple) -> dict[str, float]:
        return {"distinct": len(set(found[1]))}

    def ours(state: tuple) -> tuple:
        made, _, seed = state
        return state, TypiClust().select(made.pool(), k, generator=generator(seed)).tolist()

    contestants = [Contestant("typi_clust", "TypiClust (ours)", prepare, ours, repeats, facts)]
    if PEER:
        contestants.append(peer("typi_clust", "TypiClust", prepare, k, repeats, facts))
    rows = take_turns(contestants, seed=SEED, device=torch.device("cpu"), title="items that repeat")
    made = part("TypiClust, n = 12, 3 of them distinct, k = 8", rows, n=12, k=k, facts={"distinct": "distinct"})
    if PEER:
        least = min(rows["skactiveml_typi_clust"]["distinct"])
        made["remarks"] = [f"The peer's fewest distinct picks: {least} of {k}, which pays twice for some labels."]
    return made


def lccs(setting: Setting) -> dict:
    """Adapting a small network to the support set: ours alone."""
    parts = []
    for shots in (1, 5) if setting.quick else (1, 5, 10):

        def prepare(seed: int, shots=shots) -> tuple:
            shift = backdrop_digits(seed=seed)
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = PooledConvNet().eval()
            labels = shift.pool_labels
            chosen = torch.cat([(labels == c).nonzero()[:shots, 0] for c in range(10)])
            return model, shift.pool[chosen], labels[chosen], seed

        def run(state: tuple, head: str) -> float:
            model, images, labels, seed = state
            return LCCS(head=head).fit(model, images, labels, generator=generator(seed)).alpha_

        contestants = [
            Contestant(head, f"LCCS, {head} (ours)", prepare, lambda state, head=head: run(state, head), repeats)
            for repeats in (setting.repeats(7),)
            for head in ("linear", "centroid")
        ]
        heading = f"{10 * shots} images of 16 x 16, K = {shots}"
        parts.append(part(heading, setting.race(contestants, f"LCCS, {heading}"), k=shots))
    return {
        "title": "LCCS",
        "note": "Seconds to adapt the chapter's network, 26,000 parameters in three layers, with default settings: "
        "eleven alphas, ten updates, images as they are. Its weights are as initialised: the time does not depend on "
        "them. No peer could be run beside it.",
        "parts": parts,
    }
