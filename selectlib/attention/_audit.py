"""How far the sparse target is from the dense one, measured on a random share of the steps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib.attention._loop import Target
from selectlib.stats import Interval, mean_interval

if TYPE_CHECKING:
    from selectlib.attention._target import TargetModel


@dataclass(frozen=True)
class Audit:
    """Distances between the sparse and the dense laws of the next token, one number a step that was audited.

    A step's number is the mean over the queries whose tokens were emitted. Whether a step is audited is drawn before
    it runs and changes nothing in it, so the mean over the audited steps is an unbiased estimate of the mean over all
    steps of the run.

    Attributes
    ----------
    total_variation : Tensor of float64, shape (n,)
        Total variation, in [0, 1].
    kl : Tensor of float64, shape (n,)
        Kullback-Leibler divergence of the sparse law from the dense one, ``KL(dense || sparse)`` [nats].

    Examples
    --------
    >>> audit = Audit(torch.tensor([0.1, 0.3, 0.2]).double(), torch.tensor([0.02, 0.1, 0.06]).double())
    >>> round(audit.interval().value, 3), audit.interval("kl").n
    (0.2, 3)
    """

    total_variation: Float[Tensor, "n"]
    kl: Float[Tensor, "n"]

    def interval(self, measure: str = "total_variation", *, level: float = 0.95) -> Interval:
        """Estimate the mean over all steps of the run.

        Parameters
        ----------
        measure : {"total_variation", "kl"}, default "total_variation"
            Which distance.
        level : float, default 0.95
            Confidence level.

        Returns
        -------
        Interval
            Student's interval over the audited steps. It covers what other steps of this run may have been drawn, not
            what other runs would give; where all steps were audited the value itself is exact.

        Raises
        ------
        ValueError
            If `measure` is unknown or fewer than two steps were audited.

        Examples
        --------
        >>> Audit(torch.zeros(2).double(), torch.zeros(2).double()).interval("kl").high
        0.0
        """
        if measure not in ("total_variation", "kl"):
            raise ValueError(f"measure must be 'total_variation' or 'kl', got {measure!r}")
        values = self.total_variation if measure == "total_variation" else self.kl
        if len(values) < 2:
            raise ValueError(f"an interval needs at least 2 audited steps, got {len(values)}: raise audit_rate")
        return mean_interval(values.numpy(), level=level)


class StepAuditor:
    """Draws the steps to audit and runs them densely, before the sparse pass, on a cache that is then cut back.

    Without a reference of its own the dense pass reads the cache that the sparse steps wrote: it measures what this
    step's masks change. With one, a second cache of the same model that has only ever been dense, it measures what all
    masks since the prompt have changed.
    """

    def __init__(
        self, rate: float, coins: torch.Generator, temperature: float, reference: "TargetModel | None" = None
    ) -> None:
        self.rate, self.coins, self.temperature, self.reference = rate, coins, temperature, reference
        self._distances: list[Tensor] = []

    def expect(self, target: Target, tokens: list[int], drafted: Tensor) -> Tensor | None:
        if torch.rand((), generator=self.coins).item() >= self.rate:  # drawn on the CPU: waits for nothing
            return None
        start = len(tokens) - 1
        model = self.reference or target
        missing = torch.tensor(tokens[self.reference.length if self.reference else start :], device=drafted.device)
        logits = model.look(torch.cat([missing, drafted]))
        model.crop(start)
        return logits[-1 - len(drafted) :]

    def record(self, sparse: Tensor, dense: Tensor) -> None:
        p, q = ((x.float() / self.temperature).log_softmax(-1) for x in (dense, sparse))
        variation = (p.exp() - q.exp()).abs().sum(-1) / 2
        self._distances.append(torch.stack([variation, (p.exp() * (p - q)).sum(-1)]).mean(1))

    def result(self) -> Audit:
        """What was found so far."""
        found = (
            torch.stack(self._distances, 1).cpu().double()
            if self._distances
            else torch.zeros(2, 0, dtype=torch.float64)
        )
        return Audit(found[0], found[1])
