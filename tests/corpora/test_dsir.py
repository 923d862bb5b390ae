"""DSIR: the reference package's weights, the law of the draw, and the length filter."""

import itertools

import pytest
import torch
from listed import Listed

from selectlib.corpora._dsir import DSIRSelector
from selectlib.corpora._ngrams import HashedNGrams
from selectlib.pool import Pool
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit

RAW = [
    "A whale surfaced beside the lighthouse at dusk.",
    "while (i < n) { sum += a[i]; i++; }",
    "The keeper saw the whale and lit the lamp.",
    "return sum / n;",
]
TARGET = ["The lighthouse keeper wrote of whales at dusk.", "At dusk the lamp was lit."]

# From `HashedNgramDSIR` of data-selection 1.0.3, fitted on all tokens of RAW and TARGET.
REFERENCE_WEIGHTS = [-119.37324852399712, -442.16366882132377, -150.32573266356874, -128.19582707411206]
REFERENCE_LENGTHS = [9, 16, 10, 5]


def dense(texts):
    counted = HashedNGrams(texts)
    return counted.fetch(torch.arange(len(counted)))


def forms(texts):
    """The same counts in every form that the selector reads."""
    return {"sparse": HashedNGrams(texts), "dense": dense(texts), "source": Listed(dense(texts))}


@pytest.mark.oracle
@pytest.mark.parametrize("target_form", ["sparse", "dense", "source"])
@pytest.mark.parametrize("form", ["sparse", "dense", "source"])
def test_the_weights_are_those_of_the_reference_package(form, target_form):
    pool = Pool(forms(RAW)[form], target_samples=forms(TARGET)[target_form])
    weights = DSIRSelector().log_weights(pool)
    expected = torch.tensor(REFERENCE_WEIGHTS, dtype=torch.float64)
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("form", ["sparse", "dense", "source"])
@pytest.mark.parametrize("tokens", [0, 5, 6, 9, 10, 11, 16])
def test_the_length_filter_is_the_reference_packages(tokens, form):
    pool = Pool(forms(RAW)[form], target_samples=HashedNGrams(TARGET))
    left = [i for i, length in enumerate(REFERENCE_LENGTHS) if length >= tokens]
    selector = DSIRSelector(min_tokens=tokens, top_k=True)
    chosen = selector.select(pool, len(left), generator=generator(100)).tolist()
    assert chosen == sorted(left, key=lambda i: -REFERENCE_WEIGHTS[i])
    with pytest.raises(ValueError, match=rf"the {len(left)} items of at least min_tokens={tokens}|pool's 4 items"):
        selector.select(pool, len(left) + 1, generator=generator(100))


@pytest.mark.oracle
@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_lengths_follow_from_counts_of_any_order(ngrams):
    texts = [" ".join("abcdefgh"[:length]) for length in range(ngrams, 9)]
    counted, target = HashedNGrams(texts, ngrams), HashedNGrams(["a b c"], ngrams)
    for features in (counted, counted.fetch(torch.arange(len(texts)))):
        selector = DSIRSelector(min_tokens=6, ngrams=ngrams, top_k=True)
        chosen = selector.select(Pool(features, target_samples=target), 3, generator=generator(100))
        assert sorted(counted.lengths[chosen].tolist()) == [6, 7, 8]


@pytest.mark.oracle
def test_draws_follow_sequential_sampling_by_weight(monkeypatch):
    # Every item is a bucket of its own, so that its weight is in proportion to the target's count of it.
    target = torch.tensor([[1.0, 2.0, 3.0, 5.0, 8.0, 13.0]], dtype=torch.float64)
    pool, draws = Pool(torch.eye(6, dtype=torch.float64), target_samples=target), generator(100)
    selector = DSIRSelector(min_tokens=0)
    once = selector._weights_and_tokens(pool)
    monkeypatch.setattr(selector, "_weights_and_tokens", lambda _: once)  # the same every time: the draws are tested
    drawn = torch.stack([selector.select(pool, 2, generator=draws) for _ in range(20_000)])
    w = (target[0] / target.sum()).tolist()
    law = [w[i] * w[j] / (1 - w[i]) for i, j in itertools.permutations(range(6), 2)]
    places = {pair: c for c, pair in enumerate(itertools.permutations(range(6), 2))}
    counts = torch.bincount(torch.tensor([places[tuple(pair)] for pair in drawn.tolist()]), minlength=30)
    assert chi_square_fit(counts, law).p > 1e-4  # 30 ordered pairs: the order is tested with the sets


