"""How far the attention of draft layers is from that of target layers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

_SUM_ERROR = 0.01  # what a row's sum may miss 1 by: half precisions do


def divergences(
    draft_maps: Sequence[Float[Tensor, "q t"]], target_maps: Sequence[Float[Tensor, "q t"]], rows: slice, eps: float
) -> tuple[Float[Tensor, "m n"], Int[Tensor, ""]]:
    """Sum KL(target, draft) over some queries of one text, for all pairs of layers.

    Parameters
    ----------
    draft_maps, target_maps : sequences of n and of m Tensors, shape (q, t)
        Attention of each layer; the rows are rescaled to sum to 1.
    rows : slice
        Which queries.
    eps : float
        Draft weights are lifted to it.

    Returns
    -------
    total : Tensor of float32, shape (m, n)
        Sum over the queries that every layer has, nats, on the target's device.
    known : Tensor of int64
        Their number: rows that are zero or hold NaN in some layer are left out.

    Raises
    ------
    ValueError
        If a weight is negative, or a row's sum is neither 0 nor 1 within 1 %.

    Notes
    -----
    Entropies and cross-entropies are subtracted query by query, before the sum: a layer's divergence from itself comes
    out at rounding error.

    Examples
    --------
    >>> import torch
    >>> flat, first = torch.full((1, 4), 0.25), torch.eye(4)[:1]
    >>> total, known = divergences([flat], [flat, first], slice(0, 1), 1e-10)
    >>> [round(float(value), 3) for value in total[:, 0]], int(known)
    ([0.0, 1.386], 1)
    """
    device = target_maps[0].device
    draft, target = (_rows(maps, rows, device) for maps in (draft_maps, target_maps))
    known = ~(draft.isnan().any(-1).any(0) | target.isnan().any(-1).any(0))
    draft, target = draft.nan_to_num(0), target.nan_to_num(0)
    entropy = torch.special.entr(target).sum(-1)
    cross = target.transpose(0, 1) @ draft.clamp(min=eps).log().permute(1, 2, 0)  # (rows, m, n)
    return ((-entropy.T[:, :, None] - cross) * known[:, None, None]).sum(0), known.sum()


def _rows(maps: Sequence[Tensor], rows: slice, device: torch.device) -> Float[Tensor, "layers rows t"]:
    """The rows of every layer, each summing to 1; in float32, since less would lose the tail of a distribution."""
    weights = torch.stack([layer[rows].to(device, torch.float32) for layer in maps])
    sums = weights.sum(-1, keepdim=True)
    wrong = (weights < 0).any(-1, keepdim=True) | ((sums != 0) & ((sums - 1).abs() > _SUM_ERROR))
    if wrong.any():
        raise ValueError(
            "attention must have rows of non-negative weights that sum to 1, got one with the sum "
            f"{float(sums[wrong][0]):.4g}, and the least weight {float(weights.nan_to_num(0).min()):.4g}"
        )
    return weights / sums  # NaN where the sum is 0
