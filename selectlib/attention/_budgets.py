"""Give the policies of fixed size what SpecAttn has read."""

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from selectlib.attention._meter import Charge, KVAccessMeter


def matched_budgets(
    meter: KVAccessMeter, mode: Literal["uniform", "layer-matched"] = "uniform", charge: Charge = "union"
) -> Int[Tensor, "b layers t"]:
    """Turn the reads of a one-pass run into budgets that add up to the same number of tokens.

    Parameters
    ----------
    meter : KVAccessMeter
        Has watched `masked_perplexity` of the policy to match (SpecAttn) on b sequences of t tokens, and nothing else.
    mode : {"uniform", "layer-matched"}, default "uniform"
        ``"layer-matched"``: each sparse layer and step (charge ``"union"``) or query (``"query"``) gets its own count,
        so that policies differ in *which* tokens only. ``"uniform"``: one budget for all sparse layers and steps of a
        sequence, as fixed-size methods are run; the tokens that an integer cannot share out evenly go one each to
        evenly spaced steps and layers.
    charge : {"union", "query"}, default "union"
        Which account the totals agree in: that of the read lists of whole steps, or that of each query alone.

    Returns
    -------
    Int[Tensor, "b layers t"]
        For `masked_perplexity`; int64 on the CPU, 0 in the dense prefill and in dense layers.

    Raises
    ------
    ValueError
        If an argument is unknown, the meter is empty, its forwards differ in length, or they do not begin a sequence.

    Notes
    -----
    A policy whose queries of a step share one set (window, StreamingLLM, H2O, TOVA, random) reads exactly the total
    under either charge that was matched. Quest keeps whole pages, and its queries differ: under ``"union"`` it reads
    more than its budget, and the meter says how much. Counts of policies that select per head are averaged over KV
    groups and rounded down. O(b·layers·t·log t).

    Examples
    --------
    >>> import torch
    >>> from types import SimpleNamespace
    >>> from selectlib.attention import KVAccessMeter, matched_budgets
    >>> config = SimpleNamespace(num_hidden_layers=2, num_attention_heads=1, num_key_value_heads=1, head_dim=8)
    >>> meter = KVAccessMeter(config)
    >>> meter.begin(torch.tensor([0, 0, 2, 3]))
    >>> meter.record(0, torch.tensor([[[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]]).bool())
    >>> meter.record(1, torch.tensor([[[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]]).bool())
    >>> matched_budgets(meter, "layer-matched").tolist()
    [[[0, 0, 2, 3], [0, 0, 0, 1]]]
    >>> matched_budgets(meter).tolist()
    [[[0, 0, 1, 2], [0, 0, 1, 2]]]
    """
    if mode not in ("uniform", "layer-matched"):
        raise ValueError(f"mode must be 'uniform' or 'layer-matched', got {mode!r}")
    counts, starts = meter.counts(charge)
    if mode == "layer-matched":
        return counts
    budgets = torch.zeros_like(counts)
    sparse = meter.sparse_layers
    if not sparse:
        return budgets
    for sequence in range(len(counts)):
        # A cell is what pays: a step at its last query, or a query. All cells of a step get the step's budget.
        pays, step = _payers(starts[sequence], charge)
        cells = starts[sequence][pays].repeat(len(sparse))  # layer by layer, so that layers differ by one token in all
        total = int(counts[sequence][sparse][:, pays].sum())
        shared = _fill(cells, total).view(len(sparse), -1)
        budgets[sequence, sparse] = torch.where(starts[sequence] > 0, shared[:, step], 0)
    return budgets


def _payers(starts: Int[Tensor, " t"], charge: str) -> tuple[Tensor, Tensor]:
    """Which positions pay, and for each position which of the payers stands for it."""
    pays = starts > 0
    if charge == "union":
        pays &= starts != torch.cat([starts[1:], starts.new_full((1,), -1)])
    return pays, (pays.cumsum(0) - pays.long()).clamp(max=int(pays.sum()) - 1)


def _fill(capacities: Int[Tensor, " n"], total: int) -> Int[Tensor, " n"]:
    """Share `total` evenly, up to each cell's capacity; what an even share leaves goes to evenly spaced cells."""
    low, high = 0, int(capacities.max())
    while low < high:  # the largest level that does not use more than there is
        middle = (low + high + 1) // 2
        if int(capacities.clamp(max=middle).sum()) <= total:
            low = middle
        else:
            high = middle - 1
    shares = capacities.clamp(max=low)
    left = total - int(shares.sum())
    room = (capacities > low).nonzero()[:, 0]
    if left:
        rank = torch.arange(len(room))
        shares[room] += (rank + 1) * left // len(room) - rank * left // len(room)
    return shares
