"""EADA: its two steps by Python lists and sorts, and its limits at either end of alpha1."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.pool import Pool
from selectlib.queries import EADA, FreeEnergy, MvSM, Then, _scores
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def draw(n=101, classes=6, seed=100):
    return 3 * torch.randn(n, classes, dtype=torch.float64, generator=generator(seed))


def select(strategy, logits, k, n_total=None):
    pool = Pool(logits.new_zeros(len(logits), 1), logits=logits, n_total=n_total)
    return strategy.select(pool, k, generator=generator(100))


def by_sorting(logits, k, n1, T=1.0):
    """Both steps of the query as the paper's figure tells them, on energies; ties to the lower index."""
    energies = [[-f for f in row] for row in logits.tolist()]
    free = [-T * math.log(sum(math.exp(-e / T) for e in row)) for row in energies]
    first = sorted(range(len(energies)), key=lambda i: (-free[i], i))[:n1]
    uncertainty = {i: sorted(energies[i])[0] - sorted(energies[i])[1] for i in first}
    return sorted(first, key=lambda i: (-uncertainty[i], i))[:k]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("k", "alpha1", "n_total", "n1"),
    [
        (2, 0.5, None, 51),
        (2, 0.5, 120, 60),
        (5, 0.3, None, 31),
        (40, 0.2, None, 40),
        (9, 0.9, 200, 101),
        (1, 1, None, 101),
    ],
)
def test_the_choice_is_that_of_two_sorts(k, alpha1, n_total, n1, device):
    logits = draw()
    chosen = select(EADA(alpha1), logits.to(device), k, n_total)
    assert chosen.tolist() == by_sorting(logits, k, n1)


@pytest.mark.oracle
@pytest.mark.parametrize("block", [1, 50, 2**20])
@pytest.mark.parametrize("T", [0.5, 1.0, 4.0])
def test_it_is_free_energy_then_mvsm(monkeypatch, T, block):
    monkeypatch.setattr(_scores, "_BLOCK", block)
    logits = draw(300)
    expected = select(Then(FreeEnergy(T), 0.4, MvSM()), logits, 20, 310)
    assert torch.equal(select(EADA(0.4, T), logits, 20, 310), expected)
    assert expected.tolist() == by_sorting(logits, 20, 124, T)


@pytest.mark.oracle
def test_either_step_alone_is_within_reach():
    logits = draw()
    assert torch.equal(select(EADA(alpha1=1.0), logits, 15), select(MvSM(), logits, 15))
    nearest_first = select(EADA(alpha1=1e-9), logits, 15)
    assert set(nearest_first.tolist()) == set(select(FreeEnergy(), logits, 15).tolist())
    assert len({frozenset(select(EADA(alpha), logits, 15).tolist()) for alpha in (1.0, 0.5, 1e-9)}) == 3


@pytest.mark.oracle
@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 60), classes=st.integers(2, 8), alpha1=st.floats(0.01, 1), seed=st.integers(0, 999))
def test_the_order_of_the_items_does_not_matter(n, classes, alpha1, seed):
    logits, shuffle = draw(n, classes, seed), torch.randperm(n, generator=generator(seed))
    k = 1 + seed % n
    chosen = select(EADA(alpha1), logits, k)
    assert len(set(chosen.tolist())) == k
    assert torch.equal(shuffle[select(EADA(alpha1), logits[shuffle], k)], chosen)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_ties_go_to_the_lower_index_in_both_steps(device):
    doubtful, sure, alike = [1.0, 1.0, 0.0], [5.0, 0.0, 0.0], [9.0, 9.0, 0.0]
    logits = torch.tensor([alike] * 4 + [sure, doubtful] * 5, device=device)  # `alike` has the lowest free energy
    assert select(EADA(), logits, 6).tolist() == [5, 7, 9, 11, 13, 4]
    levels = torch.arange(4.0, 0, -1, device=device).unsqueeze(1)  # equal doubt, and ever higher free energy
    assert select(EADA(), levels.expand(4, 2), 2).tolist() == [2, 3]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_ranked_as_in_single(dtype, device):
    logits = torch.cat([draw(50), (7e3 * draw(50, seed=101)).clamp(-6e4, 6e4)]).to(device, dtype)
    assert torch.equal(select(EADA(), logits, 40), select(EADA(), logits.float(), 40))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"alpha1": 0}, ValueError, "alpha1 must be above 0 and at most 1, got 0"),
        ({"alpha1": 50}, ValueError, "alpha1 must be above 0 and at most 1, got 50"),
        ({"alpha1": "0.5"}, TypeError, "alpha1 must be a number, got str"),
        ({"T": -1.0}, ValueError, "T must be a finite positive number, got -1.0"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        EADA(**options)


def test_one_class_has_no_second():
    with pytest.raises(ValueError, match=r"logits must have at least 2 classes .* shape \(1, 1\)"):
        select(EADA(), torch.zeros(4, 1), 2)
