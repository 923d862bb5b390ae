from collections.abc import Callable

import torch
from torch import Tensor

Forward = Callable[..., Tensor]


def classification_loss(forward: Forward, inputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example of a classifier.

    Parameters
    ----------
    forward : callable
        Maps `inputs` to logits, shape (b, c).
    inputs : Tensor, shape (b, ...)
        What the model reads.
    labels : Tensor of int64, shape (b,)
        Classes from 0 to c - 1.

    Returns
    -------
    Tensor of floats, shape (b,)
        Losses [nats].

    Examples
    --------
    >>> import torch
    >>> classification_loss(lambda x: x, torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([0.6931])
    """
    return _cross_entropy(forward(inputs), labels)


def causal_lm_loss(forward: Forward, tokens: Tensor, target_mask: Tensor | None = None) -> Tensor:
    """Cross-entropy of each example of a causal language model, the mean over its counted tokens.

    Parameters
    ----------
    forward : callable
        Maps tokens, shape (b, t - 1), to logits of the tokens that follow, shape (b, t - 1, v).
    tokens : Tensor of int64, shape (b, t)
        Sequences of at least two tokens.
    target_mask : Tensor of bool, shape (b, t), optional
        True at the tokens that are predicted and counted, such as those of an answer; by default all but the first,
        which is never counted.

    Returns
    -------
    Tensor of floats, shape (b,)
        Losses [nats per counted token]; 0 where no token counts.

    Examples
    --------
    >>> import torch
    >>> uniform = lambda tokens: torch.zeros(*tokens.shape, 2)
    >>> causal_lm_loss(uniform, torch.tensor([[0, 1, 1]]))
    tensor([0.6931])
    """
    losses = _cross_entropy(forward(tokens[:, :-1]), tokens[:, 1:])
    if target_mask is None:
        return losses.mean(-1)
    counted = target_mask[:, 1:]
    return losses.masked_fill(~counted, 0).sum(-1) / counted.sum(-1).clamp(min=1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Losses of shape (...) from logits, shape (..., c), and labels, shape (...)."""
    logits = logits if logits.dtype == torch.float64 else logits.float()  # half sums are too coarse for a loss
    return logits.logsumexp(-1) - logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
