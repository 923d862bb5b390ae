"""k-means, against scikit-learn's Lloyd from equal starts."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from selectlib.kernels import _kmeans, _scaled_rows, kmeans, kmeanspp
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_scaled_rows, "_NUMBERS", dict.fromkeys(("cpu", "cuda"), 1000))


def rows(seed=100, n=300, d=5):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed)) + 10


def weights_of(n=300):
    return torch.rand(n, dtype=torch.float64, generator=generator(101)) + 0.1


def by_sklearn(X, centers, weights=None, **options):
    model = KMeans(len(centers), init=centers.numpy(), n_init=1, algorithm="lloyd", **options)
    return model.fit(X.numpy(), sample_weight=None if weights is None else weights.numpy())


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("options", [{}, {"tol": 0.0}, {"tol": 0.1}, {"max_iter": 1}, {"max_iter": 3}], ids=str)
def test_equal_starts_give_scikit_learns_centers(options, weighted, device):
    for seed in range(100, 104):
        X, weights = rows(seed), weights_of() if weighted else None
        expected = by_sklearn(X, X[:9], weights, **options)
        found = kmeans(
            X.to(device),
            9,
            weights=None if weights is None else weights.to(device),
            centers=X[:9].to(device),
            **options,
        )
        assert found.centers.device.type == found.labels.device.type == device
        np.testing.assert_allclose(found.centers.cpu(), expected.cluster_centers_, rtol=1e-10)
        np.testing.assert_array_equal(found.labels.cpu(), expected.labels_)
        np.testing.assert_allclose(float(found.inertia), expected.inertia_, rtol=1e-10)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weighted", [False, True])
def test_empty_clusters_take_the_farthest_rows(weighted, device):
    for seed in range(100, 110):
        X, weights = rows(seed), weights_of() if weighted else None
        centers = X[:9].clone()
        centers[4] += 1000  # no row is near
        centers[7 if seed % 2 else 4] -= 999
        expected = by_sklearn(X, centers, weights)
        found = kmeans(
            X.to(device), 9, weights=None if weights is None else weights.to(device), centers=centers.to(device)
        )
        np.testing.assert_allclose(found.centers.cpu(), expected.cluster_centers_, rtol=1e-10)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_rows_without_weight_do_not_move_a_center(device):
    X, weights = rows(), weights_of()
    weights[::3] = 0
    X[::3] += 50 * torch.randn(100, 5, dtype=torch.float64, generator=generator(102))
    counted = weights > 0
    centers = X[counted][:9].clone()
    centers[4] += 1e4  # empty: it takes a row that counts, not one of the far rows that do not
    alone = kmeans(X[counted].to(device), 9, weights=weights[counted].to(device), centers=centers.to(device))
    found = kmeans(X.to(device), 9, weights=weights.to(device), centers=centers.to(device))
    torch.testing.assert_close(found.centers, alone.centers)
    torch.testing.assert_close(found.inertia, alone.inertia)
    assert torch.equal(found.labels.cpu(), torch.cdist(X, found.centers.cpu()).argmin(1))
    started = kmeans(X.to(device), 9, weights=weights.to(device), restarts=3, generator=generator(100))
    assert float(torch.cdist(started.centers.cpu(), X[counted]).amin(1).max()) < 3  # every centre among these rows


@pytest.mark.oracle
def test_weights_count_like_copies():
    X = rows(n=60)
    copies = torch.arange(60) % 3 + 1
    found = kmeans(X, 5, weights=copies.double(), centers=X[:5], tol=0.0)
    repeated = kmeans(X.repeat_interleave(copies, dim=0), 5, centers=X[:5], tol=0.0)
    torch.testing.assert_close(found.centers, repeated.centers)
    torch.testing.assert_close(found.inertia, repeated.inertia)


@pytest.mark.parametrize("device", DEVICES)
def test_the_best_of_the_restarts_is_kept(device):
    X = rows().to(device)
    draws, one_by_one = generator(102), []
    for _ in range(5):
        one_by_one.append(kmeans(X, 12, centers=X[kmeanspp(X, 12, generator=draws)]))
    inertias = [float(result.inertia) for result in one_by_one]
    best = one_by_one[int(np.argmin(inertias))]
    assert max(inertias) > min(inertias)
    found = kmeans(X, 12, restarts=5, generator=generator(102))
    assert all(map(torch.equal, found, best))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes_and_a_large_mean(dtype, device):
    X = (torch.randn(2000, 8, generator=generator(100)) + 30).to(dtype).to(device).requires_grad_()
    runs = [kmeans(X, 20, centers=X[:20].detach(), weights=torch.ones(2000, device=device)) for _ in range(2)]
    assert all(map(torch.equal, *runs))  # bit by bit, also where sums are taken in parallel
    assert runs[0].centers.dtype == runs[0].inertia.dtype == torch.float32 and runs[0].labels.dtype == torch.int64
    expected = by_sklearn(X.detach().double().cpu(), X[:20].detach().double().cpu())
    np.testing.assert_allclose(float(runs[0].inertia), expected.inertia_, rtol=0.02)  # close calls may fall otherwise
    nearest = torch.cdist(X.detach().double(), runs[0].centers.double()).square_().amin(1).sum()
    torch.testing.assert_close(runs[0].inertia.double(), nearest, rtol=1e-5, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_as_many_centers_as_rows_and_more_than_distinct_rows(device):
    X = rows(n=20).to(device)
    assert float(kmeans(X, 20, generator=generator(100)).inertia) == 0
    twins = X[torch.arange(20, device=device) // 4]
    found = kmeans(twins, 9, generator=generator(100))
    assert float(found.inertia) < 1e-20 and len(found.labels.unique()) == 5
    assert found.centers.isfinite().all()


def test_the_rows_are_never_all_measured_at_once(monkeypatch):
    widest = []
    blocks = _kmeans.row_blocks
    monkeypatch.setattr(_kmeans, "row_blocks", lambda *args: widest.append(blocks(*args)[0]) or blocks(*args))
    kmeans(rows(n=3000), 50, generator=generator(100))
    assert max(part.stop for part in widest) * 5 <= 1000


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be from 1 to 4, got 0"),
        ({"k": 5}, ValueError, "k must be from 1 to 4, got 5"),
        ({"X": torch.ones(4)}, ValueError, "X must have 2 dimensions"),
        ({"X": torch.full((4, 1), torch.nan)}, ValueError, "X must be finite"),
        ({"weights": torch.zeros(4)}, ValueError, "weights must be at least 0, and one of them above 0"),
        ({"weights": torch.tensor([1.0, -1.0, 1.0, 1.0])}, ValueError, "weights must be at least 0"),
        (
            {"weights": torch.ones(3)},
            ValueError,
            r"weights must have shape and device \(4,\) on cpu, got \(3,\) on cpu",
        ),
        ({"centers": torch.ones(3, 2)}, ValueError, r"centers must have shape and device \(2, 2\) on cpu"),
        ({"centers": torch.ones(2, 2), "restarts": 2}, ValueError, "restarts must be from 1 to 1, got 2"),
        ({"restarts": 0}, ValueError, "restarts must be from 1"),
        ({"max_iter": 0}, ValueError, "max_iter must be from 1"),
        ({"tol": -1.0}, ValueError, "tol must be at least 0, got -1.0"),
        ({"tol": "small"}, TypeError, "tol must be a number, got str"),
        ({"generator": None}, TypeError, "generator must be a torch.Generator where centers are not given"),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        kmeans(**{"X": torch.ones(4, 2), "k": 2, "generator": generator(100), **options})
