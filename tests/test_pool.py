"""Pool, and the contract that every pool selector keeps. A new selector joins by its line in SELECTORS."""

import dataclasses
import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from selectlib.corpora import ClassifierSelector, DsDmSelector, DSIRSelector, SemDeDupSelector
from selectlib.pool import ItemSource, Pool, PoolSelector, Random, check_select_args
from selectlib.queries import BADGE, CLUE, EADA, CoreSet, Entropy, FreeEnergy, LeastConfidence, Margin, MvSM, Then
from selectlib.seeding import generator, uniform_indices
from selectlib.subsets import DPPSelector, GreedyMAPSelector
from selectlib.support import (
    EntropyPerClass,
    KMeansRepresentatives,
    ProbCover,
    RandomPerClass,
    SelectNAdapt,
    StratifiedRandom,
    TypiClust,
)

N, D = 12, 16
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


class Listed:
    """A random-access source over a tensor."""

    def __init__(self, items):
        self._items = items
        self.device = items.device

    def __len__(self):
        return len(self._items)

    def fetch(self, idx):
        return self._items[idx]


class Endless:
    """A source of so many items that nothing of its length can be made."""

    def __len__(self):
        return 10**15

    def fetch(self, idx):
        return torch.stack([idx.double().sin(), idx.double().cos()], dim=1)


class NeedsEverything:
    """A selector that reads every optional field: it stands for those that need some."""

    needs = frozenset({"logits", "labeled_features", "source_features", "target_samples"})

    def select(self, pool, k, *, generator):
        check_select_args(self, pool, k)
        return Random().select(pool, k, generator=generator)


class Distances:
    """An estimator for `DsDmSelector`: an example helps the targets the more, the nearer it is to their mean."""

    def score_mean(self, pool, targets):
        return [SimpleNamespace(scores=-(pool[0].to(vectors.device) - vectors.mean()).abs()) for (vectors,) in targets]


SELECTORS = [
    Random(),
    NeedsEverything(),
    DPPSelector(),
    GreedyMAPSelector(),
    DSIRSelector(min_tokens=0),
    DSIRSelector(min_tokens=0, top_k=True),
    ClassifierSelector(),
    ClassifierSelector("pareto"),
    SemDeDupSelector(keep=1.0),
    DsDmSelector(Distances(), (torch.linspace(0, 1, N),)),
    Entropy(),
    LeastConfidence(),
    Margin(),
    MvSM(),
    FreeEnergy(),
    EADA(),
    Then(FreeEnergy(), 0.5, BADGE()),
    CoreSet(),
    CoreSet("labeled+source"),
    BADGE(),
    BADGE("sequential"),
    CLUE(),
    KMeansRepresentatives(),
    TypiClust(),
    TypiClust(max_clusters=2, min_size=1),
    ProbCover(1.0),
    ProbCover(n_classes=3),
    StratifiedRandom(torch.zeros(N, dtype=torch.int64)),
    RandomPerClass(),
    EntropyPerClass(),
    SelectNAdapt(),
]
PER_CLASS = (RandomPerClass, EntropyPerClass, SelectNAdapt)


def allowed(selector, k):
    """`k`, or for selectors that take so many items a class the next multiple of the three classes."""
    return -(-k // 3) * 3 if isinstance(selector, PER_CLASS) else k


def make_pool(selector=None, device="cpu", *, as_source=False, seed=100):
    """A pool with every field; no number is negative, since some selectors read counts."""

    def rows(*shape):
        return torch.randn(*shape, generator=draws, dtype=torch.float64).abs().to(device)

    draws = generator(seed)
    items = rows(N, D)
    return Pool(
        Listed(items) if as_source else items,
        logits=rows(N, 3),
        labeled_features=rows(4, D),
        source_features=rows(5, D),
        target_samples=(rows(3),) if isinstance(selector, DsDmSelector) else rows(3, D),
    )


def global_states():
    name, words, position, *_ = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), (name, words.tolist(), position), random.getstate()


def tensors(pool):
    values = [getattr(pool, field.name) for field in dataclasses.fields(pool)]
    values.append(pool.features.fetch(torch.arange(N)) if isinstance(pool.features, Listed) else pool.features)
    return [value.clone() for value in values if isinstance(value, torch.Tensor)]


