"""The likeliest set, greedily: each step takes the item that multiplies the determinant the most."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_choice, check_int
from selectlib.pool import ItemSource
from selectlib.subsets._checks import check_kernel
from selectlib.subsets._kernels import Kernel, Precomputed
from selectlib.subsets._sources import as_source

_BLOCK = 65_536  # items fetched at once


def greedy_map(
    source_or_L: Any,
    k: int,
    *,
    kernel: Kernel | None = None,
    window: int | None = None,
    eps: float = 1e-10,
    stop: Literal["size", "gain"] = "size",
) -> Int[Tensor, "s"]:
    """Select a diverse set greedily: maximise det L_S, one item at a time.

    Parameters
    ----------
    source_or_L : Tensor (n, n), or anything that `as_source` takes
        The kernel matrix, where `kernel` is left out; else the items.
    k : int
        Number of items, from 0 to n.
    kernel : Kernel, optional
        Similarity of two items; its rows are computed as they are needed.
    window : int, optional
        An item has to differ only from the ``window - 1`` items taken before it. Default: from all of them.
    eps : float, default 1e-10
        An item whose gain is at most `eps` times the largest L_ii counts as a combination of those it has to differ
        from. (Rounding is larger for a kernel matrix in float32: 1e-6.)
    stop : {"size", "gain"}, default "size"
        "size" takes exactly k items. "gain" stops before the first item that would not increase the determinant (gain
        below 1), or after k items: the unconstrained mode of a random-size DPP.

    Returns
    -------
    LongTensor (s,)
        Distinct item indices in the order in which they were taken; s = k for ``stop="size"``. Of equal gains the
        lowest index wins.

    Raises
    ------
    ValueError
        If an argument is out of range, a feature is not finite, the kernel is not positive semi-definite, or (for
        ``stop="size"``) its numerical rank is below `k`.

    Notes
    -----
    O(n k²) time and O(n k) memory, or O(n k w) and O(n w) with a window of w; the items are fetched k times, in blocks.
    Source: Chen, Zhang and Zhou (2018), algorithm 1 for the gains. For the window we rotate the incremental Cholesky
    rows c_i, rather than update a triangle: only their inner products matter.

    Examples
    --------
    >>> import torch
    >>> from selectlib.subsets._kernels import RBF
    >>> greedy_map(torch.tensor([[0.0], [0.1], [1.0], [9.0]]), 3, kernel=RBF(1.0)).tolist()
    [0, 3, 2]
    """
    source, kernel = items_and_kernel(source_or_L, kernel)
    check_int("k", k, 0, len(source))
    if window is not None:
        check_int("window", window, 1, None)
    check_choice("stop", stop, ("size", "gain"))
    gains = torch.cat([kernel.diag(X).to(torch.float64) for X in _blocks(source)])  # d_i²
    scale = float(gains.max())
    available = torch.ones_like(gains, dtype=torch.bool)
    memory = min(k if window is None else window, k) - 1  # earlier items that an item has to differ from
    C = gains.new_zeros(len(gains), max(memory, 0) + 1)  # c_i
    taken: list[int] = []
    while len(taken) < k:
        best = int(torch.where(available, gains, -torch.inf).argmax())
        gain = float(gains[best])
        if stop == "gain" and gain < 1:
            break
        if not gain > eps * scale:
            raise ValueError(
                f"k must be at most the numerical rank, got {k}: after {len(taken)} items every gain is at most "
                f"eps = {eps:g} of the largest diagonal entry, {scale:g}"
            )
        taken.append(best)
        available[best] = False
        if len(taken) == k or memory == 0:
            continue
        new = min(len(taken) - 1, memory)
        similarity = _similarity(source, kernel, best)
        C[:, new] = (similarity.to(torch.float64) - C[:, :new] @ C[best, :new]) / gain**0.5  # e_i
        gains = gains - C[:, new].square()
        tolerance = 1e-8 if similarity.dtype == torch.float64 else 1e-5
        if float(gains.min()) < -tolerance * scale:
            raise ValueError(f"kernel must be positive semi-definite: a Schur complement is {float(gains.min()):.3e}")
        if new == memory:
            gains = gains + _forget_oldest(C, taken[-memory:])
    return torch.tensor(taken, dtype=torch.int64, device=gains.device)


def items_and_kernel(source_or_L: Any, kernel: Kernel | None) -> tuple[ItemSource, Kernel]:
    """The source and kernel that a caller means; a kernel matrix stands for its indices."""
    if kernel is not None:
        return as_source(source_or_L), check_kernel(kernel)
    if not isinstance(source_or_L, Tensor):
        raise TypeError(f"without a kernel, a kernel matrix (Tensor) is needed, got {type(source_or_L).__name__}")
    precomputed = Precomputed(source_or_L)
    return as_source(range(len(source_or_L)), device=source_or_L.device), precomputed


def fetch(source: ItemSource, idx: Int[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
    """Features of the items `idx`, in float64; an error names an item that is not finite."""
    features = source.fetch(idx.flatten()).to(torch.float64)
    finite = features.isfinite().all(-1)
    if not bool(finite.all()):
        item = int(idx.flatten().to(finite.device)[~finite][0])
        raise ValueError(f"features must be finite; item {item} has NaN or infinity")
    return features.unflatten(0, idx.shape)


def _blocks(source: ItemSource):
    for block in torch.arange(len(source)).split(_BLOCK):
        yield fetch(source, block)


def _similarity(source: ItemSource, kernel: Kernel, item: int) -> Tensor:
    """Column `item` of the kernel matrix."""
    x = fetch(source, torch.tensor([item]))
    return torch.cat([kernel(X, x)[:, 0] for X in _blocks(source)])


def _forget_oldest(C: Tensor, kept: list[int]) -> Tensor:
    """Take the direction that only the oldest remembered item needed out of all rows of C, in place.

    `kept` are the items that stay, one fewer than C has columns. Returns what every item's gain gets back.
    """
    z = torch.linalg.qr(C[kept].T, mode="complete").Q[:, -1]  # orthogonal to the rows that stay
    # The reflection that maps z to the first axis (up to sign), where it is then dropped.
    h = z.clone()
    h[0] += torch.copysign(h.new_ones(()), h[0])
    h = h / h.norm()
    C -= 2 * (C @ h)[:, None] * h
    returned = C[:, 0].square()
    C[:, :-1] = C[:, 1:].clone()
    return returned
