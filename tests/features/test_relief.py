import pytest
import torch

from selectlib.data import make_parity
from selectlib.features import relief_f
from selectlib.seeding import generator


def by_definition(X, y, k):
    """ReliefF row by row and neighbour by neighbour."""
    spread = X.max(0).values - X.min(0).values
    X = X / torch.where(spread > 0, spread, torch.ones_like(spread))
    labels = y.unique()
    score = torch.zeros(X.shape[1], dtype=X.dtype)
    for i in range(len(X)):
        distance = (X - X[i]).abs().sum(1)
        others = 1 - (y == y[i]).double().mean()
        for label in labels:
            near = [j for j in distance.argsort().tolist() if y[j] == label and j != i][:k]
            mean = (X[near] - X[i]).abs().mean(0)
            score += -mean if label == y[i] else (y == label).double().mean() / others * mean
    return score / len(X)


@pytest.mark.oracle
@pytest.mark.parametrize("k", [1, 4, 50])
def test_it_is_the_definition(k, monkeypatch):
    draw = generator(100)
    X = torch.randn(60, 5, generator=draw, dtype=torch.float64)
    X[:, 4] = 3
    y = torch.randint(3, (60,), generator=draw)
    torch.testing.assert_close(relief_f(X, y, n_neighbors=k), by_definition(X, y, k), rtol=1e-12, atol=1e-13)
    monkeypatch.setattr("selectlib.features._relief._BLOCK", 7 * 60)  # a few rows at a time
    torch.testing.assert_close(relief_f(X, y, n_neighbors=k), by_definition(X, y, k), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("p", "d"), [(2, 100), (3, 40)])
def test_it_sees_parity(p, d):
    X, y, support = make_parity(800, d, p=p, generator=generator(100))
    assert torch.equal(relief_f(X, y).topk(p).indices.sort().values, support)


def test_scale_and_shift_of_a_column_do_not_matter():
    X, y, _ = make_parity(200, 6, kind="gaussian", generator=generator(100))
    scaled = X * torch.tensor([1, 10, 0.1, 1, 5, 2]).double() + 7
    torch.testing.assert_close(relief_f(scaled, y), relief_f(X, y), rtol=1e-9, atol=1e-12)


def test_rows_are_drawn():
    X, y, support = make_parity(1_000, 30, generator=generator(100))
    few = relief_f(X, y, n_rows=200, generator=generator(100))
    assert torch.equal(few, relief_f(X, y, n_rows=200, generator=generator(100)))
    assert not torch.equal(few, relief_f(X, y, n_rows=200, generator=generator(101)))
    assert torch.equal(few.topk(2).indices.sort().values, support)
    torch.testing.assert_close(relief_f(X, y, n_rows=1_000, generator=generator(100)), relief_f(X, y))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_device_and_dtype_are_kept(device):
    X, y, _ = make_parity(100, 8, kind="gaussian", generator=generator(100))
    score = relief_f(X.float().to(device), y.to(device), n_rows=50, generator=generator(100))
    assert score.dtype == torch.float32 and score.device.type == device
    wide = relief_f(X, y, n_rows=50, generator=generator(100))
    torch.testing.assert_close(score.cpu().double(), wide, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"X": torch.ones(3, 2, dtype=torch.int64)}, TypeError, "X must be a tensor of floats, got torch.int64"),
        ({"X": torch.full((4, 2), torch.nan)}, ValueError, "X must be finite"),
        ({"X": torch.ones(4)}, ValueError, "X must be two-dimensional"),
        ({"y": torch.ones(3)}, ValueError, r"y must have shape \(4,\)"),
        ({"y": [0, 0, 1, 1]}, TypeError, "y must be a tensor, got list"),
        ({"y": torch.ones(4)}, ValueError, r"at least two classes of at least two rows each, got sizes \[4\]"),
        ({"y": torch.tensor([0, 0, 0, 1])}, ValueError, r"got sizes \[3, 1\]"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors must be at least 1, got 0"),
        ({"n_rows": 5}, ValueError, "n_rows must be from 1 to 4, got 5"),
        ({"n_rows": 2}, TypeError, "generator must be a torch.Generator, got NoneType"),
    ],
)
def test_bad_arguments_are_named(changes, error, message):
    arguments = {"X": torch.rand(4, 2), "y": torch.tensor([0, 0, 1, 1])} | changes
    X, y = arguments.pop("X"), arguments.pop("y")
    with pytest.raises(error, match=message):
        relief_f(X, y, **arguments)
