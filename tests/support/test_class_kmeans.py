"""k-means within classes, against scikit-learn class by class, and against every bipartition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from selectlib import _compiled
from selectlib.seeding import generator
from selectlib.support import _class_blocks, _class_lloyd_cpu, class_kmeans

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
WIDEST = torch.backends.cpu.get_cpu_capability()
# A processor with one of these has those before it, too; others have what torch finds.
X86 = ["DEFAULT", "AVX2", "AVX512"]
WIDTHS = X86[: X86.index(WIDEST) + 1] if WIDEST in X86 else [WIDEST]


@pytest.fixture(autouse=True, params=["torch", "compiled"])
def path(request, monkeypatch):
    """Everything holds for both; on CUDA they are the same."""
    monkeypatch.setattr(_class_blocks, "_NUMBERS", dict.fromkeys(("cpu", "cuda"), 20_000))
    monkeypatch.setattr(_class_lloyd_cpu, "_WORTH", 0 if request.param == "compiled" else math.inf)
    return request.param


def rows(seed=100, n=400, d=6, n_classes=5):
    """Classes of very different sizes, far from the origin; their rows are mixed."""
    draws = generator(seed)
    weights = torch.arange(1, n_classes + 1, dtype=torch.float64)
    labels = torch.multinomial(weights, n, replacement=True, generator=draws)
    return 50 + 3 * labels.unsqueeze(1) + torch.randn(n, d, dtype=torch.float64, generator=draws), labels


def starts(labels, k, restarts=1, seed=101):
    draws, members = generator(seed), [(labels == c).nonzero().squeeze(1) for c in range(int(labels.max()) + 1)]
    return torch.stack(
        [torch.stack([own[torch.randperm(len(own), generator=draws)[:k]] for own in members]) for _ in range(restarts)]
    )


def by_sklearn(X, centers, **options):
    return KMeans(len(centers), init=centers.numpy(), n_init=1, algorithm="lloyd", **options).fit(X.numpy())


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", [{}, {"tol": 0}, {"tol": 0.1}, {"max_iter": 1}, {"max_iter": 2}], ids=str)
@pytest.mark.parametrize("k", [1, 2, 7])
def test_equal_starts_give_scikit_learns_labels(k, options, device):
    for seed in range(100, 104):
        Z, labels = rows(seed)
        init = starts(labels, k, seed=seed)
        found = class_kmeans(Z.to(device), labels.to(device), k, init=init.to(device), **options)
        assert found.centers.device.type == found.labels.device.type == found.inertia.device.type == device
        for c in range(5):
            expected = by_sklearn(Z[labels == c], Z[init[0, c]], **options)
            np.testing.assert_array_equal(found.labels.cpu()[labels == c], expected.labels_)
            np.testing.assert_allclose(found.inertia[c].item(), expected.inertia_, rtol=1e-9)
            for j in np.unique(expected.labels_):
                np.testing.assert_allclose(found.centers[c, j].cpu(), expected.cluster_centers_[j], rtol=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_the_best_restart_of_each_class_is_kept(device):
    Z, labels = rows()
    init = starts(labels, 6, restarts=8)
    found = class_kmeans(Z.to(device), labels.to(device), 6, init=init.to(device))
    for c in range(5):
        inertias = [by_sklearn(Z[labels == c], Z[start]).inertia_ for start in init[:, c]]
        assert max(inertias) > 1.001 * min(inertias)
        np.testing.assert_allclose(found.inertia[c].item(), min(inertias), rtol=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_empty_clusters_take_the_farthest_rows_as_in_scikit_learn(device):
    for seed in range(100, 106):
        Z, labels = rows(seed)
        init = starts(labels, 5, seed=seed)
        init[0, :, 3] = init[0, :, 1]  # the later of two equal centres loses all its rows
        if seed % 2:
            init[0, :, 4] = init[0, :, 0]
        found = class_kmeans(Z.to(device), labels.to(device), 5, init=init.to(device))
        for c in range(5):
            expected = by_sklearn(Z[labels == c], Z[init[0, c]])
            np.testing.assert_allclose(found.inertia[c].item(), expected.inertia_, rtol=1e-9)
            assert len(found.labels[(labels == c).to(device)].unique()) == 5


@pytest.mark.oracle
def test_the_best_of_all_bipartitions_is_found():
    for seed in range(100, 105):
        Z = torch.randn(8, 2, dtype=torch.float64, generator=generator(seed))
        least = min(
            sum(float((part - part.mean(0)).square().sum()) for part in (Z[mask], Z[~mask]))
            for bits in range(1, 128)
            for mask in [torch.tensor([bool(bits >> i & 1) for i in range(8)])]
        )
        found = class_kmeans(Z, torch.zeros(8, dtype=torch.int64), 2, n_init=50, generator=generator(seed))
        np.testing.assert_allclose(found.inertia.item(), least, rtol=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("k", [3, 10])
def test_draws_are_as_good_as_scikit_learns(k):
    draws = generator(100)
    labels = torch.arange(800) % 10
    Z = torch.randn(10, 64, generator=draws)[labels] + torch.randn(800, 64, generator=draws)
    found = class_kmeans(Z, labels, k, generator=generator(101))
    expected = [KMeans(k, n_init=10, random_state=0).fit(Z[labels == c].numpy()).inertia_ for c in range(10)]
    np.testing.assert_allclose(float(found.inertia.sum()), sum(expected), rtol=0.01)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_classes_do_not_see_each_other(device):
    Z, labels = (x.to(device) for x in rows())
    together = class_kmeans(Z, labels, 4, init=starts(labels.cpu(), 4, 3).to(device))
    for c in range(5):
        own = (labels == c).nonzero().squeeze(1)
        place = torch.full_like(labels, -1).index_copy_(0, own, torch.arange(len(own), device=device))
        start = place[starts(labels.cpu(), 4, 3).to(device)[:, c : c + 1]]
        alone = class_kmeans(Z[own], torch.zeros_like(own), 4, init=start)
        assert torch.equal(alone.labels, together.labels[own])
        torch.testing.assert_close(alone.centers[0], together.centers[c])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes(dtype, device):
    Z, labels = rows()
    Z = Z.to(dtype).to(device).requires_grad_()
    runs = [class_kmeans(Z, labels.to(device), 3, generator=generator(100)) for _ in range(2)]
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(*runs, strict=True))
    assert runs[0].centers.dtype == runs[0].inertia.dtype == torch.float32
    X, own = Z.detach().double(), runs[0].centers.double()[labels, runs[0].labels]
    measured = torch.zeros(5, dtype=torch.float64, device=device).index_add_(
        0, labels.to(device), (X - own).square().sum(1)
    )
    torch.testing.assert_close(runs[0].inertia.double(), measured, rtol=1e-4, atol=0)
    exact = class_kmeans(X, labels.to(device), 3, generator=generator(100)).inertia
    torch.testing.assert_close(runs[0].inertia.double(), exact, rtol=0.02, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [2.0**-60, 2.0**60])
def test_the_unit_of_the_rows_does_not_matter(factor, dtype):
    Z, labels = rows(d=2)
    Z = (Z - 56).to(dtype)
    expected = class_kmeans(Z, labels, 3, generator=generator(100))
    found = class_kmeans(Z * factor, labels, 3, generator=generator(100))
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.centers / factor, expected.centers, rtol=0, atol=0)
    torch.testing.assert_close(found.inertia / factor**2, expected.inertia, rtol=0, atol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_pinned_centres_stay_and_the_others_settle(device):
    Z, labels = rows()
    pinned = torch.tensor([int((labels == c).nonzero()[i]) for c, i in ((4, 3), (2, 0), (4, 0))])
    found = class_kmeans(Z.to(device), labels.to(device), 4, pinned=pinned.to(device), tol=0, generator=generator(100))
    torch.testing.assert_close(found.centers[[4, 2, 4], [0, 0, 1]].cpu(), Z[pinned])
    assert found.labels[pinned].tolist() == [0, 0, 1]
    for c in range(5):
        own, clusters = Z[labels == c], found.labels.cpu()[labels == c]
        nearest = torch.cdist(own, found.centers[c].cpu()).argmin(1)
        assert torch.equal(clusters, nearest)
        for j in range({4: 2, 2: 1}.get(c, 0), 4):
            torch.testing.assert_close(found.centers[c, j].cpu(), own[clusters == j].mean(0))


def test_every_class_may_have_its_own_number_of_clusters():
    Z, labels = rows()
    clusters = torch.tensor([1, 3, 2, 4, 2])
    found = class_kmeans(Z, labels, clusters, generator=generator(100))
    assert found.centers.shape == (5, 4, 6)
    for c in range(5):
        assert found.labels[labels == c].unique().tolist() == list(range(clusters[c]))
        assert found.centers[c].isnan().all(1).tolist() == [j >= clusters[c] for j in range(4)]
    init = starts(labels, 4)
    init[0, 0, 1:] = -7  # not read
    torch.testing.assert_close(
        class_kmeans(Z, labels, clusters, init=init).centers[0, 0], Z[labels == 0].mean(0), rtol=1e-12, atol=0
    )


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    k=st.integers(1, 6),
    distinct=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_small_classes_and_equal_rows(sizes, k, distinct, seed):
    draws = generator(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    Z = torch.randn(distinct, 2, generator=draws)[torch.randint(distinct, (len(labels),), generator=draws)]
    found = class_kmeans(Z, labels, k, n_classes=len(sizes) + 1, n_init=2, generator=draws)
    assert found.centers.shape == (len(sizes) + 1, k, 2)
    for c, size in enumerate([*sizes, 0]):
        own, clusters = Z[labels == c], found.labels[labels == c]
        present = sorted(set(clusters.tolist()))
        assert found.centers[c].isnan().any(1).tolist() == [j not in present for j in range(k)]
        if size <= k:
            assert present == list(range(size))
        if len(own.unique(dim=0)) <= k or size <= k:
            assert float(found.inertia[c]) < 1e-9
        if size:
            nearest = torch.cdist(own, found.centers[c, present]).amin(1)
            torch.testing.assert_close((own - found.centers[c, clusters]).norm(dim=1), nearest, atol=1e-4, rtol=0)


def test_what_is_held_does_not_grow_with_the_largest_class(monkeypatch):
    held = []

    def watched(*args):
        for block in _class_blocks.class_blocks(*args):
            held.append((block.valid.sum().item(), block.valid.numel(), block.rows.numel()))
            yield block

    monkeypatch.setattr("selectlib.support._class_kmeans.class_blocks", watched)
    labels = torch.cat([torch.zeros(3000, dtype=torch.int64), torch.arange(1, 200).repeat(10)])
    class_kmeans(torch.randn(len(labels), 3, generator=generator(100)), labels, 3, generator=generator(100))
    assert len(held) > 3
    assert all(places <= 1.25 * members for members, places, _ in held)  # padding
    assert sorted(numbers for *_, numbers in held)[-2] <= 20_000  # the largest class needs what it needs


@pytest.fixture
def fresh_compiler():
    _compiled.compiled.cache_clear()
    yield
    _compiled.compiled.cache_clear()


def by_torch(monkeypatch, *args, **options):
    with monkeypatch.context() as patch:
        patch.setattr(_class_lloyd_cpu, "_WORTH", math.inf)
        return class_kmeans(*args, **options)


def many_shapes():
    """Widths, clusters and restarts around those that the compiled loops take at once."""
    shapes = [(1, 3, 1), (17, 2, 3), (33, 13, 2), (256, 5, 10), (40, 1, 25), (8, 40, 3)]
    for seed, (d, k, restarts) in enumerate(shapes):
        Z, labels = rows(seed, n=1500, d=d)
        yield Z - 56, labels, k, starts(labels, k, restarts, seed)


@pytest.mark.oracle
@pytest.mark.parametrize("path", ["compiled"], indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("capability", WIDTHS)
def test_the_compiled_loops_find_what_torch_finds(capability, dtype, monkeypatch, fresh_compiler):
    """Vectors of each width that the processor has."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    for Z, labels, k, init in many_shapes():
        Z = Z.to(dtype)
        found, expected = class_kmeans(Z, labels, k, init=init), by_torch(monkeypatch, Z, labels, k, init=init)
        assert torch.equal(found.labels, expected.labels)
        torch.testing.assert_close(found.centers, expected.centers, equal_nan=True)
        torch.testing.assert_close(found.inertia, expected.inertia)


