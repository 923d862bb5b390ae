"""A proxy task in numpy: train a small network with a program, and take what it reaches as the program's fitness."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from selectlib._checks import check_choice, check_int
from selectlib.data import load_digits
from selectlib.programs._flat_mlp import FlatMLP
from selectlib.programs._program import Program
from selectlib.programs._runs import LOOK, SPLITS, Split, ceiling, fitness, schedule

_DIGITS, _ORDERED = 1797, 1000  # digits in all, and those before the validation and test splits


class MLPTask:
    """Train a tanh network on labelled vectors with a program, and score the program by the loss that it reaches.

    A run draws weights from N(0, 1/fan_in) and batches with replacement, both from its seed, so that all programs meet
    the same. The learning rate that a program sees rises linearly over the first 5 % of the steps and falls as half a
    cosine, from 0 to 1: its peak is a constant of the program. A run ends early, and counts as failed, when its loss is
    not finite or above three times the first plus 2.

    Parameters
    ----------
    inputs : array of floats, shape (n, ...)
        One example a row; flattened, finite.
    labels : array of ints, shape (n,)
        Classes from 0.
    splits : tuple of three ints
        How many examples to train on, to validate on and to test on, in the order of the rows; each at least 1.
    sizes : tuple of ints
        Widths of the layers: inputs, hidden layers if any, classes.
    steps : int, default 120
        Steps of a run.
    batch : int, default 64
        Examples of a step.

    Raises
    ------
    TypeError
        If a count is not an int.
    ValueError
        If shapes, counts or labels do not fit; the message names the argument.

    Notes
    -----
    Everything is float32 and written out in numpy, as calls cost more than arithmetic at this size. Time of a run
    O(steps · batch · weights); a task pickles to about its data. Source: the prototype proxies are ours; the schedule
    and the fixed worst fitness follow Chen et al. (NeurIPS 2023) as retold by secondary sources.

    Examples
    --------
    >>> from selectlib.programs import ADAMW
    >>> task = MLPTask.digits(steps=60)
    >>> tuned = ADAMW.with_constants([0.9, 0.999, 0.01, 0.01])
    >>> task.evaluate(tuned, seeds=[100]) > task.evaluate(ADAMW, seeds=[100])
    True
    >>> task.losses(tuned, seeds=[100, 101], split="test").shape
    (2,)
    """

    def __init__(
        self,
        inputs: Any,
        labels: Any,
        splits: tuple[int, int, int],
        *,
        sizes: tuple[int, ...],
        steps: int = 120,
        batch: int = 64,
    ):
        inputs, labels = np.asarray(inputs, np.float32), np.asarray(labels)
        inputs = inputs.reshape(len(inputs), -1)
        self.sizes = tuple(check_int("sizes", size, 1) for size in sizes)
        self.splits = tuple(check_int("splits", count, 1) for count in splits)
        self.steps = check_int("steps", steps, 1)
        self.batch = check_int("batch", batch, 1)
        if len(self.sizes) < 2 or self.sizes[0] != inputs.shape[1]:
            raise ValueError(f"sizes must start with {inputs.shape[1]} inputs and end with the classes, got {sizes}")
        if len(self.splits) != 3 or sum(self.splits) > len(inputs):
            raise ValueError(f"splits must be three counts with a sum of at most {len(inputs)}, got {splits}")
        if labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(f"labels must be {len(inputs)} ints, got {labels.dtype} of shape {labels.shape}")
        if labels.min() < 0 or labels.max() >= self.sizes[-1]:
            raise ValueError(f"labels must lie from 0 to {self.sizes[-1] - 1}, got {labels.min()} to {labels.max()}")
        if not np.isfinite(inputs).all():
            raise ValueError("inputs must be finite")
        # As FlatMLP has them: inputs, a one for the biases, and the example's weight in a batch at its class.
        weights = np.eye(self.sizes[-1], dtype=np.float32)[labels] / np.float32(self.batch)
        self._rows = np.concatenate([inputs, np.ones((len(inputs), 1), np.float32), weights], axis=1)

    @staticmethod
    def digits(
        sizes: tuple[int, ...] = (64, 32, 10),
        n_train: int = 1000,
        *,
        steps: int = 120,
        batch: int = 64,
        permutation_seed: int = 0,
    ) -> "MLPTask":
        """Make a task of the digits that scikit-learn carries: up to 1,000 to train on, 400 to validate, 397 to test.

        Parameters
        ----------
        sizes : tuple of ints, default (64, 32, 10)
            Widths of the layers, 64 first and 10 last.
        n_train : int, default 1000
            How many to train on, from 1 to 1,000; the other splits do not depend on it.
        steps, batch : int
            As above.
        permutation_seed : int, default 0
            Seed of the order of the digits, and so of the splits.

        Returns
        -------
        MLPTask
        """
        check_int("n_train", n_train, 1, _ORDERED)
        data = load_digits()
        order = np.random.default_rng(permutation_seed).permutation(_DIGITS)
        order = np.concatenate([order[:n_train], order[_ORDERED:]])
        images, labels = data.images.numpy()[order], data.labels.numpy()[order]
        return MLPTask(images, labels, (n_train, 400, 397), sizes=sizes, steps=steps, batch=batch)

    @staticmethod
    def signs(features: int = 100, n_train: int = 200, *, teacher_seed: int = 0, flips: float = 0.0) -> "MLPTask":
        """Make a logistic regression whose true weights are signs: a task on which rules that step by signs do well.

        Inputs are standard normal, and the class says whether their sum under random signs is above 0. There are 1,000
        examples to validate on and 1,000 to test on; 120 steps of 64 examples.

        Parameters
        ----------
        features : int, default 100
            Inputs.
        n_train : int, default 200
            Examples to train on.
        teacher_seed : int, default 0
            Seed of the signs and of the examples.
        flips : float, default 0.0
            Share of the training labels that are wrong, from 0 to 1.

        Returns
        -------
        MLPTask
        """
        check_int("features", features, 1)
        check_int("n_train", n_train, 1)
        if not 0 <= flips <= 1:
            raise ValueError(f"flips must be from 0 to 1, got {flips}")
        rng = np.random.default_rng(teacher_seed)
        teacher = rng.choice([-1.0, 1.0], features)
        inputs = rng.standard_normal((n_train + 2000, features))
        labels = (inputs @ teacher > 0).astype(np.int64)
        wrong = rng.permutation(n_train)[: round(flips * n_train)]
        labels[wrong] = 1 - labels[wrong]
        return MLPTask(inputs, labels, (n_train, 1000, 1000), sizes=(features, 2))

    def evaluate(self, program: Program, seeds: Sequence[int], split: Split = "validation") -> float:
        """Return the fitness of a program: minus its mean loss over the seeds, -10 if a run failed.

        Parameters
        ----------
        program : Program
            What to train with.
        seeds : sequence of ints
            One run each.
        split : {"train", "validation", "test"}, default "validation"
            What to score on.

        Returns
        -------
        float
            Fitness [nats], at least -10.
        """
        return fitness(self.losses(program, seeds, split))

    def losses(self, program: Program, seeds: Sequence[int], split: Split = "validation") -> Float64[np.ndarray, "s"]:
        """Return the mean cross-entropy after each of several runs.

        Parameters
        ----------
        program, seeds, split
            As in `evaluate`.

        Returns
        -------
        ndarray of float64, shape (s,)
            Losses [nats]; infinite where the run failed.
        """
        check_choice("split", split, SPLITS)
        step = program.compile("numpy")
        chosen = SPLITS.index(split)
        rows = self._rows[sum(self.splits[:chosen]) :][: self.splits[chosen]]
        scored = FlatMLP(self.sizes, len(rows))
        scored.rows[:] = rows
        scored.rows[:, self.sizes[0] + 1 :] *= self.batch / len(rows)
        losses = np.full(len(seeds), np.inf)
        with np.errstate(all="ignore"):
            for i, seed in enumerate(seeds):
                scored.weights[:] = self._train(step, seed)
                scored.forward()
                loss = scored.loss()
                losses[i] = loss if math.isfinite(loss) else math.inf
        return losses

    def _train(self, step: Any, seed: int) -> np.ndarray:
        """The weights that a compiled program reaches; NaN if the run failed."""
        rng = np.random.default_rng(seed)
        net = FlatMLP(self.sizes, self.batch)
        net.start(rng)
        orders = rng.integers(self.splits[0], size=(self.steps, self.batch))
        weights, gradient, leaves = net.weights, net.gradient, net.leaves
        m, v = np.zeros_like(weights), np.zeros_like(weights)
        limit = math.inf
        for t, (order, lr) in enumerate(zip(orders, schedule(self.steps), strict=True)):
            self._rows.take(order, axis=0, out=net.rows, mode="clip")
            net.forward()
            if t % LOOK == 0:
                loss = net.loss()
                limit = ceiling(loss) if t == 0 else limit
                if not loss <= limit:
                    break
            net.backward()
            if gradient[-1] != gradient[-1]:
                break
            update, m, v = step(weights, gradient, m, v, lr, leaves)
            weights -= update
        else:
            return weights
        return np.full_like(weights, np.nan)
