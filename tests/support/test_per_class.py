"""So many items of each class: exactly so many, by the law of equal chances or by the largest entropy."""

import math
from collections import Counter

import pytest
import torch
from scipy import stats

from selectlib.pool import Pool
from selectlib.seeding import generator
from selectlib.support import EntropyPerClass, RandomPerClass, StratifiedRandom

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
LABELS = torch.tensor([1, 0, 1, 0, 1, 0, 1, 0, 1])  # four of class 0, five of class 1


def pool_of(logits):
    return Pool(torch.zeros(len(logits), 1, device=logits.device), logits=logits)


def one_hot(classes, n_classes):
    return 9.0 * torch.nn.functional.one_hot(torch.as_tensor(classes), n_classes).double()


@pytest.mark.oracle
@pytest.mark.parametrize("selector", [StratifiedRandom(LABELS), RandomPerClass()], ids=["true", "pseudo"])
def test_all_choices_of_so_many_of_each_class_are_equally_likely(selector):
    pool, draws = pool_of(one_hot(LABELS, 2)), generator(100)
    counts = Counter(tuple(sorted(selector.select(pool, 4, generator=draws).tolist())) for _ in range(1200))
    assert all(LABELS[list(chosen)].sum() == 2 for chosen in counts)
    assert len(counts) == math.comb(4, 2) * math.comb(5, 2)
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.oracle
def test_every_item_of_a_class_is_equally_likely():
    labels, draws = torch.arange(20) % 4, generator(100)
    selector, pool = StratifiedRandom(labels), Pool(torch.zeros(20, 1))
    chosen = torch.cat([selector.select(pool, 4, generator=draws) for _ in range(2000)])
    counts = torch.bincount(chosen, minlength=20)
    for own in range(4):
        assert counts[labels == own].sum() == 2000
        assert stats.chisquare(counts[labels == own].numpy()).pvalue > 1e-3


@pytest.mark.oracle
def test_a_short_true_class_is_filled_uniformly():
    selector, pool, draws = StratifiedRandom(torch.tensor([1, 1, 0, 1, 1])), Pool(torch.zeros(5, 1)), generator(100)
    chosen = [selector.select(pool, 4, generator=draws).tolist() for _ in range(400)]
    assert all(2 in some and len(set(some)) == 4 for some in chosen)
    missing = Counter(({0, 1, 3, 4} - set(some)).pop() for some in chosen)
    assert stats.chisquare([missing[i] for i in (0, 1, 3, 4)]).pvalue > 1e-3


def test_a_true_class_may_be_absent():
    selector = StratifiedRandom(torch.tensor([0, 0, 2, 2]), n_classes=4)
    assert sorted(selector.select(Pool(torch.zeros(4, 1)), 4, generator=generator(100)).tolist()) == [0, 1, 2, 3]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("selector", [RandomPerClass(), EntropyPerClass()], ids=["random", "entropy"])
def test_a_short_pseudo_class_is_filled_by_the_likeliest(selector, device):
    # Two are wanted of class 2 as well, which nobody is in: the likeliest that the other classes have not given.
    logits = one_hot([0, 0, 0, 0, 0, 1, 1, 1], 3)
    logits[1, 2], logits[3, 2], logits[6, 2] = 3.0, 2.0, 1.0
    for seed in range(100, 105):
        chosen = selector.select(pool_of(logits.to(device)), 6, generator=generator(seed, device)).tolist()
        assert len(set(chosen)) == 6
        assert [i < 5 for i in chosen[:4]] == [True, True, False, False]
        likeliest = [i for i in (1, 3, 6, *range(8)) if i not in chosen[:4]]
        assert chosen[4:] == list(dict.fromkeys(likeliest))[:2]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_highest_entropies_of_each_pseudo_class(dtype, device):
    logits = (3 * torch.randn(60, 4, dtype=torch.float64, generator=generator(100))).to(dtype)
    wanted = []
    for own in range(4):
        of_class = []
        for i, row in enumerate(logits.tolist()):
            weights = [math.exp(f - max(row)) for f in row]
            p = [w / sum(weights) for w in weights]
            if row.index(max(row)) == own:
                of_class.append((sum(q * math.log(q) for q in p), i))
        wanted += [i for _, i in sorted(of_class)[:3]]
    chosen = EntropyPerClass().select(pool_of(logits.to(device)), 12, generator=generator(100, device))
    assert chosen.tolist() == wanted


def test_the_entropy_of_a_probability_that_is_zero_is_zero():
    logits = torch.tensor([[0.0, -3e38], [1.0, 0.0], [-3e38, 0.0], [0.0, 2.0]])
    assert EntropyPerClass().select(pool_of(logits), 2, generator=generator(100)).tolist() == [1, 3]


@pytest.mark.parametrize("selector", [StratifiedRandom(LABELS), RandomPerClass(), EntropyPerClass()])
def test_k_must_be_a_multiple_of_the_classes(selector):
    with pytest.raises(ValueError, match=r"k must be a multiple of the 2 classes, .* got 3"):
        selector.select(pool_of(one_hot(LABELS, 2)), 3, generator=generator(100))


@pytest.mark.parametrize(
    ("labels", "n_classes", "error", "message"),
    [
        ([0, 1], None, TypeError, "labels must be a tensor of ints, got list"),
        (torch.zeros(3), None, TypeError, "labels must be a tensor of ints, got torch.float32"),
        (torch.zeros(3, 1, dtype=torch.int64), None, ValueError, r"labels must be 1-D .* got shape \(3, 1\)"),
        (torch.zeros(0, dtype=torch.int64), None, ValueError, r"labels must be .* not empty, got shape \(0,\)"),
        (torch.tensor([0, -1]), None, ValueError, "labels must be at least 0, got -1"),
        (torch.tensor([0, 2]), 2, ValueError, "n_classes must be at least 3, got 2"),
        (torch.tensor([0, 2]), 3.0, TypeError, "n_classes must be an int, got float"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, n_classes, error, message):
    with pytest.raises(error, match=message):
        StratifiedRandom(labels, n_classes)


def test_a_pool_of_another_length_than_the_labels_is_refused():
    with pytest.raises(ValueError, match="pool must have as many items as there are labels, 9, got 8"):
        StratifiedRandom(LABELS).select(Pool(torch.zeros(8, 1)), 2, generator=generator(100))
