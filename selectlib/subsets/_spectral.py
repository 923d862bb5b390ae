"""Exact samplers of a kernel with a known eigendecomposition: choose eigenvectors, then sample their projection DPP.

The projection stage is rejection sampling from leverage scores (Barthelmé, Tremblay and Amblard 2023). An item's
chance to be next is its squared residual after the items already drawn, which is at most its leverage score: propose
from the scores, accept with the ratio. About k log k proposals serve one sample, whatever n is; only they are
orthogonalised.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib._checks import check_int
from selectlib.subsets._esp import draw_eigenvectors, head_tree, kdpp_spectrum

_CHUNK = 2**20  # largest number of float64 entries of one temporary
_MAX_BLOCKS = 1000  # blocks of proposals; orthonormal eigenvectors need a handful


def eigh_psd(L: Float[Tensor, "*b n n"], name: str = "L") -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b n n"]]:
    """Eigendecomposition of positive semidefinite kernels, in float64.

    Parameters
    ----------
    L : Tensor (*b, n, n)
        Symmetric, with finite entries.
    name : str, default "L"
        What the errors call it.

    Returns
    -------
    eigvals : Tensor (*b, n)
        Ascending. Those up to n · eps of the largest, with eps of `L`'s dtype, are rounding: they are returned as 0.
    eigvecs : Tensor (*b, n, n)
        Orthonormal columns.

    Raises
    ------
    ValueError
        If `L` is not finite, not symmetric, or has an eigenvalue below -1e-8 of its largest (a float32 kernel carries
        more rounding: -1e-5 there, and for the symmetry likewise).

    Notes
    -----
    O(n³) time.
    """
    if L.shape[-1] == 0 or L.shape[-1] != L.shape[-2]:
        raise ValueError(f"{name} must be a square matrix of at least one item, got shape {tuple(L.shape)}")
    if not bool(torch.isfinite(L).all()):
        raise ValueError(f"{name} must be finite; it has NaN or infinite entries")
    tolerance, eps = (1e-8 if L.dtype == torch.float64 else 1e-5), torch.finfo(L.dtype).eps
    L = L.to(torch.float64)
    if bool(((L - L.mT).abs().amax((-1, -2)) > tolerance * L.abs().amax((-1, -2))).any()):
        raise ValueError(f"{name} must be symmetric; it differs from its transpose")
    eigvals, eigvecs = torch.linalg.eigh((L + L.mT) / 2)
    smallest, largest = eigvals[..., 0], eigvals[..., -1]
    if bool((smallest < -tolerance * largest).any()):
        raise ValueError(
            f"{name} must be positive semi-definite; its smallest eigenvalue is {float(smallest.min()):.3e} "
            f"(largest {float(largest.max()):.3e})"
        )
    floor = largest * (L.shape[-1] * eps)
    return torch.where(eigvals > floor[..., None], eigvals, 0.0), eigvecs


def sample_kdpp_dense(
    eigvals: Float[Tensor, "*b m"],
    eigvecs: Float[Tensor, "*b n m"],
    k: int,
    *,
    n_samples: int | None = None,
    generator: torch.Generator,
) -> Int[Tensor, "... k"]:
    """Exact k-DPP samples from an eigendecomposition.

    Parameters
    ----------
    eigvals : Tensor (*b, m)
        Nonnegative eigenvalues; zeros are never chosen.
    eigvecs : Tensor (*b, n, m)
        Orthonormal eigenvectors as columns, m <= n; a column of zeros is fine where the eigenvalue is zero.
    k : int
        Size of the sets.
    n_samples : int, optional
        Number of independent samples from one decomposition (no batch dimensions then). Left out: one sample for each
        member of the batch.
    generator : torch.Generator
        On the device of `eigvals`.

    Returns
    -------
    LongTensor (*b, k) or (n_samples, k)
        Distinct item indices, ascending in each set.

    Raises
    ------
    ValueError
        If fewer than `k` eigenvalues of a member are positive; the message names the numerical rank.

    Notes
    -----
    O(m k + n m) once, then O(k³ log k + k² log m) for each sample. Source: Kulesza and Taskar (2012), algorithm 8, for
    the law; `draw_eigenvectors` and this module's docstring for the way.
    """
    check_size(k, eigvals)
    shape, owner = _owners(eigvals, n_samples)
    if k == 0 or len(owner) == 0:
        return owner.new_empty(*shape, k)
    tree = head_tree(eigvals, k)
    vectors = eigvecs.mT.reshape(-1, eigvecs.shape[-1], eigvecs.shape[-2])
    samples = [
        _project(vectors, part, draw_eigenvectors(tree, part, generator), torch.full_like(part, k), generator)
        for part in owner.split(_chunk(k))
    ]
    return torch.cat(samples).reshape(*shape, k)


def sample_dpp_dense(
    eigvals: Float[Tensor, "*b m"],
    eigvecs: Float[Tensor, "*b n m"],
    *,
    n_samples: int | None = None,
    generator: torch.Generator,
) -> Bool[Tensor, "... n"]:
    """Exact samples of the random-size DPP, Pr(S) = det L_S / det(I + L), from an eigendecomposition.

    Parameters
    ----------
    eigvals : Tensor (*b, m)
        Nonnegative eigenvalues.
    eigvecs : Tensor (*b, n, m)
        Orthonormal eigenvectors as columns (columns of zeros where the eigenvalue is zero are fine).
    n_samples : int, optional
        Number of independent samples from one decomposition (no batch dimensions then). Left out: one sample for each
        member of the batch.
    generator : torch.Generator
        On the device of `eigvals`.

    Returns
    -------
    BoolTensor (*b, n) or (n_samples, n)
        True for the items of the sample.

    Notes
    -----
    O(n m) once, then O(m + |S|³ log |S|) for each sample. Source: Hough et al. (2006); Kulesza and Taskar (2012),
    algorithm 1.
    """
    n = eigvecs.shape[-2]
    shape, owner = _owners(eigvals, n_samples)
    lam = eigvals.to(torch.float64).clamp(min=0).reshape(-1, eigvals.shape[-1])
    vectors = eigvecs.mT.reshape(-1, eigvecs.shape[-1], n)
    heads = torch.rand(len(owner), lam.shape[-1], dtype=torch.float64, device=lam.device, generator=generator)
    chosen = heads < (lam / (1 + lam))[owner]
    sizes = chosen.sum(-1)
    k = int(sizes.max()) if len(owner) else 0
    columns = chosen.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :k]
    mask = torch.zeros(len(owner), n + 1, dtype=torch.bool, device=lam.device)  # the last place takes the unused slots
    for part in torch.arange(len(owner), device=lam.device).split(_chunk(k)) if k else ():
        items = _project(vectors, owner[part], columns[part], sizes[part], generator)
        mask[part] = mask[part].scatter(1, items, True)
    return mask[:, :n].reshape(*shape, n)


def kdpp_marginals(L: Float[Tensor, "n n"], k: int) -> Float[Tensor, "n"]:
    """Probability of each item to be in a k-DPP sample, for a dense kernel.

    Parameters
    ----------
    L : Tensor (n, n)
        Symmetric positive semidefinite kernel.
    k : int
        Size of the sets, from 0 to the rank of `L`.

    Returns
    -------
    Tensor (n,), float64
        Pr(i ∈ S) = Σ_j V_ij² π_j, with π_j the probability that eigenvector j takes part. Sums to k.

    Raises
    ------
    ValueError
        If `L` is not symmetric positive semidefinite, or `k` is larger than its numerical rank.

    Notes
    -----
    O(n³) time. Source: Kulesza and Taskar (2012), section 5.

    Examples
    --------
    >>> import torch
    >>> kdpp_marginals(torch.diag(torch.tensor([1.0, 1.0, 2.0])), 1)  # k = 1 picks i with probability ∝ L_ii
    tensor([0.2500, 0.2500, 0.5000], dtype=torch.float64)
    """
    eigvals, eigvecs = eigh_psd(L)
    check_size(k, eigvals)
    return eigvecs.square() @ kdpp_spectrum(eigvals, k).pi


def check_size(k: int, eigvals: Float[Tensor, "*b m"]) -> None:
    """Raise unless sets of k items have positive probability under every spectrum of the batch."""
    check_int("k", k, 0, None)
    rank = (eigvals > 0).sum(-1)
    if rank.numel() and k > int(rank.min()):
        raise ValueError(
            f"k must be at most the numerical rank of the kernel, {int(rank.min())}, got {k}: "
            "no larger set has a positive determinant"
        )


def _owners(eigvals: Tensor, n_samples: int | None) -> tuple[tuple[int, ...], Tensor]:
    """Shape of the samples, and the member of the (flattened) batch that each is from."""
    batch = tuple(eigvals.shape[:-1])
    if n_samples is None:
        return batch, torch.arange(math.prod(batch), device=eigvals.device)
    if batch:
        raise ValueError(f"n_samples is for a single decomposition, got eigvals with batch dimensions {batch}")
    check_int("n_samples", n_samples, 0, None)
    return (n_samples,), torch.zeros(n_samples, dtype=torch.int64, device=eigvals.device)


def _block(k: int) -> int:
    """Proposals at a time; a sample needs k (1 + 1/2 + ... + 1/k) of them on average."""
    return k + 32


def _chunk(k: int) -> int:
    """Samples at a time."""
    return max(1, _CHUNK // (k * _block(k)))


def _project(vectors: Tensor, owner: Tensor, columns: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Sample the projection DPPs spanned by chosen eigenvectors.

    `vectors` (b, m, n) holds eigenvectors as rows; sample i uses those numbered `columns[i, : sizes[i]]` of
    `vectors[owner[i]]`. Returns items (s, k), ascending, with n in the unused slots.
    """
    (s, k), n, device = columns.shape, vectors.shape[-1], vectors.device
    used, span = (owner[:, None] * vectors.shape[1] + columns).unique(return_inverse=True)
    table = vectors.flatten(0, 1)[used].to(torch.float64)
    cumulative = table.square().cumsum(-1)
    slot = torch.arange(k, device=device)
    items = torch.full((s, k + 1), n, device=device)  # the last slot takes what is not accepted
    basis = table.new_zeros(s, k + 1, k)  # orthonormal; spans the items so far, in the coordinates of the eigenvectors
    taken = torch.zeros_like(sizes)
    for _ in range(_MAX_BLOCKS):
        todo = (taken < sizes).nonzero()[:, 0]
        if len(todo) == 0:
            return items[:, :k].sort(-1).values
        # A uniform eigenvector of the sample, then an item by its squared entries: a draw from the leverage scores.
        u = torch.rand(3, len(todo), _block(k), dtype=torch.float64, device=device, generator=generator)
        source = span[todo].gather(1, (u[0] * sizes[todo, None]).long())
        proposals = _inverse_cdf(cumulative, source, u[1])
        rows = table[span[todo][:, None, :], proposals[..., None]] * (slot < sizes[todo, None])[:, None, :]
        # An item already drawn has a residual of the order of rounding: it must not pass when u is 0.
        bars = u[2].clamp(min=torch.finfo(torch.float64).eps).sqrt() * torch.linalg.vector_norm(rows, dim=-1)
        rows = rows - (rows @ basis[todo].mT) @ basis[todo]
        first, hit, directions = _accept_in_order(rows, bars, sizes[todo] - taken[todo])
        place = torch.where(hit, taken[todo, None] + torch.arange(hit.shape[1], device=device), k)
        items[todo[:, None], place] = proposals.gather(1, first)
        basis[todo[:, None], place] = directions
        taken[todo] += hit.sum(-1)
    raise RuntimeError(f"no sample after {_MAX_BLOCKS * _block(k)} proposals: eigvecs must be orthonormal")


