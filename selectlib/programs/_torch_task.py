"""Any torch model as a task: for stages that are too large for numpy."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from selectlib._checks import check_choice, check_int
from selectlib.device import pick_device
from selectlib.nets import classification_loss
from selectlib.nets._initial import initial_model
from selectlib.programs._optimizer import ProgramOptimizer
from selectlib.programs._program import Program
from selectlib.programs._runs import LOOK, SPLITS, Split, ceiling, fitness, schedule


class TorchTask:
    """Train a torch model with a program, through `ProgramOptimizer`, and score the program by the loss it reaches.

    The seed of a run sets the model's start and its batches; schedule and failures are as in `MLPTask`.

    Parameters
    ----------
    make_model : callable
        Returns a new model; torch's global generators are seeded for the time of the call.
    examples : mapping of str to tuple of Tensors
        What to train on, validate on and test on, under "train", "validation" and "test"; the tensors of a split have
        equal first dimensions.
    loss : callable, default `selectlib.nets.classification_loss`
        ``loss(model, *batch)`` returns one number an example, shape (b,).
    steps : int, default 500
        Steps of a run.
    batch : int, default 64
        Examples of a step, drawn with replacement.
    score_batch : int, default 1024
        Examples scored at once.
    warmup : float, default 0.05
        Share of the steps over which the learning rate rises.
    device : str or torch.device, default "cpu"
        Where to train; names as in `selectlib.device.pick_device`.

    Raises
    ------
    TypeError
        If a count is not an int.
    ValueError
        If a split is missing, empty or of uneven lengths, or a number is out of range.

    Notes
    -----
    Batches are drawn on the CPU, so that they are the same on every device. The host waits for the device at every
    tenth step, where the loss is looked at. To pickle, `make_model` and `loss` must be functions of a module.

    Examples
    --------
    >>> from selectlib.nets import MLP
    >>> from selectlib.programs import ADAMW
    >>> inputs = torch.tensor([[-1.0], [1.0]]).repeat(8, 1)
    >>> examples = dict.fromkeys(["train", "validation", "test"], (inputs, (inputs[:, 0] > 0).long()))
    >>> task = TorchTask(lambda: MLP([1, 2]), examples, steps=50, batch=8)
    >>> task.evaluate(ADAMW.with_constants([0.9, 0.999, 0.01, 0.1]), seeds=[100]) > -0.1
    True
    """

    def __init__(
        self,
        make_model: Callable[[], nn.Module],
        examples: Mapping[str, tuple[Tensor, ...]],
        loss: Callable[..., Tensor] = classification_loss,
        *,
        steps: int = 500,
        batch: int = 64,
        score_batch: int = 1024,
        warmup: float = 0.05,
        device: str | torch.device = "cpu",
    ):
        self.device = pick_device(device)
        self.steps = check_int("steps", steps, 1)
        self.batch = check_int("batch", batch, 1)
        self.score_batch = check_int("score_batch", score_batch, 1)
        if not 0 <= warmup <= 1:
            raise ValueError(f"warmup must be from 0 to 1, got {warmup}")
        self.warmup = warmup
        for split in SPLITS:
            lengths = {len(tensor) for tensor in examples.get(split, ())}
            if len(lengths) != 1 or lengths == {0}:
                raise ValueError(f"examples must hold tensors of one length, at least 1, for {split}, got {lengths}")
        self.examples = {split: tuple(tensor.to(self.device) for tensor in examples[split]) for split in SPLITS}
        self.make_model = make_model
        self.loss = loss

    def evaluate(self, program: Program, seeds: Sequence[int], split: Split = "validation") -> float:
        """Return the fitness of a program: minus its mean loss over the seeds, -10 if a run failed.

        Parameters
        ----------
        program, seeds, split
            As in `MLPTask.evaluate`.

        Returns
        -------
        float
            Fitness [nats], at least -10.
        """
        return fitness(self.losses(program, seeds, split))

    def losses(self, program: Program, seeds: Sequence[int], split: Split = "validation") -> Float64[np.ndarray, "s"]:
        """Return the mean loss after each of several runs.

        Parameters
        ----------
        program, seeds, split
            As in `MLPTask.evaluate`.

        Returns
        -------
        ndarray of float64, shape (s,)
            Losses [nats]; infinite where the run failed.
        """
        check_choice("split", split, SPLITS)
        losses = (self._score(self._train(program, seed), split) for seed in seeds)
        return np.array([loss if math.isfinite(loss) else math.inf for loss in losses])

    def _train(self, program: Program, seed: int) -> nn.Module | None:
        """A model after its run; None if that failed."""
        model = initial_model(self.make_model, seed).to(self.device).train()
        optimizer = ProgramOptimizer(model.parameters(), program)
        count = len(self.examples["train"][0])
        orders = np.random.default_rng(seed).integers(count, size=(self.steps, self.batch))
        limit = math.inf
        for t, (order, lr) in enumerate(zip(orders, schedule(self.steps, self.warmup), strict=True)):
            chosen = torch.from_numpy(order).to(self.device)
            loss = self.loss(model, *(tensor[chosen] for tensor in self.examples["train"])).mean()
            if t % LOOK == 0:
                now = loss.item()
                limit = ceiling(now) if t == 0 else limit
                if not now <= limit:
                    return None
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
        return model

    @torch.no_grad()
    def _score(self, model: nn.Module | None, split: Split) -> float:
        """The mean loss over a split."""
        if model is None:
            return math.inf
        model.eval()
        parts = zip(*(tensor.split(self.score_batch) for tensor in self.examples[split]), strict=True)
        return torch.cat([self.loss(model, *part) for part in parts]).double().mean().item()
