"""Exact k-DPP samples of a fixed size, with no search for α and no rejection of sizes.

f = e_k^{1/k} is concave and homogeneous of degree 1 on psd operators, so it lies below its tangent at any Ĉ:

    e_k(Σ_σ w b bᵀ)  <=  e_k(Ĉ) · (1/k Σ_σ w_i l_i)^k,      l_i = b_iᵀ (∇ log e_k)(Ĉ) b_i.

Draw σ as exactly t items, i.i.d. with probability l_i / Σl, and weigh them by w_i = k / (t l_i): the sum is k, and
e_k(L̃_σ) / e_k(Ĉ) <= 1 is a legal acceptance probability. A k-DPP on L̃_σ then gives S. A given S occupies t!/(t-k)!
ordered places in σ, so its probability is proportional to

    t!/(t-k)! · Π_{i∈S} (l_i / Σl) · e_k(L̃_σ)/e_k(Ĉ) · det(L̃_S)/e_k(L̃_σ)
        ∝  Π_{i∈S} l_i · k/(t l_i) · det L_S  ∝  det L_S,

whatever Ĉ was. To our knowledge this sampler is not published; domain sparsification is the nearest idea.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.subsets._covariance import Covariance
from selectlib.subsets._esp import kdpp_spectrum, log_ek
from selectlib.subsets._intermediate import ENTRIES, IntermediateSampler, check_bounded, nonnegative
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._report import SamplingReport
from selectlib.subsets._scores import Scores
from selectlib.subsets._spectral import sample_kdpp_dense


class DirectSampler(IntermediateSampler):
    """Sampler of the k-DPP by intermediate sets of a fixed size t.

    Parameters
    ----------
    k : int
        Size of the samples.
    t : int
        Size of the intermediate sets, at least k. ⌈k²/2⌉ makes the fewest looks.
    looked, covariance, report, landmarks, cache
        As in `IntermediateSampler`.
    """

    def __init__(
        self,
        looked: LookedItems,
        covariance: Covariance,
        report: SamplingReport,
        *,
        k: int,
        t: int,
        landmarks: float | int | None,
        cache: bool,
    ):
        super().__init__(looked, covariance, report, landmarks=landmarks, cache=cache)
        self.k, self.t = k, t
        self.weigh()

    def weigh(self) -> None:
        """l_i = γ_0 (L_ii - Σ_j ⟨v_j, b_i⟩²) + Σ_j g_j ⟨v_j, b_i⟩², with g_j = ∂ log e_k / ∂ λ_j <= γ_0."""
        spectrum = kdpp_spectrum(self.covariance.eigvals, self.k)
        self.log_ek = float(spectrum.log_ek)
        if math.isinf(self.log_ek):
            raise ValueError(
                f"k = {self.k} is larger than the numerical rank {len(self.covariance.eigvals)} of the dictionary"
            )
        self.scores = Scores(self.looked, self.covariance, float(spectrum.gamma0), spectrum.g)

    def estimate_target(self) -> tuple[int, float | None]:
        """k, at its balanced α."""
        return self.k, None

    def entries(self) -> int:
        """A t x t matrix, and t items."""
        return self.t * (self.t + self.covariance.landmarks.shape[-1])

    def intermediate(self, size: int) -> tuple[Int[Tensor, "B t"], Float[Tensor, "B t t"]]:
        """Rows of `size` intermediate sets, and their kernels L̃_σ; padded by zeros."""
        with self.report.timed("looking"):
            owner = torch.arange(size, device=self.looked.device).repeat_interleave(self.t)
            rows, copies = self.packed(owner, self.scores.draw(size * self.t), size)
        return rows, self.gram(rows, copies)

    def gram(self, rows: Int[Tensor, "B t"], copies: Int[Tensor, "B t"]) -> Float[Tensor, "B t t"]:
        """L̃_σ, with c_i w_i = c_i k / (t l_i)."""
        return self.weighted_gram(rows, copies * self.k / (self.t * self.scores.of(rows)))

    def log_acceptance(self, gram: Float[Tensor, "B t t"]) -> Float[Tensor, "B"]:
        """log e_k(L̃_σ) - log e_k(Ĉ) <= 0."""
        log_a = log_ek(nonnegative(torch.linalg.eigvalsh(gram)), self.k) - self.log_ek
        check_bounded(log_a)
        return log_a

    def log_acceptances(self, size: int) -> Float[Tensor, "size"]:
        """Log acceptance probabilities of `size` intermediate sets, drawn for their sake alone."""
        step = max(1, ENTRIES // max(1, self.entries()))
        sizes = [min(step, size - start) for start in range(0, size, step)]
        return torch.cat([self.log_acceptance(self.intermediate(block)[1]) for block in sizes])

    def propose(self, size: int) -> list[Tensor]:
        """Draw `size` intermediate sets, and return the samples of those accepted, in order."""
        rows, gram = self.intermediate(size)
        with self.report.timed("deciding"):
            log_a = self.log_acceptance(gram)
            u = torch.rand(size, dtype=torch.float64, device=gram.device, generator=self.looked.generator)
            accepted = u.log() < log_a
        self.report.proposals += size
        self.report.accepted += int(accepted.sum())
        if not bool(accepted.any()):
            return []
        with self.report.timed("drawing"):
            eigvals, eigvecs = torch.linalg.eigh(gram[accepted])
            places = sample_kdpp_dense(nonnegative(eigvals), eigvecs, self.k, generator=self.looked.generator)
            return list(self.looked.index(rows[accepted].gather(1, places)).sort(-1).values)
