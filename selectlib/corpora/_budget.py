"""How much of a selection a token budget pays for."""

import torch
from jaxtyping import Int
from torch import Tensor


def within_token_budget(
    order: Int[Tensor, "k"], lengths: Int[Tensor, "n"] | int, budget: int, *, epochs: int = 4
) -> Int[Tensor, "b"]:
    """Cut a selection to the longest prefix that can be trained on within a token budget.

    Parameters
    ----------
    order : Tensor of int64, shape (k,)
        Indices of the pool in order of preference, as selectors return them.
    lengths : Tensor of int64, shape (n,), or int
        Tokens of each item of the pool, at least 0; or one number, where all have as many.
    budget : int
        Tokens that training may read in all.
    epochs : int, default 4
        How often training reads each chosen item. DsDm's default for its targeted selections.

    Returns
    -------
    Tensor of int64, shape (b,)
        The first items of `order`, as many as fit. With one length T and a long enough `order`, b is the integer part
        of ``budget / (epochs T)``.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a number is out of range, `order` is empty or has an index that `lengths` has not, or the budget does not pay
        for the first item.

    Notes
    -----
    Time and memory O(k). An item that does not fit ends the prefix: smaller ones after it are not tried. Where all of
    `order` fits, the budget may be far from spent; compare methods by the tokens that they train on.

    Source: Engstrom et al. (2024), appendix D.1, as secondary sources report it: a quarter of the training length, for
    four epochs.

    Examples
    --------
    >>> within_token_budget(torch.tensor([2, 0, 1]), torch.tensor([10, 20, 30]), 160)
    tensor([2, 0])
    """
    for name, value in (("budget", budget), ("epochs", epochs)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, got {type(value).__name__}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    _check_indices("order", order)
    if len(order) == 0:
        raise ValueError("order must hold at least 1 index, got none")
    tokens = _tokens(order, lengths)
    fitting = int((tokens.cumsum(0) <= budget // epochs).sum())
    if fitting == 0:
        raise ValueError(f"budget must pay for the first item: {tokens[0]} tokens, {epochs} epochs; got {budget}")
    return order[:fitting]


def _tokens(order: Tensor, lengths: Tensor | int) -> Tensor:
    if isinstance(lengths, Tensor):
        _check_indices("lengths", lengths)
        if int(order.min()) < 0 or int(order.max()) >= len(lengths):
            raise ValueError(
                f"order must hold indices of the {len(lengths)} lengths, got {int(order.min())} to {int(order.max())}"
            )
        tokens = lengths[order.to(lengths.device)]
    elif isinstance(lengths, bool) or not isinstance(lengths, int):
        raise TypeError(f"lengths must be a tensor of int64 or an int, got {type(lengths).__name__}")
    else:
        tokens = torch.full_like(order, lengths)
    if int(tokens.min()) < 0:
        raise ValueError(f"lengths must be at least 0, got {int(tokens.min())}")
    return tokens


def _check_indices(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or value.dtype != torch.int64:
        given = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a tensor of int64, got {given}")
    if value.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {tuple(value.shape)}")
