"""The races of the EADA benchmark beside scikit-activeml, and of the accelerated methods beside the plain ones."""

import importlib.util
from collections.abc import Callable

import torch
from _eada_laws import distances_of_law
from _eada_pools import CLASSES, Items, items
from _harness import Contestant, ratio
from _setting import SEED, Setting, part
from torch import Tensor

from selectlib.pool import PoolSelector
from selectlib.queries import BADGE, CoreSet, Entropy, Margin
from selectlib.seeding import generator

PEER = importlib.util.find_spec("skactiveml") is not None
MISSING = "" if PEER else " scikit-activeml is not installed here: its rows are left out."
PRECISIONS = {"float64": torch.float64, "float32": torch.float32}


def ours(name: str, label: str, strategy: PoolSelector, make: Callable[[int], Items], k: int, repeats: int):
    """Our strategy on the pool of each seed: the pool's checks are timed with it."""

    def prepare(seed: int) -> tuple[Items, torch.Generator]:
        made = make(seed)
        few = Items(made.features[: 2 * k], made.logits[: 2 * k], made.labeled)
        strategy.select(few.pool(), k, generator=generator(seed))  # the first call asks for memory
        return made, generator(seed, made.features.device)

    def run(state: tuple[Items, torch.Generator]) -> Tensor:
        made, draw = state
        return strategy.select(made.pool(), k, generator=draw)

    return Contestant(name, f"{label} (ours)", prepare, run, repeats, sum_of_picks)


def theirs(name: str, label: str, query: Callable, make: Callable[[int], Items], repeats: int) -> Contestant:
    """The peer on the same pools, as arrays: `query` takes them and the seed."""
    from _eada_peer import Given

    def prepare(seed: int) -> tuple:
        return Given(make(seed)), seed

    return Contestant(name, f"scikit-activeml {label}", prepare, lambda s: query(*s), repeats, sum_of_picks, peer=True)


def sum_of_picks(picks: Tensor | list[int]) -> dict[str, int]:
    """Equal picks have equal sums: what the tests of the recorded results compare."""
    return {"picked": int(sum(map(int, picks)))}


def core_set(setting: Setting) -> dict:
    """k-center from ten labelled items."""
    shapes = [(500, 16, 20)] if setting.quick else [(10_000, 64, 100), (20_000, 256, 20)]
    parts = []
    for n, d, k in shapes:
        for precision, dtype in PRECISIONS.items():

            def make(seed: int, n=n, d=d, dtype=dtype) -> Items:
                return items(n, d, seed, setting.device, dtype)

            repeats = setting.repeats(7)
            contestants = [ours("core_set", "CoreSet", CoreSet(), make, k, repeats)]
            if PEER:
                query = lambda given, seed, k=k: given.core_set(k)  # noqa: E731
                contestants.append(theirs("skactiveml", "CoreSet", query, make, repeats))
            rows = setting.race(contestants, f"CoreSet, {n:,} x {d}, {precision}")
            size = 4 if dtype == torch.float32 else 8
            floor = setting.floor(n * d * size, 2 * n * d * CLASSES, rows["core_set"])
            parts.append(part(f"n = {n:,}, d = {d}, k = {k}, {precision}", rows, floor, n=n, d=d, k=k, dtype=precision))
    return {
        "title": "CoreSet",
        "note": "Seconds a call, from arrays in memory to picks, checks of the input included; ten labelled items to "
        "start from, repeat r on the pool of seed 100 + r. Both sides make the same picks. The floor: the items read "
        "once, and each compared once with what is labelled, at the rates measured on this machine in float32. Not "
        f"each item has to be compared with each pick.{MISSING}",
        "parts": parts,
    }


