"""The synthetic tables: their columns, targets and planted columns have the moments that are stated."""

import math

import pytest
import torch

from selectlib.data import add_probes, make_ar1, make_block_correlated, make_parity, make_suppressor
from selectlib.seeding import generator

N = 20_000
SE = 1 / math.sqrt(N)


def correlation(X, y):
    return torch.corrcoef(torch.cat([X.T, y[None]]))[-1, :-1]


@pytest.mark.oracle
@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("kind", ["signs", "bernoulli", "gaussian"])
def test_the_planted_columns_determine_the_label(kind, p):
    X, y, support = make_parity(N, 20, p=p, flip=0.0, kind=kind, generator=generator(100))
    planted = X[:, support]
    if kind == "bernoulli":
        assert set(X.unique().tolist()) == {0.0, 1.0} and abs(float(X.mean()) - 0.3) < 4 * 0.46 * SE / math.sqrt(20)
        assert torch.equal(y == 1, planted.sum(1) % 2 == 1)
    else:
        assert torch.equal(y, planted.sign().prod(1))
        assert abs(float(X.mean())) < 4 * SE / math.sqrt(20) and abs(float(X.var()) - 1) < 0.02
    assert X.shape == (N, 20) and X.dtype == y.dtype == torch.float64 and support.dtype == torch.int64
    assert torch.equal(support, support.unique()) and len(support) == p


@pytest.mark.oracle
def test_single_columns_say_nothing_unless_the_bits_are_biased():
    X, y, support = make_parity(N, 20, kind="signs", generator=generator(100))
    assert float(correlation(X, y).abs().max()) < 4.5 * SE
    X, y, support = make_parity(N, 20, kind="bernoulli", flip=0.0, generator=generator(100))
    seen = correlation(X, y)
    # Of a pair, cov(x, y) = 2 pq (q - p) with p = 0.3, q = 0.7; the variance of y is 1 - (p - q)**4.
    expected = 2 * 0.21 * 0.4 / math.sqrt(0.21 * (1 - 0.4**4))
    torch.testing.assert_close(seen[support], torch.full((2,), expected).double(), rtol=0, atol=4 * SE)
    others = torch.ones(20, dtype=torch.bool).index_fill(0, support, False)
    assert float(seen[others].abs().max()) < 4.5 * SE


@pytest.mark.oracle
@pytest.mark.parametrize("flip", [0.0, 0.05, 0.5])
def test_labels_are_flipped_at_the_rate_asked(flip):
    X, y, support = make_parity(N, 4, flip=flip, generator=generator(100))
    wrong = float((X[:, support].prod(1) != y).double().mean())
    assert abs(wrong - flip) <= 4 * math.sqrt(flip * (1 - flip)) * SE


@pytest.mark.oracle
@pytest.mark.parametrize(("nuisance", "noise"), [(1.0, 0.5), (2.0, 1.0)])
def test_the_suppressor_doubles_what_is_explained(nuisance, noise):
    X, y, support = make_suppressor(N, d=6, nuisance=nuisance, noise=noise, generator=generator(100))
    total = 1 / (1 + noise**2)
    seen = correlation(X, y)
    assert abs(float(seen[support[0]]) ** 2 - total / (1 + nuisance**2)) < 0.02
    assert abs(float(seen[support[1]])) < 4 * SE
    signal = X[:, support[0]] - X[:, support[1]]
    assert abs(float(correlation(signal[:, None], y)) ** 2 - total) < 0.02
    others = torch.ones(6, dtype=torch.bool).index_fill(0, support, False)
    assert float(seen[others].abs().max()) < 4.5 * SE


