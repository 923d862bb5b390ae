"""Estimates of e_k(L) and of the effective dimension: unbiased, with intervals that cover."""

import math

import pytest
import torch

from selectlib.seeding import generator
from selectlib.subsets import RBF, Linear, as_source, effective_dimension, kdpp_log_normalizer, log_esp
from selectlib.subsets._covariance import Dictionary, dictionary_covariance
from selectlib.subsets._looked import LookedItems
from selectlib.subsets._normalizer import estimate_log_ek


def points(n, d=2, seed=100):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed))


def exact_log_ek(X, kernel, k):
    return float(log_esp(torch.linalg.eigvalsh(kernel(X, X)).clamp(min=0), k))


@pytest.mark.oracle
@pytest.mark.parametrize(("n", "k"), [(60, 1), (60, 3), (600, 4), (600, 8)])
def test_the_estimate_is_close_and_its_interval_honest(n, k):
    X, kernel = points(n), RBF(0.7)
    estimate = kdpp_log_normalizer(X, kernel, k, 2000, generator=generator(101))
    exact = exact_log_ek(X, kernel, k)
    assert estimate.low < estimate.value < estimate.high or k == 1
    half = (estimate.high - estimate.low) / 2
    assert abs(estimate.value - exact) < 3 * half + 1e-9  # six standard errors
    assert half < 0.3


def poor_setting(seed, groups):
    """A dictionary of 12 of 400 items and few looks: heavy tails, where a plain power of ŝ is far off."""
    X, kernel, k = points(400), RBF(0.7), 4
    rows = torch.arange(12)
    looked = LookedItems(as_source(X), kernel, generator(seed))
    looked.draw(1)
    dictionary = Dictionary(rows, X[rows], torch.full((12,), 0.03, dtype=torch.float64), 1.0, 1.0)
    covariance = dictionary_covariance(kernel, dictionary)
    return X, kernel, k, estimate_log_ek(looked, covariance, k, 8, groups, 0.95)


@pytest.mark.oracle
def test_the_estimate_of_ek_is_unbiased_even_from_few_looks():
    ratios = []
    for seed in range(101, 401):
        X, kernel, k, estimate = poor_setting(seed, 20)
        ratios.append(math.exp(estimate.value))
    ratios = torch.tensor(ratios, dtype=torch.float64) / math.exp(exact_log_ek(X, kernel, k))
    error = float(ratios.std()) / math.sqrt(len(ratios))
    assert abs(float(ratios.mean()) - 1) < 5 * error and error < 0.1


@pytest.mark.oracle
def test_intervals_cover_as_often_as_they_say():
    inside = 0
    for seed in range(101, 301):
        X, kernel, k, estimate = poor_setting(seed, 300)
        inside += estimate.low <= exact_log_ek(X, kernel, k) <= estimate.high
    assert 176 <= inside  # of 200 at 95 %: the chance of fewer is below 1e-4


@pytest.mark.oracle
@pytest.mark.parametrize("lam", [0.5, 10.0])
@pytest.mark.parametrize("n", [60, 3000])
def test_effective_dimension_is_the_dense_sum(n, lam):
    X, kernel = points(n), RBF(0.3)
    eigvals = torch.linalg.eigvalsh(kernel(X, X)).clamp(min=0)
    exact = float((eigvals / (eigvals + lam)).sum())
    estimate = effective_dimension(X, kernel, lam, 100, generator=generator(101))
    half = (estimate.high - estimate.low) / 2
    assert abs(estimate.value - exact) < 3 * half + 1e-9
    assert half < 0.15 * exact


def test_bad_arguments_are_named():
    X = points(20, 3)
    for call, message in (
        (lambda: kdpp_log_normalizer(X, Linear(), 4), "rank of the kernel, 3"),
        (lambda: kdpp_log_normalizer(X, Linear(), 0), "k must be from 1 to 20"),
        (lambda: kdpp_log_normalizer(X, Linear(), 2, 1), "n_proposals"),
        (lambda: kdpp_log_normalizer(X, Linear(), 2, level=1.0), "level"),
        (lambda: effective_dimension(X, Linear(), 0.0), "lam"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
