"""A model at one checkpoint, seen as a linear function of its parameters: gradients and directional derivatives."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from selectlib.corpora._examples import Examples, tensor_digest
from selectlib.corpora._outputs import OutputFunction, with_weight

Checkpoint = Mapping[str, Tensor] | str | os.PathLike[str]
Table = list[tuple[str, tuple[int, ...], int]]  # name, shape and offset of each parameter, in the order of the gradient

_CPU_BUDGET, _CPU_ROWS = 2**28, 64  # bytes; more rows leave the caches and are slower
_CUDA_SHARE, _CUDA_ROWS = 8, 1024


class Linearization:
    """Outputs of a module near one checkpoint.

    Parameters
    ----------
    model : torch.nn.Module
        Gives the architecture, dtype and device; its own parameters stay as they are.
    checkpoint : mapping of names to tensors, or path
        The parameters and buffers, or a file of them that `torch.save` wrote.
    names : sequence of str
        The parameters with respect to which derivatives are taken, in this order.

    Notes
    -----
    Use inside `evaluating(model)`. The gradient of an example is the concatenation of the row-major gradients of the
    parameters, of length `size`; it is never built by `gradients`, whose callers take it tensor by tensor.
    """

    def __init__(self, model: nn.Module, checkpoint: Checkpoint, names: Sequence[str]):
        self.model = model
        state = load_state(model, checkpoint)
        self.params: dict[str, Tensor] = {name: state[name] for name in names}
        self.constants = {name: tensor for name, tensor in state.items() if name not in self.params}
        self.table = parameter_table(model, names)
        self.size = sum(param.numel() for param in self.params.values())
        self.device = next(iter(self.params.values())).device

    def forward(self, params: Mapping[str, Tensor]) -> Any:
        """Return a function that runs the module at `params` and gives its logits."""

        def run(*inputs: Tensor) -> Tensor:
            found = functional_call(self.model, {**self.constants, **params}, inputs)
            return getattr(found, "logits", found)

        return run

    def gradients(self, output: OutputFunction, batch: Examples) -> tuple[dict[str, Tensor], Tensor]:
        """Return the gradient of each example, shape (b, *shape) a parameter, and the weights, shape (b,)."""

        def one(params: dict[str, Tensor], *example: Tensor) -> tuple[Tensor, Tensor]:
            values, weights = with_weight(output, self.forward(params), *(field.unsqueeze(0) for field in example))
            return values[0], weights[0]

        in_dims = (None, *(0 for _ in batch))
        each = vmap(grad(one, has_aux=True), in_dims=in_dims, randomness="error")
        return each(self.params, *batch)

    def mean_gradient(self, output: OutputFunction, batches: Iterator[Examples]) -> tuple[Tensor, list[str]]:
        """Return the gradient of the mean output over all batches, shape (P,), and the parameters it does not reach."""
        params = {name: param.detach().requires_grad_() for name, param in self.params.items()}
        total: list[Tensor | None] = [None] * len(params)
        count = 0
        for batch in batches:
            count += len(batch[0])
            with torch.enable_grad():
                value = output(self.forward(params), *batch).sum()
            parts = torch.autograd.grad(value, list(params.values()), allow_unused=True)
            total = [b if a is None else a if b is None else a + b for a, b in zip(total, parts, strict=True)]
        unreached = [name for name, part in zip(params, total, strict=True) if part is None]
        flat = [
            (torch.zeros_like(param) if part is None else part / count).reshape(-1)
            for param, part in zip(params.values(), total, strict=True)
        ]
        return torch.cat(flat), unreached

    def derivatives(self, output: OutputFunction, direction: Tensor, batch: Examples) -> tuple[Tensor, Tensor]:
        """Return each output's derivative along `direction`, shape (P,), from one forward pass; and the weights."""
        tangent = {
            name: direction[offset : offset + self.params[name].numel()].view(shape)
            for name, shape, offset in self.table
        }

        def outputs(params: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            return with_weight(output, self.forward(params), *batch)

        with torch.no_grad():
            found: tuple[Tensor, ...] = jvp(outputs, (self.params,), (tangent,), has_aux=True)
        return found[1], found[2]

    def digest(self) -> str:
        """Hash of all parameters and buffers."""
        return tensor_digest({**self.params, **self.constants})

    def rows_at_once(self, output: OutputFunction, example: Examples, *, each_gradient: bool) -> int:
        """How many examples to take at once, by the memory that one needs.

        On a CUDA device the budget is a fixed share of its whole memory: with a share of what happens to be free,
        results would change in their last bits from run to run.
        """
        budget, most = _CPU_BUDGET, _CPU_ROWS
        if self.device.type == "cuda":
            budget, most = torch.cuda.get_device_properties(self.device).total_memory // _CUDA_SHARE, _CUDA_ROWS
        one = self._activation_bytes(output, example)
        if each_gradient:
            one += sum(param.numel() * param.element_size() for param in self.params.values())
        return max(1, min(most, budget // max(one, 1)))

    def _activation_bytes(self, output: OutputFunction, example: Examples) -> int:
        """What a backward pass of one example keeps, parameters aside: a measure of what one forward pass makes."""
        params = {name: param.detach().requires_grad_() for name, param in self.params.items()}
        held = {tensor.data_ptr() for tensor in (*params.values(), *self.constants.values())}
        seen: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if tensor.data_ptr() not in held:
                seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output(self.forward(params), *(field[:1] for field in example))
        return sum(seen.values())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and every module of it back in its own mode afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def parameter_names(model: nn.Module, parameters: Sequence[str] | None) -> list[str]:
    """Names of the parameters to differentiate by: the trainable ones or those asked for, tied ones once."""
    named = dict(model.named_parameters())
    if parameters is None:
        chosen = [name for name, param in named.items() if param.requires_grad]
    else:
        unknown = [name for name in parameters if name not in named]
        if unknown:
            raise ValueError(f"parameters names {unknown}, but the model has {list(named)}")
        chosen = [name for name in named if name in set(parameters)]
    if not chosen:
        raise ValueError("model has no parameter to differentiate by: none is trainable, or `parameters` is empty")
    kinds = {(named[name].dtype, named[name].device) for name in chosen}
    if len(kinds) > 1 or named[chosen[0]].dtype not in (torch.float32, torch.float64):
        # In bfloat16 a forward-mode score of a projection is mostly rounding error.
        found = sorted(map(str, kinds))
        raise ValueError(f"the parameters must be float32, or float64, on one device, got {found}; see model.float()")
    return chosen


def parameter_table(model: nn.Module, names: Sequence[str]) -> Table:
    """Name, shape and offset of each parameter in the gradient."""
    named, table, offset = dict(model.named_parameters()), [], 0
    for name in names:
        table.append((name, tuple(named[name].shape), offset))
        offset += named[name].numel()
    return table


def load_state(model: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Parameters (tied ones once) and buffers of a checkpoint, on the model's devices and in its dtypes."""
    if isinstance(checkpoint, str | os.PathLike):
        checkpoint = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, Mapping):
        kind = type(checkpoint).__name__
        raise TypeError(f"checkpoints must hold state dicts or paths of files that hold them, got {kind}")
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    saved = model.state_dict()
    missing = [name for name in own if name in saved and name not in checkpoint]
    extra = [name for name in checkpoint if name not in saved]
    if missing or extra:
        raise ValueError(f"checkpoint does not fit the model: it lacks {missing} and has {extra} that the model lacks")
    state = {}
    for name, tensor in own.items():
        found = checkpoint.get(name, tensor)
        if found.shape != tensor.shape:
            raise ValueError(f"checkpoint has {name} of shape {tuple(found.shape)}, the model {tuple(tensor.shape)}")
        state[name] = found.detach().to(device=tensor.device, dtype=tensor.dtype)
    return state