@pytest.fixture(params=SELECTORS, ids=lambda selector: type(selector).__name__)
def selector(request):
    return request.param


# The contract.


def test_it_is_a_selector_that_reads_fields_of_a_pool(selector):
    assert isinstance(selector, PoolSelector)
    assert isinstance(selector.needs, frozenset)
    assert selector.needs <= {field.name for field in dataclasses.fields(Pool)}


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("as_source", [False, True], ids=["tensor", "source"])
@pytest.mark.parametrize("k", [1, 2, 5, N])
def test_it_returns_k_distinct_indices_of_the_pool(selector, k, as_source, device):
    pool, k = make_pool(selector, device, as_source=as_source), allowed(selector, k)
    chosen = selector.select(pool, k, generator=generator(100, device))
    assert chosen.dtype == torch.int64 and chosen.shape == (k,) and chosen.device == pool.device
    assert len(set(chosen.tolist())) == k
    assert set(chosen.tolist()) <= set(range(N))


@pytest.mark.parametrize("as_source", [False, True], ids=["tensor", "source"])
def test_the_generator_alone_decides(selector, as_source):
    pool = make_pool(selector, as_source=as_source)
    choices = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        random.seed(global_seed)
        np.random.seed(global_seed)  # noqa: NPY002 - the global state is what must not matter
        choices.append(selector.select(pool, allowed(selector, 4), generator=generator(100)))
    assert torch.equal(*choices)


@pytest.mark.oracle
def test_a_source_and_a_tensor_of_the_same_items_give_the_same_choice(selector):
    choices = [
        selector.select(make_pool(selector, as_source=kind), allowed(selector, 4), generator=generator(100))
        for kind in (False, True)
    ]
    assert torch.equal(*choices)


@pytest.mark.oracle
def test_it_can_be_used_again(selector):
    first, other = make_pool(selector), make_pool(selector, seed=101)
    before = selector.select(first, allowed(selector, 4), generator=generator(100))
    selector.select(other, allowed(selector, 3), generator=generator(101))
    assert torch.equal(selector.select(first, allowed(selector, 4), generator=generator(100)), before)


@pytest.mark.parametrize("as_source", [False, True], ids=["tensor", "source"])
def test_it_leaves_the_pool_and_the_global_generators_alone(selector, as_source):
    pool = make_pool(selector, as_source=as_source)
    before = tensors(pool)
    states = global_states()
    selector.select(pool, allowed(selector, 5), generator=generator(100))
    assert all(torch.equal(old, new) for old, new in zip(before, tensors(pool), strict=True))
    assert global_states() == states


@pytest.mark.parametrize("k", [0, -1, N + 1])
def test_k_out_of_range_is_refused(selector, k):
    with pytest.raises(ValueError, match=rf"\bk must be .*got {k}"):
        selector.select(make_pool(selector), k, generator=generator(100))


@pytest.mark.parametrize("k", [2.0, "2", None, True, torch.tensor(2)])
def test_k_that_is_no_int_is_refused(selector, k):
    with pytest.raises(TypeError, match=r"\bk\b"):
        selector.select(make_pool(selector), k, generator=generator(100))


def test_a_bare_tensor_is_no_pool(selector):
    with pytest.raises(TypeError, match="pool"):
        selector.select(make_pool(selector).features, allowed(selector, 2), generator=generator(100))


@pytest.mark.parametrize("given", [None, 100, np.random.default_rng(100)])
def test_anything_but_a_torch_generator_is_refused(selector, given):
    with pytest.raises(TypeError, match="generator"):
        selector.select(make_pool(selector), allowed(selector, 2), generator=given)


