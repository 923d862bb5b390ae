"""The classifier selector: what it finds, what it reports, and the law of the Pareto rounds."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from listed import Listed
from sklearn.linear_model import LogisticRegression

from selectlib.corpora._classifier import ClassifierSelector, _pareto
from selectlib.corpora._ngrams import HashedNGrams
from selectlib.pool import Pool
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit


def clouds(pool=200, like_target=40, target=50, d=6, distance=6.0, seed=100):
    """A pool whose last items lie where the target lies."""
    draws = generator(seed)
    shift = torch.zeros(d).index_fill_(0, torch.tensor(0), distance)
    items, wanted = torch.randn(pool, d, generator=draws) - shift, torch.randn(target, d, generator=draws) + shift
    items[-like_target:] += 2 * shift
    return Pool(items, target_samples=wanted)


@pytest.mark.oracle
def test_the_items_that_look_like_the_target_come_first():
    selector = ClassifierSelector()
    chosen = selector.select(clouds(), 40, generator=generator(100))
    assert sorted(chosen.tolist()) == list(range(160, 200))


@pytest.mark.oracle
def test_the_order_is_that_of_a_classifier_fitted_by_hand():
    # Where every row is drawn, only the tenth that is held out depends on the draw: fitted on all, the order is close.
    pool = clouds(pool=600, target=600, like_target=100, distance=0.7)
    unit = [X / X.norm(dim=1, keepdim=True) for X in (pool.features, pool.target_samples)]
    model = LogisticRegression(max_iter=1000).fit(torch.cat(unit).numpy(), np.repeat([0, 1], 600))
    best = np.argsort(-model.decision_function(unit[0].numpy()))[:100]
    chosen = ClassifierSelector().select(pool, 100, generator=generator(100))
    assert len(set(best.tolist()) & set(chosen.tolist())) > 85


@pytest.mark.oracle
def test_the_heldout_accuracy_tells_separable_from_equal():
    easy, hopeless = ClassifierSelector(), ClassifierSelector()
    easy.select(clouds(like_target=1, distance=8.0), 5, generator=generator(100))
    hopeless.select(clouds(2000, 1, 2000, distance=0.0), 5, generator=generator(100))
    assert easy.report_["heldout_accuracy"] > 0.95
    assert abs(hopeless.report_["heldout_accuracy"] - 0.5) < 0.12  # 5 standard errors of 400 coin flips
    assert hopeless.report_["heldout_items"] == 400 and hopeless.report_["train_items"] == 3600


def test_classes_of_unequal_size_weigh_the_same():
    # With 20 pool items for one target sample, an unbalanced fit calls everything "pool": accuracy 0.5.
    selector = ClassifierSelector()
    selector.select(clouds(2000, 1, 100, distance=1.5), 5, generator=generator(100))
    assert selector.report_["heldout_accuracy"] > 0.8


def test_no_more_rows_are_fitted_than_asked_for():
    selector = ClassifierSelector(train_rows=30)
    chosen = selector.select(clouds(), 30, generator=generator(100))
    assert selector.report_["train_items"] == 54 and selector.report_["heldout_items"] == 6
    assert chosen.min() >= 160


@pytest.mark.oracle
def test_hashed_ngrams_and_their_dense_rows_give_the_same_scores():
    words = "the ship sailed over sea wind rose storm broke mast".split()
    names = "for if return range len else print import yield none".split()
    texts = [" ".join(np.random.default_rng(100 + i).choice(names if i % 2 else words, 12)) for i in range(60)]
    pool, target = HashedNGrams(texts[:40], num_buckets=500), HashedNGrams(texts[40::2], num_buckets=500)
    dense, wanted = (counted.fetch(torch.arange(len(counted))) for counted in (pool, target))
    pools = [Pool(features, target_samples=t) for features in (pool, dense, Listed(dense)) for t in (target, wanted)]
    logits = [ClassifierSelector()._fit(each, each.target_samples, generator(100)) for each in pools]
    for other in logits:
        torch.testing.assert_close(other, logits[0], rtol=1e-3, atol=1e-3)  # two solvers' runs, stopped by a tolerance
    chosen = ClassifierSelector().select(pools[0], 20, generator=generator(100))
    assert set(chosen.tolist()) == set(range(0, 40, 2))


def law_of_the_rounds(marks, k):
    """Probability of each set of k: in a round item i is marked with probability marks[i]; enough marked end it."""
    n, law = len(marks), Counter()
    reached = Counter({frozenset(): 1.0})
    for size in range(k):
        for marked in [m for m in reached if len(m) == size]:
            others = [i for i in range(n) if i not in marked]
            stay = np.prod([1 - marks[i] for i in others])
            for new in itertools.chain.from_iterable(itertools.combinations(others, r) for r in range(1, n + 1)):
                chance = np.prod([marks[i] if i in new else 1 - marks[i] for i in others]) / (1 - stay)
                reached[marked | set(new)] += reached[marked] * chance
    for marked in [m for m in reached if len(m) >= k]:
        for chosen in itertools.combinations(sorted(marked), k):
            law[chosen] += reached[marked] / math.comb(len(marked), k)
    return law


@pytest.mark.oracle
@pytest.mark.parametrize("alpha", [3.0, 9.0])
def test_pareto_draws_by_the_law_of_the_rounds(alpha):
    p, draws = np.array([0.1, 0.5, 0.8, 0.95, 0.99]), generator(100)
    logits = torch.from_numpy(np.log(p / (1 - p)))
    law = law_of_the_rounds((1 + (1 - p)) ** -alpha, 2)  # the tail of numpy's Pareto at 1 - p
    counts = Counter(tuple(sorted(_pareto(logits, 2, alpha, draws).tolist())) for _ in range(10_000))
    assert sum(law.values()) == pytest.approx(1)
    assert chi_square_fit([counts[pair] for pair in law], list(law.values())).p > 1e-5


@pytest.mark.oracle
def test_pareto_lets_doubtful_items_through_and_prefers_the_likely():
    pool = clouds(400, 100, 100)
    chosen = ClassifierSelector("pareto", C=100.0).select(pool, 100, generator=generator(100))
    share = float((chosen >= 300).float().mean())
    assert 0.6 < share < 1.0  # top-k has 1, a uniform choice 0.25


def test_pareto_takes_items_of_any_probability():
    logits = torch.tensor([800.0, -800.0, 0.0, 40.0], dtype=torch.float64)
    assert sorted(_pareto(logits, 4, 9.0, generator(100)).tolist()) == [0, 1, 2, 3]


def test_a_row_of_zeros_is_no_problem():
    pool = clouds()
    features = pool.features.clone()
    features[:5] = 0
    chosen = ClassifierSelector().select(
        Pool(features, target_samples=pool.target_samples), 40, generator=generator(100)
    )
    assert chosen.min() >= 160


ROWS = torch.ones(3, 4)


@pytest.mark.parametrize(
    ("features", "target", "error", "message"),
    [
        (ROWS[:1], ROWS, ValueError, "features must hold 2 items or more, .* got 1"),
        (ROWS, ROWS[:1], ValueError, "target_samples must hold 2 items or more, .* got 1"),
        (ROWS, torch.ones(3, 5), ValueError, "target_samples must have the width of features, 4, got 5"),
        (ROWS, ROWS * torch.nan, ValueError, "target_samples must be finite"),
        (Listed(ROWS / 0), ROWS, ValueError, "features must be finite"),
        (ROWS, "text", TypeError, "target_samples must be a tensor, .* got str"),
    ],
)
def test_bad_rows_are_named(features, target, error, message):
    with pytest.raises(error, match=message):
        ClassifierSelector().select(Pool(features, target_samples=target), 1, generator=generator(100))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "best"}, ValueError, "mode must be one of topk, pareto, got 'best'"),
        ({"alpha": 0.0}, ValueError, "alpha must be a finite positive number, got 0"),
        ({"alpha": "9"}, TypeError, "alpha must be a number, got str"),
        ({"C": float("nan")}, ValueError, "C must be a finite positive number, got nan"),
        ({"train_rows": 1}, ValueError, "train_rows must be at least 2, got 1"),
        ({"train_rows": 1e4}, TypeError, "train_rows must be an int, got float"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        ClassifierSelector(**options)
