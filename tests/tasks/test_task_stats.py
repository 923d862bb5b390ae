"""Statistics of tasks: merged in any way, they are those of all samples together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.tasks import TaskStats

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def merged(tasks, rng):
    """Statistics of the union, by merging neighbours at random until one is left."""
    stats = [TaskStats.from_features(task) for task in tasks]
    while len(stats) > 1:
        i = rng.integers(len(stats) - 1)
        stats[i : i + 2] = [stats[i].merge(stats[i + 1])]
    return stats[0]


@pytest.mark.oracle
@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=6), d=st.integers(1, 5), seed=st.integers(0, 1000))
def test_any_bracketing_and_order_gives_the_covariance_of_the_concatenation(sizes, d, seed):
    rng = np.random.default_rng(seed)
    tasks = [rng.normal(rng.normal(size=d), size=(m, d)) for m in sizes]
    rng.shuffle(tasks)
    union, rows = merged(tasks, rng), np.concatenate(tasks)
    assert union.n == len(rows)
    np.testing.assert_allclose(union.mean, rows.mean(0), atol=1e-12)
    np.testing.assert_allclose(union.covariance(), np.cov(rows, rowvar=False).reshape(d, d), atol=1e-12)


@pytest.mark.oracle
def test_a_far_mean_costs_no_digits():
    rng = np.random.default_rng(100)
    rows = 1e6 + rng.normal(size=(40, 3))
    union = merged(np.split(rows, 8), rng)
    np.testing.assert_allclose(union.covariance(), np.cov(rows - 1e6, rowvar=False), rtol=1e-8)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sums_are_in_float64_whatever_the_features(device, dtype):
    x = (300 * torch.randn(500, 4, generator=torch.Generator().manual_seed(100))).to(device, dtype)
    stats = TaskStats.from_features(x)
    assert stats.scatter.dtype == stats.mean.dtype == torch.float64
    assert stats.scatter.device.type == device
    torch.testing.assert_close(stats.covariance(), x.double().T.cov())


def test_one_sample_has_a_scatter_of_zeros():
    stats = TaskStats.from_features(torch.tensor([[1.0, 2.0]]))
    assert (stats.n, stats.mean.tolist()) == (1, [1.0, 2.0])
    assert not stats.scatter.any()
    assert not stats.covariance(0.5).any()


def test_shrinkage_draws_towards_the_mean_variance():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(100)) * torch.tensor([1.0, 2.0, 3.0])
    plain = TaskStats.from_features(x).covariance()
    shrunk = TaskStats.from_features(x).covariance(0.25)
    torch.testing.assert_close(shrunk.trace(), plain.trace())
    torch.testing.assert_close(shrunk, 0.75 * plain + 0.25 * plain.trace() / 3 * torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(
        TaskStats.from_features(x).covariance(1), plain.trace() / 3 * torch.eye(3, dtype=torch.float64)
    )


def test_errors_name_the_argument():
    stats = TaskStats.from_features(torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"x must be a table of floats .* shape \(3,\)"):
        TaskStats.from_features(torch.ones(3))
    with pytest.raises(ValueError, match=r"x must be a table .*torch\.int64"):
        TaskStats.from_features(torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="x must be a table"):
        TaskStats.from_features(np.ones((0, 2)))
    with pytest.raises(ValueError, match="x must be finite"):
        TaskStats.from_features([[1.0, float("nan")]])
    with pytest.raises(ValueError, match="other must have 2 features, got 3"):
        stats.merge(TaskStats.from_features(torch.ones(3, 3)))
    with pytest.raises(ValueError, match="shrinkage must be from 0 to 1, got 2"):
        stats.covariance(2)
    with pytest.raises(TypeError, match="shrinkage must be a number, got str"):
        stats.covariance("a lot")
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        TaskStats(0, stats.mean, stats.scatter)
    with pytest.raises(ValueError, match="mean and scatter must be of float64"):
        TaskStats(3, stats.mean.float(), stats.scatter)
