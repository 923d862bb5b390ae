"""From which length on a sparse pass can be faster than a dense one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from selectlib.attention._meter import kv_bytes_per_token
from selectlib.attention._models import require_transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class BreakEvenRow:
    """One length of the table of `break_even`.

    Attributes
    ----------
    length : int
        Tokens in the cache.
    weight_bytes, kv_bytes : int
        What a dense pass reads.
    saving : float
        Share of these bytes that is not read by a sparse pass: the most that its time can shrink.
    weight_ms, kv_ms : float
        Milliseconds that the two readings take at full bandwidth.
    saved_ms : float
        Milliseconds that the reduction saves.
    mask_ms : float
        Milliseconds that making the masks costs.
    speedup : float
        Time of a dense pass over that of a sparse one, masks included.

    Raises
    ------
    Nothing.

    Examples
    --------
    >>> from selectlib.attention import BreakEvenRow
    >>> BreakEvenRow(8, 100, 100, 0.25, 1.0, 1.0, 0.5, 0.5, 1.0).saving
    0.25
    """

    length: int
    weight_bytes: int
    kv_bytes: int
    saving: float
    weight_ms: float
    kv_ms: float
    saved_ms: float
    mask_ms: float
    speedup: float


def break_even(
    config: "PretrainedConfig",
    lengths: Sequence[int],
    reduction: float,
    bandwidth: float,
    mask_cost: float,
    *,
    dtype: torch.dtype | None = None,
) -> list[BreakEvenRow]:
    """What a cut of KV reads can save of one pass of a model, at batch 1.

    A pass over few tokens is bound by memory: it reads all weights and the cache once. The table is an upper bound on
    what sparse attention gains, whatever the kernels.

    Parameters
    ----------
    config : PretrainedConfig
        Of any decoder of transformers.
    lengths : sequence of int
        Tokens in the cache.
    reduction : float
        Share of the KV reads that is saved over all layers, from 0 to 1: `KVAccessMeter.reduction` with scope
        ``"bytes"`` or ``"all"``.
    bandwidth : float
        Of the memory, in bytes a second.
    mask_cost : float
        Seconds a pass that making the masks takes; 0 for the bound itself.
    dtype : torch.dtype, optional
        Of weights and cache; default: the configuration's, or float32 if it names none.

    Returns
    -------
    list of BreakEvenRow
        One row a length.

    Raises
    ------
    ImportError
        If transformers is missing: the extra ``hf`` brings it.
    ValueError
        If a number is out of range.

    Notes
    -----
    The model is built without memory to count its weights. All of them are taken as read, the input embedding too.

    References
    ----------
    The paper reports no gain end to end at 2048 tokens; the bound that explains it is ours.

    Examples
    --------
    Llama-2-7B in 16 bit on a card of 1 TB/s:

    >>> import torch
    >>> from transformers import LlamaConfig
    >>> from selectlib.attention import break_even
    >>> rows = break_even(LlamaConfig(), [2048, 32768], 0.78, 1.008e12, 0.0, dtype=torch.float16)
    >>> [(row.length, f"{row.saving:.1%}", round(row.weight_ms, 2), round(row.kv_ms, 2)) for row in rows]
    [(2048, '5.8%', 13.37, 1.07), (32768, '43.7%', 13.37, 17.04)]
    """
    _check(reduction, bandwidth, mask_cost)
    if any(length < 0 for length in lengths):
        raise ValueError(f"lengths must be at least 0, got {list(lengths)}")
    weights, per_token = weight_bytes(config, dtype), kv_bytes_per_token(config, dtype)
    rows = []
    for length in lengths:
        kv = per_token * length
        dense = (weights + kv) / bandwidth
        saved = reduction * kv / bandwidth
        rows.append(
            BreakEvenRow(
                length=length,
                weight_bytes=weights,
                kv_bytes=kv,
                saving=reduction * kv / (weights + kv),
                weight_ms=1e3 * weights / bandwidth,
                kv_ms=1e3 * kv / bandwidth,
                saved_ms=1e3 * saved,
                mask_ms=1e3 * mask_cost,
                speedup=dense / (dense - saved + mask_cost),
            )
        )
    return rows


def break_even_length(
    config: "PretrainedConfig",
    reduction: float,
    bandwidth: float,
    mask_cost: float,
    *,
    dtype: torch.dtype | None = None,
) -> float:
    """Tokens in the cache from which on the saved reads outweigh the masks, if the mask cost did not grow.

    Parameters
    ----------
    config, reduction, bandwidth, mask_cost, dtype
        As for `break_even`.

    Returns
    -------
    float
        Tokens; infinity where nothing is saved.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> import torch
    >>> from transformers import LlamaConfig
    >>> from selectlib.attention import break_even_length
    >>> round(break_even_length(LlamaConfig(), 0.78, 1.008e12, 0.9e-3, dtype=torch.float16))
    2218
    """
    _check(reduction, bandwidth, mask_cost)
    saved = reduction * kv_bytes_per_token(config, dtype)
    return mask_cost * bandwidth / saved if saved else float("inf")


def weight_bytes(config: "PretrainedConfig", dtype: torch.dtype | None = None) -> int:
    """Bytes of a model's weights; tied ones count once.

    Parameters
    ----------
    config : PretrainedConfig
        Of any decoder of transformers.
    dtype : torch.dtype, optional
        Of the weights; default: the configuration's, or float32 if it names none.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    ImportError
        If transformers is missing: the extra ``hf`` brings it.

    Examples
    --------
    >>> import torch
    >>> from transformers import LlamaConfig
    >>> from selectlib.attention._break_even import weight_bytes
    >>> weight_bytes(LlamaConfig(), torch.float16)
    13476831232
    """
    require_transformers()
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    dtype = dtype or getattr(config, "dtype", None) or torch.float32
    return dtype.itemsize * sum(parameter.numel() for parameter in model.parameters())


def _check(reduction: float, bandwidth: float, mask_cost: float) -> None:
    if not 0 <= reduction <= 1:
        raise ValueError(f"reduction must be from 0 to 1, got {reduction}")
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be above 0 bytes a second, got {bandwidth}")
    if not mask_cost >= 0:
        raise ValueError(f"mask_cost must be at least 0 seconds, got {mask_cost}")
