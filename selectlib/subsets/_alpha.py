"""α-DPP: exact DPP and k-DPP samples through Poisson intermediate sets, and a search for the scale α.

Every item enters σ independently N_i ~ Poisson(r e^{1/r} l_i) times, with weight w_i = α / (r l_i), where
l_i = α b_iᵀ A^{-1} b_i, A = I + αĈ. With z = tr(I - A^{-1}) and t = Σ N_i, det M <= e^{tr(M - I)} gives

    a(σ) = exp(z - t/r + log det(I + L̃_σ) - log det A)  <=  1.

Accept σ with probability a(σ), and draw S from DPP(L̃_σ). Since E[e^{-t/r} Π_{i∈S} N_i] ∝ Π_{i∈S} r l_i,

    Pr(S)  ∝  det(L_S) Π_{i∈S} w_i · r l_i  =  α^{|S|} det(L_S):

exactly DPP(αL), whatever Ĉ was. Given |S| = k it is the k-DPP of L, for every α; α decides how often |S| = k.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.subsets._covariance import Covariance
from selectlib.subsets._estimate import balanced_alpha
from selectlib.subsets._intermediate import IntermediateSampler, check_bounded, nonnegative
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._report import SamplingReport
from selectlib.subsets._scores import Scores
from selectlib.subsets._spectral import sample_dpp_dense, sample_kdpp_dense


class AlphaSampler(IntermediateSampler):
    """Sampler of DPP(αL), or of its part of size k, by Poisson intermediate sets.

    Parameters
    ----------
    k : int or None
        Size of the samples; None for samples of DPP(αL), of random size.
    alpha : float or None
        The scale α, which is the target's for k = None and only a starting point else. None: the one at which k is
        the expected size under Ĉ.
    r : float or None
        Expected size of σ over Σl. Default: z, but at least 1.
    looked, covariance, report, landmarks, cache
        As in `IntermediateSampler`.
    """

    def __init__(
        self,
        looked: LookedItems,
        covariance: Covariance,
        report: SamplingReport,
        *,
        k: int | None,
        alpha: float | int | None,
        r: float | int | None,
        landmarks: float | int | None,
        cache: bool,
    ):
        super().__init__(looked, covariance, report, landmarks=landmarks, cache=cache)
        self.k, self._fixed_alpha, self._fixed_r = k, alpha, r
        self._low, self._high = 0.0, math.inf  # where α was seen to be too small, too large
        self.weigh()

    def weigh(self) -> None:
        """l_i = α (L_ii - Σ_j ⟨v_j, b_i⟩²) + Σ_j α / (1 + αλ_j) ⟨v_j, b_i⟩², z and log det A from the same Ĉ and α."""
        lam = self.covariance.eigvals
        self.alpha = self._fixed_alpha or balanced_alpha(self.covariance, self.k or 1, self.looked.total)
        self.z = float((self.alpha * lam / (1 + self.alpha * lam)).sum())
        self.log_det = float(torch.log1p(self.alpha * lam).sum())
        self.r = self._fixed_r or max(self.z, 1.0)
        self.scores = Scores(self.looked, self.covariance, self.alpha, self.alpha / (1 + self.alpha * lam))
        self._small = self._large = self._hits = 0
        if self.report.alpha_path[-1:] != [self.alpha]:
            self.report.alpha_path.append(self.alpha)

    def estimate_target(self) -> tuple[int, float | None]:
        """The α in use, which a search or the target has fixed, or k."""
        return self.k or 1, self._fixed_alpha

    def entries(self) -> int:
        """A matrix with a row for each item of σ, of which there are about r e^{1/r} Σl, and those items."""
        t = self._intensity() * max(self.z, 1.0)
        t = math.ceil(t + 4 * math.sqrt(t))
        return t * (t + self.covariance.landmarks.shape[-1])

    def intermediate(self, size: int) -> tuple[Int[Tensor, "B t"], Int[Tensor, "B"], Float[Tensor, "B t t"]]:
        """Rows of `size` intermediate sets, their sizes t with copies, and their kernels L̃_σ; padded by zeros."""
        with self.report.timed("looking"):
            owner, drawn = self.scores.poisson(self._intensity(), size)
            rows, copies = self.packed(owner, drawn, size)
        return rows, copies.sum(-1), self.gram(rows, copies)

    def gram(self, rows: Int[Tensor, "B t"], copies: Int[Tensor, "B t"]) -> Float[Tensor, "B t t"]:
        """L̃_σ, with c_i w_i = c_i α / (r l_i)."""
        weights = copies.to(torch.float64)  # an integer tensor times a Python float would be float32
        if self.looked.count:
            weights *= self.alpha / (self.r * self.scores.of(rows))
        return self.weighted_gram(rows, weights)

    def log_acceptance(self, t: Int[Tensor, "B"], gram: Float[Tensor, "B t t"]) -> Float[Tensor, "B"]:
        """z - t/r + log det(I + L̃_σ) - log det A <= 0; an empty σ has log det = 0."""
        factor, failed = torch.linalg.cholesky_ex(
            gram + torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        )
        if bool(failed.any()):
            raise ValueError("kernel must be positive semi-definite; I + L̃ of an intermediate set is not")
        log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_a = self.z - t.to(torch.float64) / self.r + log_det - self.log_det
        check_bounded(log_a)
        return log_a

    def propose(self, size: int) -> list[Tensor]:
        """Draw `size` intermediate sets, and return the samples of those accepted (and of size k), in order."""
        rows, t, gram = self.intermediate(size)
        with self.report.timed("deciding"):
            u = torch.rand(size, dtype=torch.float64, device=gram.device, generator=self.looked.generator)
            accepted = u.log() < self.log_acceptance(t, gram)
            rows, gram = rows[accepted], gram[accepted]
        self.report.proposals += size
        self.report.accepted += len(rows)
        if not len(rows):
            return []
        return self.any_size(rows, gram) if self.k is None else self._right_size(rows, gram, self.k)

    def any_size(self, rows: Int[Tensor, "B t"], gram: Float[Tensor, "B t t"]) -> list[Tensor]:
        """A sample of DPP(L̃_σ) from each accepted set."""
        with self.report.timed("drawing"):
            eigvals, eigvecs = torch.linalg.eigh(gram)
            chosen = sample_dpp_dense(nonnegative(eigvals), eigvecs, generator=self.looked.generator)
            items = self.looked.index(rows)
            return [row[mask].sort().values for row, mask in zip(items, chosen, strict=True)]

    def _right_size(self, rows: Tensor, gram: Tensor, k: int) -> list[Tensor]:
        """|S| is a sum of coins λ/(1+λ), so that eigenvalues tell the size; given |S| = k, S is the k-DPP of L̃_σ."""
        with self.report.timed("deciding"):
            eigvals = nonnegative(torch.linalg.eigvalsh(gram))
            u = torch.rand(eigvals.shape, dtype=torch.float64, device=gram.device, generator=self.looked.generator)
            sizes = (u < eigvals / (1 + eigvals)).sum(-1)
            right = sizes == k
            rows, gram = rows[right], gram[right]
        self._small += int((sizes < k).sum())
        self._large += int((sizes > k).sum())
        self._hits += len(rows)
        self._search()
        if not len(rows):
            return []
        with self.report.timed("drawing"):
            eigvals, eigvecs = torch.linalg.eigh(gram)
            places = sample_kdpp_dense(nonnegative(eigvals), eigvecs, k, generator=self.looked.generator)
            return list(self.looked.index(rows.gather(1, places)).sort(-1).values)

    def _search(self) -> None:
        """Move α when nearly all of many sizes lie on one side of k. Only sizes are seen here, never items.

        With a balanced α, k itself comes up with probability 0.4 / √k or more, and both sides often.
        """
        trials, patience = self._small + self._large + self._hits, math.ceil(math.sqrt(self.k or 1))
        rare = trials / (10 * patience)
        if trials < 4 * patience or self._hits >= rare or min(self._small, self._large) >= rare:
            return
        if self._small > self._large:
            self._low, step = self.alpha, 4.0
        else:
            self._high, step = self.alpha, 0.25
        bracketed = self._low and self._high < math.inf
        self._fixed_alpha = math.sqrt(self._low * self._high) if bracketed else self.alpha * step
        self.weigh()

    def _intensity(self) -> float:
        return self.r * math.exp(1 / self.r)
