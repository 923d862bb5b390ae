"""The numbers that keep sums over chains of rows of the size of one term, so that float32 suffices.

With G strictly upper triangular, ``R_k = G^k y`` sums over the chains of k links that start at each row, and
``m_k = yᵀ R_k / C(n, k+1)``. Both grow like n^k. Here ``R_k`` is divided by as much as it grows: ``R_0 = y``,
``R_k = (k+1)/(n-k) G R_{k-1}``, and then ``m_k = yᵀ R_k / n``; likewise ``L_k`` from the transpose of G.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


def growth(order: int, n: int) -> list[float]:
    """The factors ``(k+1)/(n-k)``, k = 1..order, that go with n rows."""
    return [(k + 1) / (n - k) for k in range(1, order + 1)]


def products_of_growth(order: int, n: int) -> list[float]:
    """The factors by which ``R_0, ..., R_order`` are smaller than the sums over chains."""
    products = [1.0]
    for factor in growth(order, n):
        products.append(products[-1] * factor)
    return products


def chain_weights(coeffs: Sequence[float], n: int, like: Tensor) -> Float[Tensor, "k k"]:
    """The weights B of ``dz = Σ_jl B[j, l] L_jᵀ dG R_l`` for n rows, symmetric; type and device of `like`."""
    return _chain_weights(tuple(coeffs), n, like.dtype, like.device)


def on_device(coeffs: Sequence[float], like: Tensor) -> Float[Tensor, "k"]:
    """The coefficients as a tensor; sent to a GPU once, since sending makes the caller wait for it."""
    return _on_device(tuple(coeffs), like.dtype, like.device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _on_device(coeffs: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(coeffs, dtype=dtype, device=device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _chain_weights(coeffs: tuple[float, ...], n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    order = len(coeffs)
    product = products_of_growth(order, n)
    weights = torch.zeros(order, order, dtype=torch.float64)
    for j in range(order):
        for k in range(j + 1, order + 1):
            weights[j, k - 1 - j] = coeffs[k - 1] * product[k] / (product[j] * product[k - 1 - j]) / n
    return weights.to(device, dtype)
