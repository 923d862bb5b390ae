"""A multilayer perceptron whose weights are one flat vector, with its gradient written out as a fixed list of calls."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Call = tuple[Callable[..., Any], tuple[Any, ...]]  # a function of NumPy, and its arguments with where the result goes


class FlatMLP:
    """A tanh network on batches of a fixed size, with cross-entropy; its weights are one vector, its gradient another.

    All arrays are allocated once, and a step is a list of calls on them: at this size Python's own work counts. Hidden
    values have the examples along the last axis and a row of ones at the end, so that a layer with its bias is one
    product of matrices.

    Parameters
    ----------
    sizes : tuple of ints
        Widths of the layers: inputs, hidden ones, classes.
    batch : int
        Examples of a batch, b.

    Attributes
    ----------
    rows : ndarray of float32, shape (b, inputs + 1 + classes)
        The batch, to be filled by the caller: inputs, a one, and 1/b at the class.
    weights, gradient : ndarray of float32, shape (n,)
        What `forward` reads, and what `backward` writes.
    leaves : tuple of slices
        Where the matrix and the bias of each layer lie in the vectors.

    Examples
    --------
    >>> net = FlatMLP((2, 3, 2), batch=1)
    >>> net.rows[:] = [[0.5, -0.5, 1.0, 0.0, 1.0]]
    >>> net.forward()
    >>> round(net.loss(), 6), net.leaves[:2]  # weights of zero: both classes are equally likely
    (0.693147, (slice(0, 6, None), slice(6, 9, None)))
    """

    def __init__(self, sizes: tuple[int, ...], batch: int):
        self.sizes = sizes
        ends = [0, *itertools.accumulate(n for a, b in itertools.pairwise(sizes) for n in (a * b, b))]
        self.leaves = tuple(slice(*pair) for pair in itertools.pairwise(ends))
        self.weights, self.gradient = np.zeros((2, ends[-1]), np.float32)
        self.rows = np.zeros((batch, sizes[0] + 1 + sizes[-1]), np.float32)
        self._targets = self.rows[:, -sizes[-1] :].T
        self._logits = np.empty((sizes[-1], batch), np.float32)
        self._sums = np.empty(batch, np.float32)
        self._forward: list[Call] = []
        self._backward: list[Call] = []
        self._record()

    def _record(self) -> None:
        """Write down the calls of a pass forwards and backwards."""
        inputs, logits, sums = self.rows[:, : self.sizes[0] + 1].T, self._logits, self._sums
        batch = len(self.rows)
        hidden = [np.ones((width + 1, batch), np.float32) for width in self.sizes[1:-1]]
        ins, outs = [inputs, *hidden], [*(values[:-1] for values in hidden), logits]
        starts = self.leaves[::2]
        shapes = [(a + 1, b) for a, b in itertools.pairwise(self.sizes)]
        weights, gradients = (
            [flat[leaf.start :][: a * b].reshape(a, b) for leaf, (a, b) in zip(starts, shapes, strict=True)]
            for flat in (self.weights, self.gradient)
        )
        for values, matrix, out in zip(ins, weights, outs, strict=True):
            self._forward.append((np.dot, (matrix.T, values, out)))
            if out is not logits:
                self._forward.append((np.tanh, (out, out)))
        self._forward += [
            (np.maximum.reduce, (logits, 0, None, sums)),
            (np.subtract, (logits, sums, logits)),
        ]
        self._backward += [  # softmax(logits)/b - targets
            (np.exp, (logits, logits)),
            (np.add.reduce, (logits, 0, None, sums)),
            (np.multiply, (sums, np.float32(batch), sums)),
            (np.divide, (logits, sums, logits)),
            (np.subtract, (logits, self._targets, logits)),
        ]
        slope = logits
        for values, matrix, gradient in list(zip(ins, weights, gradients, strict=True))[::-1]:
            self._backward.append((np.dot, (values, slope.T, gradient)))
            if values is not inputs:
                value, below, square = values[:-1], np.empty_like(values[:-1]), np.empty_like(values[:-1])
                self._backward += [  # times the slope of tanh, 1 - tanh²
                    (np.dot, (matrix[:-1], slope, below)),
                    (np.multiply, (value, value, square)),
                    (np.subtract, (np.float32(1), square, square)),
                    (np.multiply, (below, square, below)),
                ]
                slope = below

    def start(self, rng: np.random.Generator) -> None:
        """Draw the matrices from N(0, 1/fan_in), and set the biases to zero."""
        self.weights[:] = 0
        for leaf, fan_in in zip(self.leaves[::2], self.sizes[:-1], strict=True):
            self.weights[leaf] = rng.standard_normal(leaf.stop - leaf.start, np.float32) / np.sqrt(np.float32(fan_in))

    def forward(self) -> None:
        """Take the batch in `rows` through the network."""
        for function, arguments in self._forward:
            function(*arguments)

    def loss(self) -> float:
        """Return the mean cross-entropy of the batch that `forward` took last."""
        logits = self._logits  # less their maximum
        return float(np.log(np.add.reduce(np.exp(logits))).mean() - np.vdot(logits, self._targets))

    def backward(self) -> None:
        """Put the gradient of that mean into `gradient`; NaN anywhere on the way makes its last entry NaN."""
        for function, arguments in self._backward:
            function(*arguments)
