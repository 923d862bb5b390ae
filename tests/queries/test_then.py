"""Then: what stays, what the second selector is shown, and that indices come back into the pool."""

import pytest
import torch
from fetched import Fetched

from selectlib.pool import ItemSource, Pool, Random
from selectlib.queries import BADGE, CLUE, CoreSet, FreeEnergy, Margin, MvSM, Then
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
N = 40


class Recorder:
    """Takes the first k items, and remembers the pool that it saw."""

    def __init__(self, *needs):
        self.needs, self.pools = frozenset(needs), []

    def select(self, pool, k, *, generator):
        self.pools.append(pool)
        return torch.arange(k, device=pool.device)


def make_pool(*, as_source=False, device="cpu", n_total=None):
    draws = generator(100)
    features = torch.randn(N, 5, generator=draws).to(device)
    logits = 3 * torch.randn(N, 4, generator=draws).to(device)
    labeled = torch.randn(3, 5, generator=draws).to(device)
    source = Fetched(features) if as_source else features
    return Pool(source, logits=logits, labeled_features=labeled, n_total=n_total)


def free_energy_ranks(pool):
    return FreeEnergy().scores(pool).argsort(descending=True)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("as_source", [False, True], ids=["tensor", "source"])
@pytest.mark.parametrize("second", [Random(), Margin(), CoreSet(), BADGE(), CLUE()], ids=lambda s: type(s).__name__)
def test_the_second_chooses_as_it_would_from_the_items_that_stay(second, as_source, device):
    pool = make_pool(as_source=as_source, device=device)
    stays = free_energy_ranks(pool)[:16].sort().values
    whole = make_pool(device=device)
    left = Pool(whole.features[stays], logits=whole.logits[stays], labeled_features=whole.labeled_features)
    expected = stays[second.select(left, 6, generator=generator(101, device))]
    chosen = Then(FreeEnergy(), 0.4, second).select(pool, 6, generator=generator(101, device))
    assert torch.equal(chosen, expected) and chosen.device == pool.device


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("keep", "n_total", "k", "kept"),
    [
        (0.5, None, 3, 20),
        (0.51, None, 3, 21),
        (0.5, 60, 3, 30),
        (0.5, 200, 3, N),
        (0.1, None, 7, 7),  # at least the k asked for
        (1, None, 3, N),
        (0.07, 100, 3, 7),  # 0.07 * 100 is 7.000000000000001
        (1e-6, None, 1, 1),
    ],
)
def test_the_share_that_stays_is_rounded_up_to_the_item(keep, n_total, k, kept):
    second = Recorder()
    Then(Random(), keep, second).select(make_pool(n_total=n_total), k, generator=generator(100))
    assert len(second.pools[0]) == kept


def test_where_all_stay_the_first_is_not_asked_and_the_pool_is_the_same():
    first, second, pool = Recorder(), Recorder(), make_pool()
    Then(first, 1.0, second).select(pool, 3, generator=generator(100))
    assert first.pools == [] and second.pools == [pool]


def test_a_then_in_second_place_keeps_a_share_of_what_was_left():
    last = Recorder()
    nested = Then(FreeEnergy(), 0.5, Then(MvSM(), 0.5, last))
    nested.select(make_pool(n_total=48), 2, generator=generator(100))
    assert len(last.pools[0]) == 12 and last.pools[0].n_total is None


def test_a_then_in_first_place_sees_the_whole():
    last = Recorder()
    nested = Then(Then(FreeEnergy(), 0.5, MvSM()), 0.25, last)
    nested.select(make_pool(n_total=48), 2, generator=generator(100))
    assert len(last.pools[0]) == 12


def test_what_the_second_does_not_need_is_neither_copied_nor_fetched():
    pool, second = make_pool(as_source=True), Recorder("logits")
    Then(FreeEnergy(), 0.5, second).select(pool, 3, generator=generator(100))
    seen = second.pools[0]
    assert pool.features.sizes == []
    assert isinstance(seen.features, ItemSource) and seen.features.device == pool.device
    stays = free_energy_ranks(pool)[:20].sort().values
    assert torch.equal(seen.logits, pool.logits[stays])
    assert torch.equal(seen.features.fetch(torch.tensor([4, 0])), pool.features.fetch(stays[[4, 0]]))
    assert torch.equal(seen.labeled_features, pool.labeled_features)


def test_it_needs_what_the_two_need():
    assert Then(FreeEnergy(), 0.5, CoreSet("labeled+source")).needs == {"features", "logits", "source_features"}
    assert Then(Random(), 0.5, Random()).needs == frozenset()
    with pytest.raises(ValueError, match="Then needs the pool's logits"):
        Then(Random(), 0.5, Margin()).select(Pool(torch.zeros(4, 2)), 2, generator=generator(100))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((FreeEnergy, 0.5, MvSM()), TypeError, "first must be a pool selector"),
        ((FreeEnergy(), 0.5, "mvsm"), TypeError, "second must be a pool selector .* got 'mvsm'"),
        ((FreeEnergy(), 0.0, MvSM()), ValueError, "keep must be above 0 and at most 1, got 0.0"),
        ((FreeEnergy(), 1.5, MvSM()), ValueError, "keep must be above 0 and at most 1, got 1.5"),
        ((FreeEnergy(), True, MvSM()), TypeError, "keep must be a number, got bool"),
    ],
)
def test_what_is_wrong_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        Then(*arguments)
