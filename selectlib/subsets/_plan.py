"""What a sample will cost, known before it is drawn."""

import math
from dataclasses import dataclass

from selectlib.subsets._covariance import Covariance
from selectlib.subsets._estimate import balanced_alpha
from selectlib.subsets._looked import LookedItems


@dataclass(frozen=True)
class SamplingPlan:
    """Forecast of the looks that sampling needs.

    Attributes
    ----------
    method : str
        The sampler that was chosen.
    n, k : int
        Number of items, size of the samples.
    alpha_n : float
        α Σ_i β_i, with β_i the bound of L_ii: α n for a kernel with unit diagonal. A property of the spectrum of the
        data's distribution; it does not grow with n.
    fit_draws : int
        Random looks of `fit`, repeats included.
    draws_per_sample : float
        Random looks that one sample needs, repeats included: k · alpha_n · e/2 for a perfect dictionary and
        t = k²/2 (method "direct"); k · e^{1/k} · alpha_n · e^{1/2} · √(2πk) at most (method "alpha").
    dense_below : int
        About the number of items below which an eigendecomposition takes fewer operations than the first sample.
    """

    method: str
    n: int
    k: int
    alpha_n: float
    fit_draws: int
    draws_per_sample: float
    dense_below: int

    def expected_looks(self, n_samples: int = 1) -> float:
        """Distinct items looked at for `n_samples` samples, `fit` included; saturates at n.

        Parameters
        ----------
        n_samples : int, default 1
            Number of samples.

        Returns
        -------
        float
            n (1 - e^{-draws/n}), the mean number of distinct items among so many uniform draws.
        """
        draws = self.fit_draws + n_samples * self.draws_per_sample
        return -self.n * math.expm1(-draws / self.n)


def make_plan(method: str, looked: LookedItems, covariance: Covariance, k: int, t: int) -> SamplingPlan:
    """Predict the cost of sampling from the spectrum of Ĉ."""
    alpha_n, accepted = (
        balanced_alpha(covariance, k, looked.total) * looked.total,
        math.exp(direct_log_acceptance(k, t)),
    )
    if method == "alpha":
        draws = k * math.exp(1 / max(k, 1) + 0.5) * alpha_n * math.sqrt(2 * math.pi * max(k, 1))
    else:
        draws = t / k * alpha_n / accepted
    landmarks, width = covariance.landmarks.shape
    looks = looked.n * -math.expm1(-(looked.draws + draws) / looked.n)
    operations = 2 * looks * landmarks * (landmarks + width) + 10 * t**3 / accepted
    return SamplingPlan(method, looked.n, k, alpha_n, looked.draws, draws, math.ceil((operations / 10) ** (1 / 3)))


def direct_log_acceptance(k: int, t: int) -> float:
    """log t! / ((t - k)! t^k): log acceptance probability of method "direct" for a perfect Ĉ, about -k²/2t."""
    return math.lgamma(t + 1) - math.lgamma(t - k + 1) - k * math.log(t)