def _inverse_cdf(cumulative: Tensor, row: Tensor, u: Tensor) -> Tensor:
    """First place where `cumulative[row]` exceeds u times its total, for every entry of `row` and `u`; a bisection."""
    n = cumulative.shape[-1]
    goal = u * cumulative[row, -1]
    place = torch.zeros_like(row)
    for bit in reversed(range(n.bit_length())):
        further = place + 2**bit
        below = (further < n) & (cumulative[row, further.clamp(max=n) - 1] <= goal)
        place = torch.where(below, further, place)
    return place


def _accept_in_order(rows: Tensor, bars: Tensor, room: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run through a block of proposals, first to last, and take those whose residual is longer than the bar.

    Every round takes the next item of each sample and removes its direction from all rows. `rows` (s, p, k) are the
    residuals, `bars` is (s, p), `room` (s,) the most items to take. Returns the places of the items taken (s, r),
    whether the sample took one in that round (s, r), and their directions (s, r, k).
    """
    every = torch.arange(len(rows), device=rows.device)
    rounds = []
    for i in range(min(int(room.max()), rows.shape[1])):
        # Residuals only shrink: what was passed over before stays below its bar.
        passes = (torch.linalg.vector_norm(rows, dim=-1) > bars) & (i < room)[:, None]
        hit, first = passes.any(-1), passes.to(torch.int8).argmax(-1)
        direction = torch.nn.functional.normalize(rows[every, first], dim=-1, eps=0.0).nan_to_num() * hit[:, None]
        rows = torch.baddbmm(rows, rows @ direction[..., None], direction[:, None, :], alpha=-1)
        rounds.append((first, hit, direction))
    first, hit, directions = (torch.stack(parts, dim=1) for parts in zip(*rounds, strict=True))
    return first, hit, directions
