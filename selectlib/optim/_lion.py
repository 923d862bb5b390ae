"""Lion: the sign of an interpolated momentum is the update."""

import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from selectlib.kernels._lion import lion_step_
from selectlib.optim._blocks import as_real
from selectlib.optim._finite import nonfinite_flags
from selectlib.optim._functional import lion
from selectlib.optim._settings import check_group

_HAS_TRITON = importlib.util.find_spec("triton") is not None


class Lion(torch.optim.Optimizer):
    r"""Lion, the optimiser that a search over programs found: each weight moves by the learning rate, up or down.

    With the gradient g, the momentum m, zero at first, the learning rate η and the decay λ:

    .. math::

        c = \beta_1 m + (1 - \beta_1) g, \qquad
        p \leftarrow p (1 - \eta\lambda) - \eta \operatorname{sign}(c), \qquad
        m \leftarrow \beta_2 m + (1 - \beta_2) g

    It keeps one number a weight where AdamW keeps two. As every weight moves by η, a learning rate of 3 to 10 times
    less than AdamW's and a decay of as many times more are where to start: `lion_from_adamw`.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
        What to train, or groups of it, as for any optimiser of torch. A group may have its own value of all below.
    lr : float or Tensor of one number, default=1e-4
        η, at least 0.
    betas : (float, float), default=(0.9, 0.99)
        β₁ and β₂, from 0 to below 1.
    weight_decay : float, default=0.0
        λ, at least 0. Decoupled: a step multiplies the weights by 1 - ηλ.
    maximize : bool, default=False
        Whether to go up instead of down. Gradients stay as they are.
    foreach : bool, optional
        Whether to take many tensors in one call. Default: yes.
    fused : bool, optional
        Whether to make one pass over the numbers by `selectlib.kernels.lion_step_`, which on the CPU is compiled at the
        first step. Default: on CUDA where triton is installed, unless `foreach` is given or another setting forbids it.
    capturable : bool, default=False
        Whether a step can be part of a CUDA graph: a tensor `lr` is then read on the device only. An `lr` that is a
        float is part of the graph.
    momentum_dtype : torch.dtype, optional
        What the momentum is stored in, such as ``torch.bfloat16``. Default: the dtype of the weight. The arithmetic is
        in float32 in any case, or float64 where a weight or its momentum is.
    rounding : {"nearest", "stochastic", "kahan"}, default="nearest"
        How half-precision weights are stored. To nearest, a weight whose half ulp is larger than η never moves.
        "stochastic": bfloat16 weights are rounded up or down at random, so that they move right on average. "kahan":
        what was rounded off is kept, in a second state of the weight's dtype. Wider weights are not concerned.
    cautious : bool, default=False
        Whether to move only the weights whose update and gradient agree in sign, and the others not but for the decay.
        What moves is scaled by n / (k + 1), for k of the n numbers of a tensor. Not with `fused`.
    nonfinite : {"propagate", "skip", "raise"}, default="propagate"
        What to do about NaN and infinities in gradients. With "propagate" the momentum is NaN one step later at the
        latest, and as the sign of NaN is 0, the weight stands still for ever, silently. "skip" leaves the whole step
        out, "raise" raises before anything has changed; both read the gradients once more, and wait for the device
        once a step, but for "skip" where all is fused.
    seed : int, default=0
        Source of the stochastic rounding, from 0 to 2**32 - 1. What is drawn depends on it, the number of the step, and
        the places of the group, tensor and number, so that a run that was resumed goes on as it would have.

    Raises
    ------
    TypeError
        If an argument is not of the right kind; from `step`: a gradient is sparse.
    ValueError
        If a number is out of range or settings exclude each other; from `step`: a gradient is not finite and
        `nonfinite` is "raise".

    Notes
    -----
    A state holds `exp_avg`, and for "kahan" `compensation`. States of other Lions that call their momentum `exp_avg`
    can be loaded; settings they lack are taken from this optimiser, and what they have beyond stays unread. The
    momentum is then kept in `momentum_dtype`, not cast to the weight's dtype as torch would.

    Where ηλ ≤ 1, weights within ±1/λ stay there, and others approach this box (not so for `cautious`). The first step
    moves every weight whose gradient is not 0 by η, however small the gradient: warm the learning rate up. With β₂ =
    0.99 the momentum remembers about 100 steps; runs of few hundred steps may want less. Complex weights are pairs of
    real ones. ``differentiable`` is not offered: the sign's derivative is zero.

    Time O(n) a step. Source: Chen et al., "Symbolic discovery of optimization algorithms" (NeurIPS 2023), Program 1;
    for the box, Chen et al., "Lion secretly solves constrained optimization" (ICLR 2024); for `cautious`, Liang et al.,
    "Cautious optimizers" (2024). We did not have the papers; form, defaults and scale are as in their authors' code.
    `rounding`, `nonfinite` and `momentum_dtype` are ours.

    Examples
    --------
    >>> import torch
    >>> weights = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = Lion([weights], lr=0.25)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     (weights**2).sum().backward()
    ...     loss = optimizer.step()
    >>> weights.tolist()
    [0.25, -1.25]
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        momentum_dtype: torch.dtype | None = None,
        rounding: Literal["nearest", "stochastic", "kahan"] = "nearest",
        cautious: bool = False,
        nonfinite: Literal["propagate", "skip", "raise"] = "propagate",
        seed: int = 0,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "fused": fused,
            "capturable": capturable,
            "momentum_dtype": momentum_dtype,
            "rounding": rounding,
            "cautious": cautious,
            "nonfinite": nonfinite,
            "seed": seed,
            "step": 0,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, checked, as for any optimiser of torch."""
        super().add_param_group(param_group)
        try:
            check_group(self.param_groups[-1])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state, which may lack settings."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the state of a Lion; momenta are stored in `momentum_dtype`.

        Parameters
        ----------
        state_dict : dict
            As from `state_dict`, of this class or of another that calls the momentum `exp_avg`.

        Raises
        ------
        ValueError
            If its groups are not those of this optimiser.
        """
        super().load_state_dict(state_dict)
        saved = [key for group in state_dict["param_groups"] for key in group["params"]]
        loaded = [(p, group["momentum_dtype"]) for group in self.param_groups for p in group["params"]]
        for key, (p, dtype) in zip(saved, loaded, strict=True):
            if "exp_avg" in state_dict["state"].get(key, {}):  # torch has cast it to p.dtype, which may have cost bits
                exp_avg = state_dict["state"][key]["exp_avg"]
                self.state[p]["exp_avg"] = exp_avg.to(p.device, dtype or p.dtype, copy=True)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        return all(_is_fused(group) for group in self.param_groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients anew.

        Returns
        -------
        object
            What `closure` returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        skip = self._skip()
        if isinstance(skip, Tensor) or not skip:
            for number, group in enumerate(self.param_groups):
                self._step_group(number, group, skip if isinstance(skip, Tensor) else None)
        return loss

    def _skip(self) -> Tensor | bool:
        """Whether to leave this step out: a tensor, above 0 for yes, where the fused steps can ask it themselves."""
        found_inf = getattr(self, "found_inf", None)
        if found_inf is not None:
            return found_inf  # of torch.amp.GradScaler, which has looked at every gradient
        asking = [group for group in self.param_groups if group["nonfinite"] != "propagate"]
        if not asking:
            return False
        grads = [p.grad for group in asking for p in group["params"] if p.grad is not None]
        flags = list(nonfinite_flags(grads).values())
        if not flags:
            return False
        flag = torch.stack([flag.to(flags[0].device) for flag in flags]).amax()
        if self._step_supports_amp_scaling and all(group["nonfinite"] == "skip" for group in asking):
            return flag
        if not bool(flag):
            return False
        for number, group in enumerate(self.param_groups):
            for k, p in enumerate(group["params"]):
                if group["nonfinite"] == "raise" and p.grad is not None and not bool(p.grad.isfinite().all()):
                    raise ValueError(
                        f"gradients must be finite, but that of parameter {k} of group {number}, of shape "
                        f"{tuple(p.shape)}, is not; no weight has changed"
                    )
        return True

    def _step_group(self, number: int, group: dict[str, Any], found_inf: Tensor | None) -> None:
        params, grads, exp_avgs = [], [], []
        for p in group["params"]:
            grad = p.grad
            if grad is not None:
                params.append(p)
                grads.append(grad)
                exp_avgs.append(self._state_of(p, grad, group)["exp_avg"])
        if not params:
            return
        lr, (beta1, beta2) = group["lr"], group["betas"]
        rule: dict[str, Any] = {"lr": lr if group["capturable"] else float(lr), "beta1": beta1, "beta2": beta2}
        rule |= {name: group[name] for name in ("weight_decay", "maximize")}
        at_random = group["rounding"] == "stochastic"
        if at_random and group["capturable"] and not isinstance(group["step"], Tensor):
            group["step"] = torch.tensor(group["step"], dtype=torch.int64, device=params[0].device)
        draws = {"seed": group["seed"] + (number << 32), "step": group["step"]} if at_random else {}
        if _is_fused(group):
            p, g, m = as_real(params), as_real(grads), as_real(exp_avgs)
            lion_step_(p, g, m, **rule, **draws, grad_scale=getattr(self, "grad_scale", None), found_inf=found_inf)
        else:
            rule |= {"cautious": group["cautious"], "rounding": group["rounding"]}
            rule |= {"foreach": group["foreach"] is not False}
            kept = [self.state[p]["compensation"] for p in params] if group["rounding"] == "kahan" else None
            lion(params, grads, exp_avgs, **rule, **draws, compensations=kept)
        if at_random:
            group["step"] += 1  # in place, where it is a tensor

    def _state_of(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The state of a parameter, made at its first gradient."""
        if grad.layout is not torch.strided:
            raise TypeError(f"gradients must be dense, got {grad.layout} for a parameter of shape {tuple(p.shape)}")
        state = self.state[p]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(p, dtype=group["momentum_dtype"])
        if group["rounding"] == "kahan" and "compensation" not in state:
            state["compensation"] = torch.zeros_like(p)
        return state


def _is_fused(group: dict[str, Any]) -> bool:
    if group["fused"] is not None or group["foreach"] is not None:
        return bool(group["fused"])
    plain = not group["cautious"] and group["rounding"] != "kahan"
    return _HAS_TRITON and plain and all(p.is_cuda for p in group["params"])
