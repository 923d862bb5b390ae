"""Why a run may have come to rest: the box, stalled weights, numbers that are not finite."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_BLOCK = 1 << 20  # numbers at a time, so that little memory is needed beside them


@dataclass(frozen=True)
class BoxReport:
    """What `box_report` found.

    Attributes
    ----------
    occupancy : float
        The largest absolute weight times its group's decay λ: at most 1 if all are in the box. NaN if one is NaN.
    within : float
        Share of the weights within ±1/λ, from 0 to 1; without decay, all that are finite.
    stalled : float
        Share of the weights which a step of the learning rate leaves where they are, up or down.
    nonfinite_params : float
        Share of the weights that are NaN or infinite.
    nonfinite_momentum : float
        Share of the momenta that are NaN or infinite; 0 before the first step.
    """

    occupancy: float
    within: float
    stalled: float
    nonfinite_params: float
    nonfinite_momentum: float


@torch.no_grad()
def box_report(optimizer: torch.optim.Optimizer) -> BoxReport:
    """Measure where the weights are in the box, and which cannot move.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        A `Lion`, or any other with a learning rate and weight decay in its groups.

    Returns
    -------
    BoxReport
        Shares over all weights of all groups; a complex one counts as two.

    Raises
    ------
    TypeError
        If `optimizer` is not an optimiser of torch.
    ValueError
        If it has no weights.

    Notes
    -----
    Lion's weights end up within ±1/λ, or approach it: it solves a problem with this constraint. A weight is stalled
    where w + η and w - η both are w once they are stored in its dtype, which is so where half the distance to its
    neighbours is more than η: see `rounding` in `Lion`. Decay is not counted.

    Time O(n), in blocks of 2**20 weights; the host waits for each device once. Source: the box, as for `Lion`; the
    rest is ours.

    Examples
    --------
    >>> import torch
    >>> from selectlib.optim import Lion
    >>> weights = torch.nn.Parameter(torch.tensor([0.25, -1.0, 3.0, 4.0]))
    >>> report = box_report(Lion([weights], lr=1e-3, weight_decay=0.5))
    >>> report.occupancy, report.within, report.stalled
    (2.0, 0.5, 0.0)
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    found: dict[torch.device, list[Tensor]] = {}
    weights = momenta = 0
    for group in optimizer.param_groups:
        for p in group["params"]:
            for part in _parts(p):
                weights += part.numel()
                found.setdefault(p.device, []).append(_of_weights(part, group["lr"], group["weight_decay"]))
            for part in _parts(optimizer.state.get(p, {}).get("exp_avg")):
                momenta += part.numel()
                bad = _count(~part.isfinite())
                found.setdefault(p.device, []).append(torch.stack([torch.zeros_like(bad)] * 4 + [bad]))
    if not weights:
        raise ValueError("optimizer must have weights, but all its parameters are empty")
    per_device = [torch.stack([torch.stack(rows).amax(0), torch.stack(rows).sum(0)]).cpu() for rows in found.values()]
    occupancy = torch.stack([largest for largest, _ in per_device]).amax(0)[0]
    _, within, stalled, params, momentum = torch.stack([total for _, total in per_device]).sum(0).tolist()
    return BoxReport(
        float(occupancy), within / weights, stalled / weights, params / weights, momentum / max(momenta, 1)
    )


def _parts(tensor: Any) -> Iterator[Tensor]:
    """Flat parts of a tensor, none of an empty one or of None."""
    if tensor is not None and tensor.numel():
        real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        yield from real.detach().reshape(-1).split(_BLOCK)


def _of_weights(w: Tensor, lr: Any, weight_decay: Any) -> Tensor:
    """Largest absolute value times decay, and counts: within the box, stalled, not finite, and 0 for the momentum."""
    wide = w.to(torch.promote_types(w.dtype, torch.float32))
    size = wide.abs() * weight_decay
    stalled = ((wide + lr).to(w.dtype) == w) & ((wide - lr).to(w.dtype) == w) & w.isfinite()
    counts = [_count(size <= 1), _count(stalled), _count(~w.isfinite())]
    return torch.stack([size.amax().to(torch.float64), *counts, torch.zeros_like(counts[0])])


def _count(mask: Tensor) -> Tensor:
    return mask.sum(dtype=torch.float64)
