"""Estimates of e_k(L) and of the effective dimension from the samplers' own proposals, at any n."""

import math
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from selectlib._checks import check_int, check_positive
from selectlib.stats import Interval, mean_interval
from selectlib.subsets._alpha import AlphaSampler
from selectlib.subsets._checks import check_kernel, check_level, generator_for
from selectlib.subsets._covariance import Covariance
from selectlib.subsets._direct import DirectSampler
from selectlib.subsets._estimate import first_estimate, sharpen
from selectlib.subsets._intermediate import nonnegative
from selectlib.subsets._kernels import Kernel
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._plan import direct_log_acceptance
from selectlib.subsets._report import SamplingReport
from selectlib.subsets._sources import as_source


def kdpp_log_normalizer(
    source: Any,
    kernel: Kernel,
    k: int,
    n_proposals: int = 1_000,
    *,
    level: float | int = 0.95,
    generator: torch.Generator | None = None,
) -> Interval:
    """Estimate log e_k(L), the logarithm of the normaliser of the k-DPP, with a confidence interval.

    Parameters
    ----------
    source : ItemSource
        n items; anything that `as_source` takes.
    kernel : Kernel
        Its values on the items make L.
    k : int
        Degree, from 1 to the rank of L.
    n_proposals : int, default 1000
        Intermediate sets, at least 2; and groups of as many uniform looks for each of the k factors below.
    level : float, default 0.95
        Confidence level, in (0, 1).
    generator : torch.Generator, optional
        Source of the draws. Default: seed 100, where the items are.

    Returns
    -------
    Interval
        Its `value` estimates log e_k(L).

    Raises
    ------
    ValueError
        If `k` is larger than the numerical rank, or an argument is out of range.

    Notes
    -----
    With the notation of method "direct", e_k(L) = e_k(Ĉ) · E[a(σ)] · (t-k)! t^k / t! · (s/k)^k, s = Σ_i l_i. The mean
    of a(σ) over the proposals and k independent unbiased estimates of s, multiplied, make an *unbiased* estimate of
    e_k(L). Its logarithm is consistent, and too small on average by half its variance (Jensen); the interval is the
    delta method's. Raising one estimate of s to the power k would be biased: s comes from few, heavy-tailed looks.
    Where all items were looked at, s is known.

    Examples
    --------
    >>> import torch
    >>> from selectlib.subsets import RBF, kdpp_log_normalizer, log_esp
    >>> X = torch.randn(60, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(100))
    >>> estimate = kdpp_log_normalizer(X, RBF(1.0), 3)
    >>> exact = log_esp(torch.linalg.eigvalsh(RBF(1.0)(X, X)).clamp(min=0), 3)
    >>> abs(estimate.value - float(exact)) < 0.2
    True
    """
    items = as_source(source)
    check_int("k", k, 1, len(items))
    check_int("n_proposals", n_proposals, 2, None)
    check_level(level)
    looked = LookedItems(items, check_kernel(kernel), generator_for(items, generator))
    _, covariance = first_estimate(looked, k=k, alpha=None, oversample=4.0)
    covariance = sharpen(looked, covariance, k=k, alpha=None, draws=max(4.0, k / 2), landmarks=24.0)
    return estimate_log_ek(looked, covariance, k, max(k, math.ceil(k * k / 2)), n_proposals, level)


def effective_dimension(
    source: Any,
    kernel: Kernel,
    lam: float | int,
    n_proposals: int = 200,
    *,
    level: float | int = 0.95,
    generator: torch.Generator | None = None,
) -> Interval:
    """Estimate the effective dimension Σ_j λ_j / (λ_j + lam), without bias and with a confidence interval.

    It is the mean size of DPP(L / lam), and the mean over accepted intermediate sets σ of tr L̃_σ (I + L̃_σ)^{-1}.

    Parameters
    ----------
    source : ItemSource
        n items; anything that `as_source` takes.
    kernel : Kernel
        Its values on the items make L.
    lam : float
        Regularisation, > 0.
    n_proposals : int, default 200
        Accepted intermediate sets to average over, at least 2.
    level : float, default 0.95
        Confidence level, in (0, 1).
    generator : torch.Generator, optional
        Source of the draws. Default: seed 100, where the items are.

    Returns
    -------
    Interval
        Estimate, interval (Student's t), number of intermediate sets.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Exact samples make the estimate unbiased, which a dictionary's own Σ_j λ_j / (λ_j + lam) is not. Takes as long as
    `n_proposals` samples of `DPP` with method "alpha".

    Examples
    --------
    >>> import torch
    >>> from selectlib.subsets import Linear, effective_dimension
    >>> estimate = effective_dimension(torch.eye(3), Linear(), 1.0)  # eigenvalues 1: 3 · 1/2
    >>> abs(estimate.value - 1.5) < 0.1
    True
    """
    items = as_source(source)
    check_positive("lam", lam)
    check_int("n_proposals", n_proposals, 2, None)
    check_level(level)
    looked = LookedItems(items, check_kernel(kernel), generator_for(items, generator))
    alpha = 1 / lam
    _, covariance = first_estimate(looked, k=None, alpha=alpha, oversample=4.0)
    covariance = sharpen(looked, covariance, k=0, alpha=alpha, draws=4.0, landmarks=24.0)
    report = SamplingReport("alpha", looked.n)
    sampler = _MeanSizes(looked, covariance, report, k=None, alpha=alpha, r=None, landmarks=24.0, cache=True)
    sizes = sampler.sample(n_proposals, None, 10_000 + 1_000 * n_proposals)
    return mean_interval(torch.stack(sizes), level=level)


class _MeanSizes(AlphaSampler):
    """In place of a sample of DPP(L̃_σ), its mean size: as unbiased, and less noisy."""

    def any_size(self, rows: Tensor, gram: Tensor) -> list[Tensor]:
        eigvals = nonnegative(torch.linalg.eigvalsh(gram))
        return list((eigvals / (1 + eigvals)).sum(-1))


def estimate_log_ek(
    looked: LookedItems, covariance: Covariance, k: int, t: int, n_proposals: int, level: float | int
) -> Interval:
    """`kdpp_log_normalizer` from a covariance estimate."""
    sampler = DirectSampler(
        looked, covariance, SamplingReport("direct", looked.n), k=k, t=t, landmarks=None, cache=True
    )
    log_a = sampler.log_acceptances(n_proposals)
    mean_a, relative_variance = _mean(log_a.exp())
    log_sum = k * math.log(sampler.scores.known / k)
    if not looked.complete:
        # l_i / β_i · Σβ is an unbiased estimate of s for i drawn with probability β_i / Σβ.
        rows = looked.draw(k * n_proposals)
        groups = looked.total * (sampler.scores.of(rows) / looked.bounds(rows)).view(k, n_proposals)
        estimates = [_mean(group) for group in groups]
        log_sum = sum(math.log(s / k) for s, _ in estimates)
        relative_variance += sum(variance for _, variance in estimates)
    value = sampler.log_ek + math.log(mean_a) - direct_log_acceptance(k, t) + log_sum
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(relative_variance)
    return Interval(value, value - half, value + half, n_proposals, level)


def _mean(values: torch.Tensor) -> tuple[float, float]:
    """Mean, and the variance of the mean relative to its square."""
    mean = float(values.mean())
    return mean, float(values.var()) / len(values) / mean**2
