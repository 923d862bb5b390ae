"""What is linearised: a number for each example, made of the logits of a model."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

Forward = Callable[..., Tensor]


@runtime_checkable
class OutputFunction(Protocol):
    """A number for each example, whose gradient the estimator takes.

    Both methods are called under `torch.func` transforms, with ``forward(*inputs)`` running the module at the
    parameters of the moment: they must not branch on the values of tensors, and treat the examples of a batch
    independently.

    Examples
    --------
    >>> isinstance(CorrectClassMargin(), OutputFunction)
    True
    """

    def __call__(self, forward: Forward, *batch: Tensor) -> Tensor:
        """Return the outputs, shape (b,), of a batch of examples; larger is better for the example."""
        ...

    def weight(self, forward: Forward, *batch: Tensor) -> Tensor:
        """Say how hard each example pulls: minus the derivative of its loss by its output.

        Parameters
        ----------
        forward : callable
            ``forward(*inputs)`` runs the model.
        *batch : Tensor
            The examples, field by field, as the output function documents them.

        Returns
        -------
        Tensor of floats, shape (b,)
        """
        ...


class MarginOutput(ABC):
    """An output that is the mean of margins, one for each predicted symbol of an example.

    A margin is ``log(p / (1 - p))`` of the probability p of the correct symbol, so that ``p = sigmoid(margin)``. What
    is left to say is which symbols an example predicts: `margins`.
    """

    @abstractmethod
    def margins(self, forward: Forward, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the margins, shape (b, j), and which of them count, bool of a shape that broadcasts to (b, j)."""

    def __call__(self, forward: Forward, *batch: Tensor) -> Tensor:
        """Return the mean margin of each example, shape (b,)."""
        return _mean(*self.margins(forward, *batch))

    def weight(self, forward: Forward, *batch: Tensor) -> Tensor:
        """Return the mean of 1 - p over the symbols of each example, shape (b,)."""
        return self.with_weight(forward, *batch)[1]

    def with_weight(self, forward: Forward, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs and the weights from one run of the model."""
        margins, counted = self.margins(forward, *batch)
        return _mean(margins, counted), _mean(torch.sigmoid(-margins), counted)

    def __repr__(self) -> str:
        """Name the output; stores keep it."""
        return f"{type(self).__name__}()"


class CorrectClassMargin(MarginOutput):
    """Margin of the correct class: ``log(p_y / (1 - p_y))``.

    Examples are ``(inputs, labels)``; the model maps inputs, shape (b, ...), to logits, shape (b, c), and labels are
    integers from 0 to c - 1, shape (b,).

    Notes
    -----
    Computed as ``h_y - logsumexp of the other logits``, finite however sure the model is. Source: TRAK (Park et al.,
    2023), the model output of a classifier, which DsDm takes over.

    Examples
    --------
    >>> import torch
    >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
    >>> output = CorrectClassMargin()
    >>> output(lambda x: x, logits, labels)
    tensor([ 2., -2.])
    >>> output.weight(lambda x: x, logits, labels)
    tensor([0.1192, 0.8808])
    """

    def margins(self, forward: Forward, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Give one margin an example, all of them counted.

        Parameters
        ----------
        forward : callable
            ``forward(*inputs)`` runs the model.
        *batch : Tensor
            Inputs, shape (b, ...), and labels, shape (b,).

        Returns
        -------
        margins : Tensor of floats, shape (b, 1)
            The margins.
        counted : Tensor of bool, shape ()
            True.
        """
        inputs, labels = _fields(self, batch, "(inputs, labels)", 2, 2)
        margins = margin(forward(inputs), labels).unsqueeze(1)
        return margins, torch.ones((), dtype=torch.bool, device=margins.device)


class CausalLMMargin(MarginOutput):
    """Mean over positions of the margin of the next token.

    Examples are ``(tokens,)`` or ``(tokens, target_mask)``: tokens of shape (b, t), int64, and a bool mask of the same
    shape that is True at the positions whose token is predicted and counted, for example those of an answer. Without a
    mask all positions but the first count; the first never counts. The model maps tokens, shape (b, t - 1), to logits,
    shape (b, t - 1, v), each of the token that follows.

    Notes
    -----
    An example in which no position counts has output 0 and gradient 0. Source: the model output for language models of
    DsDm as presented by Khaddaj et al. (2025), appendix A.

    Examples
    --------
    >>> import torch
    >>> tokens = torch.tensor([[0, 1, 1]])
    >>> bigrams = torch.tensor([[0.0, 1.0], [0.0, 3.0]])  # logits of the next token after 0 and after 1
    >>> output = CausalLMMargin()
    >>> output(lambda tokens: bigrams[tokens], tokens)
    tensor([2.])
    >>> output(lambda tokens: bigrams[tokens], tokens, torch.tensor([[False, False, True]]))
    tensor([3.])
    """

    def margins(self, forward: Forward, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Give the margins of the tokens after the first, and say which count.

        Parameters
        ----------
        forward : callable
            ``forward(*inputs)`` runs the model.
        *batch : Tensor
            Tokens, shape (b, t), and the mask of those that are predicted, if there is one.

        Returns
        -------
        margins : Tensor of floats, shape (b, t - 1)
            The margins.
        counted : Tensor of bool, shape (b, t - 1) or ()
            Which of them count.
        """
        tokens, *rest = _fields(self, batch, "(tokens,) or (tokens, target_mask)", 1, 2)
        margins = margin(forward(tokens[:, :-1]), tokens[:, 1:])
        return margins, rest[0][:, 1:] if rest else torch.ones((), dtype=torch.bool, device=margins.device)


class NegativeLoss:
    """Log-likelihood in place of the margin: minus the cross-entropy, averaged over the symbols of an example.

    Its gradient is that of the margins, weighted by 1 - p symbol by symbol, so that the weight of an example is 1.

    Parameters
    ----------
    output : CorrectClassMargin or CausalLMMargin
        Says which symbols an example predicts.

    Raises
    ------
    TypeError
        If `output` is not made of margins.

    Examples
    --------
    >>> import torch
    >>> logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> NegativeLoss(CorrectClassMargin())(lambda x: x, logits, labels)
    tensor([-0.1269])
    """

    def __init__(self, output: MarginOutput):
        if not isinstance(output, MarginOutput):
            raise TypeError(f"output must be CorrectClassMargin() or CausalLMMargin(), got {output!r}")
        self.output = output

    def __call__(self, forward: Forward, *batch: Tensor) -> Tensor:
        """Return the mean log-probability of the symbols of each example, shape (b,)."""
        margins, counted = self.output.margins(forward, *batch)
        return _mean(F.logsigmoid(margins), counted)

    def weight(self, forward: Forward, *batch: Tensor) -> Tensor:
        """Give ones: the gradient has its weights inside.

        Parameters
        ----------
        forward : callable
            ``forward(*inputs)`` runs the model.
        *batch : Tensor
            The examples, as for `output`.

        Returns
        -------
        Tensor of floats, shape (b,)
        """
        return torch.ones(len(batch[0]), device=batch[0].device)

    def with_weight(self, forward: Forward, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Give outputs and weights from one run of the model.

        Parameters
        ----------
        forward : callable
            ``forward(*inputs)`` runs the model.
        *batch : Tensor
            The examples, as for `output`.

        Returns
        -------
        outputs : Tensor of floats, shape (b,)
            The mean log-probabilities.
        weights : Tensor of floats, shape (b,)
            Ones.
        """
        outputs = self(forward, *batch)
        return outputs, torch.ones_like(outputs)

    def __repr__(self) -> str:
        """Name the output; stores keep it."""
        return f"NegativeLoss({self.output!r})"


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``log(p / (1 - p))`` of the labels, shape (...), from logits, shape (..., c)."""
    classes = logits.shape[-1]
    if classes < 2:
        raise ValueError(f"the model must give logits of at least 2 classes, got shape {tuple(logits.shape)}")
    correct = torch.arange(classes, device=logits.device) == labels.unsqueeze(-1)  # indexing by a tensor fails in vmap
    others = logits.masked_fill(correct, -torch.inf)
    return logits.masked_fill(~correct, 0).sum(-1) - torch.logsumexp(others, -1)


def with_weight(output: OutputFunction, forward: Forward, *batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and weights, from one run of the model where `output` knows how."""
    if isinstance(output, MarginOutput | NegativeLoss):
        return output.with_weight(forward, *batch)
    return output(forward, *batch), output.weight(forward, *batch)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over the last dimension of the values that count; 0 where none does."""
    counted = counted.expand_as(values)
    return values.masked_fill(~counted, 0).sum(-1) / counted.sum(-1).clamp(min=1)


def _fields(output: MarginOutput, batch: tuple[Tensor, ...], form: str, fewest: int, most: int) -> tuple[Tensor, ...]:
    if not fewest <= len(batch) <= most:
        raise ValueError(f"examples for {output!r} must be {form}, got {len(batch)} tensors")
    return batch
