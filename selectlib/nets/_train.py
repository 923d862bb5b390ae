import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from selectlib.device import pick_device
from selectlib.nets._evaluate import check_examples
from selectlib.nets._initial import initial_model

Progress = Callable[[Iterable[int]], Iterable[int]]
MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]
_BETAS = (0.9, 0.999)


def train(
    make_model: Callable[[], nn.Module],
    examples: tuple[Tensor, ...],
    orders: Int[Tensor, "r steps batch"],
    *,
    loss: Callable[..., Tensor],
    seeds: Sequence[int],
    lr: float | int | None = None,
    weight_decay: float | int = 0.0,
    betas: tuple[float, float] = _BETAS,
    optimizer: MakeOptimizer | Sequence[MakeOptimizer] | None = None,
    schedule: Literal["linear", "cosine", "constant"] = "linear",
    warmup: int = 0,
    clip: float | int | None = None,
    at_once: int | None = None,
    micro_batch: int | None = None,
    autocast: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> list[dict[str, Tensor]]:
    """Train r replicas of a model side by side: each from its own start, on its own examples.

    The replicas' parameters are stacked, so that one step of all is a few large operations instead of r times as many
    small ones. What comes out is what r separate runs would give.

    Parameters
    ----------
    make_model : callable
        Returns a new model; called once a replica, with torch's global generators seeded for the time of the call.
    examples : tuple of Tensors, first dimensions n
        What is learnt from, on one device, where they stay; batches are moved to `device`.
    orders : Tensor of int64, shape (r, steps, batch)
        Indices of the examples that replica i sees at step t; `batch_orders` makes them.
    loss : callable
        ``loss(forward, *batch)`` returns one number an example, shape (b,); a step follows the gradient of their mean.
        It is called under `torch.func.vmap`.
    seeds : sequence of r ints
        Seed of each replica's initial parameters.
    lr : float, optional
        Largest learning rate of AdamW, above 0; needed unless there is an `optimizer`.
    weight_decay : float, default 0.0
        Decoupled weight decay, of all parameters.
    betas : tuple of floats, default (0.9, 0.999)
        Decay rates of Adam's averages.
    optimizer : callable or sequence of callables, optional
        What to train with instead of AdamW: ``optimizer(parameters)`` returns a `torch.optim.Optimizer` over a list of
        stacked parameters, shape (s, ...) each, so that a matrix has three dimensions. It must work entry by entry,
        else replicas would mix. One callable is for all replicas and is called once a group of them. Of k callables
        each is for the next ``s = r / k`` replicas, so that these can differ in their settings. The learning rate that
        a parameter group starts with is its largest. Leave `lr`, `weight_decay` and `betas` out then.
    schedule : {"linear", "cosine", "constant"}, default "linear"
        How the learning rate falls, towards 0 at the end.
    warmup : int, default 0
        Steps over which the learning rate first rises linearly.
    clip : float, optional
        Largest norm of a replica's gradient.
    at_once : int, optional
        Replicas trained side by side; by default all. Bounds the memory.
    micro_batch : int, optional
        Examples a replica in one pass; gradients of a step are added up. By default the whole batch. Bounds the memory.
    autocast : torch.dtype, optional
        Half type for `torch.autocast`; by default none.
    device : str or torch.device, default "cpu"
        Where to train; names as in `selectlib.device.pick_device`.
    progress : callable, optional
        Wraps the range of steps, as ``tqdm`` does; called once for each group of replicas.

    Returns
    -------
    list of r state dicts
        Parameters and buffers of each replica, on `device`, sharing no memory.

    Raises
    ------
    TypeError
        If `orders` does not hold int64, or `optimizer` returns something else.
    ValueError
        If shapes, indices, seeds or a setting are out of range, settings of AdamW come with an `optimizer`, or
        the callables do not divide the replicas; the message names the argument.

    Notes
    -----
    Time of r separate runs less their overhead; memory of `at_once` replicas: parameters, gradients, the optimizer's
    state (two averages for AdamW), and the activations of a pass. There is no synchronisation with the device inside
    the loop. Dropout and other draws inside the model are refused by `vmap`. AdamW works entry by entry, so that one on
    the stack equals one a replica.

    Examples
    --------
    >>> import torch
    >>> from selectlib.nets import MLP, batch_orders, classification_loss
    >>> inputs = torch.tensor([[-1.0], [1.0]]).repeat(8, 1)
    >>> examples = inputs, (inputs[:, 0] > 0).long()
    >>> orders = batch_orders([torch.arange(16)] * 3, epochs=20, batch=16, seeds=[100, 101, 102])
    >>> states = train(lambda: MLP([1, 2]), examples, orders, loss=classification_loss, seeds=[100, 101, 102], lr=0.1)
    >>> len(states), [bool(state["1.weight"][1] > state["1.weight"][0]) for state in states]
    (3, [True, True, True])
    """
    where = pick_device(device)
    _check(examples, orders, seeds, schedule, warmup, clip, at_once, micro_batch)
    makers = _makers(optimizer, len(orders), lr, weight_decay, betas)
    states: list[dict[str, Tensor]] = []
    group = at_once or len(orders)
    for start in range(0, len(orders), group):
        chosen = slice(start, start + group)
        models = [initial_model(make_model, seed).to(where) for seed in seeds[chosen]]
        base = models[0].train()
        parameters, buffers = stack_module_state(models)
        trained = list(parameters.values())
        updates = _Updates(trained, makers[chosen])
        repeated = orders.stride(1) == 0  # then one batch is fetched for all steps
        ahead = orders[chosen, : 1 if repeated else None].to(examples[0].device)
        steps = range(orders.shape[1])
        for step in steps if progress is None else progress(steps):
            factor = _factor(step, orders.shape[1], schedule, warmup)
            if step == 0 or not repeated:
                parts = ahead[:, step].split(micro_batch or orders.shape[2], dim=1)
                batches = [[tensor[part].to(where, non_blocking=True) for tensor in examples] for part in parts]
            for parameter in trained:
                parameter.grad = None
            for batch in batches:
                with torch.autocast(where.type, autocast, enabled=autocast is not None):
                    losses = _losses(base, loss, parameters, buffers, batch)
                (losses.sum() / orders.shape[2]).backward()
            if clip is not None:
                _clip(trained, clip)
            updates.step(factor)
        stacked = {**{name: p.detach() for name, p in parameters.items()}, **buffers}
        states += [{name: stack[i].clone() for name, stack in stacked.items()} for i in range(len(models))]
    return states


class _Updates:
    """The optimizers of the stacked parameters, one for each run of equal makers; all follow one schedule."""

    def __init__(self, trained: list[Tensor], makers: list[MakeOptimizer]):
        self.trained, self.optimizers, self.parts = trained, [], []
        starts = [i for i in range(len(makers)) if i == 0 or makers[i] is not makers[i - 1]]
        for start, end in zip(starts, [*starts[1:], len(makers)], strict=True):
            views = [p.detach()[start:end] for p in trained]
            made = makers[start](views)
            if not isinstance(made, torch.optim.Optimizer):
                raise TypeError(f"optimizer must return a torch.optim.Optimizer, got {type(made).__name__}")
            self.optimizers.append(made)
            self.parts.append((slice(start, end), views))
        self.groups = [(group, group["lr"]) for made in self.optimizers for group in made.param_groups]

    def step(self, factor: float) -> None:
        """Follow the gradients at this share of the largest learning rates."""
        for group, largest in self.groups:
            group["lr"] = largest * factor
        for part, views in self.parts:
            for view, p in zip(views, self.trained, strict=True):
                view.grad = None if p.grad is None else p.grad[part]
        for made in self.optimizers:
            made.step()


def _makers(optimizer, replicas: int, lr, weight_decay, betas) -> list[MakeOptimizer]:
    """What makes the optimizer of each replica; consecutive replicas with the same maker share one."""
    if optimizer is None:
        if lr is None or not lr > 0:
            raise ValueError(f"lr must be above 0, got {lr}")
        return [partial(torch.optim.AdamW, lr=lr, betas=betas, weight_decay=weight_decay)] * replicas
    if lr is not None or weight_decay != 0 or betas != _BETAS:
        raise ValueError("lr, weight_decay and betas must be left out with an optimizer, which has its own")
    makers = [optimizer] if callable(optimizer) else list(optimizer)
    if not makers or replicas % len(makers):
        raise ValueError(f"optimizer must hold callables that divide the {replicas} replicas, got {len(makers)}")
    return [make for make in makers for _ in range(replicas // len(makers))]


def _losses(base: nn.Module, loss, parameters, buffers, batch: list[Tensor]) -> Tensor:
    """Losses of all replicas, shape (r, b)."""

    def of_one(parameters, buffers, *batch):
        return loss(lambda *inputs: functional_call(base, (parameters, buffers), inputs), *batch)

    return vmap(of_one)(parameters, buffers, *batch)


def _factor(step: int, steps: int, schedule: str, warmup: int) -> float:
    """Share of the largest learning rate at a step."""
    if step < warmup:
        return (step + 1) / warmup
    gone = (step - warmup) / max(steps - warmup, 1)
    if schedule == "linear":
        return 1 - gone
    return 0.5 * (1 + math.cos(math.pi * gone)) if schedule == "cosine" else 1.0


def _clip(parameters: list[Tensor], largest: float) -> None:
    """Scale each replica's gradient down to the largest norm."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0)
    factors = (largest / squares.sqrt().clamp(min=1e-12)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))


def _check(examples, orders, seeds, schedule, warmup, clip, at_once, micro_batch) -> None:
    """Raise a clear error before any work."""
    n = check_examples(examples)
    if orders.dtype != torch.int64:
        raise TypeError(f"orders must hold int64, got {orders.dtype}")
    if orders.ndim != 3 or 0 in orders.shape:
        raise ValueError(f"orders must have shape (replicas, steps, batch), none 0, got {tuple(orders.shape)}")
    low, high = torch.aminmax(orders)
    if low < 0 or high >= n:
        raise ValueError(f"orders must hold indices of the {n} examples, got {int(low)} to {int(high)}")
    if len(seeds) != len(orders):
        raise ValueError(f"seeds must name one seed a replica, got {len(seeds)} for {len(orders)} replicas")
    if schedule not in ("linear", "cosine", "constant"):
        raise ValueError(f"schedule must be 'linear', 'cosine' or 'constant', got {schedule!r}")
    if not 0 <= warmup <= orders.shape[1]:
        raise ValueError(f"warmup must be from 0 to the {orders.shape[1]} steps, got {warmup}")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be above 0 or None, got {clip}")
    for name, value in (("at_once", at_once), ("micro_batch", micro_batch)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1 or None, got {value}")