def test_threads_and_calls_change_nothing(path, monkeypatch):
    Z, labels, k, init = list(many_shapes())[3]
    expected, threads = class_kmeans(Z, labels, k, init=init), torch.get_num_threads()
    monkeypatch.setattr(_class_lloyd_cpu, "_CALL", 1)
    try:
        torch.set_num_threads(3)
        found = class_kmeans(Z, labels, k, init=init)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found.labels, expected.labels)
    assert path == "torch" or torch.equal(found.centers, expected.centers)


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
def test_without_a_compiler_torch_does_it(monkeypatch, fresh_compiler):
    Z, labels = rows()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(UserWarning, match="no compiled k-means within classes.*no-such-compiler") as told:
        found = [class_kmeans(Z, labels, 4, init=starts(labels, 4)) for _ in range(2)]
    assert len(told) == 1  # once a process
    expected = by_torch(monkeypatch, Z, labels, 4, init=starts(labels, 4))
    assert all(torch.equal(x.centers, expected.centers) for x in found)


ARGUMENTS = {
    "Z": torch.arange(8.0).view(8, 1),
    "labels": torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]),
    "k": 2,
    "generator": generator(100),
}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"Z": [[1.0]]}, TypeError, "Z must be a floating tensor, got list"),
        ({"Z": torch.arange(8)}, TypeError, "Z must be a floating tensor, got torch.int64"),
        ({"Z": torch.arange(8.0)}, ValueError, r"Z must be 2-D .* got shape \(8,\)"),
        ({"Z": torch.zeros(0, 2)}, ValueError, "Z must be 2-D .* not empty"),
        ({"Z": torch.full((8, 1), torch.inf)}, ValueError, "Z must be finite"),
        ({"labels": torch.zeros(8)}, TypeError, "labels must be a tensor of ints, got torch.float32"),
        ({"labels": torch.zeros(7, dtype=torch.int64)}, ValueError, r"labels must have shape \(8\).* got \(7,\)"),
        ({"labels": torch.full((8,), -1)}, ValueError, "labels must be from 0 to -1, got -1 to -1"),
        ({"n_classes": 1}, ValueError, "labels must be from 0 to 0, got 0 to 1"),
        ({"k": 0}, ValueError, "k must be at least 1, got 0"),
        ({"k": 2.0}, TypeError, "k must be an int, got float"),
        ({"k": torch.tensor([2, 0])}, ValueError, "k must be at least 1 for every class, got 0"),
        ({"k": torch.tensor([2])}, ValueError, r"k must have shape \(2\)"),
        ({"n_init": 0}, ValueError, "n_init must be at least 1"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1"),
        ({"tol": -1.0}, ValueError, "tol must be at least 0, got -1.0"),
        ({"tol": "small"}, TypeError, "tol must be a number, got str"),
        ({"generator": None}, TypeError, "generator must be a torch.Generator, got NoneType"),
        ({"pinned": torch.tensor([8])}, ValueError, r"pinned must be rows from 0 to 7, got \[8\]"),
        ({"pinned": torch.tensor([1, 1])}, ValueError, "pinned must be distinct rows, at most k of each class"),
        ({"pinned": torch.tensor([0, 1, 2])}, ValueError, "pinned must be distinct rows, at most k of each class"),
        ({"init": torch.zeros(1, 2, 3, dtype=torch.int64)}, ValueError, r"init must have shape \(any, 2, 2\)"),
        ({"init": torch.tensor([[[0, 1], [2, 4]]])}, ValueError, "init must hold rows of the class"),
        ({"init": torch.tensor([[[0, 1], [4, 8]]])}, ValueError, "init must hold rows of the class"),
        ({"init": torch.zeros(0, 2, 2, dtype=torch.int64)}, ValueError, "init must .* at least 1"),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        class_kmeans(**{**ARGUMENTS, **options})