@pytest.mark.parametrize(
    ("selector", "field"),
    [(selector, field) for selector in SELECTORS for field in sorted(selector.needs - {"features"})],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_missing_field_is_named_with_the_selector(selector, field):
    pool = dataclasses.replace(make_pool(selector), **{field: None})
    with pytest.raises(ValueError, match=rf"{type(selector).__name__} needs the pool's {field}"):
        selector.select(pool, allowed(selector, 2), generator=generator(100))


# Random itself.


@pytest.mark.oracle
@pytest.mark.parametrize(("n", "k"), [(12, 2), (4, 3), (9, 2)])  # independent draws, a sorted permutation, the border
def test_random_takes_every_ordered_choice_equally_often(n, k):
    pool, draws = Pool(torch.zeros(n, 1)), generator(100)
    counts = Counter(tuple(Random().select(pool, k, generator=draws).tolist()) for _ in range(8000))
    cells = np.prod(range(n - k + 1, n + 1))
    assert len(counts) == cells  # 8,000 draws miss one of the 132 cells at most with probability 1e-24
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6


def test_random_makes_nothing_of_the_pools_length():
    chosen = Random().select(Pool(Endless()), 1000, generator=generator(100))
    assert len(set(chosen.tolist())) == 1000
    assert chosen.max() > 10**14


@pytest.mark.parametrize("k", [1, 10, 249, 250, 999, 1000])
def test_random_draws_a_few_numbers_an_item(monkeypatch, k):
    sizes = []

    def counted(n, size, **rest):
        sizes.append(size)
        return uniform_indices(n, size, **rest)

    monkeypatch.setattr("selectlib.pool.uniform_indices", counted)
    Random().select(Pool(torch.zeros(1000, 1)), k, generator=generator(100))
    assert sum(sizes) <= 4 * k


# Pool itself.


def test_pool_takes_a_tensor_or_a_source():
    assert len(make_pool()) == len(make_pool(as_source=True)) == N
    assert isinstance(Endless(), ItemSource)
    assert len(Pool(Endless())) == 10**15
    assert Pool(Endless()).device == torch.device("cpu")


def test_pool_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_pool().features = torch.zeros(2, 2)


ITEMS = torch.zeros(4, 2)
BAD = torch.tensor([[0.0, 1.0], [2.0, float("nan")], [float("inf"), 0.0]])


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"features": torch.zeros(0, 2)}, ValueError, "features holds no items"),
        ({"features": Listed(torch.zeros(0, 2))}, ValueError, "features holds no items"),
        ({"features": torch.zeros(4)}, ValueError, r"features must be 2-D .* shape \(4,\)"),
        ({"features": torch.zeros(4, 2, 2)}, ValueError, r"features must be 2-D .* shape \(4, 2, 2\)"),
        ({"features": torch.zeros(4, 2, dtype=torch.int64)}, TypeError, "features must be .* got torch.int64"),
        ({"features": [[1.0, 2.0]]}, TypeError, "features must be a tensor or a source .* got list"),
        ({"features": BAD}, ValueError, r"features\[1, 1\] is nan"),
        ({"features": -BAD[2:]}, ValueError, r"features\[0, 0\] is -inf"),
        ({"features": ITEMS, "logits": torch.zeros(3, 2)}, ValueError, "logits must .* 3 rows for 4 items"),
        ({"features": Listed(ITEMS), "logits": torch.zeros(3, 2)}, ValueError, "logits must .* 3 rows for 4 items"),
        ({"features": ITEMS[:3], "logits": BAD}, ValueError, r"logits\[1, 1\] is nan"),
        ({"features": ITEMS, "labeled_features": BAD}, ValueError, r"labeled_features\[1, 1\] is nan"),
        ({"features": ITEMS, "labeled_features": torch.zeros(3, 5)}, ValueError, "labeled_features must .* 2, got 5"),
        ({"features": ITEMS, "source_features": torch.zeros(3)}, ValueError, "source_features must be 2-D"),
        ({"features": ITEMS, "source_features": [1.0]}, TypeError, "source_features must be .* got list"),
        ({"features": ITEMS, "source_features": ITEMS.to("meta")}, ValueError, "source_features is on meta"),
        ({"features": ITEMS, "n_total": 3}, ValueError, "n_total must be at least the pool's 4 items, got 3"),
        ({"features": ITEMS, "n_total": 4.0}, TypeError, "n_total must be an int, got float"),
    ],
)
def test_pool_names_what_is_wrong(fields, error, message):
    with pytest.raises(error, match=message):
        Pool(**fields)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pool_takes_every_float_type(dtype):
    assert len(Pool(torch.zeros(3, 2, dtype=dtype), logits=torch.zeros(3, 2, dtype=dtype))) == 3
    with pytest.raises(ValueError, match="features must be finite"):
        Pool(torch.tensor([[1.0], [float("nan")]], dtype=dtype))
