"""From AdamW to Lion: the settings, and a run that is under way."""

from typing import Any

import torch

from selectlib._checks import check_positive
from selectlib.optim._lion import Lion


def lion_from_adamw(lr: Any, weight_decay: Any, ratio: float = 3.0) -> dict[str, Any]:
    """Settings of Lion to start from, given those that suit AdamW.

    Parameters
    ----------
    lr : float or Tensor
        AdamW's learning rate.
    weight_decay : float
        AdamW's weight decay.
    ratio : float, default=3.0
        By how much to divide the one and multiply the other, so that their product, the strength of the decay, stays.
        Lion's authors say 3 to 10. Scale the start, the peak and the end of a schedule alike.

    Returns
    -------
    dict
        `lr` and `weight_decay`, to be given to `Lion`.

    Raises
    ------
    TypeError
        If `ratio` is not a number.
    ValueError
        If `ratio` is not finite and above 0.

    Notes
    -----
    A place to start tuning, no replacement for it. Source: the authors' code of Chen et al., "Symbolic discovery of
    optimization algorithms" (NeurIPS 2023); we did not have the paper itself.

    Examples
    --------
    >>> lion_from_adamw(1e-3, 0.1, ratio=10)
    {'lr': 0.0001, 'weight_decay': 1.0}
    """
    ratio = check_positive("ratio", ratio)
    return {"lr": lr / ratio, "weight_decay": weight_decay * ratio}


def convert_adamw_state(optimizer: torch.optim.Optimizer, *, ratio: float = 3.0, **lion_kw: Any) -> Lion:
    """Change a run from AdamW to Lion on the way.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        An AdamW, or another that calls its mean gradient `exp_avg`. It stays as it is.
    ratio : float, default=3.0
        As in `lion_from_adamw`, which gives each group its learning rate and decay, and the `initial_lr` that a
        schedule has noted.
    **lion_kw
        Settings of `Lion` for all groups, `lr` and `weight_decay` included.

    Returns
    -------
    Lion
        With the same parameters in the same groups, ``maximize`` as there, and copies of the momenta.

    Raises
    ------
    TypeError
        If `optimizer` is not an optimiser of torch.
    ValueError
        If a state holds no `exp_avg`, or a setting is out of range.

    Notes
    -----
    AdamW's mean forgets as its own β₁ says, and is too small by the factor 1 - β₁ᵗ after t steps; Lion's updates come
    from it until β₂ has forgotten it. Time and memory O(n). Ours.

    Examples
    --------
    >>> import torch
    >>> weights = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> adamw = torch.optim.AdamW([weights], lr=0.03)
    >>> (weights**2).sum().backward()
    >>> adamw.step()
    >>> lion = convert_adamw_state(adamw)
    >>> lion.param_groups[0]["lr"], lion.state[weights]["exp_avg"].tolist()
    (0.01, [0.2..., -0.4...])
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    lacking = next((p for p, state in optimizer.state.items() if state and "exp_avg" not in state), None)
    if lacking is not None:
        names = ", ".join(map(str, optimizer.state[lacking]))
        raise ValueError(f"optimizer must keep exp_avg, as AdamW does, but {type(optimizer).__name__} keeps {names}")
    converted = Lion([_group(group, ratio, lion_kw) for group in optimizer.param_groups], **lion_kw)
    for group in converted.param_groups:
        for p in group["params"]:
            if "exp_avg" in optimizer.state.get(p, {}):
                exp_avg = optimizer.state[p]["exp_avg"]
                converted.state[p]["exp_avg"] = exp_avg.detach().to(group["momentum_dtype"] or p.dtype, copy=True)
    return converted


def _group(group: dict[str, Any], ratio: float, lion_kw: dict[str, Any]) -> dict[str, Any]:
    """A group of Lion with the parameters of a group of AdamW."""
    params = list(group["params"])
    if "param_names" in group:
        params = list(zip(group["param_names"], params, strict=True))
    settings: dict[str, Any] = lion_from_adamw(group["lr"], group["weight_decay"], ratio)
    if "initial_lr" in group and "lr" not in lion_kw:
        settings["initial_lr"] = group["initial_lr"] / ratio
    return {"params": params, "maximize": group.get("maximize", False), **settings, **lion_kw}
