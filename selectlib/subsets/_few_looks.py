"""The sublinear way: estimate the covariance from few looks, forecast the rest, then sample."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib.subsets._alpha import AlphaSampler
from selectlib.subsets._covariance import Dictionary, dictionary_covariance
from selectlib.subsets._direct import DirectSampler
from selectlib.subsets._esp import kdpp_spectrum
from selectlib.subsets._estimate import balanced_alpha, first_estimate, sharpen
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._normalizer import estimate_log_ek
from selectlib.subsets._plan import make_plan
from selectlib.subsets._report import SamplingReport

_NORMALIZER_PROPOSALS = 1_000


class FewLooksKDPP:
    """Exact k-DPP by intermediate sets, as `KDPP` drives it: first a plan, then `prepare`, then samples.

    Parameters
    ----------
    looked : LookedItems
        The memory of items.
    report : SamplingReport
        Kept up to date; names the method, "direct" or "alpha".
    k, t, r, oversample, dict_oversample, cache
        As in `KDPP`.
    dictionary : Dictionary or None
        To be used as it is, or None to build one.
    """

    def __init__(
        self,
        looked: LookedItems,
        report: SamplingReport,
        *,
        k: int,
        t: int,
        r: float | int | None,
        oversample: float | int,
        dict_oversample: float | int,
        cache: bool,
        dictionary: Dictionary | None,
    ):
        self._looked, self._report, self._k, self._t, self._r, self._cache = looked, report, k, t, r, cache
        self._draws = max(oversample, k / 2)  # random looks of the final estimate, over αn
        self._landmarks = dict_oversample if dictionary is None else None
        if dictionary is None:
            self.dictionary, self.covariance = first_estimate(looked, k=k, alpha=None, oversample=oversample)
        else:
            self.dictionary, self.covariance = dictionary, dictionary_covariance(looked.kernel, dictionary)
        self.plan = make_plan(report.method, looked, self.covariance, k, t)

    def prepare(self) -> float:
        """Finish the estimate, weigh the items, and return α."""
        looked, report, k = self._looked, self._report, self._k
        if self._landmarks:
            self.covariance = sharpen(
                looked, self.covariance, k=k, alpha=None, draws=self._draws, landmarks=self._landmarks
            )
        report.landmarks = len(self.covariance.landmarks)
        report.looks = report.dictionary_looks = looked.looks
        self.sampler: DirectSampler | AlphaSampler
        if report.method == "direct":
            self.sampler = DirectSampler(
                looked, self.covariance, report, k=k, t=self._t, landmarks=self._landmarks, cache=self._cache
            )
        else:
            self.sampler = AlphaSampler(
                looked,
                self.covariance,
                report,
                k=k,
                alpha=None,
                r=self._r,
                landmarks=self._landmarks,
                cache=self._cache,
            )
        return balanced_alpha(self.covariance, k, looked.total)

    def sample(self, n_samples: int, batch: int | None, max_proposals: int) -> Int[Tensor, "n_samples k"]:
        """Independent samples."""
        return torch.stack(self.sampler.sample(n_samples, batch, max_proposals))

    def log_ek(self) -> float:
        """Estimate of log e_k(L)."""
        return estimate_log_ek(
            self._looked, self.sampler.covariance, self._k, self._t, _NORMALIZER_PROPOSALS, level=0.95
        ).value

    def marginals(self, idx: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
        """Estimate of Pr(i ∈ S) = b_iᵀ ∇log e_k(C) b_i, with Ĉ for C."""
        covariance, rows = self.sampler.covariance, self._looked.rows(idx)
        spectrum = kdpp_spectrum(covariance.eigvals, self._k)
        X, diag = self._looked.features(rows), self._looked.diag[rows]
        return covariance.quadratic_form(X, diag, float(spectrum.gamma0), spectrum.g)
