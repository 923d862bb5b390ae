"""From which draft layer a target layer takes its selection: maps from layers to layers."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def monotone_map(cost: Float[Tensor, "m n"]) -> Int[Tensor, "m"]:
    """Find the cheapest map that never goes back to an earlier draft layer, by dynamic programming.

    Parameters
    ----------
    cost : Tensor of float, shape (m, n)
        Cost of mapping target layer j to draft layer i, finite.

    Returns
    -------
    Tensor of int64, shape (m,)
        The draft layer of each target layer, non-decreasing, with the least sum of costs. Among equally cheap maps,
        each step back from the last layer takes the smallest index.

    Raises
    ------
    ValueError
        If `cost` is empty or not finite.

    Notes
    -----
    The least cost of the first j layers with the last of them at draft layer i is
    ``D[j, i] = cost[j, i] + min(D[j-1, :i+1])``, and the minimum is carried along i: time O(m n), in double precision
    on the CPU.

    Source: Shah, arXiv 2510.27641, layer alignment.

    Examples
    --------
    >>> import torch
    >>> cost = torch.tensor([[0.8, 2.5, 1.3], [2.9, 1.2, 1.1], [3.8, 0.9, 1.2], [2.6, 1.7, 1.4]])
    >>> monotone_map(cost).tolist(), greedy_map(cost).tolist()
    ([0, 1, 1, 2], [0, 2, 1, 2])
    """
    rows = _rows(cost)
    least, steps = rows[0], []
    for row in rows[1:]:
        before, best = [], 0
        for i, value in enumerate(least):
            best = i if value < least[best] else best
            before.append(best)
        least = [c + least[i] for c, i in zip(row, before, strict=True)]
        steps.append(before)
    layers = [_argmin(least)]
    for before in reversed(steps):
        layers.append(before[layers[-1]])
    return torch.tensor(layers[::-1], device=cost.device)


def greedy_map(cost: Float[Tensor, "m n"]) -> Int[Tensor, "m"]:
    """Map every target layer to its cheapest draft layer, whatever the others do.

    Parameters
    ----------
    cost : Tensor of float, shape (m, n)
        Cost of mapping target layer j to draft layer i, finite.

    Returns
    -------
    Tensor of int64, shape (m,)
        The draft layer of each target layer; the smallest index among equals.

    Raises
    ------
    ValueError
        If `cost` is empty or not finite.

    Notes
    -----
    Time O(m n). Its sum of costs is a lower bound of that of `monotone_map`.

    Examples
    --------
    >>> import torch
    >>> greedy_map(torch.tensor([[2.0, 1.0], [0.5, 0.5]])).tolist()
    [1, 0]
    """
    return torch.tensor([_argmin(row) for row in _rows(cost)], device=cost.device)


def uniform_map(n: int, m: int) -> Int[Tensor, "m"]:
    """Spread the target layers evenly over the draft layers, without looking at either.

    Parameters
    ----------
    n : int
        Number of draft layers, at least 1.
    m : int
        Number of target layers, at least 1.

    Returns
    -------
    Tensor of int64, shape (m,)
        ``j (n - 1) / (m - 1)`` rounded, halves upwards; 0 where there is one target layer.

    Raises
    ------
    ValueError
        If a number is below 1.

    Examples
    --------
    >>> uniform_map(3, 4).tolist(), uniform_map(5, 3).tolist(), uniform_map(1, 2).tolist()
    ([0, 1, 1, 2], [0, 2, 4], [0, 0])
    """
    for name, value in (("n", n), ("m", m)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    last = max(m - 1, 1)
    return (2 * torch.arange(m) * (n - 1) + last) // (2 * last)


def _rows(cost: Tensor) -> list[list[float]]:
    if cost.ndim != 2 or not cost.numel():
        raise ValueError(f"cost must have at least one row and one column, got shape {tuple(cost.shape)}")
    if not cost.isfinite().all():
        raise ValueError("cost must be finite, got NaN or infinity")
    return cost.tolist()


def _argmin(values: list[float]) -> int:
    return min(range(len(values)), key=values.__getitem__)
