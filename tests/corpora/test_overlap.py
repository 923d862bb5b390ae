import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selectlib.corpora import ngram_overlap

THIRTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen"


def grams(text, n):
    words = re.sub(r"[^\w]", " ", text.lower()).split()
    return {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}


def by_sets(pool, evaluation, n):
    wanted = set().union(*(grams(text, n) for text in evaluation))
    return [bool(grams(text, n) & wanted) for text in pool]


texts = st.lists(
    st.lists(st.sampled_from(["a", "b", "B", "c,", "d.\n", "é", "--"]), max_size=8).map(" ".join), max_size=8
)


@pytest.mark.oracle
@given(pool=texts, evaluation=texts, n=st.integers(1, 4))
def test_it_finds_what_sets_of_ngrams_find(pool, evaluation, n):
    if not any(grams(text, n) for text in evaluation):
        with pytest.raises(ValueError, match="eval_texts must hold a text of n"):
            ngram_overlap(pool, evaluation, n)
    else:
        assert ngram_overlap(pool, evaluation, n).tolist() == by_sets(pool, evaluation, n)


@pytest.mark.oracle
def test_planted_runs_in_a_large_pool_are_all_found_and_nothing_else():
    """Words of a natural distribution, so that most of the pool's words are the evaluation's too."""
    rng = np.random.default_rng(100)

    def draw(count):
        words = np.minimum(rng.zipf(1.3, (count, 120)), 20_000)
        return [" ".join(f"w{word}" for word in row) for row in words]

    pool, evaluation = draw(3000), draw(300)
    planted = torch.zeros(len(pool), dtype=torch.bool)
    for row in range(0, len(pool), 7):
        words, source = pool[row].split(), evaluation[row % 300].split()
        length = 13 if row % 2 else 12  # a run that is one word short is no run
        start = int(rng.integers(0, 107))
        words[start : start + length] = source[start : start + length]
        pool[row] = " ".join(words)
        planted[row] = length == 13
    found = ngram_overlap(pool, evaluation)
    assert found.tolist() == by_sets(pool, evaluation, 13)
    assert found[planted].all() and found.sum() < 1.2 * planted.sum()


def test_thirteen_words_in_any_dress():
    pool = [
        f"Before. {THIRTEEN} after",
        THIRTEEN.upper().replace(" ", ",\n-- "),
        THIRTEEN.removesuffix(" thirteen"),
        THIRTEEN.replace("seven", "sieben"),
        THIRTEEN.replace("one two", "two one"),
        "",
    ]
    assert ngram_overlap(pool, [THIRTEEN]).tolist() == [True, True, False, False, False, False]


def test_a_run_does_not_cross_from_text_to_text():
    first, second = THIRTEEN[:30], THIRTEEN[30:]
    assert not ngram_overlap([first, second], [THIRTEEN]).any()
    with pytest.raises(ValueError, match="eval_texts must hold a text of n = 13 words"):
        ngram_overlap([THIRTEEN], [first, second])


def test_order_of_words_counts_for_small_runs_too():
    assert ngram_overlap(["b a", "a b", "a a", "b b"], ["a b"], n=2).tolist() == [False, True, False, False]
    assert ngram_overlap(["b", "a", "c"], ["a b"], n=1).tolist() == [True, True, False]


def test_iterators_and_many_blocks():
    pool = (THIRTEEN if number % 300 == 7 else f"text {number}" for number in range(1000))
    found = ngram_overlap(pool, (text for text in [THIRTEEN]))
    assert found.nonzero().flatten().tolist() == [7, 307, 607, 907]
    assert found.dtype == torch.bool


def test_an_empty_pool():
    assert ngram_overlap([], [THIRTEEN]).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], [THIRTEEN], 0), ValueError, "n must be at least 1, got 0"),
        (([], []), ValueError, "eval_texts must hold a text of n = 13 words"),
        ((THIRTEEN, [THIRTEEN]), TypeError, "pool_texts must be an iterable of str, got one str"),
        (([], THIRTEEN), TypeError, "eval_texts must be an iterable of str, got one str"),
        (([b"bytes"], [THIRTEEN]), TypeError, "pool_texts must be an iterable of str, got bytes among them"),
        (([], [None]), TypeError, "eval_texts must be an iterable of str, got NoneType among them"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        ngram_overlap(*arguments)
