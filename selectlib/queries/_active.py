from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.optim import Adadelta, Optimizer

from selectlib._checks import check_choice
from selectlib.nets._train import Progress
from selectlib.pool import PoolSelector
from selectlib.queries._alignment import FreeEnergyAlignment
from selectlib.queries._checkpoint import Checkpoint, describe
from selectlib.queries._history import History
from selectlib.queries._loop import Loop
from selectlib.queries._plan import make_plan
from selectlib.queries._replicas import InPlace
from selectlib.queries._tasks import AdaptationTask, Annotator, Domains, Inputs
from selectlib.seeding import generator


class ActiveDA:
    """Active domain adaptation of one model: train on both domains, and ask now and then for labels of the target.

    The model is trained in place, by the loop of `run_study`, whose arm and task it would be: the same seed and initial
    weights give the same numbers. Any module will do, since nothing is stacked.

    Parameters
    ----------
    model : torch.nn.Module
        With ``features``, which maps inputs (b, ...) to features (b, d), and ``head``, which maps these to logits (b,
        c). It stays on its device, and is in evaluation mode afterwards.
    strategy : PoolSelector or None
        Which images to ask about; None asks for no label.
    budget : float, default 0.05
        Share of the target to label in all, in (0, 1].
    rounds : sequence of int, default (10, 12, 14, 16, 18)
        Labels are asked for after so many epochs, each below `epochs`.
    epochs : int, default 40
        Each has ``ceil(max(n_s, unlabelled) / batch_size)`` steps.
    align : float or FreeEnergyAlignment, default 0.01
        The alignment's weight, or the alignment itself: its settings are taken, λ is drawn from `seed`, and `fit`
        leaves the last bound in it.
    bn : {"joint", "source", "target"}, default "joint"
        How the unlabelled target enters batch normalisation's running averages, as in `Arm`.
    optimizer : callable, optional
        Makes a `torch.optim.Optimizer` of the model, by default Adadelta of learning rate 0.1. For a pretrained
        backbone: ``lambda net: Adadelta([{"params": net.backbone.parameters(), "lr": 0.01}, ...])``.
    batch_size : int, default 32
        Images of each of a step's three batches, at least 2.
    rounding : {"exact", "official"}, default "exact"
        How the budget is divided, as in `round_sizes`.
    seed : int, default 0
        Source of all draws, from 0 to 2**32 - 1.
    checkpoint : Path or str, optional
        File that is rewritten after each round; a `fit` that finds it there goes on from it.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or the model lacks ``features`` or ``head``.
    ValueError
        If an argument is out of range.

    Notes
    -----
    The default learning rate, that of the official code, is for pretrained backbones; a net that starts from random
    weights wants 1.0.

    Xie et al., "Active Learning for Domain Adaptation: An Energy-Based Approach", AAAI 2022; schedule and order of
    passes are those of the official code (BIT-DA/EADA).

    Examples
    --------
    >>> import torch
    >>> from selectlib.nets import BatchNormConvNet
    >>> from selectlib.queries import EADA, LabelOracle
    >>> images, labels = torch.rand(40, 1, 8, 8), torch.arange(40) % 10
    >>> oracle = LabelOracle(labels, budget=4)
    >>> adaptation = ActiveDA(BatchNormConvNet(), EADA(), epochs=3, rounds=(1, 2), budget=0.1, seed=100)
    >>> history = adaptation.fit((images, labels), 1 - images, oracle)
    >>> history.labels, oracle.spent
    ([0, 2, 4], 4)
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: PoolSelector | None,
        *,
        budget: float | int = 0.05,
        rounds: Sequence[int] = (10, 12, 14, 16, 18),
        epochs: int = 40,
        align: float | int | FreeEnergyAlignment = 0.01,
        bn: Literal["joint", "source", "target"] = "joint",
        optimizer: Callable[[nn.Module], Optimizer] | None = None,
        batch_size: int = 32,
        rounding: Literal["exact", "official"] = "exact",
        seed: int = 0,
        checkpoint: Path | str | None = None,
    ):
        if strategy is not None and not isinstance(strategy, PoolSelector):
            raise TypeError(f"strategy must have `needs` and `select`, or be None, got {type(strategy).__name__}")
        check_choice("bn", bn, ("joint", "source", "target"))
        generator(seed)  # refuses what is no seed
        self.align = align if isinstance(align, FreeEnergyAlignment) else FreeEnergyAlignment(align)
        if self.align.weight.ndim:
            raise ValueError(f"align must have one weight, got shape {tuple(self.align.weight.shape)}")
        self.model, self.strategy, self.bn, self.seed, self.checkpoint = model, strategy, bn, seed, checkpoint
        self.epochs, self.rounds, self.budget = epochs, rounds, budget
        self.batch_size, self.rounding = batch_size, rounding
        self.optimizer = optimizer or _adadelta

    def fit(
        self,
        source: tuple[Inputs, Int[Tensor, "n_s"]],
        target_pool: Inputs,
        oracle: Annotator,
        *,
        test: tuple[Inputs, Int[Tensor, "n_t"]] | None = None,
        source_test: tuple[Inputs, Int[Tensor, "n_h"]] | None = None,
        progress: Progress | None = None,
    ) -> History:
        """Train the model, spending the oracle's labels.

        Parameters
        ----------
        source, target_pool, oracle, test, source_test
            As in `AdaptationTask`. Nothing may be spent of the oracle yet.
        progress : callable, optional
            Wraps the range of epochs, as ``tqdm`` does.

        Returns
        -------
        History
            An entry before each query, and one at the end.

        Raises
        ------
        TypeError, ValueError
            As in `run_study`; or the oracle has spent labels, which the loop would not know.

        Notes
        -----
        Nothing in a step synchronises with the device. A resumed run ends as if it had never stopped, bit for bit, if
        what sources draw comes from torch's global generators.
        """
        task = AdaptationTask(source, target_pool, oracle, source_test, test)
        strategies = [] if self.strategy is None else [self.strategy]
        plan = make_plan(
            [task], self.epochs, self.rounds, self.budget, self.batch_size, self.rounding, queries=bool(strategies)
        )
        if oracle.spent:
            raise ValueError(f"oracle must be unspent, got one that has given {oracle.spent} labels")
        net = InPlace(self.model, self.optimizer)
        domains = Domains([task], next(self.model.parameters()).device)
        settings = asdict(plan) | {"bn": self.bn, "seed": self.seed, "strategy": describe(self.strategy)}
        settings |= {"images": [domains.source.inputs.n, domains.target.n], "align": self._described()}
        file = Checkpoint(self.checkpoint, settings)
        loop = Loop(
            net,
            self._stacked(),
            domains,
            plan,
            bn=self.bn,
            tasks=[0],
            seeds=[self.seed],
            strategies=strategies,
            oracles=[oracle],
            parents=torch.tensor([0]),
        )
        if (saved := file.load()) is not None:
            loop.restore(saved)
        loop.run(file.save, progress)
        self.align.bound.copy_(loop.align.bound[0])
        return loop.histories[0]

    def _stacked(self) -> FreeEnergyAlignment:
        """The alignment for a stack of one, its bound not yet set."""
        align = self.align
        return FreeEnergyAlignment(align.weight.view(1), align.kind, align.momentum, align.T, align.center)

    def _described(self) -> list:
        align = self.align
        return [float(align.weight), align.kind, align.momentum, align.T, align.center]


def _adadelta(model: nn.Module) -> Optimizer:
    return Adadelta(model.parameters(), lr=0.1)
