"""Polynomials that stand in for the identity on a spectrum, and so for the inverse of a covariance."""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy.polynomial import Chebyshev, Polynomial
from scipy.optimize import linprog

from selectlib._checks import check_choice, check_int, check_positive

_HIGHEST = 14  # order whose coefficients float64 holds, and for which the solver finds them
_GRID = 1000  # steps on [0, 1], as for the published numbers

# Those in the authors' repository, orders 1 to 12.
_PUBLISHED = """
0.60355337
1.52705001 -0.34841729
2.90254224 -1.87216745 0
4.63445685 -5.19936195 0 1.50391676
6.92948049 -14.12216211 9.4475009 0 -1.21093546
9.54431082 -28.09414643 31.84703652 -11.18763791 -1.14175281 0
12.54505041 -49.64891525 79.78828031 -46.72250909 0 0 5.02973646
16.03550163 -84.286182 196.86078756 -215.36747071 92.63961263 0 0 -4.86280869
19.86409184 -130.76801006 390.95349861 -570.09210416 354.77764899 0 -73.84234865 0 10.09148767
24.1117752 -194.946061 734.214614 -1428.51995 1415.6741 -581.738134 0 0 31.1664751 1.05018365
28.75280839 -279.22576729 1280.46325445 -3104.47148101 3990.6092248 -2300.29413333 0 427.35289033 0 0 -42.17587475
33.85141912 -391.4229382 2184.97827882 -6716.28280208 11879.75233977 -11739.97267239 5384.94542245 0 \
-674.23291712 0 0 39.37456439
""".strip().splitlines()


def polynomial_coefficients(
    order: int, *, method: str = "low_norm", slack: float = 2.0, interval: float = 1.0
) -> Float[np.ndarray, "k"]:
    """Make the polynomial ``p(x) = Σ_i a_i x^(i+2)``, i = 0..K-1, that is close to x on an interval from 0.

    Put in for the eigenvalues of a covariance Σ, ``Σ_k a_(k-1) bᵀ Σ^(k-1) b`` is then close to ``bᵀ Σ⁻¹ b``.

    Parameters
    ----------
    order : int
        How many coefficients, K: from 1 to 14, where float64 ends, or to 12 for ``"published"``.
    method : {"low_norm", "minimax", "published"}, default "low_norm"
        ``"minimax"``: the least possible error. ``"low_norm"``: of all polynomials with at most `slack` times that
        error, the one with the least ``Σ_i 2^i abs(a_i)``, which gives less noise. ``"published"``: the numbers in the
        authors' repository, which are those of ``"low_norm"`` with slack 2 up to what their solver left.
    slack : float, default 2.0
        How many times the least error to allow, at least 1; of ``"low_norm"`` alone.
    interval : float, default 1.0
        The interval's end, above 0.

    Returns
    -------
    ndarray of float64, shape (K,)
        ``a_0, ..., a_(K-1)``.

    Raises
    ------
    TypeError
        If `order` is not an int, or `slack` or `interval` not a number.
    ValueError
        If an argument is out of range.
    ArithmeticError
        If the solver finds nothing: for orders above 10 with a slack between 1 and 2.

    Notes
    -----
    The least error on [0, 1] is ``ε = tan(π / (4 (K+1))) / (K+1)``, with ``x - p(x) = ± ε T_(K+1)(αx + β)``, T the
    Chebyshev polynomial, ``α = 1 + cos θ``, ``β = -cos θ`` and ``θ = π / (2 (K+1))``: the polynomial of equal ripples
    whose root β is moved to 0. ``"low_norm"`` is a linear programme on 1000 steps, solved in some 50 ms and
    remembered.

    Source: Kong and Valiant (NeurIPS 2018) for the use; the closed form and the programme that gives back the published
    numbers are ours.

    Examples
    --------
    >>> polynomial_coefficients(2).round(4)
    array([ 1.527 , -0.3484])
    >>> polynomial_coefficients(2, method="minimax").round(4)
    array([ 3.2321, -2.3214])
    """
    check_choice("method", method, ("low_norm", "minimax", "published"))
    check_int("order", order, 1, len(_PUBLISHED) if method == "published" else _HIGHEST)
    if not check_positive("slack", slack) >= 1:
        raise ValueError(f"slack must be at least 1, got {slack}")
    check_positive("interval", interval)
    if method == "published":
        a = np.array(_PUBLISHED[order - 1].split(), dtype=float)
    else:
        a = _minimax(order) if method == "minimax" or slack == 1 else _low_norm(order, slack)
    return a / interval ** np.arange(1.0, order + 1)


def minimax_error(order: int) -> float:
    """The least error that a polynomial of this order can have on [0, 1]."""
    return math.tan(math.pi / (4 * (order + 1))) / (order + 1)


def _minimax(order: int) -> Float[np.ndarray, "k"]:
    cosine = math.cos(math.pi / (2 * (order + 1)))
    ripples = Chebyshev.basis(order + 1)(Polynomial([-cosine, 1 + cosine]))
    return -ripples.coef[2:] / ripples.coef[1]


@lru_cache(maxsize=64)
def _low_norm(order: int, slack: float) -> Float[np.ndarray, "k"]:
    """Minimise over the positive and negative parts of the coefficients."""
    x = np.linspace(0, 1, _GRID + 1)[1:, None]
    powers = x ** np.arange(2, order + 2)
    weights = 2.0 ** np.arange(order)
    error = slack * minimax_error(order)
    solved = linprog(
        np.concatenate([weights, weights]),
        A_ub=np.block([[powers, -powers], [-powers, powers]]),
        b_ub=np.concatenate([x[:, 0] + error, error - x[:, 0]]),
        bounds=(0, None),
        method="highs",
    )
    if not solved.success:
        raise ArithmeticError(f"the programme for order {order} and slack {slack} was not solved: {solved.message}")
    return solved.x[:order] - solved.x[order:]
