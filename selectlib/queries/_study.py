from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adadelta, Optimizer

from selectlib._checks import check_int
from selectlib.device import pick_device
from selectlib.nets._initial import initial_model
from selectlib.nets._train import Progress
from selectlib.queries._alignment import FreeEnergyAlignment
from selectlib.queries._arm import Arm, Outcome
from selectlib.queries._checkpoint import Checkpoint, describe
from selectlib.queries._history import History
from selectlib.queries._loop import WEIGHTS, Loop, stream_seed
from selectlib.queries._oracle import LabelOracle
from selectlib.queries._plan import make_plan
from selectlib.queries._replicas import Replicas
from selectlib.queries._tasks import AdaptationTask, Domains
from selectlib.seeding import generator


def run_study(
    make_model: Callable[[], nn.Module],
    tasks: Sequence[AdaptationTask],
    arms: Sequence[Arm],
    *,
    seeds: Sequence[int],
    epochs: int = 40,
    rounds: Sequence[int] = (10, 12, 14, 16, 18),
    budget: float | int = 0.05,
    batch_size: int = 32,
    rounding: Literal["exact", "official"] = "exact",
    optimizer: Callable[[list[Tensor]], Optimizer] | None = None,
    at_once: int | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
    checkpoint: Path | str | None = None,
) -> list[list[Outcome]]:
    """Run every arm on every task, paired: what an arm changes is all that differs between the runs on a task.

    A step passes three batches in training mode: source, unlabelled target, labelled target once there is one; its loss
    is cross-entropy on the two labelled ones plus the alignment. Training goes on from round to round. The arms of a
    task share initial weights, order of batches and draws; arms that train equally are one net until the first query.

    Parameters
    ----------
    make_model : callable
        Returns a new model, with ``features`` and ``head`` as in `Replicas`.
    tasks : sequence of t AdaptationTasks
        Of equal sizes, with one seed each. Their oracles are copied, not spent.
    arms : sequence of a Arms
        What to compare.
    seeds : sequence of t ints
        Source of all that task i draws, from 0 to 2**32 - 1.
    epochs : int, default 40
        Each has ``ceil(max(n_s, unlabelled) / batch_size)`` steps.
    rounds : sequence of int, default (10, 12, 14, 16, 18)
        Labels are asked for after so many epochs, each below `epochs`; may be empty.
    budget : float, default 0.05
        Share of the target to label in all, in (0, 1].
    batch_size : int, default 32
        Images of each of the batches, at least 2; fewer where there are not as many.
    rounding : {"exact", "official"}, default "exact"
        How the budget is divided, as in `round_sizes`; all strategies get the same.
    optimizer : callable, optional
        Makes an optimiser of a list of parameters, as in `Replicas`; by default Adadelta of learning rate 1.0.
    at_once : int, optional
        Replicas trained side by side; by default all that train alike. Bounds the memory; with 1 any module will do,
        also what `torch.func.vmap` refuses.
    device : str or torch.device, default "cpu"
        Where to train; names as in `selectlib.device.pick_device`.
    progress : callable, optional
        Wraps the range of epochs, as ``tqdm`` does; called once for each group of replicas.
    checkpoint : Path or str, optional
        File that is rewritten after each round; a run that finds it there goes on from it.

    Returns
    -------
    list of a lists of t Outcomes

    Raises
    ------
    TypeError
        If an argument has the wrong type, or the model lacks ``features`` or ``head``.
    ValueError
        If an argument is out of range, tasks differ in size, the budget buys less than a label a round, or more than an
        oracle gives, or the checkpoint is of another run. Except for logits that become NaN or infinite, and strategies
        that fail, all is found before any work.

    Notes
    -----
    Nothing in a step synchronises with the device. Memory: data once a task, and parameters, optimiser state and
    activations of `at_once` replicas. Labels of the target are reached by ``oracle.query`` alone; its ``grade`` gives
    the accuracies of the history, which nothing reads. A resumed run ends as if it had never stopped, bit for bit, if
    sources that augment draw from torch's global generators.

    Xie et al., "Active Learning for Domain Adaptation: An Energy-Based Approach", AAAI 2022; schedule and order of
    passes are those of the official code (BIT-DA/EADA).

    Examples
    --------
    >>> import torch
    >>> from selectlib.nets import BatchNormConvNet
    >>> from selectlib.pool import Random
    >>> from selectlib.queries import Arm, LabelOracle
    >>> images, labels = torch.rand(40, 1, 8, 8), torch.arange(40) % 10
    >>> task = AdaptationTask((images, labels), 1 - images, LabelOracle(labels, budget=4))
    >>> arms = [Arm(), Arm(Random()), Arm(Random(), align=0.01)]
    >>> study = run_study(BatchNormConvNet, [task], arms, seeds=[100], epochs=3, rounds=(1, 2), budget=0.1)
    >>> [outcome.history.labels for (outcome,) in study]
    [[0, 0, 0], [0, 2, 4], [0, 2, 4]]
    """
    where = pick_device(device)
    _check(tasks, arms, seeds, at_once)
    queries = any(arm.strategy is not None for arm in arms)
    plan = make_plan(tasks, epochs, rounds, budget, batch_size, rounding, queries=queries)
    domains = Domains(tasks, where)
    settings = {
        **asdict(plan),
        "seeds": list(seeds),
        "images": [domains.source.inputs.n, domains.target.n],
        "at_once": at_once,
    }
    settings["arms"] = [[describe(value) for value in vars(arm).values()] for arm in arms]
    file = Checkpoint(checkpoint, settings)
    state = file.load() or {"finished": [], "running": None}
    finished, running = state["finished"], state["running"]
    groups = list(_groups(arms, len(tasks), at_once))
    for group in groups[len(finished) :]:
        loop = _loop(make_model, optimizer or partial(Adadelta, lr=1.0), domains, plan, group, arms, tasks, seeds)
        if running is not None:
            loop.restore(running)
        loop.run(lambda running: file.save({"finished": finished, "running": running}), progress)
        finished.append(_results(loop))
        running = None
        file.save({"finished": finished, "running": running})
    outcomes = {}
    for group, results in zip(groups, finished, strict=True):
        for pair, result in zip(((a, t) for a in group.arms for t in group.tasks), results, strict=True):
            outcomes[pair] = _outcome(result, where)
    return [[outcomes[a, t] for t in range(len(tasks))] for a in range(len(arms))]


