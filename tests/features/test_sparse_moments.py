"""Sparse rows, centred and scaled without being made dense: against the dense backends."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from selectlib.features import gram_moments, value_and_grad
from selectlib.features._gram import gram_value_and_grad
from selectlib.features._sparse import sparse_moments, sparse_value_and_grad

pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
COEFFS = [4.6, -5.2, 0.3, 1.5]


def sparse(n, d, density, seed=0):
    return sp.random(
        n,
        d,
        density,
        format="csr",
        random_state=np.random.default_rng(seed),
        data_rvs=np.random.default_rng(seed).standard_normal,
    )


def draws(seed, *sizes):
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_csr_tensor(X):
    return torch.sparse_csr_tensor(*map(torch.from_numpy, (X.indptr, X.indices, X.data)), X.shape)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csr_array, sp.coo_matrix, as_csr_tensor])
@pytest.mark.parametrize("chunk", [None, 1, 7, 50])
@pytest.mark.parametrize("centred, scaled", [(False, False), (True, False), (False, True), (True, True)])
def test_sparse_is_dense(centred, scaled, chunk, form, device):
    X, y, s = sparse(50, 40, 0.1), draws(1, 50).to(device), draws(2, 40).sigmoid().to(device)
    rows = torch.from_numpy(X.toarray()).to(device)
    options = dict(
        mean=rows.mean(0) + 0.1 if centred else None, scale=draws(3, 40).exp().to(device) if scaled else None
    )
    z, gradient = gram_value_and_grad(s, rows, y, COEFFS, **options)
    value, own = sparse_value_and_grad(s, form(X), y, COEFFS, chunk=chunk, **options)
    torch.testing.assert_close(value, z, rtol=1e-10, atol=0)
    torch.testing.assert_close(own, gradient, rtol=1e-10, atol=1e-12 * float(gradient.abs().max()))
    moments = sparse_moments(s, form(X), y, 4, chunk=chunk, **options)
    torch.testing.assert_close(moments @ moments.new_tensor(COEFFS), z, rtol=1e-10, atol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("form", [sp.csr_matrix, as_csr_tensor])
def test_the_public_functions_take_sparse_rows(form):
    X, y, s, mean, scale = sparse(50, 40, 0.1), draws(1, 50), draws(2, 40).sigmoid(), draws(3, 40), draws(4, 40).exp()
    rows = torch.from_numpy(X.toarray())
    expected = value_and_grad(s, rows, y, COEFFS, backend="chunk", mean=mean, scale=scale)
    torch.testing.assert_close(value_and_grad(s, form(X), y, COEFFS, mean=mean, scale=scale), expected)
    moments = gram_moments(rows, y, s, order=3, backend="gram", mean=mean, scale=scale)
    torch.testing.assert_close(gram_moments(form(X), y, s, order=3, mean=mean, scale=scale), moments)


@pytest.mark.oracle
def test_repeated_entries_add_up_and_stored_zeros_count_for_nothing():
    twice = sp.csr_matrix((np.array([1.0, 2, 0, 3, 1, 1]), np.array([0, 0, 1, 2, 1, 0]), np.array([0, 3, 3, 4, 6])))
    y, s = draws(1, 4), draws(2, 3).sigmoid()
    expected = gram_value_and_grad(s, torch.from_numpy(twice.toarray()), y, [1.0, 2.0])
    torch.testing.assert_close(sparse_value_and_grad(s, twice, y, [1.0, 2.0]), expected)


@pytest.mark.oracle
def test_a_matrix_of_zeros_has_only_its_means():
    X, y, s, mean = sp.csr_matrix((6, 3)), draws(1, 6), draws(2, 3).sigmoid(), draws(3, 3)
    expected = gram_value_and_grad(s, torch.zeros(6, 3, dtype=torch.float64), y, COEFFS, mean=mean)
    torch.testing.assert_close(sparse_value_and_grad(s, X, y, COEFFS, mean=mean), expected)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_columns_in_millions_cost_no_matrix(device):
    """Dense, a block of 32 rows would take 2.5 GB."""
    d = 20_000_000
    narrow = sparse(100, 50, 0.2)
    columns = np.random.default_rng(0).choice(d, 50, replace=False)
    wide = sp.csr_matrix((narrow.data, columns[narrow.indices], narrow.indptr), shape=(100, d))
    y, s = draws(1, 100).float().to(device), draws(2, 50).sigmoid().float().to(device)
    masks = torch.zeros(d, device=device)
    masks[columns] = s
    z, gradient = sparse_value_and_grad(masks, wide, y, COEFFS)
    value, own = sparse_value_and_grad(s, narrow, y, COEFFS)
    torch.testing.assert_close(z, value)
    torch.testing.assert_close(gradient[columns], own)
    assert int(gradient.count_nonzero()) == 50


def test_float32_is_as_good_as_its_digits():
    X, y, s = sparse(400, 200, 0.05), draws(1, 400), draws(2, 200).sigmoid()
    rows = torch.from_numpy(X.toarray())
    mean, scale = rows.mean(0), rows.std(0) * 3
    z, gradient = gram_value_and_grad(s, rows, y, COEFFS, mean=mean, scale=scale)
    value, own = sparse_value_and_grad(s.float(), X, y.float(), COEFFS, mean=mean.float(), scale=scale.float())
    assert value.dtype == own.dtype == torch.float32
    assert float((own - gradient).abs().max()) < 1e-5 * float(gradient.abs().max())
    assert abs(value - z) < 1e-5 * float(gradient.abs().sum())


def test_dense_rows_are_refused():
    with pytest.raises(TypeError, match=r"X must be a scipy\.sparse matrix or a CSR tensor, got Tensor"):
        sparse_moments(torch.ones(2), torch.ones(3, 2), torch.ones(3), 1)
