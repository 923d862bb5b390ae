"""Polynomials close to the identity, against the theory of best approximation and the published numbers."""

import math

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from selectlib.features import polynomial_coefficients
from selectlib.features._polynomial import minimax_error


def largest_error(a, interval=1.0):
    x = np.linspace(0, interval, 10_001)
    return np.abs(Polynomial([0, 0, *a])(x) - x).max()


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (1, [1.20710678]),
        (2, [3.23205081, -2.32136721]),
        (4, [9.71586455, -29.34221505, 34.92353698, -14.32886337]),
    ],
)
def test_minimax_numbers(order, expected):
    assert np.allclose(polynomial_coefficients(order, method="minimax"), expected, rtol=0, atol=5e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("order", range(1, 15))
def test_the_minimax_error_alternates_and_so_is_the_least(order):
    """Chebyshev's criterion: K free coefficients, K + 1 extremes of one size and alternating sign."""
    a = polynomial_coefficients(order, method="minimax")
    x = (np.cos(np.pi * np.arange(order + 1) / (order + 1)) + math.cos(math.pi / (2 * (order + 1)))) / (
        1 + math.cos(math.pi / (2 * (order + 1)))
    )
    errors = x - Polynomial([0, 0, *a])(x)
    signs = (-1.0) ** np.arange(order + 1) * np.sign(errors[0])
    assert np.allclose(errors * signs, minimax_error(order), rtol=1e-4 if order > 12 else 1e-6)
    assert largest_error(a) <= minimax_error(order) * (1 + 1e-4 if order > 12 else 1 + 1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("order", range(1, 13))
def test_low_norm_is_what_was_published(order):
    published, ours = (polynomial_coefficients(order, method=method) for method in ("published", "low_norm"))
    assert np.abs(ours - published).max() <= (3e-5 if order <= 5 else 2e-3) * np.abs(published).max()


@pytest.mark.oracle
@pytest.mark.parametrize("order", range(1, 15))
@pytest.mark.parametrize("slack", [2.0, 4.0])
def test_low_norm_uses_the_slack_to_shrink(order, slack):
    weights = 2.0 ** np.arange(order)
    a = polynomial_coefficients(order, slack=slack)
    assert largest_error(a) == pytest.approx(slack * minimax_error(order), rel=5e-3)
    assert weights @ np.abs(a) < weights @ np.abs(polynomial_coefficients(order, method="minimax"))


@pytest.mark.parametrize("order", [1, 4, 9])
def test_without_slack_only_the_minimax_polynomial_is_left(order):
    both = [polynomial_coefficients(order, method="minimax"), polynomial_coefficients(order, slack=1.0)]
    assert np.array_equal(*both)


@pytest.mark.parametrize("method", ["low_norm", "minimax", "published"])
def test_the_error_grows_with_the_interval(method):
    near, far = (largest_error(polynomial_coefficients(4, method=method, interval=c), c) for c in (1.0, 2.5))
    assert far == pytest.approx(2.5 * near, rel=1e-3)


def test_the_caller_may_change_what_is_returned():
    first = polynomial_coefficients(3)
    expected = first.copy()
    first[:] = 0
    assert np.array_equal(polynomial_coefficients(3), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 0}, "order must be from 1 to 14, got 0"),
        ({"order": 15}, "order must be from 1 to 14, got 15"),
        ({"order": 13, "method": "published"}, "order must be from 1 to 12, got 13"),
        ({"order": 2, "method": "best"}, "method must be one of low_norm, minimax, published, got 'best'"),
        ({"order": 2, "slack": 0.5}, "slack must be at least 1, got 0.5"),
        ({"order": 2, "interval": 0.0}, "interval must be a finite positive number, got 0.0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        polynomial_coefficients(**arguments)


def test_an_order_is_an_int():
    with pytest.raises(TypeError, match="order must be an int, got float"):
        polynomial_coefficients(2.0)