class _Group(NamedTuple):
    """Replicas trained side by side: each of some arms on each of some tasks, by their numbers."""

    arms: list[int]
    tasks: list[int]


def _groups(arms: Sequence[Arm], tasks: int, at_once: int | None) -> Iterator[_Group]:
    """Put together what trains alike, `at_once` pairs of an arm and a task at most."""
    alike: dict[tuple, list[int]] = {}
    for a, arm in enumerate(arms):
        # Without a weight the form of the alignment means nothing, and a pass needs no gradient.
        form = (arm.kind, arm.momentum) if arm.align > 0 else None
        alike.setdefault((arm.bn, arm.strategy is None, form), []).append(a)
    for members in alike.values():
        wide = min(len(members), at_once or len(members))
        deep = tasks if at_once is None else max(1, at_once // wide)
        for a in range(0, len(members), wide):
            for t in range(0, tasks, deep):
                yield _Group(members[a : a + wide], list(range(t, min(t + deep, tasks))))


def _loop(make_model, optimizer, domains, plan, group, arms, tasks, seeds) -> Loop:
    """Prepare a group: one replica for each weight and task at first, for each arm and task after the first query."""
    mine = [arms[a] for a in group.arms]
    weights = list(dict.fromkeys(float(arm.align) for arm in mine))
    states = [stream_seed(seeds[t], WEIGHTS) for t in group.tasks]
    models = [initial_model(make_model, seed).to(domains.device) for _ in weights for seed in states]
    align = FreeEnergyAlignment(torch.tensor(weights).repeat_interleave(len(states)), mine[0].kind, mine[0].momentum)
    parents = [weights.index(arm.align) * len(states) + t for arm in mine for t in range(len(states))]
    return Loop(
        Replicas(models, optimizer),
        align,
        domains,
        plan,
        bn=mine[0].bn,
        tasks=group.tasks,
        seeds=[seeds[t] for t in group.tasks],
        strategies=[arm.strategy for arm in mine for _ in group.tasks if arm.strategy is not None],
        oracles=[tasks[t].oracle.fresh() for _ in mine for t in group.tasks],
        parents=torch.tensor(parents),
    )


def _results(loop: Loop) -> list[dict]:
    """What a checkpoint keeps of each replica that has come to its end."""
    held_out = {"source_logits": loop.source_logits, "test_logits": loop.test_logits}
    return [
        {
            "history": asdict(history),
            **{name: None if logits is None else logits[i].clone() for name, logits in held_out.items()},
            "state": state,
        }
        for i, (history, state) in enumerate(zip(loop.histories, loop.net.state_dicts(), strict=True))
    ]


def _outcome(result: dict, device: torch.device) -> Outcome:
    def placed(logits: Tensor | None) -> Tensor | None:
        return None if logits is None else logits.to(device)

    return Outcome(
        history=History(**result["history"]),
        source_logits=placed(result["source_logits"]),
        test_logits=placed(result["test_logits"]),
        state={name: value.to(device) for name, value in result["state"].items()},
    )


def _check(tasks, arms, seeds, at_once) -> None:
    for name, given, kind in (("tasks", tasks, AdaptationTask), ("arms", arms, Arm)):
        if len(given) == 0:
            raise ValueError(f"{name} must hold at least one, got none")
        for item in given:
            if not isinstance(item, kind):
                raise TypeError(f"{name} must hold {kind.__name__}s, got {type(item).__name__}")
    for task in tasks:
        if not isinstance(task.oracle, LabelOracle):
            raise TypeError(
                f"oracles of a study must be LabelOracles, asked anew by each arm, got {type(task.oracle).__name__}"
            )
    for seed in seeds:
        generator(seed)  # refuses what is no seed
    if len(seeds) != len(tasks):
        raise ValueError(f"seeds must name one seed a task, got {len(seeds)} for {len(tasks)} tasks")
    if at_once is not None:
        check_int("at_once", at_once, 1)
