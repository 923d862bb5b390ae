"""Synthetic tables whose informative columns are known, for feature selection."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_choice, check_generator, check_int, check_positive

_ONES = 0.3  # share of ones of the biased bits


def make_parity(
    n: int,
    d: int,
    *,
    p: int = 2,
    flip: float = 0.05,
    kind: Literal["signs", "bernoulli", "gaussian"] = "signs",
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"], Int[Tensor, "p"]]:
    """Make a table of independent columns in which p of them determine the class, and fewer than all p may say nothing.

    Parameters
    ----------
    n, d : int
        Rows and columns, at least 1 and at least `p`.
    p : int, default 2
        How many columns take part, at least 1; 2 is the exclusive or.
    flip : float, default 0.05
        Share of the labels that are flipped, from 0 to 1/2.
    kind : {"signs", "bernoulli", "gaussian"}, default "signs"
        Columns of fair signs, where the label is their product; of bits that are 1 with probability 0.3, where the
        label is 1 if an odd number of them is set; or of standard normal draws, where it is the sign of their product.
    generator : torch.Generator
        Source of the draws; the tensors lie on its device.

    Returns
    -------
    X : Tensor of float64, shape (n, d)
        The table.
    y : Tensor of float64, shape (n,)
        Labels, -1 or 1.
    support : Tensor of int64, shape (p,)
        The columns that take part, at random places, ascending.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    For "signs" and "gaussian", fewer than p of the columns are independent of the label. For "bernoulli" each of them
    alone is correlated with it, so that a filter sees it. Time and memory O(n d).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> X, y, support = make_parity(100, 5, flip=0.0, generator=generator(100))
    >>> bool((X[:, support].prod(1) == y).all())
    True
    """
    check_int("n", n, 1)
    check_int("p", p, 1)
    check_int("d", d, p)
    check_choice("kind", kind, ("signs", "bernoulli", "gaussian"))
    check_generator(generator)
    if not 0 <= flip <= 0.5:
        raise ValueError(f"flip must be from 0 to 0.5, got {flip}")
    if kind == "gaussian":
        X = _normal(n, d, generator=generator)
    else:
        bits = _uniform(n, d, generator=generator) < (_ONES if kind == "bernoulli" else 0.5)
        X = bits.double() if kind == "bernoulli" else 1 - 2 * bits.double()
    support = _places(d, p, generator)
    planted = X[:, support]
    y = 2 * (planted.sum(1) % 2) - 1 if kind == "bernoulli" else planted.sign().prod(1)
    y[_uniform(n, generator=generator) < flip] *= -1
    return X, y, support


def make_suppressor(
    n: int, *, d: int = 50, nuisance: float = 1.0, noise: float = 0.5, generator: torch.Generator
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"], Int[Tensor, "2"]]:
    """Make a table in which a column that is uncorrelated with the target doubles what a linear model explains.

    One column is the signal u plus a nuisance v, another is the nuisance alone, and ``y = u + noise * e``; u, v, e and
    the other columns are independent and normal. The difference of the two columns is the signal.

    Parameters
    ----------
    n : int
        Rows, at least 1.
    d : int, default 50
        Columns, at least 2.
    nuisance, noise : float, default 1.0 and 0.5
        Standard deviations of the nuisance and of the noise in y, above 0; those of u and of the others are 1.
    generator : torch.Generator
        Source of the draws; the tensors lie on its device.

    Returns
    -------
    X : Tensor of float64, shape (n, d)
        The table.
    y : Tensor of float64, shape (n,)
        The target.
    support : Tensor of int64, shape (2,)
        At random places: the column with the signal, then the suppressor, which is uncorrelated with y.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    The signal's column alone explains ``1 / ((1 + nuisance**2) (1 + noise**2))`` of the variance of y, and the two
    together ``1 / (1 + noise**2)``. Time and memory O(n d).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> X, y, support = make_suppressor(10_000, generator=generator(100))
    >>> torch.corrcoef(torch.stack([X[:, support[1]], y]))[0, 1].abs().item() < 0.03
    True
    """
    check_int("n", n, 1)
    check_int("d", d, 2)
    check_positive("nuisance", nuisance)
    check_positive("noise", noise)
    check_generator(generator)
    X = _normal(n, d, generator=generator)
    support = torch.randperm(d, generator=generator, device=generator.device)[:2]
    signal = X[:, support[0]].clone()
    X[:, support[1]] *= nuisance
    X[:, support[0]] += X[:, support[1]]
    return X, signal + noise * _normal(n, generator=generator), support


def make_ar1(
    n: int, d: int, *, k: int = 10, rho: float = 0.7, snr: float = 1.0, generator: torch.Generator
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"], Int[Tensor, "k"]]:
    """Make a linear regression whose columns i and j are correlated by ``rho ** abs(i - j)``.

    Parameters
    ----------
    n, d : int
        Rows and columns, at least 1 and at least `k`.
    k : int, default 10
        Columns with a coefficient, at least 1.
    rho : float, default 0.7
        Correlation of neighbours, from 0 to below 1.
    snr : float, default 1.0
        Variance of the linear part of y over that of its noise, above 0: the linear part explains
        ``snr / (1 + snr)`` of the variance.
    generator : torch.Generator
        Source of the draws; the tensors lie on its device.

    Returns
    -------
    X : Tensor of float64, shape (n, d)
        The table: standard normal columns.
    y : Tensor of float64, shape (n,)
        The target; the noise has variance 1.
    support : Tensor of int64, shape (k,)
        The columns with a coefficient, at random places, ascending.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    Before they are scaled to `snr`, the coefficients are uniform from 0.5 to 1.5, with random signs. Time and memory
    O(n d).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> X, y, support = make_ar1(1_000, 20, k=3, generator=generator(100))
    >>> X.shape, y.shape, support.shape
    (torch.Size([1000, 20]), torch.Size([1000]), torch.Size([3]))
    """
    _check_linear(n, d, k, rho, snr, generator)
    X = _normal(n, d, generator=generator)
    for column in range(1, d):
        X[:, column] = rho * X[:, column - 1] + math.sqrt(1 - rho**2) * X[:, column]
    return _linear(X, k, snr, lambda i, j: rho ** (i - j).abs(), generator)


def make_block_correlated(
    n: int, d: int, *, k: int = 10, size: int = 5, rho: float = 0.7, snr: float = 1.0, generator: torch.Generator
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"], Int[Tensor, "k"]]:
    """Make a linear regression whose columns come in blocks: correlated by rho inside one, independent across.

    Parameters
    ----------
    n, d : int
        Rows and columns, at least 1 and at least `k`.
    k : int, default 10
        Columns with a coefficient, at least 1.
    size : int, default 5
        Columns of a block, at least 1; the last block is smaller when `d` is no multiple.
    rho : float, default 0.7
        Correlation inside a block, from 0 to below 1.
    snr : float, default 1.0
        Variance of the linear part of y over that of its noise, above 0: the linear part explains
        ``snr / (1 + snr)`` of the variance.
    generator : torch.Generator
        Source of the draws; the tensors lie on its device.

    Returns
    -------
    X : Tensor of float64, shape (n, d)
        The table: standard normal columns.
    y : Tensor of float64, shape (n,)
        The target; the noise has variance 1.
    support : Tensor of int64, shape (k,)
        The columns with a coefficient, at random places, ascending: a block may hold several, or none.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    The coefficients are those of `make_ar1`. Time and memory O(n d).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> X, y, support = make_block_correlated(10_000, 10, k=3, generator=generator(100))
    >>> torch.corrcoef(X.T)[0, [4, 5]].round(decimals=1).abs().tolist()
    [0.7, 0.0]
    """
    check_int("size", size, 1)
    _check_linear(n, d, k, rho, snr, generator)
    block = torch.arange(d, device=generator.device) // size
    shared = _normal(n, -(-d // size), generator=generator)[:, block]
    X = math.sqrt(rho) * shared + math.sqrt(1 - rho) * _normal(n, d, generator=generator)

    def correlation(i: Tensor, j: Tensor) -> Tensor:
        return torch.where(i == j, 1.0, rho * (block[i] == block[j]).double())

    return _linear(X, k, snr, correlation, generator)


def _check_linear(n: int, d: int, k: int, rho: float, snr: float, generator: torch.Generator) -> None:
    check_int("n", n, 1)
    check_int("k", k, 1)
    check_int("d", d, k)
    check_positive("snr", snr)
    check_generator(generator)
    if not 0 <= rho < 1:
        raise ValueError(f"rho must be at least 0 and below 1, got {rho}")


def _linear(
    X: Tensor, k: int, snr: float, correlation: Callable[[Tensor, Tensor], Tensor], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A target of k columns of X; the scale of the coefficients is that of the population, not of the sample."""
    n, d = X.shape
    support = _places(d, k, generator)
    sign = 1 - 2 * (_uniform(k, generator=generator) < 0.5).double()
    beta = sign * (0.5 + _uniform(k, generator=generator))
    variance = beta @ correlation(support[:, None], support).double() @ beta
    beta *= (snr / variance).sqrt()
    return X, X[:, support] @ beta + _normal(n, generator=generator), support


def _places(d: int, k: int, generator: torch.Generator) -> Tensor:
    """Indices of k of d columns, ascending."""
    return torch.randperm(d, generator=generator, device=generator.device)[:k].sort().values


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64)


def _uniform(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
