"""One step of Lion on one tensor, in plain torch: what the fast paths have to give."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from selectlib.kernels._philox import philox

_TAG = 0x4C494F4E  # the fourth word of the counter: these numbers are used for nothing else
_A_BLOCK = 8  # 16-bit numbers that one counter gives


class Average(NamedTuple):
    """``old + weight * (grad - old)``, or ``grad + weight * (grad - old)``.

    The nearer end is the base, as in `torch.lerp`: a beta of 0 gives the gradient exactly.
    """

    weight: float
    from_old: bool


class Rule(NamedTuple):
    """What is the same for all tensors of a step."""

    lr: float | Tensor
    weight_decay: float
    update: Average
    momentum: Average
    scale: float | Tensor  # of the gradients, with their sign
    found_inf: Tensor | None
    seed: int | None
    step: int | Tensor

    def on(self, device: torch.device) -> "Rule":
        """The same rule with its tensors on another device."""

        def there(value: Any) -> Any:
            return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value

        return Rule(*map(there, self))


class Batch(NamedTuple):
    """Tensors that are served together, and their positions in the call."""

    params: list[Tensor]
    grads: list[Tensor]
    exp_avgs: list[Tensor]
    positions: list[int]

    def add(self, p: Tensor, g: Tensor, m: Tensor, position: int) -> None:
        self.params.append(p)
        self.grads.append(g)
        self.exp_avgs.append(m)
        self.positions.append(position)


def average_of(beta: float) -> Average:
    """The moving average whose old value weighs `beta`."""
    return Average(-beta, False) if beta <= 0.5 else Average(1 - beta, True)


def lion_step_reference(p: Tensor, g: Tensor, m: Tensor, position: int, rule: Rule) -> None:
    """Change the weights `p` and the momentum `m`; every product and every sum is rounded."""
    wide = torch.float64 if torch.float64 in (p.dtype, m.dtype) else torch.float32
    old, grad, weights = m.to(wide), g.to(wide) * rule.scale, p.to(wide)
    difference = grad - old
    sign = _average(old, grad, difference, rule.update).sign_()
    new = weights * (1 - rule.lr * rule.weight_decay) - sign * rule.lr
    if rule.seed is not None and p.dtype == torch.bfloat16:
        new = _round_at_random(new, position, rule.step, rule.seed)
    momentum = _average(old, grad, difference, rule.momentum)
    if rule.found_inf is not None:  # nobody waits for a device
        skip = rule.found_inf != 0
        new, momentum = torch.where(skip, weights, new), torch.where(skip, old, momentum)
    p.copy_(new)
    m.copy_(momentum)


def _average(old: Tensor, grad: Tensor, difference: Tensor, how: Average) -> Tensor:
    return (old if how.from_old else grad) + difference * how.weight


def _round_at_random(exact: Tensor, position: int, step: int | Tensor, seed: int) -> Tensor:
    """float32 numbers that are bfloat16 too, next to the exact ones, and drawn so that their mean is the exact one."""
    blocks = torch.arange(-(-exact.numel() // _A_BLOCK), device=exact.device)
    counters = torch.stack([blocks, *(torch.full_like(blocks, word) for word in (position, 0, _TAG))], -1)
    counters[:, 2] = step & 0xFFFFFFFF
    words = philox(counters, torch.tensor([seed & 0xFFFFFFFF, seed >> 32]))
    halves = torch.stack([words & 0xFFFF, words >> 16], -1).flatten()[: exact.numel()].view(exact.shape)
    bits = exact.contiguous().view(torch.int32)
    raised = (bits + halves.to(torch.int32)) & -0x10000
    return torch.where(exact.isfinite(), raised.view(torch.float32), exact)
