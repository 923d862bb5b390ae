"""The Gram matrix of features, its damping and its solutions."""

import pytest
import torch

from selectlib.corpora._kernel import damped, gram
from selectlib.seeding import generator

EPS = torch.finfo(torch.float64).eps


def normal(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=generator(seed))


@pytest.mark.oracle
@pytest.mark.parametrize("n", [1, 5, 1024, 2500])
def test_gram_is_the_weighted_sum_of_outer_products(n):
    phi, w = normal(100, n, 6), torch.rand(n, dtype=torch.float64, generator=generator(101))
    torch.testing.assert_close(gram(phi), phi.T @ phi, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(gram(phi, w), torch.einsum("n,nk,nl->kl", w, phi, phi), rtol=1e-12, atol=1e-10)


def test_gram_of_float32_sums_blocks_in_float64():
    n = 2**22
    phi = torch.full((n, 1), 1.0)
    phi[0] = 2.0**13  # its square swallows single ones in float32
    assert gram(phi).dtype == torch.float64
    assert abs(float(gram(phi)) - (2.0**26 + n - 1)) < 2000


@pytest.mark.oracle
def test_damping_is_relative_to_the_mean_diagonal():
    phi, rhs = normal(102, 40, 5), normal(103, 5, 3)
    K = phi.T @ phi
    kernel = damped(gram(phi), 0.3, rows=40, eps=EPS)
    lam = 0.3 * float(K.diagonal().mean())
    assert kernel.damping == pytest.approx(lam, rel=1e-12)
    torch.testing.assert_close(kernel.solve(rhs), torch.linalg.solve(K + lam * torch.eye(5), rhs))


@pytest.mark.oracle
def test_push_through_where_features_outnumber_rows():
    phi = normal(104, 30, 50)
    kernel = damped(gram(phi), 0.1, rows=30, eps=EPS)
    right = torch.linalg.solve(phi @ phi.T + kernel.damping * torch.eye(30), phi)
    torch.testing.assert_close(kernel.solve(phi.T).T, right, rtol=1e-9, atol=1e-9)


def test_singular_kernels_are_refused_without_damping():
    phi = normal(105, 30, 50)
    with pytest.raises(ValueError, match=r"fewer examples \(30\) than features \(50\)"):
        damped(gram(phi), 0.0, rows=30, eps=EPS)
    flat = normal(106, 60, 5)
    flat[:, 4] = flat[:, 0]
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match="singular at damping 0"):
            damped(gram(flat.to(dtype)), 0.0, rows=60, eps=torch.finfo(dtype).eps)
    assert damped(gram(flat), 0.1, rows=60, eps=EPS).damping > 0
    assert damped(gram(normal(107, 60, 5)), 0.0, rows=60, eps=EPS).damping == 0


def test_kernels_of_nothing_and_of_nan_are_refused():
    with pytest.raises(ValueError, match="the kernel is zero"):
        damped(torch.zeros(3, 3, dtype=torch.float64), 0.1, rows=9, eps=EPS)
    with pytest.raises(ValueError, match="the kernel is not finite"):
        damped(torch.full((3, 3), torch.nan, dtype=torch.float64), 0.1, rows=9, eps=EPS)
