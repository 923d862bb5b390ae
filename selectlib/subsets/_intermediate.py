"""What the two sublinear samplers share: propose small intermediate sets, accept in order, learn from every look."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.subsets._covariance import Covariance
from selectlib.subsets._estimate import estimate_anew
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._report import SamplingReport

ENTRIES = 2**21  # float64 numbers of one batch of proposals
_REFINE = 2  # growth of the memory after which Ĉ is estimated anew
_ENOUGH = 4  # looks for each landmark after which more looks hardly improve Ĉ


class IntermediateSampler(ABC):
    """Rejection sampling of intermediate sets σ.

    Whatever happened before a batch of proposals (the dictionary, the search for α, the items seen) decides only how
    likely acceptance is: given that past, every accepted proposal yields a sample with exactly the target's law, and
    proposals are taken in the order in which they were drawn. A batch ends with its size alone, which is fixed before
    the first of its items is drawn.

    Parameters
    ----------
    looked : LookedItems
        The memory of items.
    covariance : Covariance
        Ĉ.
    report : SamplingReport
        Kept up to date.
    landmarks : float or None
        Landmarks for each effective dimension of Ĉ, which is estimated anew as the memory grows; None: it never is.
    cache : bool
        Whether items stay in memory from one batch to the next.
    """

    def __init__(
        self,
        looked: LookedItems,
        covariance: Covariance,
        report: SamplingReport,
        *,
        landmarks: float | int | None,
        cache: bool,
    ):
        self.looked, self.covariance, self.report = looked, covariance, report
        self._landmarks, self._cache = landmarks, cache
        self._refined_at = looked.count
        self._proposed = self._found = 0

    @abstractmethod
    def weigh(self) -> None:
        """Compute the scores from the current Ĉ."""

    @abstractmethod
    def estimate_target(self) -> tuple[int, float | None]:
        """k, and α or None for the α that is balanced at k: the level at which Ĉ is to be good."""

    @abstractmethod
    def propose(self, size: int) -> list[Tensor]:
        """Draw `size` intermediate sets, and return the samples of those accepted, in order."""

    @abstractmethod
    def entries(self) -> int:
        """Expected float64 numbers that one proposal needs."""

    def sample(self, n_samples: int, batch: int | None, max_proposals: int) -> list[Tensor]:
        """Return `n_samples` independent samples; raise if they are not found in `max_proposals` proposals."""
        found: list[Tensor] = []
        left = max_proposals
        while len(found) < n_samples:
            if not left:
                raise RuntimeError(
                    f"{len(found)} of {n_samples} samples after max_proposals = {max_proposals} proposals; "
                    "a larger `oversample` or `dict_oversample` makes acceptance more likely"
                )
            before = len(found)
            size = min(self._batch_size(n_samples - before), batch or left, left)
            left -= size
            found += self.propose(size)
            self._proposed, self._found = self._proposed + size, self._found + len(found) - before
            self._learn()
        self.report.samples += n_samples
        return found[:n_samples]

    def _batch_size(self, missing: int) -> int:
        """As many proposals as samples are missing, so that no look is wasted; more once nothing is left to look at."""
        if self.looked.complete:
            missing = math.ceil(missing * (self._proposed + 2) / (self._found + 1))
        return max(1, min(missing, ENTRIES // max(1, self.entries())))

    def _learn(self) -> None:
        """Between batches: estimate Ĉ anew from the items seen since, or forget them."""
        self.report.looks = self.looked.looks
        if not self._cache:
            self.looked.forget()
            self.weigh()
        elif self._landmarks and self._refined_at < _ENOUGH * len(self.covariance.landmarks):
            if self.looked.count >= _REFINE * self._refined_at:
                with self.report.timed("dictionary"):
                    self.refine(self._landmarks)

    def refine(self, landmarks: float | int) -> None:
        """Estimate Ĉ from all items in memory, and the scores from it."""
        k, alpha = self.estimate_target()
        self.covariance = estimate_anew(self.looked, self.covariance, k=k, alpha=alpha, landmarks=landmarks)
        self._refined_at = self.looked.count
        self.report.landmarks = len(self.covariance.landmarks)
        self.weigh()

    def packed(
        self, owner: Int[Tensor, "s"], rows: Int[Tensor, "s"], size: int
    ) -> tuple[Int[Tensor, "B t"], Int[Tensor, "B t"]]:
        """The items of each intermediate set, and how often each is in it; the unused places have 0 copies.

        Merged copies change neither det(I + L̃_σ) nor e_k(L̃_σ), nor the law of the items in a sample.
        """
        key, copies = torch.unique(owner * max(1, self.looked.count) + rows, return_counts=True)
        owner, rows = key // max(1, self.looked.count), key % max(1, self.looked.count)
        distinct = torch.bincount(owner, minlength=size)
        place = torch.arange(len(key), device=key.device) - (distinct.cumsum(0) - distinct)[owner]
        table = key.new_zeros(2, size, max(1, int(distinct.max())))
        table[0, owner, place], table[1, owner, place] = rows, copies
        return table[0], table[1]

    def weighted_gram(self, rows: Int[Tensor, "B t"], weights: Float[Tensor, "B t"]) -> Float[Tensor, "B t t"]:
        """L̃_σ: the kernel of the items in these rows, between √w_i and √w_j."""
        if not self.looked.count:
            return weights.new_zeros(*weights.shape, weights.shape[-1])
        X, root = self.looked.features(rows), weights.sqrt()
        return (self.looked.kernel(X, X) * root[..., :, None]).mul_(root[..., None, :])


def check_bounded(log_acceptance: Float[Tensor, "B"]) -> None:
    """Raise if an acceptance probability exceeds 1: clipping it would bias the law without a trace."""
    if bool((log_acceptance > 1e-8).any()) or bool(log_acceptance.isnan().any()):
        raise RuntimeError(
            f"an acceptance probability of exp({float(log_acceptance.max()):.3g}) > 1: the kernel is not positive "
            "semi-definite, or too ill-conditioned for float64 at this k"
        )


def nonnegative(eigvals: Float[Tensor, "B t"]) -> Float[Tensor, "B t"]:
    """Ascending eigenvalues of psd matrices, with those at the level of rounding set to zero."""
    largest = eigvals[:, -1:]
    if bool((eigvals[:, :1] < -1e-8 * largest.clamp(min=0)).any()):
        raise ValueError(
            f"kernel must be positive semi-definite; an intermediate set has the eigenvalue {float(eigvals.min()):.3g}"
        )
    return torch.where(eigvals > largest * eigvals.shape[-1] * torch.finfo(torch.float64).eps, eigvals, 0.0)
