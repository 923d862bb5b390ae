from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call


def evaluate(
    model: nn.Module,
    states: Sequence[Mapping[str, Tensor]],
    examples: tuple[Tensor, ...],
    fn: Callable[..., Tensor],
    batch: int = 1024,
) -> Float[Tensor, "r n"]:
    """Take a number for each example from each of several states of one model.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture; it is run in evaluation mode, and left as it was.
    states : sequence of mappings from names to tensors
        State dicts, as `train` returns them.
    examples : tuple of Tensors, first dimensions n
        What to look at; batches of it are moved to the states' device.
    fn : callable
        ``fn(forward, *batch)`` returns shape (b,): a loss, or an output function of `selectlib.corpora`.
    batch : int, default 1024
        Examples a call.

    Returns
    -------
    Tensor of floats, shape (r, n)
        On the states' device.

    Raises
    ------
    ValueError
        If there is no state, or the examples' tensors differ in length or are empty.

    Notes
    -----
    r forward passes over the examples; memory of one batch.

    Examples
    --------
    >>> import torch
    >>> from selectlib.nets import MLP, classification_loss
    >>> net, examples = MLP([2, 3]), (torch.zeros(7, 2), torch.zeros(7, dtype=torch.int64))
    >>> evaluate(net, [net.state_dict()] * 2, examples, classification_loss).shape
    torch.Size([2, 7])
    """
    n = check_examples(examples)
    if len(states) == 0:
        raise ValueError("states must hold at least one state dict, got none")
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            rows = [_values(model, dict(state), examples, fn, n, batch) for state in states]
    finally:
        model.train(training)
    return torch.stack(rows)


def check_examples(examples: tuple[Tensor, ...]) -> int:
    """Return the number of examples; raise a clear error unless all tensors have as many, and at least one."""
    lengths = [len(tensor) for tensor in examples]
    if len(set(lengths)) != 1 or lengths[0] == 0:
        raise ValueError(f"examples must be tensors of one equal length of at least 1, got lengths {lengths}")
    return lengths[0]


def _values(model: nn.Module, state: dict[str, Tensor], examples: tuple[Tensor, ...], fn, n: int, batch: int) -> Tensor:
    device = next(iter(state.values())).device
    parts = []
    for start in range(0, n, batch):
        part = [tensor[start : start + batch].to(device) for tensor in examples]
        parts.append(fn(lambda *inputs: functional_call(model, state, inputs), *part))
    return torch.cat(parts)