@pytest.mark.oracle
@pytest.mark.parametrize("snr", [0.5, 2.0])
@pytest.mark.parametrize("design", ["ar1", "block"])
def test_correlations_and_signal_are_those_asked(design, snr):
    if design == "ar1":
        X, y, support = make_ar1(N, 12, k=4, rho=0.6, snr=snr, generator=generator(100))
        expected = 0.6 ** (torch.arange(12)[:, None] - torch.arange(12)).abs().double()
    else:
        X, y, support = make_block_correlated(N, 12, k=4, size=5, rho=0.6, snr=snr, generator=generator(100))
        block = torch.tensor([0] * 5 + [1] * 5 + [2] * 2)
        expected = 0.6 * (block[:, None] == block) + 0.4 * torch.eye(12, dtype=torch.float64)
    torch.testing.assert_close(X.T @ X / N, expected, rtol=0, atol=6 * SE)
    beta = torch.linalg.lstsq(X, y).solution
    rest = y - X @ beta
    assert abs(float(rest.var()) - 1) < 6 * SE
    assert abs(float((X @ beta).var()) / snr - 1) < 0.06
    planted = beta[support].abs()
    assert float(planted.max() / planted.min()) < 3.5
    others = torch.ones(12, dtype=torch.bool).index_fill(0, support, False)
    assert float(beta[others].abs().max()) < 8 * SE < float(planted.min())


def test_places_and_draws_depend_on_the_generator_alone():
    for design in (make_parity, make_ar1, make_block_correlated):
        size = {"p": 3} if design is make_parity else {"k": 3}
        first, again, other = (design(50, 30, **size, generator=generator(seed)) for seed in (100, 100, 101))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[2], other[2])
    supports = torch.stack([make_suppressor(1, d=5, generator=generator(seed))[2] for seed in range(40)])
    assert len(supports[:, 0].unique()) == len(supports[:, 1].unique()) == 5


@pytest.mark.oracle
def test_probes_are_shuffled_columns():
    X = torch.arange(60.0).view(20, 3)
    wide = add_probes(X, 8, generator=generator(100))
    assert wide.shape == (20, 11) and wide.dtype == torch.float32
    assert torch.equal(wide[:, :3], X)
    sources = (wide[0, 3:] % 3).long()
    assert sources.bincount().sort().values.tolist() == [2, 3, 3]
    for probe, source in zip(wide.T[3:], sources, strict=True):
        assert torch.equal(probe.sort().values, X[:, source])
        assert not torch.equal(probe, X[:, source])
    assert not torch.equal(wide[:, 3].argsort(), wide[:, 4].argsort())
    assert torch.equal(add_probes(X, 0, generator=generator(100)), X)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_devices(device):
    draw = generator(100, device)
    X, y, support = make_block_correlated(40, 10, k=2, generator=draw)
    assert {X.device.type, y.device.type, support.device.type} == {device}
    assert add_probes(X, 3, generator=generator(100)).device.type == device


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: make_parity(0, 5, generator=g), "n must be at least 1, got 0"),
        (lambda g: make_parity(5, 2, p=3, generator=g), "d must be at least 3, got 2"),
        (lambda g: make_parity(5, 5, flip=0.6, generator=g), "flip must be from 0 to 0.5, got 0.6"),
        (lambda g: make_parity(5, 5, kind="coins", generator=g), "kind must be one of signs, bernoulli, gaussian"),
        (lambda g: make_suppressor(5, d=1, generator=g), "d must be at least 2, got 1"),
        (lambda g: make_suppressor(5, noise=0.0, generator=g), "noise must be a finite positive number"),
        (lambda g: make_ar1(5, 9, generator=g), "d must be at least 10, got 9"),
        (lambda g: make_ar1(5, 10, rho=1.0, generator=g), "rho must be at least 0 and below 1, got 1.0"),
        (lambda g: make_block_correlated(5, 10, size=0, generator=g), "size must be at least 1, got 0"),
        (lambda g: make_block_correlated(5, 10, snr=0.0, generator=g), "snr must be a finite positive number"),
        (lambda g: add_probes(torch.ones(3), 1, generator=g), r"X must be two-dimensional .* got shape \(3,\)"),
        (lambda g: add_probes(torch.ones(3, 1), -1, generator=g), "n must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(generator(100))


def test_a_generator_is_asked_for():
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator, got int"):
        make_ar1(5, 10, generator=100)
