"""How much compute a selection is worth: the budget at which random data do as well."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from selectlib.seeding import uniform_indices

_LEVEL = 0.95

Number = float | int
Budgets = Sequence[Number] | Real[Tensor, "b"] | Real[np.ndarray, "b"]
Losses = Budgets | Sequence[Sequence[Number]] | Float[Tensor, "s b"] | Float[np.ndarray, "s b"]
Value = Number | Sequence[Number] | Float[Tensor, "v"] | Float[np.ndarray, "v"]


@dataclass(frozen=True)
class Multiplier:
    """How many times the budget random data need to do as well; a bound where the measured curve ends before that.

    Parameters
    ----------
    value
        The multiplier; None where the curve does not reach the loss.
    at_least
        Set when even the largest budget of random data does worse: the multiplier is above this.
    at_most
        Set when the smallest budget of random data does better already: the multiplier is below this.
    low, high
        Ends of the interval at level 0.95 over the seeds; ``low = 0`` or ``high = inf`` is an open end, of which the
        measurement says nothing. None when no interval was asked for.

    Examples
    --------
    >>> print(Multiplier(1.7, None, None, 1.5, 1.9), Multiplier(None, 4.0, None, 3.8, float("inf")))
    1.7 [1.5, 1.9] >4 [3.8, inf]
    """

    value: float | None
    at_least: float | None
    at_most: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.at_least is not None:
            text = f">{self.at_least:.3g}"
        else:
            text = f"{self.value:.3g}" if self.at_most is None else f"<{self.at_most:.3g}"
        return text if self.low is None else f"{text} [{self.low:.3g}, {self.high:.3g}]"


def compute_multiplier(
    budgets: Budgets,
    losses: Losses,
    value: Value,
    *,
    budget: Number | None = None,
    resamples: int = 2000,
    generator: torch.Generator | None = None,
) -> Multiplier:
    """Find the budget at which random data reach the loss of a selection, as a multiple of the selection's own budget.

    Between two measured budgets the loss of random data is taken as linear in the logarithm of the budget. Outside of
    them nothing is known, and nothing is extrapolated.

    Parameters
    ----------
    budgets
        Training budgets of the random runs [tokens], shape ``(b,)``, ascending, at least 2.
    losses
        Losses of the random runs, lower is better; shape ``(b,)``, or ``(s, b)`` with one row a seed.
    value
        Loss of the selection, a number or one a seed, shape ``(v,)``.
    budget
        Training budget of the selection [tokens]; default: the first of ``budgets``.
    resamples
        Bootstrap resamples, at least 1; default 2000.
    generator
        Source of the resamples, for an interval; None (default) for no interval.

    Returns
    -------
    Multiplier
        A number with ``value``, or a bound with ``at_least`` or ``at_most``.

    Raises
    ------
    TypeError
        `generator` is neither None nor a `torch.Generator`.
    ValueError
        Budgets are not positive and ascending, shapes do not fit, an entry is not finite, ``resamples < 1``, or an
        interval is asked for and neither ``losses`` nor ``value`` has two seeds.

    Notes
    -----
    The multiplier belongs to the mean over the seeds. Where noise lets the mean curve rise, the smallest budget that
    reaches the loss counts, which favours random data. The interval holds the percentiles of a bootstrap that draws the
    rows of ``losses``, and apart from them the seeds of ``value``; with five seeds it is somewhat too narrow, as any
    bootstrap of so few. A resample that leaves the curve counts as its bound, so that an end of the interval is open
    rather than guessed. Time O(resamples (s b + v)).

    The budget counts training alone: what the selection itself costs is not in it.

    Examples
    --------
    >>> print(compute_multiplier([1e6, 2e6, 4e6], [5.0, 4.6, 4.2], 4.8))
    1.41
    >>> print(compute_multiplier([1e6, 2e6, 4e6], [5.0, 4.6, 4.2], 3.0))
    >4
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be None or a torch.Generator, got {type(generator).__name__}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    tokens = _finite("budgets", budgets)
    if tokens.ndim != 1 or len(tokens) < 2 or not (tokens[0] > 0 and (np.diff(tokens) > 0).all()):
        raise ValueError(f"budgets must be two or more positive numbers, ascending; got {tokens}")
    curves, reached = np.atleast_2d(_finite("losses", losses)), np.atleast_1d(_finite("value", value))
    if curves.ndim != 2 or curves.shape[1] != len(tokens) or not len(curves):
        b = len(tokens)
        raise ValueError(f"losses must have shape ({b},) or (s, {b}), as there are {b} budgets; got {curves.shape}")
    if reached.ndim != 1 or not len(reached):
        raise ValueError(f"value must be a number or a vector; got shape {reached.shape}")
    own = float(tokens[0] if budget is None else budget)
    if not (np.isfinite(own) and own > 0):
        raise ValueError(f"budget must be a positive number; got {budget}")

    multiples = tokens / own
    (least,), (most,) = _brackets(multiples, curves.mean(0)[None], reached.mean()[None])
    low, high = None, None
    if generator is not None:
        if len(curves) < 2 and len(reached) < 2:
            raise ValueError("an interval needs two seeds or more of losses or of value")
        means = [_resampled_means(x, resamples, generator) for x in (curves, reached[:, None])]
        lower, upper = _brackets(multiples, means[0], means[1][:, 0])
        low = min(least, float(np.quantile(lower, (1 - _LEVEL) / 2, method="lower")))
        high = max(most, float(np.quantile(upper, (1 + _LEVEL) / 2, method="higher")))
    if least == most:
        return Multiplier(float(least), None, None, low, high)
    if least == 0:
        return Multiplier(None, None, float(most), low, high)
    return Multiplier(None, float(least), None, low, high)


def _brackets(
    multiples: Float[np.ndarray, "b"], curves: Float[np.ndarray, "r b"], values: Float[np.ndarray, "r"]
) -> tuple[Float[np.ndarray, "r"], Float[np.ndarray, "r"]]:
    """Between which multiples each curve comes down to its value: twice one number where it does so inside."""
    below = curves <= values[:, None]
    after = below.argmax(1)  # the first budget that is enough; 0 also where none is
    inside = below.any(1) & (after > 0)
    right, rows = np.where(inside, after, 1), np.arange(len(curves))
    start, end = curves[rows, right - 1], curves[rows, right]
    way = np.divide(start - values, start - end, out=np.zeros_like(values), where=inside)
    crossing = np.exp(np.log(multiples[right - 1]) + way * np.log(multiples[right] / multiples[right - 1]))
    at_start = curves[:, 0] == values
    low = np.select([inside, at_start, below[:, 0]], [crossing, multiples[0], 0.0], multiples[-1])
    high = np.select([inside, at_start, below[:, 0]], [crossing, multiples[0], multiples[0]], np.inf)
    return low, high


def _resampled_means(x: Float[np.ndarray, "s b"], resamples: int, generator: torch.Generator) -> np.ndarray:
    drawn = uniform_indices(len(x), resamples * len(x), generator=generator).reshape(resamples, len(x))
    return x[drawn.cpu().numpy()].mean(1)


def _finite(name: str, given: Value | Losses) -> np.ndarray:
    numbers = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite; got {numbers}")
    return numbers
