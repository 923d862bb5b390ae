"""Sparse rows in blocks, each with the columns of its own nonzeros, and centred through two columns of its own."""

from itertools import pairwise
from typing import Any, NamedTuple

import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from torch import Tensor


class Block(NamedTuple):
    """Rows `part`; their columns among those in use, the two of the mean last; and where their values go."""

    part: slice
    columns: Int[Tensor, "w"]
    places: Int[Tensor, "m"]
    values: Float[Tensor, "m"]


class SparseRows:
    """Blocks of rows such that ``masked @ x.T`` is their block of the centred, masked Gram matrix.

    ``x = (X, 1, q)`` and ``masked = (X T, c - q, -1)`` with T the masks, ``q = X T mean``, ``c = meanᵀ T mean``.

    Parameters
    ----------
    X : scipy.sparse matrix or array, or sparse CSR tensor, shape (n, d)
        The rows.
    s : Tensor of floats, shape (d,)
        Mask of each column.
    y : Tensor of floats, shape (n,)
        Gives the dtype and the device.
    chunk : int or None
        Rows of a block; None: 32, on CUDA 128.
    mean, scale : Tensor of floats, shape (d,), or None
        The columns are ``(X - mean) / scale``.
    """

    def __init__(
        self, X: Any, s: Tensor, y: Tensor, chunk: int | None, mean: Tensor | None, scale: Tensor | None
    ) -> None:
        starts, column, values = (part.to(y.device) for part in _compressed(X))
        n, d = X.shape
        size = chunk or (128 if y.is_cuda else 32)
        edges = torch.arange(0, n + size, size, device=y.device).clamp_(max=n)
        row = torch.repeat_interleave(starts.diff())
        # The pairs (block, column) with a nonzero, in order; and the columns with one.
        pairs, pair = (row // size * d + column).unique(return_inverse=True)
        self._used, used = (pairs % d).unique(return_inverse=True)
        first = torch.searchsorted(pairs, torch.arange(len(edges), device=y.device) * d)
        widths = first.diff() + 2
        places = row % size * widths[row // size] + pair - first[row // size]

        self.width = len(self._used) + 2
        self._square, self._scale = (y.new_zeros(d) if mean is None else mean**2), scale
        t = s if scale is None else s / scale**2
        self._constant = (t * self._square).sum()
        self._masks = _padded(t[self._used])
        self.mean = _padded(y.new_zeros(len(self._used)) if mean is None else mean[self._used])
        last_two = torch.arange(self.width - 2, self.width, device=y.device)
        cut = torch.stack([edges, starts[edges], first]).T.tolist()
        values = values.to(y.dtype)
        self.blocks = [
            Block(slice(i, i_), torch.cat([used[k:k_], last_two]), places[j:j_], values[j:j_])
            for (i, j, k), (i_, j_, k_) in pairwise(cut)
        ]

    def dense(self, block: Block) -> tuple[Float[Tensor, "b w"], Float[Tensor, "b w"]]:
        """The rows of a block, and the same with masks."""
        shape = (block.part.stop - block.part.start, len(block.columns))
        x = block.values.new_zeros(shape)
        x.view(-1).index_add_(0, block.places, block.values)
        masked = x * self._masks[block.columns]
        q = masked @ self.mean[block.columns]
        x[:, -2], x[:, -1] = 1, q
        masked[:, -2], masked[:, -1] = self._constant - q, -1
        return x, masked

    def gradient(self, total: Float[Tensor, "w"], weight: Float[Tensor, ""]) -> Float[Tensor, "d"]:
        """The gradient in all masks from that of the columns in use, and the weight of the squared means."""
        gradient = (self._square * weight).index_add_(0, self._used, total[:-2])
        return gradient if self._scale is None else gradient / self._scale**2

    @staticmethod
    def ones(state: Float[Tensor, "k w"]) -> Float[Tensor, "k 1"]:
        """What a state over the columns of a block has summed of the column of ones."""
        return state[:, -2:-1]


def _padded(values: Float[Tensor, "used"]) -> Float[Tensor, "used+2"]:
    """With zeros for the two columns of the mean."""
    return torch.nn.functional.pad(values, (0, 2))


def _compressed(X: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Where rows start, the columns and the values."""
    if sp.issparse(X):
        X = X.tocsr()
        parts = torch.from_numpy(X.indptr), torch.from_numpy(X.indices), torch.from_numpy(X.data)
    elif isinstance(X, Tensor) and X.layout == torch.sparse_csr:
        parts = X.crow_indices(), X.col_indices(), X.values()
    else:
        raise TypeError(f"X must be a scipy.sparse matrix or a CSR tensor, got {type(X).__name__}")
    return parts[0].long(), parts[1].long(), parts[2]
