"""The races of the multitask benchmark: accuracy over many tasks, drawing tasks, choosing tasks."""

import importlib.util
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from _harness import Contestant
from _multitask_finetuning_selection import select
from _setting import Setting, part
from torch import Tensor

from selectlib.data import load_doc_topics
from selectlib.tasks import ConsistencyDiversitySelector, EpisodeSampler, episodic_accuracy

PEER = importlib.util.find_spec("easyfsl") is not None
MISSING = "" if PEER else " easyfsl is not installed here: its rows are left out."
LEAST = 20  # items of the smallest class: 5 shots and 15 queries


@dataclass(frozen=True)
class Sentences:
    """Embedded sentences of the classes that are large enough, with the domain of each."""

    features: Tensor
    labels: Tensor
    domains: list[str]


def sentences(device: torch.device) -> Sentences:
    """The sentences that come with the library, embedded by all-MiniLM-L6-v2."""
    texts = load_doc_topics()
    rows = (texts.labels.bincount() >= LEAST)[texts.labels].nonzero().flatten()
    labels = texts.labels[rows]
    domains = [texts.domains[label] for label in labels.tolist()]
    return Sentences(texts.features[rows].to(device), labels.unique(return_inverse=True)[1].to(device), domains)


def accuracy(setting: Setting) -> dict:
    """Ours whole, sampling and Gram matrix included; the peer from tasks that were drawn before."""
    made = sentences(setting.device)
    shapes = [(15, 1, 10, 200)] if setting.quick else [(15, 1, 10, 10_000), (15, 1, 15, 10_000), (15, 5, 10, 2_000)]
    parts = [from_drawn_tasks(setting, made, *shape) for shape in shapes]
    if PEER and setting.device.type == "cpu":
        parts.append(as_documented(setting, made, 100 if setting.quick else 500))
    return {
        "title": "Accuracy over many tasks",
        "note": "Seconds a call on float32 features of sentences. Ours draws the tasks, builds the Gram matrix and "
        "looks up; dense is ours too, from the features of each task. easyfsl is handed the same tasks, drawn before, "
        "and its two methods classify them one by one; only the last table has it draw and collate them, as its "
        "documentation does. The floor: the Gram matrix's upper half computed, the features and each looked-up number "
        f"read once, at the rates measured on this machine.{MISSING}",
        "parts": parts,
    }


def from_drawn_tasks(setting: Setting, made: Sentences, way: int, n_shot: int, n_query: int, n_tasks: int) -> dict:
    sizes = {"n_way": way, "n_shot": n_shot, "n_query": n_query, "n_tasks": n_tasks}

    def prepare(seed: int) -> tuple[int, Tensor]:
        return seed, EpisodeSampler(made.labels, **sizes, seed=seed).tasks()

    def ours(method: str) -> Callable:
        return lambda state: episodic_accuracy(made.features, made.labels, **sizes, seed=state[0], method=method).mean

    repeats = setting.repeats(5 if setting.device.type == "cuda" else 3)
    contestants = [
        Contestant(name, f"{name} (ours)", prepare, ours(name), repeats, lambda mean: {"accuracy": mean})
        for name in ("gram", "dense")
    ]
    if PEER and setting.device.type == "cpu":
        contestants += peers(made, prepare, n_shot, min(repeats, 2))  # slow, and steady
    heading = f"{n_tasks:,} tasks, {way}-way {n_shot}-shot, {n_query} queries"
    rows = setting.race(contestants, heading)
    (n, d), looked_up = made.features.shape, n_tasks * way**2 * n_shot * n_query
    floor = setting.floor(4 * (n * d + looked_up), n * n * d, rows["gram"])
    return part(heading, rows, floor, n=n, d=d, **sizes, facts={"accuracy": "accuracy"})


def peers(made: Sentences, prepare: Callable, n_shot: int, repeats: int) -> list[Contestant]:
    from _multitask_finetuning_peer import accuracy as classified

    labels = {"simple_shot": "easyfsl SimpleShot", "prototypical": "easyfsl PrototypicalNetworks"}

    def run(name: str) -> Callable:
        return lambda state: classified(name, made.features, state[1], n_shot)

    return [
        Contestant(name, label, prepare, run(name), repeats, lambda mean: {"accuracy": mean}, peer=True)
        for name, label in labels.items()
    ]


