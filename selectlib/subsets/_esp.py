"""Elementary symmetric polynomials of a spectrum, through one tree of Poisson-binomial tables.

e_k(λ) over- and underflows, but it is a probability in disguise. With independent coins p_j = αλ_j / (1 + αλ_j),

    e_k(λ) = α^{-k} Π_j (1 + αλ_j) · Pr(exactly k heads)          for every tilt α > 0,

and at the tilt that makes k the mean number of heads this probability is of order k^{-1/2}. The law of the number of
heads in a block of coins is the convolution of the laws of its halves, so a binary tree over the coins holds all that
a k-DPP asks of its spectrum: its root gives e_k, its adjoint pass gives every leave-one-out e_{k-1}(λ_{-j}), and
splitting a head count from the root to the leaves draws the eigenvectors of an exact sample. All terms are positive:
nothing cancels. Building the tree takes O(m k) operations in O(log m) launches.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selectlib._checks import check_int


@dataclass(frozen=True)
class KDPPSpectrum:
    """What the spectrum λ of a kernel says about its k-DPP, batched over leading dimensions (float64).

    Where fewer than k eigenvalues are positive there is no k-DPP: `log_ek` is -inf there, and `gamma0`, `g`, `pi` and
    `alpha` are nan, so that a use by oversight is loud.

    Attributes
    ----------
    log_ek : Tensor (*b)
        log e_k(λ).
    gamma0 : Tensor (*b)
        e_{k-1}(λ) / e_k(λ); 0 for k = 0.
    g : Tensor (*b, m)
        e_{k-1}(λ_{-j}) / e_k(λ), the derivative of log e_k by λ_j. It is `gamma0` at a zero eigenvalue.
    pi : Tensor (*b, m)
        Probability that eigenvector j takes part in a sample, λ_j g_j; sums to k.
    alpha : Tensor (*b)
        The tilt: Σ_j αλ_j / (1 + αλ_j) = k, or k - 1/2 where exactly k eigenvalues are positive (k is then a limit).
    """

    log_ek: Float[Tensor, "*b"]
    gamma0: Float[Tensor, "*b"]
    g: Float[Tensor, "*b m"]
    pi: Float[Tensor, "*b m"]
    alpha: Float[Tensor, "*b"]


def kdpp_spectrum(eigvals: Float[Tensor, "*b m"], k: int) -> KDPPSpectrum:
    """e_k, its ratios and the eigenvector inclusion probabilities of a k-DPP with spectrum `eigvals`.

    Parameters
    ----------
    eigvals : Tensor (*b, m)
        Nonnegative, in any order; zeros are allowed (padding) and rounding below zero counts as zero.
    k : int
        Size of the sets, at least 0.

    Returns
    -------
    KDPPSpectrum

    Notes
    -----
    O(m k) time and memory for each spectrum. Source: Kulesza and Taskar (2012), section 5, for the ratios; the module's
    docstring for the way.
    """
    lam = eigvals.to(torch.float64).clamp(min=0)
    if k == 0:
        zero, zeros = lam.new_zeros(lam.shape[:-1]), torch.zeros_like(lam)
        return KDPPSpectrum(zero, zero, zeros, zeros, zero)
    if k > lam.shape[-1]:
        nan, nans = lam.new_full(lam.shape[:-1], math.nan), torch.full_like(lam, math.nan)
        return KDPPSpectrum(torch.full_like(nan, -math.inf), nan, nans, nans, nan)
    log_alpha, logits, exists = _tilt(lam, k)
    tree = _tree(logits, k)
    root = tree[-1][..., 0, :]
    ratio = _leave_one_out(tree, k, m=lam.shape[-1]) / root[..., k, None]  # P_{-j}(k-1) / P(k)
    alpha = torch.where(exists, log_alpha.exp(), math.nan)
    return KDPPSpectrum(
        log_ek=_log_ek(log_alpha, logits, exists, root, k),
        gamma0=alpha * root[..., k - 1] / root[..., k],
        g=alpha[..., None] * torch.sigmoid(-logits) * ratio,
        pi=torch.where(exists[..., None], torch.sigmoid(logits) * ratio, math.nan),
        alpha=alpha,
    )


def log_ek(eigvals: Float[Tensor, "*b m"], k: int) -> Float[Tensor, "*b"]:
    """`log_esp` without its checks: values below zero count as zero. O(m k) for each spectrum."""
    lam = eigvals.to(torch.float64).clamp(min=0)
    if k == 0:
        return lam.new_zeros(lam.shape[:-1])
    if k > lam.shape[-1]:
        return lam.new_full(lam.shape[:-1], -math.inf)
    log_alpha, logits, exists = _tilt(lam, k)
    return _log_ek(log_alpha, logits, exists, _tree(logits, k)[-1][..., 0, :], k)


def log_esp(eigvals: Float[Tensor, "*b m"], k: int) -> Float[Tensor, "*b"]:
    """Logarithm of the elementary symmetric polynomial e_k of nonnegative numbers, without overflow.

    Parameters
    ----------
    eigvals : Tensor, shape ``(*b, m)``
        Finite numbers, at least 0 (up to rounding: -1e-8 of the largest), in any order. The leading dimensions are a
        batch.
    k : int
        Degree, at least 0.

    Returns
    -------
    Tensor of float64, shape ``(*b)``
        ``log Σ_{|J|=k} Π_{j∈J} eigvals_j``: 0 for k = 0, and -inf where fewer than k numbers are positive.

    Raises
    ------
    ValueError
        If `k` is negative, or `eigvals` has an entry that is negative or not finite.

    Notes
    -----
    O(m k) time and memory for each row, in O(log m) vectorised steps. The identity used is
    log e_k = Σ log(1 + αλ_j) + log Pr(k heads) - k log α (Darroch 1964 for why Pr(k heads) is not small).

    Examples
    --------
    >>> import torch
    >>> log_esp(torch.tensor([1.0, 2.0, 3.0]), 2).exp()  # 1·2 + 1·3 + 2·3
    tensor(11.0000, dtype=torch.float64)
    """
    check_int("k", k, 0, None)
    if not bool(torch.isfinite(eigvals).all()):
        raise ValueError("eigvals must be finite; it has NaN or infinite entries")
    if eigvals.numel() and bool((eigvals < -1e-8 * eigvals.amax(-1, keepdim=True).clamp(min=0)).any()):
        raise ValueError(f"eigvals must be at least 0, got {float(eigvals.min()):.6g}")
    return log_ek(eigvals, k)


def head_tree(eigvals: Float[Tensor, "*b m"], k: int) -> tuple[Tensor, ...]:
    """Laws of the number of heads, from leaves (*b, m, 2) to root (*b, 1, k + 1); k >= 1 of `eigvals` are positive."""
    return _tree(_tilt(eigvals.to(torch.float64).clamp(min=0), k)[1], k)


def draw_eigenvectors(
    tree: tuple[Tensor, ...], owner: Int[Tensor, "s"], generator: torch.Generator
) -> Int[Tensor, "s k"]:
    """Draw the k eigenvectors that make up each of s independent k-DPP samples.

    Pr(J) = Π_{j∈J} λ_j / e_k(λ). All k heads start at the root; at a node with c heads, the left child receives l of
    them with probability proportional to left[l] · right[c - l]. Heads are kept in order, so that those of one node are
    neighbours and share the random number of the first of them: shapes are fixed, and the loop has O(log m) steps.

    Parameters
    ----------
    tree : tuple of Tensor
        `head_tree` of b spectra (its leading dimensions, flattened).
    owner : LongTensor (s,)
        Which of the b spectra each sample is from.
    generator : torch.Generator
        On the device of the tree.

    Returns
    -------
    LongTensor (s, k)
        Distinct eigenvector indices, ascending.
    """
    k, device = tree[-1].shape[-1] - 1, owner.device
    place = torch.arange(k, device=device)
    rank = place.expand(len(owner), k)  # place of a head among the heads of its node
    count = torch.full_like(rank, k)  # heads in that node
    node = torch.zeros_like(rank)
    for table in reversed(tree[:-1]):
        table = table.reshape(-1, *table.shape[-2:])
        left, right = table[owner[:, None], 2 * node], table[owner[:, None], 2 * node + 1]
        rest = count[..., None] - torch.arange(table.shape[-1], device=device)
        possible = (rest >= 0) & (rest < table.shape[-1])
        weight = left * right.gather(-1, rest.clamp(0, table.shape[-1] - 1)) * possible
        below = weight.cumsum(-1)
        u = torch.rand(rank.shape, dtype=torch.float64, device=device, generator=generator).gather(1, place - rank)
        to_left = (below <= u[..., None] * below[..., -1:]).sum(-1)
        is_right = rank >= to_left
        node = 2 * node + is_right
        rank = torch.where(is_right, rank - to_left, rank)
        count = torch.where(is_right, count - to_left, to_left)
    return node


def _tilt(lam: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """log α, the coins' logits log αλ_j, and whether e_k is positive at all; 1 <= k <= m."""
    rank = (lam > 0).sum(-1)
    exists = rank >= k
    log_lam = lam.log()
    target = (rank - 0.5).clamp(max=float(k))
    # The mean number of heads is below the target at 1/(2 m λ_(k)), and above it at 2k/λ_(k+1).
    top = log_lam.topk(min(k + 1, lam.shape[-1]), dim=-1).values
    kth = torch.where(exists, top[..., k - 1], 0.0)
    following = torch.where(rank > k, top[..., -1], kth)
    low, high = -kth - math.log(2 * lam.shape[-1]), -following + math.log(2 * k)
    log_alpha = -(kth + following) / 2
    for _ in range(100):  # Newton; a step that leaves the bracket becomes a bisection
        heads = torch.sigmoid(log_alpha[..., None] + log_lam)
        excess = heads.sum(-1) - target
        if bool(((excess.abs() <= 1e-10 * k) | ~exists).all()):
            break
        low = torch.where(excess < 0, log_alpha, low)
        high = torch.where(excess > 0, log_alpha, high)
        newton = log_alpha - excess / (heads * (1 - heads)).sum(-1)
        inside = (newton > low) & (newton < high)
        log_alpha = torch.where(inside, newton, (low + high) / 2)
    return log_alpha, log_alpha[..., None] + log_lam, exists