def test_a_shorter_choice_begins_a_longer_one():
    pool = Pool(HashedNGrams(RAW), target_samples=HashedNGrams(TARGET))
    chosen = [DSIRSelector(min_tokens=0).select(pool, k, generator=generator(100)).tolist() for k in (2, 4)]
    assert chosen[0] == chosen[1][:2]


@pytest.mark.oracle
def test_smoothing_adds_to_the_targets_counts_alone():
    features = torch.tensor([[3.0, 1.0], [0.0, 4.0]], dtype=torch.float64)
    pool = Pool(features, target_samples=torch.tensor([[5.0, 0.0]], dtype=torch.float64))
    p = torch.tensor([7 / 9, 2 / 9], dtype=torch.float64)
    q = torch.tensor([3 / 8, 5 / 8], dtype=torch.float64)
    expected = features @ ((p + 1e-8).log() - (q + 1e-8).log())
    torch.testing.assert_close(DSIRSelector(smoothing=2).log_weights(pool), expected, rtol=1e-12, atol=0)


def test_integer_counts_of_the_target_are_taken():
    pool = Pool(dense(RAW), target_samples=dense(TARGET).long())
    assert torch.equal(
        DSIRSelector().log_weights(pool),
        DSIRSelector().log_weights(Pool(dense(RAW), target_samples=dense(TARGET))),
    )


def test_text_of_the_targets_kind_is_chosen():
    prose = ["the ship sailed over the sea and the wind rose", "a storm broke the mast of the ship"] * 10
    code = ["for i in range ( n ) : x [ i ] = i", "return x + y if x else None"] * 10
    pool = Pool(HashedNGrams(code + prose), target_samples=HashedNGrams(["the wind broke over the sea", "a ship rose"]))
    chosen = DSIRSelector(min_tokens=0).select(pool, 15, generator=generator(100))
    assert chosen.min() >= 20


COUNTS = torch.ones(3, 4)


@pytest.mark.parametrize(
    ("features", "target", "error", "message"),
    [
        (COUNTS, torch.ones(2, 5), ValueError, "target_samples must have the width of features, 4, got 5"),
        (COUNTS, HashedNGrams(["a"]), ValueError, "target_samples must have the width of features, 4, got 10000"),
        (COUNTS, torch.ones(4), ValueError, r"target_samples must be 2-D .* shape \(4,\)"),
        (COUNTS, torch.ones(0, 4), ValueError, "target_samples must hold at least 1 item"),
        (COUNTS, torch.zeros(2, 4), ValueError, "target_samples must hold one n-gram or more"),
        (COUNTS * 0, COUNTS, ValueError, "features must hold one n-gram or more"),
        (COUNTS, -COUNTS, ValueError, "target_samples must hold counts of at least 0, got -1"),
        (-COUNTS, COUNTS, ValueError, "features must hold counts of at least 0, got -1"),
        (COUNTS, COUNTS * torch.inf, ValueError, "target_samples must be finite, but item 0 is not"),
        (Listed(COUNTS / 0), COUNTS, ValueError, "features must be finite, but item 0 is not"),
        (COUNTS, ["a text"], TypeError, "target_samples must be a tensor, a HashedNGrams or .* got list"),
        (HashedNGrams(RAW), HashedNGrams(TARGET, 3), ValueError, "count n-grams up to 2 as features do, got 3"),
    ],
)
def test_bad_counts_are_named(features, target, error, message):
    with pytest.raises(error, match=message):
        DSIRSelector(min_tokens=0).select(Pool(features, target_samples=target), 1, generator=generator(100))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"smoothing": -1.0}, ValueError, "smoothing must be .* got -1"),
        ({"smoothing": float("inf")}, ValueError, "smoothing must be .* got inf"),
        ({"smoothing": "0"}, TypeError, "smoothing must be a number, got str"),
        ({"min_tokens": -1}, ValueError, "min_tokens must be at least 0, got -1"),
        ({"min_tokens": 10.0}, TypeError, "min_tokens must be an int, got float"),
        ({"ngrams": 0}, ValueError, "ngrams must be at least 1, got 0"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        DSIRSelector(**options)
