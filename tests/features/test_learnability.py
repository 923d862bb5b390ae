"""How well a linear rule would do: truths that are known, errors that cover, and streams that equal tables."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from selectlib.features import gram_moments, learnability, polynomial_coefficients
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def regression(n, d, share, seed=100):
    """Independent columns of one variance, of which five explain `share` of the target's variance; float64."""
    draws = generator(seed)
    X = torch.randn(n, d, dtype=torch.float64, generator=draws)
    noise = torch.randn(n, dtype=torch.float64, generator=draws)
    return X, X[:, :5].sum(1) * math.sqrt(share / 5) + noise * math.sqrt(1 - share)


def moments_without(X, y, a, turns, row):
    """The value without one row, from scratch."""
    values = []
    for turn in turns:
        kept = turn[turn != row]
        values.append(gram_moments(X[kept], y[kept], order=len(a)) @ X.new_tensor(a))
    return torch.stack(values).mean()


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["chunk", "gram"])
def test_the_standard_error_is_the_jackknife(backend, device):
    X, y = regression(23, 4, 0.6)
    found = learnability(X.to(device), y.to(device), order=3, n_permutations=2, backend=backend, generator=generator(5))
    draws = generator(5)
    turns = [torch.randperm(23, generator=draws) for _ in range(2)]
    x, target = (X - found.mean.cpu()) / found.scale.cpu(), (y - found.target_mean) / found.target_scale
    a = polynomial_coefficients(3)
    left_out = torch.stack([moments_without(x, target, a, turns, row) for row in range(23)])
    assert left_out.mean().item() == pytest.approx(found.value, rel=1e-9)
    assert found.standard_error == pytest.approx((22 * left_out.var(correction=0)).sqrt().item(), rel=1e-9)


@pytest.mark.oracle
def test_intervals_cover_and_are_not_too_wide():
    """100 tables: two standard errors cover the mean in at least 93 %; they are up to twice the true spread."""
    found = [learnability(*regression(120, 20, 0.5, seed), order=2, n_permutations=2) for seed in range(100, 200)]
    values = np.array([result.value for result in found])
    errors = np.array([result.standard_error for result in found])
    assert (np.abs(values - values.mean()) <= 2 * errors).mean() >= 0.93
    assert 0.95 <= np.sqrt((errors**2).mean()) / values.std(ddof=1) <= 2


@pytest.mark.oracle
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_fewer_rows_than_columns_are_enough(share):
    """Where all columns have variance 1, the first moment, taken back to their units, is the explained share."""
    found = [learnability(*regression(200, 400, share, seed), order=1, coefficients=[1.0]) for seed in range(100, 112)]
    values = [result.value * result.scale.square().mean().item() for result in found]
    assert abs(np.mean(values) - share) < 4 * np.std(values, ddof=1) / math.sqrt(12)


@pytest.mark.oracle
@pytest.mark.parametrize("flipped", [0.05, 0.2, 0.35])
def test_the_error_of_flipped_labels_is_their_share(flipped):
    draws = generator(100)
    y = torch.randint(2, (4000,), generator=draws, dtype=torch.float64)
    x = torch.where(torch.rand(4000, generator=draws) < flipped, 1 - y, y)
    found = learnability(x[:, None], y, coefficients="minimax", order=6)
    assert found.task == "binary"
    assert abs(found.error - flipped) < 0.04


@pytest.mark.oracle
@pytest.mark.parametrize("sizes", [[300, 211], [300, 1, 200, 10], [300] + [1] * 211])
def test_a_stream_has_the_moments_of_the_table(sizes):
    X, y = regression(511, 7, 0.5)
    X = X * 3 + 10
    blocks = list(zip(X.split(sizes), y.split(sizes), strict=True))
    found = learnability(iter(blocks), order=6)
    start, target = learnability([(X[:300], y[:300])]), (y - y[:300].mean()) / y[:300].std(correction=0)
    assert torch.equal(found.mean, start.mean) and torch.equal(found.scale, start.scale)
    assert found.target_mean == y[:300].mean().item()
    expected = gram_moments(X, target, order=6, mean=found.mean, scale=found.scale)
    assert torch.allclose(found.moments, expected, rtol=1e-10)
    assert found.value == pytest.approx((expected @ expected.new_tensor(polynomial_coefficients(6))).item(), rel=1e-9)
    assert found.n == 511


@pytest.mark.oracle
def test_a_stream_of_one_block_is_a_table_in_the_order_given():
    X, y = regression(200, 7, 0.5)
    stream, table = learnability([(X, y)]), learnability(X, y, n_permutations=0)
    assert torch.allclose(stream.moments, table.moments, rtol=1e-10)
    assert math.isnan(stream.standard_error) and table.standard_error > 0


