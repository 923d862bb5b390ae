import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from selectlib.nets._train import Progress
from selectlib.pool import Pool, PoolSelector
from selectlib.queries._alignment import FreeEnergyAlignment
from selectlib.queries._auroc import auroc
from selectlib.queries._energies import free_energy
from selectlib.queries._history import History
from selectlib.queries._items import Items
from selectlib.queries._oracle import LabelOracle
from selectlib.queries._plan import Plan
from selectlib.queries._replicas import Replicas
from selectlib.queries._tasks import Annotator, Domains
from selectlib.seeding import generator

# What a task draws at random: each stream has its own generator for each epoch, whatever the arm, so that the arms of a
# task see equal draws and a resumed run goes on as if it had never stopped.
WEIGHTS, SOURCE, TARGET, LABELLED, MIX, QUERY, AVERAGES, GLOBAL = range(8)


def draws(seed: int, stream: int, epoch: int = 0) -> torch.Generator:
    """Make the generator of one stream of a task in one epoch."""
    return generator(stream_seed(seed, stream, epoch))


def stream_seed(seed: int, stream: int, epoch: int = 0) -> int:
    """Derive the seed of one stream of a task in one epoch."""
    return int(np.random.SeedSequence(seed, spawn_key=(stream, epoch)).generate_state(1)[0])


