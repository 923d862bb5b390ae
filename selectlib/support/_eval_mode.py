from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(*models: nn.Module) -> Iterator[None]:
    """Put models in evaluation mode for a while; each of their modules then gets its own mode back.

    Examples
    --------
    >>> net = nn.Sequential(nn.Dropout().eval(), nn.Dropout())
    >>> with eval_mode(net):
    ...     print([module.training for module in net])
    [False, False]
    >>> [module.training for module in net]
    [False, True]
    """
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
