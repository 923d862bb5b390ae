"""The shortcut and its exact error: a k-DPP on a uniform subsample, and brute-force enumeration of both laws."""

import itertools
import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_generator, check_int
from selectlib.seeding import uniform_indices
from selectlib.subsets._checks import check_kernel
from selectlib.subsets._greedy import fetch
from selectlib.subsets._kernels import Kernel
from selectlib.subsets._sources import as_source
from selectlib.subsets._spectral import eigh_psd, sample_kdpp_dense

_MOST_SETS = 5_000_000
_CHUNK = 2**22  # largest number of float64 entries of one temporary


def uniform_subsample_kdpp(
    source: Any, kernel: Kernel, k: int, m: int, *, n_samples: int = 1, generator: torch.Generator
) -> Int[Tensor, "n_samples k"]:
    """The common shortcut: draw m items uniformly, then an exact k-DPP sample of those.

    Cheap at any n, but its law is not the k-DPP of all items unless m = n, and rare items are missed in proportion;
    `tv_of_uniform_subsample` gives the error exactly for a small kernel.

    Parameters
    ----------
    source : Tensor (n, d), or anything that `as_source` takes
        The items.
    kernel : Kernel
        Similarity of two items.
    k : int
        Size of the sets, from 0 to m.
    m : int
        Size of the uniform subsample (without replacement), from k to n; a new one for each sample.
    n_samples : int, default 1
        Number of independent samples.
    generator : torch.Generator
        On the device of the features.

    Returns
    -------
    LongTensor (n_samples, k)
        Distinct item indices, ascending in each set.

    Raises
    ------
    ValueError
        If `k`, `m` or `n_samples` is out of range, or a subsample has numerical rank below `k`.

    Notes
    -----
    O(m³) time and m looks for each sample. The heuristic that Calandriello, Dereziński and Valko (2020) argue against.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> from selectlib.subsets._kernels import RBF
    >>> X = torch.randn(1000, 2, generator=generator(100))
    >>> uniform_subsample_kdpp(X, RBF(1.0), 3, 20, n_samples=4, generator=generator(100)).shape
    torch.Size([4, 3])
    """
    source = as_source(source)
    _check_sizes(k, m, len(source))
    check_int("n_samples", n_samples, 0, None)
    check_kernel(kernel)
    drawn = _distinct(len(source), m, n_samples, check_generator(generator))
    samples = [drawn.new_empty(0, k)]
    for part in drawn.split(max(1, _CHUNK // m**2)) if k else ():
        X = fetch(source, part).to(part.device)
        chosen = sample_kdpp_dense(*eigh_psd(kernel(X, X), name="kernel"), k, generator=generator)
        samples.append(part.gather(1, chosen).sort(-1).values)
    return torch.cat(samples) if k else drawn[:, :0]


def tv_of_uniform_subsample(L: Float[Tensor, "n n"], k: int, m: int) -> float:
    """Total variation distance between the k-DPP and the k-DPP of a uniform subsample, exactly.

    Parameters
    ----------
    L : Tensor (n, n)
        Symmetric positive semi-definite kernel, small: all subsets are enumerated.
    k : int
        Size of the sets, from 1 to m.
    m : int
        Size of the subsample, from k to n.

    Returns
    -------
    float
        ``½ Σ_S |Q(S) - P(S)|``, with P(S) = det L_S / e_k(L) and Q(S) = C(n, m)^{-1} Σ_{U ⊇ S} det L_S / e_k(L_U): 0
        if and only if the shortcut is exact.

    Raises
    ------
    ValueError
        If `k` or `m` is out of range, `L` is not positive semi-definite, some subsample has rank below `k` (the
        shortcut is then not defined), or more than 5 million sets would be enumerated.

    Notes
    -----
    O(C(n, m) C(m, k)) time. e_k(L_U) is the sum of det L_S over the subsets S of U.

    Examples
    --------
    >>> import torch
    >>> round(tv_of_uniform_subsample(torch.diag(torch.tensor([1.0, 1.0, 4.0])), 1, 2), 4)
    0.1333
    """
    n = len(L)
    _check_sizes(k, m, n)
    _check_count(math.comb(n, m) * math.comb(m, k))
    target = enumerate_kdpp(L, k)[1]
    law = torch.zeros_like(target)
    within = _subsets(m, k, L.device)
    for U in _subsets(n, m, L.device).split(max(1, _CHUNK // len(within))):
        rank = _rank(U[:, within], n)
        weights = target[rank]  # det L_S, up to a factor
        total = weights.sum(-1, keepdim=True)
        if bool((total <= 0).any()):
            empty = U[(total <= 0)[:, 0]][0].tolist()
            raise ValueError(f"k must be at most the rank of every subsample of {m} items, got {k}: {empty} has less")
        law.index_add_(0, rank.flatten(), (weights / total).flatten())
    return float((law / math.comb(n, m) - target).abs().sum() / 2)


def enumerate_kdpp(L: Float[Tensor, "n n"], k: int) -> tuple[Int[Tensor, "sets k"], Float[Tensor, "sets"]]:
    """All sets of k items and their probabilities under the k-DPP, by brute force: the truth to hold samplers to.

    Parameters
    ----------
    L : Tensor (n, n)
        Symmetric positive semi-definite kernel.
    k : int
        Size of the sets, from 0 to the rank of `L`.

    Returns
    -------
    sets : LongTensor (C(n, k), k)
        In lexicographic order, ascending in each set.
    probabilities : Tensor (C(n, k),), float64
        det L_S / Σ_T det L_T. A set is singular, and has probability 0, if the smallest eigenvalue of L_S is within
        rounding of zero: n · 2.2e-16 of the largest.

    Raises
    ------
    ValueError
        If `k` is out of range or above the rank, `L` is not positive semi-definite, or C(n, k) is above 5 million.

    Notes
    -----
    O(C(n, k) k³) time. Source: the definition (Kulesza and Taskar 2011).

    Examples
    --------
    >>> import torch
    >>> sets, p = enumerate_kdpp(torch.diag(torch.tensor([1.0, 2.0, 3.0])), 2)
    >>> sets.tolist(), (p * 11).tolist()
    ([[0, 1], [0, 2], [1, 2]], [2.0, 3.0, 6.0])
    """
    n = len(L)
    check_int("k", k, 0, n)
    _check_count(math.comb(n, k))
    eigh_psd(L)  # refuses what is no kernel
    L = L.to(torch.float64)
    sets = _subsets(n, k, L.device)
    floor = n * torch.finfo(torch.float64).eps
    parts = []
    for part in sets.split(max(1, _CHUNK // max(1, k * k))) if k else ():
        eigvals = torch.linalg.eigvalsh(L[part[:, :, None], part[:, None, :]])
        regular = eigvals[:, 0] > floor * eigvals[:, -1]
        parts.append(torch.where(regular, eigvals.prod(-1), 0.0))
    weights = torch.cat(parts) if k else L.new_ones(1)
    if not bool(weights.sum() > 0):
        raise ValueError(
            f"k must be at most the rank of the kernel, got {k}: no set of that size has a determinant above 0"
        )
    return sets, weights / weights.sum()


def _check_sizes(k: int, m: int, n: int) -> None:
    check_int("m", m, 1, n)
    check_int("k", k, 0, m)


def _check_count(count: int) -> None:
    if count > _MOST_SETS:
        raise ValueError(f"enumeration is for small kernels: {count} sets, at most {_MOST_SETS} are allowed")


def _subsets(n: int, k: int, device: torch.device) -> Int[Tensor, "sets k"]:
    """All sets of k of n items, in lexicographic order."""
    # torch.combinations would fill a grid of n^k.
    flat = itertools.chain.from_iterable(itertools.combinations(range(n), k))
    return torch.from_numpy(np.fromiter(flat, np.int64, math.comb(n, k) * k)).reshape(math.comb(n, k), k).to(device)


def _rank(sets: Int[Tensor, "*b k"], n: int) -> Int[Tensor, "*b"]:
    """Place of ascending sets among `_subsets`: C(n, k) - 1 - Σ_i C(n - 1 - s_i, k - i)."""
    k = sets.shape[-1]
    binomial = torch.tensor([[math.comb(a, k - i) for a in range(n)] for i in range(k)], device=sets.device)
    later = binomial[torch.arange(k, device=sets.device), n - 1 - sets] if k else sets
    return math.comb(n, k) - 1 - later.sum(-1)


def _distinct(n: int, m: int, rows: int, generator: torch.Generator) -> Int[Tensor, "rows m"]:
    """m distinct items below n in each row, every set equally likely: Floyd's algorithm, in O(m) memory a row."""
    chosen = torch.empty(rows, m, dtype=torch.int64, device=generator.device)
    for place, last in enumerate(range(n - m, n)):
        item = uniform_indices(last + 1, rows, generator=generator)
        repeated = (chosen[:, :place] == item[:, None]).any(-1)
        chosen[:, place] = torch.where(repeated, last, item)
    return chosen
