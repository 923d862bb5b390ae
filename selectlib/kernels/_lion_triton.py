"""Triton kernels of Lion's step: one pass over the memory of many tensors, all in one launch."""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from selectlib.kernels._lion_reference import Batch, Rule

DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
_BLOCK = 4096  # entries of a program
_TABLES = 32  # lists of tensors whose addresses are kept on the device
# Products and sums are rounded one by one, as in the reference.
_OPTIONS = {"num_warps": 8, "enable_fp_fusion": False}


@triton.jit
def _average(old, grad, weight, FROM_OLD: tl.constexpr):
    if FROM_OLD:
        base = old
    else:
        base = grad
    return base + weight * (grad - old)


@triton.jit
def _round_at_random(exact, first, position, step, seed, BLOCK: tl.constexpr):
    """bfloat16 neighbours of the entries from `first` on; eight of them share a counter, each has 16 of its bits."""
    block = ((first >> 3) + tl.arange(0, BLOCK // 8)).to(tl.uint32)
    zero = tl.zeros((BLOCK // 8,), tl.uint32)
    words = tl.philox(seed, block, zero + position.to(tl.uint32), zero + step.to(tl.uint32), zero + 0x4C494F4E)
    w0, w1, w2, w3 = words
    low = tl.join(tl.join(w0 & 0xFFFF, w2 & 0xFFFF), tl.join(w1 & 0xFFFF, w3 & 0xFFFF))
    high = tl.join(tl.join(w0 >> 16, w2 >> 16), tl.join(w1 >> 16, w3 >> 16))
    noise = tl.reshape(tl.join(low, high), (BLOCK,))
    raised = ((exact.to(tl.uint32, bitcast=True) + noise) & 0xFFFF0000).to(tl.float32, bitcast=True)
    return tl.where(tl.abs(exact) < float("inf"), raised, exact)


@triton.jit
def _update(
    param, grad, momentum, first, inside, position, lr, decay, scale, weight, momentum_weight, seed, step,
    FROM_OLD: tl.constexpr, MOMENTUM_FROM_OLD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The entries from `first` on; all of them where `inside` is None, so that they are read 16 bytes at a time."""
    at = first + tl.arange(0, BLOCK)
    g = tl.load(grad + at, mask=inside).to(tl.float32) * scale
    m = tl.load(momentum + at, mask=inside).to(tl.float32)
    p = tl.load(param + at, mask=inside).to(tl.float32)
    c = _average(m, g, weight, FROM_OLD)
    sign = (c > 0).to(tl.float32) - (c < 0).to(tl.float32)  # 0 for NaN
    p = p * decay - lr * sign
    if seed is not None:
        p = _round_at_random(p, first, position, step, seed, BLOCK)
    tl.store(param + at, p.to(param.dtype.element_ty), mask=inside)
    m = _average(m, g, momentum_weight, MOMENTUM_FROM_OLD)
    tl.store(momentum + at, m.to(momentum.dtype.element_ty), mask=inside)


@triton.jit
def _update_block(
    param, grad, momentum, count, first, position, lr, weight_decay, decay, scale, found_inf, weight, momentum_weight,
    seed, step, LR: tl.constexpr, SCALE: tl.constexpr, STEP: tl.constexpr,
    FROM_OLD: tl.constexpr, MOMENTUM_FROM_OLD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The block of entries from `first` on, unless the gradients are not finite."""
    if LR:
        lr = tl.load(lr).to(tl.float32)
        decay = 1 - lr * weight_decay
    if SCALE:
        scale = tl.load(scale).to(tl.float32)
    if STEP:
        step = tl.load(step)
    go = True
    if found_inf is not None:
        go = tl.load(found_inf) == 0
    if go:
        if first + BLOCK <= count:
            _update(
                param, grad, momentum, first, None, position, lr, decay, scale, weight, momentum_weight, seed, step,
                FROM_OLD, MOMENTUM_FROM_OLD, BLOCK,
            )  # fmt: skip
        else:
            inside = first + tl.arange(0, BLOCK) < count
            _update(
                param, grad, momentum, first, inside, position, lr, decay, scale, weight, momentum_weight, seed, step,
                FROM_OLD, MOMENTUM_FROM_OLD, BLOCK,
            )  # fmt: skip


@triton.jit
def _address(row, column: tl.constexpr, DTYPE: tl.constexpr, ALIGNED: tl.constexpr):
    pointer = tl.load(row + column).to(tl.pointer_type(DTYPE))
    if ALIGNED:
        pointer = tl.multiple_of(pointer, 16)
    return pointer


@triton.jit(do_not_specialize=["seed", "step"])
def many_kernel(
    table, blocks, lr, weight_decay, decay, scale, found_inf, weight, momentum_weight, seed, step,
    PARAM: tl.constexpr, GRAD: tl.constexpr, MOMENTUM: tl.constexpr, ALIGNED: tl.constexpr,
    LR: tl.constexpr, SCALE: tl.constexpr, STEP: tl.constexpr,
    FROM_OLD: tl.constexpr, MOMENTUM_FROM_OLD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Many tensors: a program finds its tensor and block in `blocks`, and the tensor's addresses in `table`."""
    program = tl.program_id(0)
    row = table + 5 * tl.load(blocks + 2 * program)
    first = tl.load(blocks + 2 * program + 1).to(tl.int64) * BLOCK
    _update_block(
        _address(row, 0, PARAM, ALIGNED), _address(row, 1, GRAD, ALIGNED), _address(row, 2, MOMENTUM, ALIGNED),
        tl.load(row + 3), first, tl.load(row + 4), lr, weight_decay, decay, scale, found_inf, weight, momentum_weight,
        seed, step, LR, SCALE, STEP, FROM_OLD, MOMENTUM_FROM_OLD, BLOCK,
    )  # fmt: skip


@triton.jit(do_not_specialize=["position", "seed", "step"])
def one_kernel(
    param, grad, momentum, count, position, lr, weight_decay, decay, scale, found_inf, weight, momentum_weight, seed,
    step, LR: tl.constexpr, SCALE: tl.constexpr, STEP: tl.constexpr,
    FROM_OLD: tl.constexpr, MOMENTUM_FROM_OLD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tensor, whose addresses are arguments: a captured graph keeps those, but no table in memory."""
    _update_block(
        param, grad, momentum, count, tl.program_id(0).to(tl.int64) * BLOCK, position, lr, weight_decay, decay, scale,
        found_inf, weight, momentum_weight, seed, step, LR, SCALE, STEP, FROM_OLD, MOMENTUM_FROM_OLD, BLOCK,
    )  # fmt: skip


def lion_step(batch: Batch, rule: Rule) -> None:
    """Change weights and momenta of tensors of one device and the same three dtypes, which lie alike."""
    device = batch.params[0].device
    lr, scale, step = (isinstance(number, Tensor) for number in (rule.lr, rule.scale, rule.step))
    numbers = {
        "lr": rule.lr,
        "weight_decay": rule.weight_decay,
        "decay": 1.0 if lr else 1 - rule.lr * rule.weight_decay,
        "scale": rule.scale,
        "found_inf": rule.found_inf,
        "weight": rule.update.weight,
        "momentum_weight": rule.momentum.weight,
        "seed": rule.seed,
        "step": rule.step,
        "LR": lr,
        "SCALE": scale,
        "STEP": step,
        "FROM_OLD": rule.update.from_old,
        "MOMENTUM_FROM_OLD": rule.momentum.from_old,
        "BLOCK": _BLOCK,
    }
    with torch.cuda.device_of(batch.params[0]):
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            for p, g, m, position in zip(*batch, strict=True):
                grid = (triton.cdiv(p.numel(), _BLOCK),)
                one_kernel[grid](p, g, m, p.numel(), position, **numbers, **_OPTIONS)
            return
        stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
        counts = tuple(p.numel() for p in batch.params)
        addresses = tuple(tensor.data_ptr() for tensors in batch[:3] for tensor in tensors)
        blocks = _blocks(counts, device, stream)
        many_kernel[(len(blocks),)](
            _table(addresses, counts, tuple(batch.positions), device, stream),
            blocks,
            **numbers,
            PARAM=DTYPES[batch.params[0].dtype],
            GRAD=DTYPES[batch.grads[0].dtype],
            MOMENTUM=DTYPES[batch.exp_avgs[0].dtype],
            ALIGNED=not any(address % 16 for address in addresses),
            **_OPTIONS,
        )


# Both are made on the stream that uses them, and are found again while tensors stay where they are.
@functools.lru_cache(_TABLES)
def _table(addresses: tuple, counts: tuple, positions: tuple, device: torch.device, stream: int) -> Tensor:
    """For each tensor its three addresses, its length and its place in the call, (n, 5)."""
    columns = torch.tensor([*addresses, *counts, *positions], dtype=torch.int64).view(5, -1)
    return _send(columns.mT.contiguous(), device)


@functools.lru_cache(_TABLES)
def _blocks(counts: tuple, device: torch.device, stream: int) -> Tensor:
    """For each program a tensor and the block of it, (programs, 2)."""
    each = torch.tensor([triton.cdiv(count, _BLOCK) for count in counts])
    tensor = torch.arange(len(counts)).repeat_interleave(each)
    block = torch.arange(len(tensor)) - (each.cumsum(0) - each)[tensor]
    return _send(torch.stack([tensor, block], 1).to(torch.int32), device)


def _send(host: Tensor, device: torch.device) -> Tensor:
    """A copy on the device, for which the host does not wait."""
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