def as_documented(setting: Setting, made: Sentences, n_tasks: int) -> dict:
    """Each side draws its own tasks."""
    from _multitask_finetuning_peer import dataset, evaluated

    sizes = {"n_way": 15, "n_shot": 1, "n_query": 10, "n_tasks": n_tasks}
    data = dataset(made.features, made.labels.tolist())

    def seeded(seed: int) -> int:
        random.seed(seed)
        return seed

    def ours(seed: int) -> float:
        return episodic_accuracy(made.features, made.labels, **sizes, seed=seed).mean

    facts = {"accuracy": "accuracy"}
    repeats = setting.repeats(2)
    contestants = [
        Contestant("auto", "episodic_accuracy (ours)", seeded, ours, repeats, lambda mean: {"accuracy": mean}),
        Contestant(
            "evaluate",
            "easyfsl, sampler, loader and SimpleShot",
            seeded,
            lambda _: evaluated(data, *sizes.values()),
            repeats,
            lambda mean: {"accuracy": mean},
            peer=True,
        ),
    ]
    heading = f"{n_tasks:,} tasks, 15-way 1-shot, 10 queries, all of it"
    return part(heading, setting.race(contestants, heading), **sizes, facts=facts)


def sampler(setting: Setting) -> dict:
    """Drawing tasks alone."""
    made = sentences(setting.device)
    labels, parts = made.labels.tolist(), []
    for n_shot, n_query in ((1, 10), (5, 15)):
        sizes = (15, n_shot, n_query, 200 if setting.quick else 2_000)

        def ours(seed: int, sizes=sizes) -> Tensor:
            return EpisodeSampler(made.labels, *sizes, seed=seed).tasks()

        contestants = [Contestant("episodes", "EpisodeSampler (ours)", int, ours, setting.repeats(3))]
        if PEER and setting.device.type == "cpu":
            from _multitask_finetuning_peer import sampler as theirs

            def prepare(seed: int, sizes=sizes):
                random.seed(seed)
                return theirs(labels, *sizes)

            label = "easyfsl TaskSampler"
            contestants.append(Contestant("task_sampler", label, prepare, list, setting.repeats(3), peer=True))
        heading = f"{sizes[3]:,} tasks, 15-way {n_shot}-shot, {n_query} queries"
        parts.append(part(heading, setting.race(contestants, f"drawing {heading}")))
    return {
        "title": "Drawing tasks",
        "note": "Seconds from labels to the indices of all tasks. The peer's sampler does not start beside this torch "
        f"as it is; it was given the base class that it expects.{MISSING}",
        "parts": parts,
    }


def candidates(made: Sentences, n_tasks: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features of tasks (M, 150, 384) of every domain but one, and of that one: the target."""
    outside = torch.tensor([domain != "torch" for domain in made.domains], device=made.labels.device)
    classes = made.labels[outside].unique()
    tasks = EpisodeSampler(made.labels, 15, 1, 9, n_tasks, classes=classes, seed=seed).tasks()
    return made.features[tasks.flatten(1)], made.features[~outside]


def selection(setting: Setting) -> dict:
    """Statistics that are merged, and samples that are gone through again at each step."""
    made, n_tasks = sentences(setting.device), 10 if setting.quick else 200

    def prepare(seed: int) -> tuple[Tensor, Tensor]:
        return candidates(made, n_tasks, seed)

    def ours(state: tuple[Tensor, Tensor]) -> int:
        return len(ConsistencyDiversitySelector(patience=n_tasks).fit(*state).selected_)

    def theirs(state: tuple[Tensor, Tensor]) -> int:
        return len(select(*state, patience=n_tasks)[0])

    repeats = setting.repeats(3)
    contestants = [
        Contestant("merged", "ConsistencyDiversitySelector (ours)", prepare, ours, repeats, lambda n: {"kept": n}),
        Contestant("anew", "all samples anew", prepare, theirs, min(repeats, 2), lambda n: {"kept": n}, peer=True),
    ]
    heading = f"{n_tasks} tasks of 150 samples, 384 features"
    rows = setting.race(contestants, f"choosing from {heading}")
    return {
        "title": "Choosing tasks",
        "note": "Seconds from float32 features to the chosen tasks, every one of which is looked at. Both sides reckon "
        "in float64. No package chooses tasks: the other side is ours as well, the rule as it is "
        "written down, which joins the samples of the tasks that were kept and takes their covariance at each step.",
        "parts": [part(heading, rows, n_tasks=n_tasks, facts={"kept": "tasks kept"})],
    }
