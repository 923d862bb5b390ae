"""Steps and budgets of one forward pass, as a selection policy sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Run:
    """One forward of the target: its queries, the steps they belong to, and what is known before it.

    Parameters
    ----------
    starts
        For each query the number of tokens that were cached when its step began, non-decreasing: ``(q,)``, int64. Only
        these tokens are selected from. Queries of the dense prefill have 0: all that they see is in flight.
    gamma
        Queries of the longest step after the prefill.
    num_layers
        Layers of the target.
    dense_layers
        How many of them, from the input on, are not asked for a selection; default 0.
    cached
        Tokens in the cache before this forward; 0 (the default) begins a new sequence.
    draft_rows
        For each draft layer that was captured, the head-mean attention of the forward's queries: ``(r, w)``, zero right
        of the query's own column; default none.
    row_positions
        Position of each of these rows, ascending: ``(r,)``, int64; default None.
    budgets
        Cached tokens that a query may read in each layer, for policies of fixed size: ``(num_layers, q)``, int64;
        default None.

    Raises
    ------
    Nothing is checked: a run is made for every forward by code that has checked its inputs.

    Examples
    --------
    >>> from selectlib.attention._run import Run, step_starts
    >>> Run(starts=step_starts(7, prefill=2, gamma=2), gamma=2, num_layers=4).starts.tolist()
    [0, 0, 2, 2, 4, 4, 6]
    """

    starts: Int[Tensor, " q"]
    gamma: int
    num_layers: int
    dense_layers: int = 0
    cached: int = 0
    draft_rows: Mapping[int, Float[Tensor, "r w"]] = field(default_factory=dict)
    row_positions: Int[Tensor, " r"] | None = None
    budgets: Int[Tensor, "layers q"] | None = None


def step_starts(
    length: int, prefill: int, gamma: int, device: str | torch.device | None = None
) -> Int[Tensor, " length"]:
    """Where the step of each position begins: 0 in the prefill, then steps of `gamma` positions, the last one shorter.

    Parameters
    ----------
    length : int
        Number of positions.
    prefill : int
        Number of dense positions at the front.
    gamma : int
        Positions a step, at least 1.
    device : str or torch.device, optional
        Where the result lies; default: torch's default device.

    Returns
    -------
    Int[Tensor, "length"]
        int64.

    Raises
    ------
    ValueError
        If `gamma` is below 1 or `prefill` is not from 0 to `length`.

    Examples
    --------
    >>> step_starts(6, prefill=1, gamma=3).tolist()
    [0, 1, 1, 1, 4, 4]
    """
    if gamma < 1:
        raise ValueError(f"gamma must be at least 1, got {gamma}")
    if not 0 <= prefill <= length:
        raise ValueError(f"prefill must be from 0 to {length}, got {prefill}")
    positions = torch.arange(length, device=device)
    return torch.where(positions < prefill, 0, positions - (positions - prefill) % gamma)
