"""One step of Lion on lists of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Inexact
from torch import Tensor

from selectlib._checks import check_choice, check_int
from selectlib.kernels._philox import Stream
from selectlib.optim._blocks import Block, as_real, blocks
from selectlib.optim._rounding import add_with_compensation, round_at_random

_Tensors = list[Tensor] | tuple[Tensor, ...]


@torch.no_grad()
def lion(
    params: Sequence[Inexact[Tensor, "..."]],
    grads: Sequence[Inexact[Tensor, "..."]],
    exp_avgs: Sequence[Inexact[Tensor, "..."]],
    *,
    lr: float | Tensor,
    beta1: float,
    beta2: float,
    weight_decay: float,
    maximize: bool = False,
    foreach: bool = True,
    cautious: bool = False,
    rounding: Literal["nearest", "stochastic", "kahan"] = "nearest",
    compensations: Sequence[Inexact[Tensor, "..."]] | None = None,
    seed: int = 0,
    step: int = 0,
) -> None:
    r"""Take one step of Lion, in place.

    With the momentum m of a weight p and its gradient g:

    .. math::

        c = \beta_1 m + (1 - \beta_1) g, \qquad
        p \leftarrow p (1 - \eta\lambda) - \eta \operatorname{sign}(c), \qquad
        m \leftarrow \beta_2 m + (1 - \beta_2) g

    Parameters
    ----------
    params : sequence of Tensor
        The weights; they change.
    grads : sequence of Tensor
        Their gradients, of the same shapes; they stay as they are.
    exp_avgs : sequence of Tensor
        The momenta, of the same shapes; they change. Zeros before the first step.
    lr : float or Tensor of shape ()
        The learning rate η. A tensor is never read on the host.
    beta1, beta2 : float
        Weights of the old momentum in the update and in the new momentum, from 0 to below 1.
    weight_decay : float
        λ, decoupled: a step multiplies the weights by 1 - ηλ.
    maximize : bool, default=False
        Whether to go up instead of down.
    foreach : bool, default=True
        Whether to take many tensors in one call of torch's foreach functions, or tensor after tensor.
    cautious : bool, default=False
        Whether to move only the weights whose update and gradient agree in sign, and the others not but for the decay.
        What moves is scaled by n / (k + 1), for k of the n numbers of a tensor.
    rounding : {"nearest", "stochastic", "kahan"}, default="nearest"
        How half-precision weights are stored, see `Lion`.
    compensations : sequence of Tensor, optional
        For "kahan": what earlier steps rounded off, of the shapes of `params`; they change. Zeros before the first.
    seed : int, default=0
        For "stochastic": which random numbers to draw, from 0 to 2**64 - 1.
    step : int, default=0
        For "stochastic": the number of this step, so that each draws others.

    Raises
    ------
    TypeError
        If `seed` or `step` is not an int.
    ValueError
        If the lists differ in length, `rounding` is none of the words, or `compensations` are not given exactly where
        it is "kahan".

    Notes
    -----
    The arithmetic is in float32 (float64 where a weight or its momentum is), whatever the tensors are stored in, with
    one rounding to the storage at the end. Both means are one ``torch.lerp``, m + (1 - β)(g - m). The sign of NaN is 0.
    Complex numbers are taken as pairs of real ones.

    Five passes over the numbers, four without decay, in blocks that stay in a CPU's cache. Time O(n); of memory, a few
    arrays of a block, at most 256 MiB each on a GPU unless a single tensor is larger. Source: as for `Lion`.

    Examples
    --------
    >>> import torch
    >>> p, g, m = torch.tensor([1.0, 1.0]), torch.tensor([0.5, -2.0]), torch.zeros(2)
    >>> lion([p], [g], [m], lr=0.25, beta1=0.9, beta2=0.75, weight_decay=0.0)
    >>> p.tolist(), m.tolist()
    ([0.75, 1.25], [0.125, -0.5])
    """
    check_choice("rounding", rounding, ("nearest", "stochastic", "kahan"))
    stream = Stream(check_int("seed", seed, 0, 2**64 - 1), check_int("step", step, 0) % 2**32)
    if (compensations is None) is (rounding == "kahan"):
        raise ValueError(f'compensations must be given for rounding "kahan" and for no other, got {rounding!r}')
    lists = [params, grads, exp_avgs, *([] if compensations is None else [compensations])]
    if len({len(tensors) for tensors in lists}) > 1:
        raise ValueError(f"the lists must have one length, got {', '.join(str(len(tensors)) for tensors in lists)}")
    rule = _Rule(lr, beta1, beta2, weight_decay, maximize, cautious, rounding, stream)
    for block in blocks([as_real(tensors) for tensors in lists], together=foreach, split=foreach and not cautious):
        rule.apply(block)


@dataclass(frozen=True)
class _Rule:
    """The settings of a step."""

    lr: float | Tensor
    beta1: float
    beta2: float
    weight_decay: float
    maximize: bool
    cautious: bool
    rounding: str
    stream: Stream

    def apply(self, block: Block) -> None:
        """Change the weights and momenta of a block, whose tensors agree in device and dtypes."""
        params, grads, exp_avgs, *rest = block.lists
        dtype = torch.promote_types(torch.promote_types(params[0].dtype, exp_avgs[0].dtype), torch.float32)
        p, g, m = _cast(params, dtype), _cast(grads, dtype), _cast(exp_avgs, dtype)
        if self.maximize:
            g = torch._foreach_neg(g)
        update = torch._foreach_lerp(m, g, 1 - self.beta1)  # of the old momentum
        torch._foreach_sign_(update)
        if self.cautious:
            _keep_what_agrees(update, g)
        torch._foreach_lerp_(m, g, 1 - self.beta2)
        if m is not exp_avgs:
            torch._foreach_copy_(exp_avgs, m)
        if self.rounding == "kahan" and params[0].itemsize == 2:
            self._change(update, p)
            for weights, compensation, change in zip(params, rest[0], update, strict=True):
                add_with_compensation(weights, compensation, change)
            return
        self._descend(p, update)
        if self.rounding == "stochastic" and params[0].dtype == torch.bfloat16:
            p = [round_at_random(x, at, block.start, self.stream) for x, at in zip(p, block.positions, strict=True)]
        if p is not params:
            torch._foreach_copy_(params, p)

    def _descend(self, p: _Tensors, update: _Tensors) -> None:
        """p <- p (1 - lr weight_decay) - lr update."""
        if self.weight_decay != 0:
            torch._foreach_mul_(p, 1 - self.lr * self.weight_decay)
        if isinstance(self.lr, Tensor):
            torch._foreach_mul_(update, -self.lr)
            torch._foreach_add_(p, update)
        else:
            torch._foreach_add_(p, update, alpha=-self.lr)

    def _change(self, update: _Tensors, p: _Tensors) -> None:
        """update <- -lr (update + weight_decay p)."""
        if self.weight_decay != 0:
            torch._foreach_add_(update, p, alpha=self.weight_decay)
        torch._foreach_mul_(update, -self.lr)


def _cast(tensors: _Tensors, dtype: torch.dtype) -> _Tensors:
    return tensors if tensors[0].dtype == dtype else [tensor.to(dtype) for tensor in tensors]


def _keep_what_agrees(update: _Tensors, g: _Tensors) -> None:
    """Zero the update where the gradient has not its sign, and scale the rest."""
    agree = torch._foreach_mul(update, g)
    torch._foreach_sign_(agree)
    torch._foreach_clamp_min_(agree, 0)
    scales: Any = [mask.numel() / (mask.sum() + 1) for mask in agree]
    torch._foreach_mul_(agree, scales)
    torch._foreach_mul_(update, agree)
