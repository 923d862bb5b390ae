"""How well the best linear rule would do, without a rule: from a table in memory, or in one pass over a stream."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_choice, check_generator, check_int
from selectlib.features._chunk import ChainSums, chunk_moments, row_chains
from selectlib.features._gram import chains, standardise
from selectlib.features._polynomial import polynomial_coefficients
from selectlib.features._recursion import products_of_growth
from selectlib.features._spectrum import standards
from selectlib.kernels._scaled_rows import check_finite

_METHODS = ("low_norm", "minimax", "published")


@dataclass(frozen=True, eq=False)
class LearnabilityResult:
    """What `learnability` found.

    Attributes
    ----------
    value : float
        z, the estimated share of the target's variance that the best linear rule explains. An estimate without
        bounds: below 0 and above 1 as well.
    standard_error : float
        Of `value`; nan where there are too few rows or blocks for one.
    error : float
        Of the best rule: ``1 - z`` for a regression, as a share of the variance; ``(1 - sqrt(z)) / 2`` for two
        classes, with z moved into [0, 1], as a share of the items.
    moments : Tensor of floats, shape (K,)
        ``m_1, ..., m_K`` of the standardised rows.
    task : str
        ``"regression"`` or ``"binary"``.
    n : int
        Rows that were read.
    mean, scale : Tensor of floats, shape (d,)
        Rows were taken as ``(x - mean) / scale``.
    target_mean, target_scale : float
        Targets were taken as ``(y - target_mean) / target_scale``.
    """

    value: float
    standard_error: float
    error: float
    moments: Float[Tensor, "k"]
    task: str
    n: int
    mean: Float[Tensor, "d"] = field(repr=False)
    scale: Float[Tensor, "d"] = field(repr=False)
    target_mean: float
    target_scale: float


def learnability(
    X: Any,
    y: Any = None,
    *,
    order: int = 4,
    coefficients: str | Sequence[float] | Float[np.ndarray, "k"] = "low_norm",
    task: str = "auto",
    n_permutations: int = 8,
    backend: str = "auto",
    generator: torch.Generator | None = None,
) -> LearnabilityResult:
    """Estimate how much of a target the best linear rule explains, also from fewer rows than columns.

    Parameters
    ----------
    X : Tensor or array of floats, shape (n, d), or iterable of pairs
        The rows, finite, at least `order` + 1. Without `y`: blocks ``(X, y)`` of a stream, in any sizes, dense or CSR;
        each is read once and let go. Arrays that cannot be written to, as memory maps may be, are copied: give a large
        one in blocks.
    y : Tensor or array of numbers, shape (n,), optional
        The target, finite and not constant.
    order : int, default 4
        The highest moment, K. A higher one has less bias and more noise.
    coefficients : {"low_norm", "minimax", "published"} or sequence of float, default "low_norm"
        The polynomial: a method of `polynomial_coefficients`, or `order` numbers.
    task : {"auto", "regression", "binary"}, default "auto"
        What `error` is of. ``"auto"``: binary where the target has two values, in the first block of a stream.
    n_permutations : int, default 8
        Over how many random orders of the rows to average, in memory; 0: the order given. A stream has the order in
        which it comes, which must then say nothing about the rows.
    backend : {"auto", "chunk", "gram"}, default "auto"
        In memory. ``"gram"`` holds n x n numbers, and is taken where that is the faster.
    generator : torch.Generator, optional
        Source of the orders. Default: a new one of seed 0.

    Returns
    -------
    LearnabilityResult
        Value, standard error, error, moments and what standardised the data.

    Raises
    ------
    TypeError
        If an argument is of another kind, or a block is no pair.
    ValueError
        If a number is not finite or not allowed, a shape does not fit, there are too few rows, or the target is
        constant, in its first block for a stream.

    Notes
    -----
    Rows are centred and scaled so that their spectrum lies in [0, 1]. With fewer rows than columns, the top of the
    sample's spectrum is far above that of the population, which squeezes the rest towards 0, where a polynomial of low
    order is too small: read the value as relative there.

    The standard error in memory is the exact jackknife over rows, from the chains through each row; on average it is
    too large rather than too small (Efron and Stein), and takes the statistics for known. That of a stream is the
    spread of the blocks' own values, which is too large as well: they miss the chains between blocks.

    A stream is standardised by the means, scales and spectrum of its first block, as in the authors' code, so that
    should be a good sample: some thousands of rows. The value is then that of all chains of all rows, as in memory with
    these statistics, in float64.

    In memory time O(n d (K + chunk)) an order, or O(n² d) once by gram; memory O((n + d) (K + chunk)) or O(n²) beside
    the arguments. A stream takes O(d (K + chunk)) memory beside one block.

    Source: Kong and Valiant, Estimating Learnability in the Sublinear Data Regime (NeurIPS 2018), with the polynomials
    of `polynomial_coefficients`; standard errors, averaging and streams are ours.

    Examples
    --------
    >>> draws = torch.Generator().manual_seed(100)
    >>> X = torch.randn(1000, 20, generator=draws)
    >>> y = X[:, :4].sum(1) + 2 * torch.randn(1000, generator=draws)
    >>> found = learnability(X, y)
    >>> found.task, abs(found.value - 0.5) < 3 * found.standard_error
    ('regression', True)
    >>> blocks = zip(X.split(250), y.split(250))
    >>> abs(learnability(blocks).value - found.value) < 3 * found.standard_error
    True
    """
    check_int("order", order, 1)
    check_choice("task", task, ("auto", "regression", "binary"))
    check_choice("backend", backend, ("auto", "chunk", "gram"))
    check_int("n_permutations", n_permutations, 0)
    a = _coefficients(coefficients, order)
    if y is None:
        return _of_stream(X, a, task)
    X, y = _table(X, y, "")
    draws = torch.Generator().manual_seed(0) if generator is None else check_generator(generator)
    turns = [torch.randperm(len(y), generator=draws, device=draws.device).to(X.device) for _ in range(n_permutations)]
    return _of_table(X, y, a, task, turns, backend)


def _of_table(
    X: Float[Tensor, "n d"], y: Float[Tensor, "n"], a: list[float], task: str, turns: list[Tensor], backend: str
) -> LearnabilityResult:
    n, order = len(y), len(a)
    _check_rows(n, order)
    task, target_mean, target_scale = _target(y, task, "")
    mean, scale = standards(X)
    y = (y - target_mean) / target_scale
    if backend == "auto":
        # Blocks cost some hundred rows' products in each order of the rows; the whole Gram matrix is made once.
        backend = "gram" if n <= (4096 if X.is_cuda else 64 * len(turns)) else "chunk"
    rows = standardise(X, mean, scale) if backend == "gram" else X
    gram = rows @ rows.T if backend == "gram" else None
    moments, shifts = y.new_zeros(order), y.new_zeros(order, n)
    for turn in turns or [torch.arange(n, device=X.device)]:
        if gram is None:
            left, right = row_chains(torch.ones_like(mean), X, y, order, turn=turn, mean=mean, scale=scale)
        else:
            ordered = gram[turn][:, turn].triu_(1)
            left, right = chains(ordered.T, y[turn], order), chains(ordered, y[turn], order)
        own = left[1:] @ y[turn] / n
        moments += own
        if n > order + 1:
            shifts[:, turn] += _without_each_row(left, right, own)
    count = max(1, len(turns))
    moments /= count
    spread = (n - 1) / n * (y.new_tensor(a) @ shifts / count).square().sum()
    error = math.sqrt(spread.item()) if n > order + 1 else math.nan
    return _result(moments, error, a, task, n, mean, scale, target_mean, target_scale)


def _without_each_row(
    left: Float[Tensor, "m n"], right: Float[Tensor, "m n"], moments: Float[Tensor, "k"]
) -> Float[Tensor, "k n"]:
    """How each moment changes when one row is left out: the chains through row i are those that meet there."""
    order, n = len(moments), left.shape[1]
    product = products_of_growth(order, n)
    changes = []
    for k in range(1, order + 1):
        through = sum(
            (product[k] / (product[j] * product[k - j]) * left[j] * right[k - j] for j in range(k + 1)),
            start=left.new_zeros(n),
        )
        changes.append(((k + 1) * moments[k - 1] - through) / (n - k - 1))
    return torch.stack(changes)


def _of_stream(blocks: Iterable[Any], a: list[float], task: str) -> LearnabilityResult:
    if isinstance(blocks, Tensor | np.ndarray) or not isinstance(blocks, Iterable):
        raise TypeError(f"X must be an iterable of blocks (X, y) where y is not given, got {type(blocks).__name__}")
    order = len(a)
    sums: ChainSums | None = None
    values, sizes = [], []
    for i, block in enumerate(blocks):
        if not isinstance(block, tuple | list) or len(block) != 2:
            raise TypeError(f"block {i} must be a pair (X, y), got {type(block).__name__}")
        X, y = _table(block[0], block[1], f" of block {i}")
        X, y = X.double(), y.double()
        if sums is None:
            task, target_mean, target_scale = _target(y, task, " of the first block")
            mean, scale = standards(X)
            sums = ChainSums(order, mean, scale)
        if X.shape[1] != len(mean):
            raise ValueError(f"X of block {i} must have {len(mean)} columns like the first, got {X.shape[1]}")
        y = (y - target_mean) / target_scale
        sums.add(X, y)
        if len(y) > order:
            own = chunk_moments(torch.ones_like(mean), X, y, order, mean=mean, scale=scale)
            values.append(own @ own.new_tensor(a))
            sizes.append(len(y))
    if sums is None:
        raise ValueError("X must give at least one block, got none")
    _check_rows(sums.n, order)
    error = _spread(torch.stack(values), sizes) if len(values) > 1 else math.nan
    return _result(sums.moments(), error, a, task, sums.n, mean, scale, target_mean, target_scale)


def _spread(values: Float[Tensor, "b"], sizes: list[int]) -> float:
    """The standard error of the mean of the blocks' values, each with its share of the rows."""
    share = values.new_tensor(sizes) / sum(sizes)
    deviations = share * (values - share @ values)
    return math.sqrt((deviations.square().sum() * len(sizes) / (len(sizes) - 1)).item())


