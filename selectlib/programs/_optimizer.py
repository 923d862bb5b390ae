"""Any program as an optimiser of any torch model."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from selectlib.programs._program import Program
from selectlib.programs._statement import SLOTS


class ProgramOptimizer(torch.optim.Optimizer):
    """Train with a program as the update rule.

    The parameters of a group that have a gradient are the program's tree: `global_norm`, `dot`, `cosine_sim` and `clip`
    go over a group, `norm` over a parameter. Slots that no update depends on are not stored.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Parameters or groups of them, of floats, as for every torch optimiser. Those of a group lie on one device.
    program : Program
        The update rule. Its constants hold the peak rate and the weight decay.
    lr : float or Tensor, default=1.0
        The value of the schedule, which the program sees as ``lr``, from 0 to 1: a `torch.optim.lr_scheduler` moves it.
        A tensor has no axes. Each group may have its own.

    Raises
    ------
    ProgramError
        The program is not valid.
    TypeError
        `program` is not a Program; from `step`: a gradient is sparse.
    ValueError
        `lr` is negative.

    Notes
    -----
    The state of a parameter has the keys ``"m"`` and ``"v"``, as far as they are stored, in the parameter's own dtype.
    It takes a pass over memory for every live statement, so that a program which is worth keeping deserves an optimiser
    of its own. Closures and `state_dict` are as in torch. A program's overflow is not caught: see
    ``torch.isfinite``.

    Source: Chen et al. (NeurIPS 2023), section 2, by secondary sources.

    Examples
    --------
    >>> from selectlib.programs import LION
    >>> p = torch.nn.Parameter(torch.zeros(3))
    >>> optimizer = ProgramOptimizer([p], LION)
    >>> (p * torch.tensor([1.0, -2.0, 0.0])).sum().backward()
    >>> optimizer.step()
    >>> p.data, list(optimizer.state[p])
    (tensor([-1.0000e-04,  1.0000e-04,  0.0000e+00]), ['m'])
    """

    def __init__(self, params: Iterable[Any], program: Program, lr: float | Tensor = 1.0):
        if not isinstance(program, Program):
            raise TypeError(f"program must be a Program, got {type(program).__name__}")
        if not lr >= 0:
            raise ValueError(f"lr must be at least 0, got {lr}")
        self.program = program
        self._run = program.compile("torch")
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients anew.

        Returns
        -------
        Tensor or None
            The closure's loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        stored = self.program.live_slots()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in params]
            if any(grad.is_sparse for grad in grads):
                raise TypeError("gradients must be dense, got a sparse one")
            if params:
                slots = {name: [self._slot(p, name) for p in params] for name in stored}
                update, *new = self._run(params, grads, *(slots.get(name) for name in SLOTS), group["lr"])
                for name, values in zip(SLOTS, new, strict=True):
                    if name in stored:
                        torch._foreach_copy_(slots[name], values)
                torch._foreach_sub_(params, update)
        return loss

    def _slot(self, p: Tensor, name: str) -> Tensor:
        state = self.state[p]
        if name not in state:
            state[name] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return state[name]

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"program": self.program}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._run = self.program.compile("torch")
