"""The planted pool: what each kind is, by definition."""

import pytest
import torch

from selectlib.data import PlantedReversal, planted_reversal
from selectlib.seeding import generator


@pytest.fixture(scope="module")
def made():
    return planted_reversal(generator=generator(100))


def halves(tokens):
    return tokens[:, 1:7], tokens[:, 8:]


@pytest.mark.oracle
def test_each_kind_is_what_its_name_says(made):
    counts = made.kinds.bincount().tolist()
    assert counts == [800, 3200, 1600, 2400] and len(made.names) == 4
    correct, wrong, copy, other = (made.pool[made.kinds == kind] for kind in range(4))
    for tokens in (correct, wrong, copy, made.targets, made.held_out):
        assert bool((tokens[:, 0] == 0).all()) and bool((tokens[:, 7] == 1).all())
        question, answer = halves(tokens)
        assert bool(((question >= 2) & (question < 32)).all())
        assert torch.equal(question.sort(1).values, answer.sort(1).values)
    for tokens in (correct, made.targets, made.held_out):
        question, answer = halves(tokens)
        assert torch.equal(question.flip(1), answer)
    for tokens in (wrong, copy):
        question, answer = halves(tokens)
        assert bool((question.flip(1) != answer).any(1).all())
    question, answer = halves(copy)
    assert torch.equal(question, answer)
    assert other.shape == (2400, 14) and int(other.min()) == 32 and int(other.max()) == 61
    assert made.vocab_size == 62


@pytest.mark.oracle
def test_no_question_occurs_twice(made):
    like = made.pool[made.kinds != 3]
    questions = torch.cat([halves(tokens)[0] for tokens in (like, made.targets, made.held_out)])
    assert len(questions.unique(dim=0)) == len(questions) == 5600 + 1300


@pytest.mark.oracle
def test_symbols_and_wrong_orders_are_uniform(made):
    question, answer = halves(made.pool[made.kinds == 1])
    for position in range(6):
        counts = (question[:, position] - 2).bincount(minlength=30).double()
        assert float(((counts - 3200 / 30) ** 2 / (3200 / 30)).sum()) < 78  # chi-square, 29 degrees: p = 2e-6
    first = (answer[:, :1] == question).double()
    distinct = (question.sort(1).values.diff(dim=1) != 0).all(1)
    counts = first[distinct].sum(0)
    expected = len(first[distinct]) / 6
    assert float(((counts - expected) ** 2 / expected).sum()) < 37  # 5 degrees: p = 6e-7
    order = made.kinds.double()
    assert abs(float(torch.corrcoef(torch.stack([order, torch.arange(8000.0).double()]))[0, 1])) < 0.05


def test_the_same_seed_makes_the_same_pool(made):
    again = planted_reversal(generator=generator(100))
    assert torch.equal(again.pool, made.pool) and torch.equal(again.held_out, made.held_out)
    assert not torch.equal(planted_reversal(generator=generator(101)).pool, made.pool)


def test_answers_and_words(made):
    tokens = torch.tensor([[0, 2, 3, 4, 5, 6, 7, 1, 7, 6, 5, 4, 3, 2]])
    same, mask = PlantedReversal.answers(tokens)
    assert torch.equal(same, tokens) and mask.tolist() == [[False] * 8 + [True] * 6]
    assert made.words(tokens + 30 * (tokens > 1)) == ["ask o0 o1 o2 o3 o4 o5 answer o5 o4 o3 o2 o1 o0"]


@pytest.mark.oracle
def test_questions_may_have_another_length_and_vocabulary():
    other = planted_reversal(1_000, length=5, symbols=40, targets=50, held_out=60, generator=generator(100))
    assert other.pool.shape == (1_000, 12) and other.vocab_size == 82 and int(other.pool.max()) == 81
    right = other.pool[other.kinds == 0]
    assert torch.equal(right[:, 1:6].flip(1), right[:, 7:]) and int(right[:, 1:6].max()) == 41
    _, mask = other.answers(right)
    assert mask.sum(1).eq(5).all() and bool(mask[:, -5:].all())
    assert other.words(right[:1])[0].split()[6] == "answer"


def test_too_few_questions_are_an_error():
    with pytest.raises(ValueError, match="3 symbols in questions of length 2 make 9 questions"):
        planted_reversal(100, length=2, symbols=3, targets=1, held_out=1, generator=generator(100))


@pytest.mark.parametrize("given", [{"n": 9}, {"length": 1}, {"symbols": 1}, {"targets": 0}, {"held_out": 0}])
def test_sizes_are_checked(given):
    with pytest.raises(ValueError, match=f"{next(iter(given))} must be at least"):
        planted_reversal(**given, generator=generator(100))
