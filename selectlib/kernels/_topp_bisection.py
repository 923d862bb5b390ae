"""The threshold of a top-p set by bisection: of its value, as published, or of its bit pattern."""

from collections.abc import Callable

import torch
from torch import Tensor

PUBLISHED_STEPS = 10
ALL_STEPS = 31  # halve any interval of non-negative floats down to one bit pattern
_SLACK_BITS = 20  # of 23 behind the exponent


def bisect_values(rows: Tensor, total: Tensor, p: float, steps: int, bound: str) -> Tensor:
    """The published rule: the interval from 0 to the largest weight, cut in the middle of its values."""
    lower, mid, upper = _bisect(
        rows, p * total, torch.zeros_like(rows[:, :1]), rows.amax(-1, keepdim=True), _middle_value, steps
    )
    return {"lower": lower, "mid": mid, "upper": upper}[bound]


def bisect_bits(rows: Tensor, total: Tensor, p: float, steps: int) -> Tensor:
    """The same, but cut in the middle of the bit patterns."""
    # Entries below (1 - p) total / l hold less than 1 - p together. The last bits go, and one unit more, for rounding.
    lower = _bits((1 - p) * total.to(rows.dtype) / rows.shape[1]) >> _SLACK_BITS
    lower = _floats((lower - 1).clamp_(min=0) << _SLACK_BITS)
    upper = _floats(_bits(rows.amax(-1, keepdim=True)) + 1)
    if rows.device.type == "cpu":  # elsewhere the host would have to wait for the answer
        steps = min(steps, (int((_bits(upper) - _bits(lower)).max()) - 1).bit_length())
    return _bisect(rows, p * total, lower, upper, _middle_pattern, steps)[0]


def _bisect(
    rows: Tensor,
    target: Tensor,
    lower: Tensor,
    upper: Tensor,
    middle: Callable[[Tensor, Tensor], Tensor],
    steps: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep mass(lower) >= target > mass(upper), mass(x) being the sum of the entries of at least x."""
    kept = torch.empty_like(rows)
    mid = upper
    for _ in range(steps):
        mid = middle(lower, upper)
        # Zeros and ones as floats: several times faster than a mask and torch.where.
        torch.ge(rows, mid, out=kept)
        enough = kept.mul_(rows).sum(-1, keepdim=True, dtype=target.dtype) >= target
        lower, upper = torch.where(enough, mid, lower), torch.where(enough, upper, mid)
    return lower, mid, upper


def _middle_value(lower: Tensor, upper: Tensor) -> Tensor:
    return (lower + upper) / 2


def _middle_pattern(lower: Tensor, upper: Tensor) -> Tensor:
    return _floats(_bits(lower) + (_bits(upper) - _bits(lower) >> 1))


def _bits(x: Tensor) -> Tensor:
    return x.view(torch.int32)


def _floats(x: Tensor) -> Tensor:
    return x.view(torch.float32)