def _tree(logits: Tensor, k: int) -> tuple[Tensor, ...]:
    """Laws of the number of heads in blocks of 1, 2, 4, ... coins, cut off at k heads."""
    nodes = torch.stack([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=-1)
    levels = []
    while nodes.shape[-2] > 1:
        if nodes.shape[-2] % 2:  # an empty block: no heads, surely
            empty = torch.zeros_like(nodes[..., :1, :])
            empty[..., 0] = 1
            nodes = torch.cat([nodes, empty], dim=-2)
        levels.append(nodes)
        left, right = nodes[..., 0::2, :], nodes[..., 1::2, :]
        width = nodes.shape[-1]
        out = min(2 * width - 1, k + 1)
        padded = torch.nn.functional.pad(left, (width - 1, out - width))
        nodes = _inner(padded.unfold(-1, width, 1), right.flip(-1))  # Σ_j left[i - j] right[j]
    return (*levels, nodes)


def _leave_one_out(tree: tuple[Tensor, ...], k: int, m: int) -> Tensor:
    """Pr(k - 1 heads among all coins but j) for each of m coins j: the tree's adjoint, from 'k heads at the root'."""
    outside = torch.zeros_like(tree[-1])
    outside[..., k] = 1
    for nodes in reversed(tree[:-1]):
        width = nodes.shape[-1]
        outside = outside[..., : nodes.shape[-2] // 2, :]  # without the empty block of the level above
        padded = torch.nn.functional.pad(outside, (0, 2 * width - 1 - outside.shape[-1])).unfold(-1, width, 1)
        left, right = nodes[..., 0::2, :], nodes[..., 1::2, :]
        outside = torch.stack([_inner(padded, right), _inner(padded, left)], dim=-2).flatten(-3, -2)
    return outside[..., :m, 1]


def _inner(windows: Tensor, weights: Tensor) -> Tensor:
    return (windows @ weights[..., None])[..., 0]


def _log_ek(log_alpha: Tensor, logits: Tensor, exists: Tensor, root: Tensor, k: int) -> Tensor:
    log_normalizer = torch.logaddexp(logits, torch.zeros_like(logits)).sum(-1)
    return torch.where(exists, log_normalizer + root[..., k].log() - k * log_alpha, -math.inf)
