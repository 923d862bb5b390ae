"""The laws of the random matrices: fair, independent, and faithful to norms and inner products on average."""

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from test_projection import CPU, KINDS, back_project, project

from selectlib.kernels import back_project_sjlt
from selectlib.kernels._dense_laws import GAUSSIAN, RADEMACHER, dense_tile, normal_quantiles
from selectlib.kernels._philox import Stream
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit

P_LEAST = 1e-4


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_norms_and_inner_products_are_kept_on_average(kind, nnz):
    k, draws = 64, 2000
    a, b = torch.randn(2, 300, dtype=torch.float64, generator=generator(100))
    b = a + 0.5 * b
    phi = torch.stack(
        [project(kind, nnz, torch.stack([a, b]), k, seed=100 + m // 2, model_id=m % 2) for m in range(draws)]
    )
    for found, expected in (
        (phi[:, 0].square().sum(1), float(a @ a)),
        (phi[:, 1].square().sum(1), float(b @ b)),
        ((phi[:, 0] * phi[:, 1]).sum(1), float(a @ b)),
    ):
        assert abs(float(found.mean()) - expected) < 5 * float(found.std()) / math.sqrt(draws)
    bound = math.sqrt(2 / k) * float(a.norm() * b.norm())
    error = (phi[:, 0] * phi[:, 1]).sum(1) - a @ b
    assert bound / 4 < float(error.square().mean().sqrt()) < bound * (1 + 5 / math.sqrt(2 * draws))


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_other_seeds_and_models_have_unrelated_matrices(kind, nnz):
    k, p = 64, 2000
    streams = [(100, 0), (101, 0), (100, 1), (100 + 2**32, 0), (100, 2**31)]
    R = torch.stack([back_project(kind, nnz, torch.eye(k), p, seed=s, model_id=m).flatten() for s, m in streams])
    entries, matches = (p * nnz, p * nnz**2 / k) if kind == "sjlt" else (p * k, p * k)
    off = torch.corrcoef(R) - torch.eye(len(streams))
    assert float(off.abs().max()) < 5.5 * math.sqrt(matches) / entries


@pytest.mark.oracle
def test_signs_are_fair_and_independent():
    tile = dense_tile(RADEMACHER, range(10_000), range(100), Stream(100, 0), dtype=torch.float64, device=CPU)
    bits = (tile.numpy() > 0).astype(np.int64)
    assert chi_square_fit(np.bincount(bits.ravel(), minlength=2), np.full(2, 0.5)).p > P_LEAST
    for pair in (bits[1:] * 2 + bits[:-1], bits[:, 1:] * 2 + bits[:, :-1], bits[:, 128:] * 2 + bits[:, :-128]):
        assert chi_square_fit(np.bincount(pair.ravel(), minlength=4), np.full(4, 0.25)).p > P_LEAST
    # Every pair of columns: 4,950 correlations of 10,000 signs, each with standard deviation 1/100.
    correlations = (tile @ tile.T / 10_000)[np.triu_indices(100, 1)]
    assert float(correlations.abs().max()) < 0.065
    assert abs(float(correlations.square().mean()) * 10_000 - 1) < 5 * math.sqrt(2 / 4950)
    assert chi_square_fit(bits.sum(0).reshape(-1, 8).sum(1), np.full(1250, 1 / 1250)).p > P_LEAST


@pytest.mark.oracle
def test_quantiles_are_those_of_a_normal_law():
    table = normal_quantiles()
    assert table.dtype == np.float32 and np.array_equal(table, -table[::-1]) and bool((np.diff(table) > 0).all())
    assert float(np.mean(table.astype(np.float64) ** 2)) == pytest.approx(1, abs=1e-7)
    assert kstest(table, "norm").statistic < 1e-4
    digest = hashlib.sha256(table.astype("<f4").tobytes()).hexdigest()
    assert (
        digest == "8babbcaf96568f10165a1eab530c0e5c92d04de96761b6dbb3dadfa94baba37f"
    )  # the same matrix on every machine
    tile = dense_tile(GAUSSIAN, range(2000), range(100), Stream(100, 0), dtype=torch.float64, device=CPU)
    assert kstest(tile.numpy().ravel(), "norm").pvalue > P_LEAST
    assert abs(float((tile[1:] * tile[:-1]).mean())) < 5 / math.sqrt(tile[1:].numel())


@pytest.mark.oracle
def test_sparse_columns_are_uniform_within_their_blocks():
    k, nnz, p = 10, 3, 60_000
    R = back_project_sjlt(torch.eye(k), p, nnz=nnz, seed=100) * math.sqrt(nnz)
    assert torch.equal(R.abs().sum(1).round(), torch.full((p,), 3.0))
    for block in (R[:, :3], R[:, 3:6], R[:, 6:]):
        width = block.shape[1]
        assert torch.equal((block != 0).sum(1), torch.ones(p, dtype=torch.int64))
        counts = np.concatenate([(block > 0.5).sum(0).numpy(), (block < -0.5).sum(0).numpy()])
        assert chi_square_fit(counts, np.full(2 * width, 1 / (2 * width))).p > P_LEAST
