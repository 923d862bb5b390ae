"""What all the baselines of the chapter have in common: k distinct items, and no field of the pool read in secret."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.pool import Pool
from selectlib.seeding import generator
from selectlib.support import (
    EntropyPerClass,
    KMeansRepresentatives,
    ProbCover,
    RandomPerClass,
    StratifiedRandom,
    TypiClust,
)

CLASSES = 3
LABEL_FREE = [
    RandomPerClass(),
    EntropyPerClass(),
    KMeansRepresentatives(),
    TypiClust(),
    TypiClust(max_clusters=2, min_size=1),
    ProbCover(0.5),
    ProbCover(n_classes=2),
]


class Listed:
    def __init__(self, items):
        self._items = items

    def __len__(self):
        return len(self._items)

    def fetch(self, idx):
        return self._items[idx]


@pytest.mark.oracle
@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(LABEL_FREE),
    st.integers(CLASSES, 20),
    st.integers(1, 4),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_k_distinct_items_whatever_the_pool(selector, n, distinct, share, seed):
    draws = generator(seed)
    k = CLASSES * max(1, int(share * n / CLASSES))
    X = torch.randn(distinct, 2, generator=draws)[torch.randint(distinct, (n,), generator=draws)]
    logits = torch.randint(2, (n, CLASSES), generator=draws).double()
    chosen = selector.select(Pool(X, logits=logits), k, generator=draws)
    assert chosen.shape == (k,) and len(set(chosen.tolist())) == k
    assert 0 <= chosen.min() and chosen.max() < n


@pytest.mark.oracle
@pytest.mark.parametrize("selector", LABEL_FREE, ids=lambda selector: type(selector).__name__)
def test_repeated_rows_are_paid_for_once(selector):
    X = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]).repeat(4, 1)
    for seed in range(10):
        chosen = selector.select(Pool(X, logits=X @ torch.ones(2, 4)), 8, generator=generator(seed))
        assert len(set(chosen.tolist())) == 8


@pytest.mark.oracle
@pytest.mark.parametrize("selector", LABEL_FREE, ids=lambda selector: type(selector).__name__)
def test_nothing_else_than_what_is_needed_has_an_effect(selector):
    draws = generator(100)
    rows = [torch.randn(30, width, generator=draws) for width in (4, CLASSES, 4, CLASSES)]
    pool = Pool(rows[0], logits=rows[1], target_samples=torch.arange(30))
    other = Pool(rows[2], logits=rows[3], target_samples=-torch.arange(30), source_features=rows[0])
    other = dataclasses.replace(other, **{field: getattr(pool, field) for field in selector.needs})
    choices = [selector.select(given, 6, generator=generator(100)) for given in (pool, other)]
    assert torch.equal(*choices)
    poisoned = dataclasses.replace(pool, target_samples=None)
    assert torch.equal(selector.select(poisoned, 6, generator=generator(100)), choices[0])


def test_a_stratified_draw_reads_the_length_alone():
    selector = StratifiedRandom(torch.arange(12) % 3)
    pools = [Pool(torch.zeros(12, 1)), Pool(torch.ones(12, 5), logits=torch.ones(12, 3))]
    assert torch.equal(*(selector.select(pool, 6, generator=generator(100)) for pool in pools))


@pytest.mark.parametrize("selector", [KMeansRepresentatives(), TypiClust(), ProbCover(0.5)])
def test_items_that_are_fetched_are_checked(selector):
    items = torch.zeros(6, 2)
    items[4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"features\[4, 1\] is nan"):
        selector.select(Pool(Listed(items)), 2, generator=generator(100))


@pytest.mark.parametrize("selector", LABEL_FREE, ids=lambda selector: type(selector).__name__)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precisions_are_looked_at_in_full(selector, dtype):
    draws = generator(100)
    X, logits = torch.randn(30, 4, generator=draws).to(dtype), torch.randn(30, CLASSES, generator=draws).to(dtype)
    choices = [
        selector.select(Pool(X.to(kind), logits=logits.to(kind)), 9, generator=generator(100))
        for kind in (dtype, torch.float32)
    ]
    assert torch.equal(*choices)
