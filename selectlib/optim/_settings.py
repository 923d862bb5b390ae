"""Checks of a group of parameters and its settings."""

import math
from typing import Any

import torch
from torch import Tensor

from selectlib._checks import check_choice, check_int


def check_group(group: dict[str, Any]) -> None:
    """Raise unless the settings of a group of Lion are allowed, each and together."""
    if isinstance(group["lr"], Tensor):
        if group["lr"].numel() != 1:
            raise ValueError(f"lr must be a number or a tensor of one, got shape {tuple(group['lr'].shape)}")
    else:
        _check_not_negative("lr", group["lr"])
    _check_not_negative("weight_decay", group["weight_decay"])
    betas = group["betas"]
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"betas must be two numbers, got {betas!r}")
    for k, beta in enumerate(betas, 1):
        if _check_not_negative(f"beta{k}", beta) >= 1:
            raise ValueError(f"beta{k} must be from 0 to below 1, got {beta}")
    dtype = group["momentum_dtype"]
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"momentum_dtype must be a floating dtype or None, got {dtype!r}")
    check_choice("rounding", group["rounding"], ("nearest", "stochastic", "kahan"))
    check_choice("nonfinite", group["nonfinite"], ("propagate", "skip", "raise"))
    check_int("seed", group["seed"], 0, 2**32 - 1)
    _check_params(group)
    _check_together(group)


def _check_params(group: dict[str, Any]) -> None:
    for p in group["params"]:
        if p.is_complex() and group["momentum_dtype"] is not None:
            raise ValueError(f"momentum_dtype must be None for complex parameters, got {group['momentum_dtype']}")
        if p.dtype == torch.float16 and group["rounding"] == "stochastic":
            raise ValueError('rounding "stochastic" is for bfloat16 weights, not for float16: take "kahan"')


def _check_together(group: dict[str, Any]) -> None:
    if group["fused"]:
        if group["foreach"]:
            raise ValueError("foreach and fused must not both be True")
        if group["cautious"] or group["rounding"] == "kahan":
            raise ValueError('fused must not be True with cautious or with rounding "kahan": there is no such kernel')
    if group["capturable"]:
        if group["nonfinite"] == "raise" or (group["nonfinite"] == "skip" and not group["fused"]):
            raise ValueError('nonfinite must be "propagate" where capturable, or "skip" with fused=True')
        if group["rounding"] == "stochastic" and not group["fused"]:
            raise ValueError('rounding "stochastic" needs fused=True where capturable')


def _check_not_negative(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and at least 0, got {value}")
    return float(value)