def badge(setting: Setting) -> dict:
    """Squared-distance sampling of gradient embeddings."""
    n, d, k = (500, 16, 20) if setting.quick else (10_000, 64, 100)
    parts = []
    for precision, dtype in PRECISIONS.items():

        def make(seed: int, dtype=dtype) -> Items:
            return items(n, d, seed, setting.device, dtype)

        repeats = setting.repeats(7)
        contestants = [
            ours("badge", "BADGE, rejection", BADGE(), make, k, repeats),
            ours("sequential", "BADGE, sequential", BADGE(method="sequential"), make, k, repeats),
        ]
        if PEER:
            query = lambda given, seed: given.badge(k, seed)  # noqa: E731
            contestants.append(theirs("skactiveml", "Badge", query, make, setting.repeats(7)))
        rows = setting.race(contestants, f"BADGE, {precision}")
        size = 4 if dtype == torch.float32 else 8
        floor = setting.floor(n * (d + CLASSES) * size, 2 * n * (d + CLASSES), rows["badge"])
        heading = f"n = {n:,}, d = {d}, C = {CLASSES}, k = {k}, {precision}"
        parts.append(part(heading, rows, floor, n=n, d=d, k=k, dtype=precision))
    if PEER:
        from _eada_peer import Given

        made = items(n, d, SEED, torch.device("cpu"), torch.float64)
        off, with_origin = distances_of_law(Given(made).badge_law(), made)
        parts[-1] |= {"peer_law_off": off, "peer_law_off_with_origin": with_origin}
        parts[-1]["remarks"].append(
            f"The probabilities of the peer's second pick are {off:.2g} from D² / ΣD² in total variation, and "
            f"{with_origin:.2g} from what these are if the origin counts as a centre."
        )
    return {
        "title": "BADGE",
        "note": "Seconds a call, as above; logits, or for the peer probabilities, are given. The peer makes the "
        f"embeddings, n x C·d numbers.{MISSING}",
        "parts": parts,
    }


def scores(setting: Setting) -> dict:
    """Strategies that only sort a score."""
    n, k = (500, 20) if setting.quick else (10_000, 100)

    def make(seed: int) -> Items:
        return items(n, 64, seed, setting.device)

    contestants = []
    for name, strategy, method in (("entropy", Entropy(), "entropy"), ("margin", Margin(), "margin_sampling")):
        contestants.append(ours(name, type(strategy).__name__, strategy, make, k, setting.repeats(7)))
        if PEER:
            query = lambda given, seed, method=method: given.uncertain(k, method)  # noqa: E731
            label = f"UncertaintySampling, {method}"
            contestants.append(theirs(f"skactiveml_{name}", label, query, make, setting.repeats(7)))
    rows = setting.race(contestants, "scores")
    for row in rows.values():  # of the same score only
        row["over"] = {name: over for name, over in row.get("over", {}).items() if row["label"].lower().find(name) > 0}
    return {
        "title": "Scores",
        "note": f"Seconds a call for entropy and margin: too little to matter beside a forward pass.{MISSING}",
        "parts": [part(f"n = {n:,}, C = {CLASSES}, k = {k}", rows, n=n, k=k)],
    }


def pieces(setting: Setting) -> dict:
    """What lazy distances and rejection save beside the plain algorithms."""
    n, d, k = (2_000, 16, 50) if setting.quick else (100_000, 64, 1_000)

    def make(seed: int) -> Items:
        return items(n, d, seed, setting.device)

    parts = []
    for fast, slow, label in (("lazy", "plain", "CoreSet"), ("rejection", "sequential", "BADGE")):
        strategy = {"CoreSet": CoreSet, "BADGE": BADGE}[label]
        contestants = [
            ours(method, f"{label}, {method}", strategy(method=method), make, k, setting.repeats(3))
            for method in (fast, slow)
        ]
        rows = setting.race(contestants, f"{fast} and {slow}")
        rows[slow]["over"] = {fast: ratio(rows[slow]["seconds"], rows[fast]["seconds"])}
        width = d if label == "CoreSet" else d + CLASSES
        floor = setting.floor(4 * n * width, 2 * n * width, rows[fast])
        parts.append(part(f"{label}, n = {n:,}, d = {d}, k = {k}", rows, floor, n=n, d=d, k=k))
    return {
        "title": "The accelerated methods beside the plain ones",
        "note": "Seconds a call, float32. Lazy picks are those of the plain method; rejection has the law of the "
        "sequential one.",
        "parts": parts,
    }