@pytest.mark.oracle
def test_a_streams_standard_error_is_the_spread_of_its_blocks():
    X, y = regression(400, 7, 0.5)
    found = learnability(zip(X.split(100), y.split(100), strict=True))
    a = X.new_tensor(polynomial_coefficients(4))
    x, target = (X - found.mean) / found.scale, (y - found.target_mean) / found.target_scale
    values = torch.stack([gram_moments(*block) @ a for block in zip(x.split(100), target.split(100), strict=True)])
    assert found.standard_error == pytest.approx((values.std() / 2).item(), rel=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_statistics_put_the_spectrum_on_the_unit_interval(device):
    X, y = regression(500, 30, 0.5)
    X = (X @ torch.randn(30, 30, dtype=torch.float64, generator=generator(101))) * 1e-3 + 5
    X[:, 3] = 2.5
    found = learnability(X.to(device), y.to(device))
    x = (X - found.mean.cpu()) / found.scale.cpu()
    assert torch.linalg.eigvalsh(x.T @ x / 500)[-1] == pytest.approx(1, abs=0.02)
    spread = x.std(0, correction=0)
    assert spread[3] < 1e-9 and torch.allclose(spread[:3], spread[4:7], rtol=1e-9)


def test_units_do_not_matter():
    X, y = regression(100, 6, 0.5)
    first = learnability(X, y)
    second = learnability(X * torch.arange(1.0, 7.0) - 4, 100 - 7 * y)
    assert second.value == pytest.approx(first.value, rel=1e-6)


@pytest.mark.parametrize("kind", ["tensor", "array", "float32"])
def test_what_a_table_may_be(kind):
    X, y = regression(100, 6, 0.5)
    expected = learnability(X, y)
    given = {"tensor": (X, y), "array": (X.numpy(), y.numpy()), "float32": (X.float(), y.tolist())}[kind]
    found = learnability(*given)
    assert found.value == pytest.approx(expected.value, rel=1e-4)
    assert found.moments.dtype == (torch.float32 if kind == "float32" else torch.float64)


def test_blocks_may_be_sparse():
    X, y = regression(100, 6, 0.5)
    X = X * (X > 0)
    dense, sparse = (
        [(rows(part), y[i::2]) for i, part in ((0, X[::2]), (1, X[1::2]))]
        for rows in (torch.clone, lambda part: sp.csr_array(part.numpy()))
    )
    assert learnability(dense).value == learnability(sparse).value


@pytest.mark.filterwarnings("error")
def test_blocks_may_be_those_of_a_file(tmp_path):
    X, y = regression(100, 6, 0.5)
    np.save(tmp_path / "rows.npy", X.numpy())
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    parts = [slice(0, 60), slice(60, 100)]
    expected = learnability([(X[part], y[part]) for part in parts])
    assert learnability((rows[part], y[part]) for part in parts).value == expected.value


def test_few_rows_have_a_value_and_no_standard_error():
    X, y = regression(5, 2, 0.5)
    found = learnability(X, y)
    assert math.isfinite(found.value) and math.isnan(found.standard_error)


def test_tasks():
    X, y = regression(60, 2, 0.5)
    assert learnability(X, y).task == "regression"
    assert learnability(X, y > 0).task == "binary"
    as_numbers = learnability(X, y > 0, task="regression")
    assert as_numbers.error == pytest.approx(1 - as_numbers.value)


def test_the_default_order_of_rows_repeats():
    X, y = regression(60, 4, 0.5)
    assert learnability(X, y).value == learnability(X, y, generator=generator(0)).value
    assert learnability(X, y).value != learnability(X, y, generator=generator(1)).value


X, Y = regression(20, 3, 0.5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"X": X[:4], "y": Y[:4]}, ValueError, "X must have at least 5 rows for order 4, got 4"),
        ({"X": [(X[:4], Y[:4])]}, ValueError, "X must have at least 5 rows for order 4, got 4"),
        ({"X": X, "y": Y * 0}, ValueError, "y must not be constant"),
        ({"X": [(X, Y * 0)]}, ValueError, "y of the first block must not be constant"),
        ({"X": X, "y": Y, "task": "binary"}, ValueError, "y must have two values where task is binary, got 20"),
        ({"X": X, "y": Y[:3]}, ValueError, r"y must have shape \(20,\) like X, got \(3,\)"),
        ({"X": X / 0, "y": Y}, ValueError, "X must be finite"),
        ({"X": [(X, Y), (X[:, :2], Y)]}, ValueError, "X of block 1 must have 3 columns like the first, got 2"),
        ({"X": [(X, Y), (X, Y / 0)]}, ValueError, "y of block 1 must be finite"),
        ({"X": []}, ValueError, "X must give at least one block, got none"),
        ({"X": X.long(), "y": Y}, ValueError, r"X must be a table of floats \(n, d\), got torch.int64"),
        ({"X": X, "y": Y, "coefficients": [1.0]}, ValueError, "coefficients must be 4 finite numbers for order 4"),
        (
            {"X": X, "y": Y, "coefficients": "best"},
            ValueError,
            "coefficients must be one of low_norm, minimax, published",
        ),
        ({"X": X, "y": Y, "backend": "scan"}, ValueError, "backend must be one of auto, chunk, gram, got 'scan'"),
        ({"X": X, "y": Y, "n_permutations": -1}, ValueError, "n_permutations must be at least 0, got -1"),
        ({"X": X}, TypeError, r"X must be an iterable of blocks \(X, y\) where y is not given, got Tensor"),
        ({"X": [X]}, TypeError, r"block 0 must be a pair \(X, y\), got Tensor"),
        ({"X": X, "y": Y, "generator": 3}, TypeError, "generator must be a torch.Generator, got int"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        learnability(**arguments)
