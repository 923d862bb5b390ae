"""Moments and their gradient in two passes over blocks of rows: linear in rows and columns, and no graph.

Chains of rows in ascending order link a row with an earlier one in its block, through the block's small Gram matrix, or
with one in an earlier block, through a sum over all of those: K vectors as wide as a row, the state.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.features._recursion import chain_weights, growth, on_device, products_of_growth

_BALANCE = 2_000_000  # on a CPU, chunk² times d at which a block's own products cost as much as its calls


def chunk_value_and_grad(
    s: Float[Tensor, "d"],
    X: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    coeffs: Sequence[float],
    *,
    chunk: int | None = None,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "d"]]:
    """Value and gradient; memory O(n (K + chunk) + d (K + chunk)) beside the arguments."""
    n, order = len(y), len(coeffs)
    factors, blocks = growth(order, n), Blocks(X, order, chunk, mean, scale)
    left, grams = left_chains(s, blocks, y, factors)
    z = left[1:] @ y @ on_device(coeffs, y) / n
    weighted = chain_weights(coeffs, n, y) @ left[:order]
    total = torch.zeros_like(blocks.buffer)
    blocks.state.zero_()
    for part, rows in blocks.walk(backwards=True):
        state, x, w = rows[:order], rows[order:], weighted[:, part]
        right = lengthen(grams.pop(), (state * s) @ x.T, y[part], factors[:-1])
        pairs = (w.T @ right).triu_(1)
        # In one product: what the state and the block's rows are to be paired with, and what the state gains.
        products = torch.cat([w, pairs, right]) @ x
        total[: len(rows)].addcmul_(rows, products[: len(rows)])
        state += products[len(rows) :]
    return z, total.sum(0)


def chunk_moments(
    s: Float[Tensor, "d"],
    X: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    order: int,
    *,
    chunk: int | None = None,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> Float[Tensor, "k"]:
    """The moments, in one pass."""
    blocks = Blocks(X, order, chunk, mean, scale)
    return left_chains(s, blocks, y, growth(order, len(y)), keep=False)[0][1:] @ y / len(y)


def row_chains(
    s: Float[Tensor, "d"],
    X: Float[Tensor, "n d"],
    y: Float[Tensor, "n"],
    order: int,
    *,
    turn: Int[Tensor, "n"] | None = None,
    mean: Float[Tensor, "d"] | None = None,
    scale: Float[Tensor, "d"] | None = None,
) -> tuple[Float[Tensor, "m n"], Float[Tensor, "m n"]]:
    """Chains of 0..K links that end and that start at each row, in the order `turn` of the rows."""
    blocks, factors = Blocks(X, order, None, mean, scale, turn), growth(order, len(y))
    y = y if turn is None else y[turn]
    left, grams = left_chains(s, blocks, y, factors)
    right = torch.empty_like(left)
    blocks.state.zero_()
    for part, rows in blocks.walk(backwards=True):
        state, x = rows[:order], rows[order:]
        right[:, part] = starts = lengthen(grams.pop(), (state * s) @ x.T, y[part], factors)
        state.addmm_(starts[:order], x)
    return left, right


class ChainSums:
    """All that a stream's moments need of the rows gone by: the state and K sums, in float64.

    Parameters
    ----------
    order : int
        The highest moment, K.
    mean, scale : Tensor of float64, shape (d,)
        Rows are taken as ``(x - mean) / scale``.
    """

    def __init__(self, order: int, mean: Float[Tensor, "d"], scale: Float[Tensor, "d"]) -> None:
        self.n = 0
        self._mean, self._scale = mean, scale
        self._state = mean.new_zeros(order, len(mean))
        self._sums = mean.new_zeros(order)

    def add(self, X: Float[Tensor, "n d"], y: Float[Tensor, "n"]) -> None:
        """Take in more rows. How many there will be is not known, so that sums grow as n^K; float64 has the room."""
        blocks = Blocks(X, len(self._state), None, self._mean, self._scale)
        blocks.state.copy_(self._state)
        left, _ = left_chains(torch.ones_like(self._mean), blocks, y, [1.0] * len(self._state), keep=False)
        self._state = blocks.state.clone()
        self._sums += left[1:] @ y
        self.n += len(y)

    def moments(self) -> Float[Tensor, "k"]:
        """The moments of the rows so far, which must be more than K."""
        return self._sums * self._sums.new_tensor(products_of_growth(len(self._sums), self.n)[1:]) / self.n


class Blocks:
    """Standardised rows, block by block, below the K rows of a state that starts as 0 and is the caller's to change."""

    def __init__(
        self,
        X: Float[Tensor, "n d"],
        order: int,
        chunk: int | None,
        mean: Float[Tensor, "d"] | None,
        scale: Float[Tensor, "d"] | None,
        turn: Int[Tensor, "n"] | None = None,
    ) -> None:
        n, d = X.shape
        size = min(n, chunk or (512 if X.is_cuda else min(128, max(16, round((_BALANCE / d) ** 0.5)))))
        self.parts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
        self.buffer = X.new_empty(order + size, d)
        self.state = self.buffer[:order].zero_()
        self._X, self._mean, self._turn = X, mean, turn
        self._inverse = None if scale is None else 1 / scale

    def walk(self, backwards: bool = False) -> Iterator[tuple[slice, Float[Tensor, "r d"]]]:
        """Yield each part, and the state with the part's rows below it."""
        order = len(self.state)
        for part in reversed(self.parts) if backwards else self.parts:
            rows = self.buffer[: order + part.stop - part.start]
            given, x = self._X[part if self._turn is None else self._turn[part]], rows[order:]
            if self._mean is None:
                x.copy_(given)
            else:
                torch.sub(given, self._mean, out=x)
            if self._inverse is not None:
                x *= self._inverse
            yield part, rows


def left_chains(
    s: Float[Tensor, "d"], blocks: Blocks, y: Float[Tensor, "n"], factors: list[float], keep: bool = True
) -> tuple[Float[Tensor, "m n"], list[Float[Tensor, "b b"]]]:
    """Sums over the chains of 0..K links that end at each row, and the blocks' Gram matrices if they are to be kept."""
    order = len(factors)
    left = y.new_empty(order + 1, len(y))
    grams: list[Tensor] = []
    for part, rows in blocks.walk():
        state, x = rows[:order], rows[order:]
        products = rows @ (x * s).T
        gram = products[order:].triu_(1)
        left[:, part] = ends = lengthen(gram.T, products[:order], y[part], factors)
        state.addmm_(ends[:order], x)
        if keep:
            grams.append(gram)
    return left, grams


def lengthen(
    gram: Float[Tensor, "b b"], outside: Float[Tensor, "k b"], y: Float[Tensor, "b"], factors: list[float]
) -> Float[Tensor, "m b"]:
    """Chains of 0..len(factors) links at a block's rows; `outside` has the links to other blocks and is overwritten."""
    ends = [y]
    for link, factor in zip(outside.unbind(), factors, strict=False):
        ends.append(link.addmv_(gram, ends[-1], beta=factor, alpha=factor))
    return torch.stack(ends)
