"""Approximate k-DPP samples by a Markov chain that swaps one item at a time."""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib._checks import check_choice, check_generator, check_int
from selectlib.pool import ItemSource
from selectlib.seeding import uniform_indices
from selectlib.subsets._checks import check_indices
from selectlib.subsets._greedy import fetch, greedy_map, items_and_kernel
from selectlib.subsets._kernels import Kernel

_REFRESH = 128  # steps after which inverses are computed afresh


def k_dpp_mcmc(
    source_or_L: Any,
    k: int,
    n_steps: int,
    *,
    kernel: Kernel | None = None,
    chains: int = 64,
    init: Literal["greedy"] | Int[Tensor, "*c k"] = "greedy",
    generator: torch.Generator,
) -> Int[Tensor, "chains k"]:
    """Run independent lazy swap chains, whose stationary law is the k-DPP, and return where they end.

    A step rests with probability 1/2. Otherwise it takes an item s of the set and an item u outside, both uniformly,
    and swaps them with probability min(1, det L_{S - s + u} / det L_S).

    Parameters
    ----------
    source_or_L : Tensor (n, n), or anything that `as_source` takes
        The kernel matrix, where `kernel` is left out; else the items.
    k : int
        Size of the sets, from 0 to n.
    n_steps : int
        Steps of each chain, at least 0. Of the order of n k are needed to mix from a good start.
    kernel : Kernel, optional
        Similarity of two items.
    chains : int, default 64
        Number of chains, run side by side.
    init : "greedy" or LongTensor (k,) or (chains, k), default "greedy"
        Where the chains start: all at `greedy_map`, all at one set, or each at its own.
    generator : torch.Generator
        On the device of the features.

    Returns
    -------
    LongTensor (chains, k)
        The last set of each chain, ascending. Chains are independent given their starts; their law is the k-DPP only in
        the limit of many steps.

    Raises
    ------
    ValueError
        If an argument is out of range, a start has repeated items or a determinant that is not positive, the rank is
        below `k`, or a feature is not finite.

    Notes
    -----
    O(k²) time a step and chain, plus k + 1 kernel values; one fetch of `chains` items a step. Source: the swap (bases
    exchange) chain of Anari, Oveis Gharan and Rezaei (2016), with Schur complements from an updated inverse.

    Examples
    --------
    >>> import torch
    >>> from selectlib.seeding import generator
    >>> k_dpp_mcmc(torch.eye(5), 2, 100, chains=3, generator=generator(100)).shape
    torch.Size([3, 2])
    """
    source, kernel = items_and_kernel(source_or_L, kernel)
    n, device = len(source), check_generator(generator).device
    check_int("k", k, 0, n)
    check_int("n_steps", n_steps, 0, None)
    check_int("chains", chains, 1, None)
    if not isinstance(init, Tensor):
        check_choice("init", init, ("greedy",))
        init = greedy_map(source, k, kernel=kernel)
    sets = _starts(init, chains, k, n).to(device)
    X = fetch(source, sets).to(device)
    if k and bool((torch.linalg.slogdet(kernel(X, X).to(torch.float64)).sign <= 0).any()):
        raise ValueError("init must have a positive determinant in every chain")
    if k in (0, n):
        return sets.sort(-1).values
    for start in range(0, n_steps, _REFRESH):
        steps = min(_REFRESH, n_steps - start)
        inverse = torch.linalg.inv(kernel(X, X).to(torch.float64))
        leave = uniform_indices(k, steps * chains, generator=generator).view(steps, chains)
        enter = uniform_indices(n - k, steps * chains, generator=generator).view(steps, chains)
        u = torch.rand(steps, chains, dtype=torch.float64, device=device, generator=generator)
        for step in range(steps):
            sets, X, inverse = _step(source, kernel, sets, X, inverse, leave[step], enter[step], u[step])
    return sets.sort(-1).values


def _starts(init: Int[Tensor, "*c k"], chains: int, k: int, n: int) -> Int[Tensor, "chains k"]:
    if init.shape not in ((k,), (chains, k)):
        raise ValueError(f"init must have shape ({k},) or ({chains}, {k}), got {tuple(init.shape)}")
    check_indices("init", init, n)
    if bool((init.sort(-1).values.diff(dim=-1) == 0).any()):
        raise ValueError("init must hold distinct items in every chain")
    return init.to(torch.int64).expand(chains, k).clone()


def _step(
    source: ItemSource,
    kernel: Kernel,
    sets: Int[Tensor, "c k"],
    X: Float[Tensor, "c k d"],
    inverse: Float[Tensor, "c k k"],
    leave: Int[Tensor, "c"],
    enter: Int[Tensor, "c"],
    u: Float[Tensor, "c"],
) -> tuple[Int[Tensor, "c k"], Float[Tensor, "c k d"], Float[Tensor, "c k k"]]:
    """One step of all chains: the set's item at place `leave` against the `enter`-th item outside the set."""
    # In an ascending set s_0 < s_1 < ..., the number of items outside and below s_i is s_i - i.
    place = torch.arange(sets.shape[1], device=sets.device)
    item = enter + (sets.sort(-1).values - place <= enter[:, None]).sum(-1)
    x = fetch(source, item).to(X.device)
    row = kernel(x[:, None, :], X)[:, 0].to(torch.float64)
    ratio, swapped = swap(inverse, row, kernel.diag(x[:, None, :])[:, 0].to(torch.float64), leave)
    # u < ratio / 2 where the ratio is below 1, and u < 1/2 elsewhere: the coin of laziness and the acceptance in one.
    accepted: Bool[Tensor, "c"] = u < ratio.clamp(max=1) / 2
    here = accepted[:, None] & (place == leave[:, None])
    return (
        torch.where(here, item[:, None], sets),
        torch.where(here[..., None], x[:, None, :], X),
        torch.where(accepted[:, None, None], swapped, inverse),
    )


def swap(
    inverse: Float[Tensor, "c k k"], row: Float[Tensor, "c k"], diag: Float[Tensor, "c"], leave: Int[Tensor, "c"]
) -> tuple[Float[Tensor, "c"], Float[Tensor, "c k k"]]:
    """Effect of replacing the item at place `leave` of each set by another one.

    Parameters
    ----------
    inverse : Tensor (c, k, k)
        L_S^{-1}.
    row : Tensor (c, k)
        L_{uS} of the new item u (its entry at `leave` is not used).
    diag : Tensor (c,)
        L_uu.
    leave : LongTensor (c,)
        The place whose item s goes.

    Returns
    -------
    ratio : Tensor (c,)
        det L_{S - s + u} / det L_S, as a ratio of Schur complements over R = S - s.
    swapped : Tensor (c, k, k)
        The inverse for the new set, u in the place of s (meaningless where the ratio is 0).
    """
    every = torch.arange(len(inverse), device=inverse.device)
    column = inverse[every, :, leave]
    pivot = column[every, leave]  # 1 / (L_ss - L_sR L_R^{-1} L_Rs)
    without = inverse - column[:, :, None] * (column / pivot[:, None])[:, None, :]  # L_R^{-1}, with zeros at s
    row = row.clone()
    row[every, leave] = 0
    direction = (without @ row[..., None])[..., 0]
    complement = diag - (row * direction).sum(-1)  # L_uu - L_uR L_R^{-1} L_Ru
    direction[every, leave] = -1
    swapped = without + direction[:, :, None] * (direction / complement[:, None])[:, None, :]
    return complement * pivot, swapped
