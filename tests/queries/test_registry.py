"""Strategies by name."""

import pytest
import torch

from selectlib.pool import Pool, PoolSelector, Random
from selectlib.queries import (
    BADGE,
    CLUE,
    EADA,
    CoreSet,
    Entropy,
    FreeEnergy,
    LeastConfidence,
    Margin,
    MvSM,
    get_strategy,
    list_strategies,
)
from selectlib.seeding import generator

CLASSES = {
    "random": Random,
    "entropy": Entropy,
    "least_confidence": LeastConfidence,
    "margin": Margin,
    "mvsm": MvSM,
    "free_energy": FreeEnergy,
    "eada": EADA,
    "core_set": CoreSet,
    "badge": BADGE,
    "clue": CLUE,
}


def test_every_name_makes_its_strategy():
    assert list_strategies() == list(CLASSES)
    for name, expected in CLASSES.items():
        strategy = get_strategy(name)
        assert type(strategy) is expected and isinstance(strategy, PoolSelector)
        assert get_strategy(name) is not strategy


@pytest.mark.oracle
@pytest.mark.parametrize("name", CLASSES)
def test_a_strategy_by_name_chooses_as_one_by_class(name):
    draws = generator(100)
    pool = Pool(torch.randn(30, 4, generator=draws), logits=torch.randn(30, 3, generator=draws))
    choices = [s.select(pool, 5, generator=generator(101)) for s in (get_strategy(name), CLASSES[name]())]
    assert torch.equal(*choices)


def test_options_reach_the_strategy():
    assert get_strategy("eada", alpha1=0.25, T=2.0).alpha1 == 0.25
    assert get_strategy("core_set", init="labeled+source").needs == {"features", "source_features"}
    with pytest.raises(TypeError, match="beta"):
        get_strategy("eada", beta=1.0)
    with pytest.raises(ValueError, match="T must be"):
        get_strategy("clue", T=0)


@pytest.mark.parametrize("name", ["EADA", "coreset", ""])
def test_an_unknown_name_gets_the_list(name):
    with pytest.raises(ValueError, match=f"name must be one of random, entropy, .*, badge, clue, got '{name}'"):
        get_strategy(name)


def test_the_list_cannot_be_changed_from_outside():
    list_strategies().clear()
    assert list_strategies() == list(CLASSES)