class Loop:
    """Training, evaluation and queries of a stack of replicas, one for each pair of an arm and a task, arm by arm.

    Parameters
    ----------
    net : Replicas
        One replica for each pair of a training and a task, training by training; it is forked at the first stage.
    align : FreeEnergyAlignment
        With the weights of those replicas.
    domains : Domains
        Data of all tasks.
    plan : Plan
        Epochs, rounds and sizes.
    bn : {"joint", "source", "target"}
        How the unlabelled target enters batch normalisation's running averages.
    tasks : sequence of t ints
        Which of the tasks.
    seeds : sequence of t ints
        One a task.
    strategies : sequence of PoolSelectors
        One a replica after the fork, or none: then no label is asked for.
    oracles : sequence of Annotators
        One a replica after the fork.
    parents : Tensor of int64
        The replica before the fork from which each one after it starts.
    """

    def __init__(
        self,
        net: Replicas,
        align: FreeEnergyAlignment,
        domains: Domains,
        plan: Plan,
        *,
        bn: str,
        tasks: Sequence[int],
        seeds: Sequence[int],
        strategies: Sequence[PoolSelector],
        oracles: Sequence[Annotator],
        parents: Tensor,
    ):
        self.net, self.align, self.domains, self.plan = net, align.to(domains.device), domains, plan
        self.bn, self.tasks, self.seeds, self.parents = bn, torch.tensor(tasks), seeds, parents
        self.strategies, self.oracles = strategies, oracles
        self.histories = [History() for _ in oracles]
        self.source_logits: Tensor | None = None  # of the last stage, on the held-out images
        self.test_logits: Tensor | None = None
        self.epoch = self.stages = 0
        self._start(len(net))

    def _start(self, replicas: int) -> None:
        """Nothing is labelled yet, in any replica."""
        self._slot = torch.arange(replicas) % len(self.seeds)  # a replica's place among `tasks`
        self.task = self.tasks[self._slot]
        self.aligned = bool((self.align.weight > 0).any())
        self.pool = torch.arange(self.domains.target.n).expand(replicas, -1)
        self.labelled = self.labels = torch.empty(replicas, 0, dtype=torch.int64)

    # --- the whole run -----------------------------------------------------------------------------------------------

    def run(self, save: Callable[[dict], None], progress: Progress | None = None) -> None:
        """Go on to the end; `save` gets a checkpoint after each round."""
        left = range(self.epoch, self.plan.epochs)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            for self.epoch in left if progress is None else progress(left):
                self._seed_global()
                if self.epoch in self.plan.rounds[self.stages :]:
                    features, logits = self._stage()
                    if self.strategies:
                        self._query(features, logits, self.plan.sizes[self.stages])
                    self.stages += 1
                    save(self.checkpoint())
                    self._seed_global()
                self._train()
            self.epoch = self.plan.epochs
            self._seed_global()
            self._stage()

    def _seed_global(self) -> None:
        """Make what a model or a source draws from torch's own generators reproducible, also from a checkpoint on."""
        torch.manual_seed(stream_seed(self.seeds[0], GLOBAL, self.epoch))

    # --- training ----------------------------------------------------------------------------------------------------

    def _train(self) -> None:
        """One epoch; a step has three passes, in the order of the official code."""
        data, net, joint, batch = self.domains, self.net, self.bn == "joint", self.plan.batch_size
        unlabelled, labelled = self.pool.shape[1], self.labelled.shape[1]
        steps = math.ceil(max(data.source.inputs.n, unlabelled) / batch)
        # All row numbers of the epoch are made here and moved at once: no step waits for the device.
        order = self._order(SOURCE, data.source.inputs.n, steps, batch)
        source_rows, label_rows = (items.rows(self.task, order) for items in data.source)
        order = self._order(TARGET, unlabelled, steps, batch)
        target_rows = data.target.rows(self.task, _take(self.pool, order))
        if labelled:
            order = self._order(LABELLED, labelled, steps, batch)
            labelled_rows = data.target.rows(self.task, _take(self.labelled, order))
            answers = _take(self.labels, order).to(data.device)
        mixes = self._mixes(steps)
        for step in range(steps):
            logits = net.train_pass(data.source.inputs.fetch(source_rows[step]))
            losses = _cross_entropy(logits, data.source.labels.fetch(label_rows[step]))
            if self.aligned or joint:
                with torch.set_grad_enabled(self.aligned):
                    target_logits = net.train_pass(data.target.fetch(target_rows[step]), track=joint)
            if labelled:
                labelled_logits = net.train_pass(data.target.fetch(labelled_rows[step]))
                losses = losses + _cross_entropy(labelled_logits, answers[step])
            if self.aligned:
                losses = losses + self.align(logits, target_logits, mix=None if mixes is None else mixes[step])
            net.step(losses)

    def _order(self, stream: int, n: int, steps: int, batch: int) -> Tensor:
        """Positions among n items, shape (steps, r, b): for each task, shuffle after shuffle of all n."""
        size = max(2, min(batch, n))  # batch normalisation needs two: a single item comes twice
        orders = []
        for seed in self.seeds:
            shuffles = draws(seed, stream, self.epoch)
            shuffled = torch.cat([torch.randperm(n, generator=shuffles) for _ in range(math.ceil(steps * size / n))])
            orders.append(shuffled[: steps * size].view(steps, size))
        return torch.stack(orders, 1)[:, self._slot]

    def _mixes(self, steps: int) -> Tensor | None:
        """λ of each step and replica, shape (steps, r), where the alignment draws it."""
        if self.align.momentum != "uniform":
            return None
        mixes = [torch.rand(steps, generator=draws(seed, MIX, self.epoch)) for seed in self.seeds]
        return torch.stack(mixes, 1)[:, self._slot].to(self.align.bound)

    # --- evaluation --------------------------------------------------------------------------------------------------

    def _stage(self) -> tuple[Tensor, Tensor]:
        """Add an entry to each history; features (r, n, d) and logits (r, n, c) of the whole target."""
        if self.stages == 0:
            self._fork()
        data = self.domains
        if self.bn == "target":
            (order,) = self._order(AVERAGES, self.pool.shape[1], 1, self.pool.shape[1])
            self.net.estimate_averages(data.target.blocks(self.task, self._block, _take(self.pool, order)))
        features, logits = self._evaluate(data.target)
        predicted = logits.argmax(-1).cpu()
        entries: list[dict[str, float]] = [{} for _ in self.histories]
        for entry, oracle, classes in zip(entries, self.oracles, predicted, strict=True):
            if isinstance(oracle, LabelOracle):
                entry.update(oracle.grade(classes)._asdict())
        if data.test is not None:
            self.test_logits = self._evaluate(data.test.inputs)[1]
            (labels,) = data.test.labels.blocks(self.task, data.test.labels.n)
            for entry, share in zip(entries, _accuracy(self.test_logits, labels), strict=True):
                entry["test"] = share
        if data.source_test is not None:
            self.source_logits = self._evaluate(data.source_test.inputs)[1]
            rest = logits.take_along_dim(self.pool[..., None].to(logits.device), 1)
            for entry, area in zip(entries, auroc(free_energy(self.source_logits), free_energy(rest)), strict=True):
                entry["auroc"] = float(area)
        for history, entry in zip(self.histories, entries, strict=True):
            history.append(self.labelled.shape[1], **entry)
        return features, logits

    def _evaluate(self, items: Items) -> tuple[Tensor, Tensor]:
        return self.net.evaluate(items.blocks(self.task, self._block))

    @property
    def _block(self) -> int:
        """Images of an evaluation block: without gradients, it takes no more memory than a step."""
        return 4 * self.plan.batch_size

    def _fork(self) -> None:
        """At the first stage: from one replica for each training to one for each arm."""
        self.net.fork(self.parents)
        parents = self.parents.to(self.domains.device)
        self.align.weight, self.align.bound = self.align.weight[parents], self.align.bound[parents]
        self._start(len(self.parents))

    # --- queries -----------------------------------------------------------------------------------------------------

    def _query(self, features: Tensor, logits: Tensor, k: int) -> None:
        """Let each replica's strategy choose k of its pool, and ask its oracle for their labels."""
        wanted = any("source_features" in strategy.needs for strategy in self.strategies)
        source_features = self._evaluate(self.domains.source.inputs)[0] if wanted else [None] * len(self.strategies)
        predicted = logits.argmax(-1).cpu()
        left, asked, answers = [], [], []
        for i, (strategy, oracle) in enumerate(zip(self.strategies, self.oracles, strict=True)):
            seed = self.seeds[int(self._slot[i])]
            rows, old = self.pool[i].to(features.device), self.labelled[i].to(features.device)
            try:
                pool = Pool(
                    features[i, rows],
                    logits=logits[i, rows],
                    labeled_features=features[i, old],
                    source_features=source_features[i],
                    n_total=self.domains.target.n,
                )
                chosen = strategy.select(pool, k, generator=draws(seed, QUERY, self.epoch)).cpu()
                if chosen.shape != (k,):
                    raise ValueError(f"select must return {k} indices, got shape {tuple(chosen.shape)}")
                asked.append(self.pool[i, chosen])
                answers.append(oracle.query(asked[-1]))
            except Exception as error:
                name = type(strategy).__name__
                error.add_note(f"{name} was choosing for the task of seed {seed}, after {self.epoch} epochs")
                raise
            kept = torch.ones(self.pool.shape[1], dtype=torch.bool)
            kept[chosen] = False
            left.append(self.pool[i, kept])
            self.histories[i].picks.append(asked[-1])
            self.histories[i].predicted.append(predicted[i, asked[-1]])
        self.pool = torch.stack(left)
        self.labelled = torch.cat([self.labelled, torch.stack(asked)], 1)
        self.labels = torch.cat([self.labels, torch.stack(answers)], 1)

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def checkpoint(self) -> dict:
        """Return all that the run has changed since its start, as plain containers."""
        return {
            "net": self.net.checkpoint(),
            "bound": self.align.bound,
            "pool": self.pool,
            "labelled": self.labelled,
            "labels": self.labels,
            "histories": [asdict(history) for history in self.histories],
            "epoch": self.epoch,
            "stages": self.stages,
        }

    def restore(self, checkpoint: dict) -> None:
        """Take up what `checkpoint` returned after a round."""
        self._fork()
        self.net.restore(checkpoint["net"])
        self.align.bound = checkpoint["bound"].to(self.domains.device)
        self.pool, self.labelled, self.labels = (checkpoint[name] for name in ("pool", "labelled", "labels"))
        self.histories = [History(**fields) for fields in checkpoint["histories"]]
        self.epoch, self.stages = checkpoint["epoch"], checkpoint["stages"]
        for oracle, asked in zip(self.oracles, self.labelled, strict=True):
            if isinstance(oracle, LabelOracle):
                oracle.load_state_dict({"queried": asked})


def _take(table: Tensor, order: Tensor) -> Tensor:
    """Entries of each replica's row of a table (r, n), at positions (..., r, b)."""
    return table[torch.arange(len(table))[:, None], order]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of each replica, shape (r,)."""
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(1)


def _accuracy(logits: Tensor, labels: Tensor) -> list[float]:
    """Share of right predictions of each replica."""
    return (logits.argmax(-1) == labels).double().mean(-1).tolist()
