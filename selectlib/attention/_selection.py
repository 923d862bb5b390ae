"""From the draft's attention rows to the cached tokens that each query of a step may read."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.kernels._topp import topp_mask

Mask = Literal["causal", "published"]


def draft_keep(
    rows: Float[Tensor, "n r w"],
    row_positions: Int[Tensor, " r"],
    positions: Int[Tensor, " q"],
    starts: int | Int[Tensor, " q"],
    p: float,
    mask: Mask = "causal",
    *,
    sink: int = 0,
    recent: int = 0,
    method: str = "auto",
    iterations: int | None = None,
    bound: str = "lower",
    longest: int | None = None,
) -> Bool[Tensor, "n q l"]:
    """Choose the cached tokens for the queries of one step, or of many steps at once, by top-p on draft rows.

    Each row's smallest set of mass at least `p` is taken over the whole row. A query then uses a union of its step's
    sets, cut to the tokens that were cached when the step began.

    Parameters
    ----------
    rows : Float[Tensor, "n r w"]
        Attention of n draft layers, averaged over heads. The row of position t covers columns ``0 .. t`` and is zero
        after; ``w`` is at least every position plus 1.
    row_positions : Int[Tensor, "r"]
        Position of each row, ascending.
    positions : Int[Tensor, "q"]
        Position of each query, ascending.
    starts : int or Int[Tensor, "q"]
        Length of the cache when the query's step began, non-decreasing. An int: all queries are of one step.
    p : float
        Mass to keep, in (0, 1].
    mask : {"causal", "published"}, default "causal"
        ``"causal"``: the query at position t uses the step's rows at positions up to t. ``"published"``: it uses all
        rows of its step, which have seen tokens that come after t.
    sink, recent : int, default 0
        Cached tokens kept whatever the rows say: the first `sink` and the last `recent`.
    method, iterations, bound
        As in `selectlib.kernels.topp_mask`.
    longest : int, optional
        Rows of the longest step; default: all rows. Only a matter of speed where there are many steps.

    Returns
    -------
    Bool[Tensor, "n q l"]
        True on kept tokens. ``l`` is `starts` where that is an int, else ``w``; columns from the query's start on are
        False. A query whose step has no row (or none yet) keeps `sink` and `recent` only.

    Raises
    ------
    ValueError
        If `mask` is unknown, `sink` or `recent` is negative, or as `selectlib.kernels.topp_mask` raises.

    Notes
    -----
    The union over a step's queries is what has to be read, and it is the same for both masks where the last query
    comes after the last row. Time O(n·r·w·log longest), memory O(n·r·w) bytes beside the rows. No device sync.

    References
    ----------
    Shah, *SpecAttn: Speculating Sparse Attention* (arXiv:2510.27641): the union over the draft's steps is the
    published mask; the causal one is ours.

    Examples
    --------
    Two rows of one step that began with two cached tokens: the first query of the causal mask does not see what the
    second row chose.

    >>> import torch
    >>> from selectlib.attention._selection import draft_keep
    >>> rows = torch.tensor([[[0.9, 0.0, 0.1, 0.0], [0.0, 0.9, 0.0, 0.1]]])
    >>> at = torch.tensor([2, 3])
    >>> draft_keep(rows, at, at, 2, 0.8).int().tolist()
    [[[1, 0], [1, 1]]]
    >>> draft_keep(rows, at, at, 2, 0.8, "published").int().tolist()
    [[[1, 1], [1, 1]]]
    """
    if mask not in ("causal", "published"):
        raise ValueError(f"mask must be 'causal' or 'published', got {mask!r}")
    if sink < 0 or recent < 0:
        raise ValueError(f"sink and recent must be at least 0, got {sink} and {recent}")
    width = starts if isinstance(starts, int) else rows.shape[-1]
    if isinstance(starts, int):
        starts = torch.full_like(positions, starts)
    starts, positions = starts.contiguous(), positions.contiguous()
    columns = torch.arange(width, device=rows.device)
    cached = columns < starts[:, None]
    always = (columns < sink) | (columns >= starts[:, None] - recent)
    if not rows.shape[1]:
        return (always & cached).expand(rows.shape[0], -1, -1)
    selected = topp_mask(rows, p, method=method, iterations=iterations, bound=bound)
    assert isinstance(selected, Tensor)  # no thresholds were asked for

    # The rows of a query's step are first .. last; a query before its step's first row has none.
    first = torch.searchsorted(row_positions, starts)
    if mask == "causal":
        last = torch.searchsorted(row_positions, positions, right=True) - 1
    else:
        step_end = positions[torch.searchsorted(starts, starts, right=True) - 1]
        last = torch.searchsorted(row_positions, step_end, right=True) - 1
    row_step = torch.searchsorted(starts, row_positions, right=True)  # one number a step: queries that began by then
    union = prefix_union(selected[..., :width], row_step, longest or rows.shape[1])[:, last.clamp(min=0)]
    return ((union & (last >= first)[:, None]) | always) & cached


def prefix_union(
    sets: Bool[Tensor, "*groups q l"], steps: Int[Tensor, " q"], longest: int
) -> Bool[Tensor, "*groups q l"]:
    """Unite each row's set with those of the earlier rows of its step.

    Parameters
    ----------
    sets : Bool[Tensor, "*groups q l"]
        One set of columns a row.
    steps : Int[Tensor, "q"]
        Any number that tells the steps apart; the rows of a step follow one another.
    longest : int
        Rows of the longest step that matters; a row unites with at least `longest` - 1 rows before it.

    Returns
    -------
    Bool[Tensor, "*groups q l"]
        The unions. A step's last row holds the union of the whole step.

    Raises
    ------
    Nothing is checked: this runs inside attention layers.

    Notes
    -----
    Doubling: after i rounds a row holds the union over the last ``2**i`` rows of its step. O(q·l·log longest).

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._selection import prefix_union
    >>> prefix_union(torch.eye(3).bool(), torch.tensor([0, 0, 1]), 2).int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    """
    reach = 1
    while reach < min(longest, sets.shape[-2]):
        same = (steps[reach:] == steps[:-reach])[:, None]
        earlier = sets[..., :-reach, :] & same
        sets = torch.cat([sets[..., :reach, :], sets[..., reach:, :] | earlier], dim=-2)
        reach *= 2
    return sets