def _result(
    moments: Float[Tensor, "k"], standard_error: float, a: list[float], task: str, n: int, *standard: Any
) -> LearnabilityResult:
    z = (moments @ moments.new_tensor(a)).item()
    error = 1 - z if task == "regression" else (1 - math.sqrt(min(max(z, 0.0), 1.0))) / 2
    return LearnabilityResult(z, standard_error, error, moments, task, n, *standard)


def _coefficients(given: Any, order: int) -> list[float]:
    if isinstance(given, str):
        check_choice("coefficients", given, _METHODS)
        return polynomial_coefficients(order, method=given).tolist()
    numbers = [float(value) for value in given]
    if len(numbers) != order or not all(map(math.isfinite, numbers)):
        raise ValueError(f"coefficients must be {order} finite numbers for order {order}, got {numbers}")
    return numbers


def _check_rows(n: int, order: int) -> None:
    if n < order + 1:
        raise ValueError(f"X must have at least {order + 1} rows for order {order}, got {n}")


def _table(X: Any, y: Any, where: str) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
    """Rows and target as tensors of one type of float, or an error."""
    X = _tensor(X.toarray() if hasattr(X, "toarray") else X)
    X = X.to_dense() if X.layout != torch.strided else X
    if not X.is_floating_point() or X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X{where} must be a table of floats (n, d), got {X.dtype} of shape {tuple(X.shape)}")
    X = X.detach().to(torch.promote_types(X.dtype, torch.float32))
    y = _tensor(y).detach().to(X.device, X.dtype)
    if y.shape != (len(X),):
        raise ValueError(f"y{where} must have shape ({len(X)},) like X, got {tuple(y.shape)}")
    check_finite(f"X{where}", X)
    check_finite(f"y{where}", y)
    return X, y


def _tensor(value: Any) -> Tensor:
    read_only = isinstance(value, np.ndarray) and not value.flags.writeable
    return torch.as_tensor(value.copy() if read_only else value)


def _target(y: Float[Tensor, "n"], task: str, where: str) -> tuple[str, float, float]:
    """The task, and the target's mean and standard deviation."""
    values = len(torch.unique(y))
    if values < 2:
        raise ValueError(f"y{where} must not be constant, got {y[0].item()} alone")
    if task == "binary" and values > 2:
        raise ValueError(f"y{where} must have two values where task is binary, got {values}")
    if task == "auto":
        task = "binary" if values == 2 else "regression"
    return task, y.mean().item(), y.std(correction=0).item()
