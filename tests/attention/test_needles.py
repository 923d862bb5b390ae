import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.attention._needles import needle_documents, needle_names

TEXT = torch.arange(5000) * 7 % 512


@pytest.mark.oracle
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 5),
    classes=st.integers(1, 9),
    extra=st.integers(0, 60),
    entities=st.integers(2, 20),
    seed=st.integers(100, 10_000),
)
def test_every_class_is_planted_once_early_and_asked_once_late(n, classes, extra, entities, seed):
    length = 4 * classes + extra
    documents = needle_documents(TEXT, n, length, classes=classes, entities=entities, seed=seed)
    first_ask = 512 + classes * entities
    for ids, answers, needles in zip(documents.ids, documents.answers, documents.needles, strict=True):
        row = ids.tolist()
        facts = [(position, token) for position, token in enumerate(row) if 512 <= token < first_ask]
        early = {(token - 512) // entities: (position, token) for position, token in facts if position < length // 2}
        late = [(position, token) for position, token in facts if position >= length // 2]
        assert len(facts) == 2 * classes and len(early) == classes == len(late)
        assert [position for position, _ in late] == answers.tolist()
        for (position, token), needle in zip(late, needles.tolist(), strict=True):
            asked = row[position - 1] - first_ask
            assert early[asked] == (needle, token)
        assert sum(token >= first_ask for token in row) == classes


def test_filler_is_running_text_and_no_two_documents_share_any():
    text = torch.arange(400)  # every number once: a shared token would show
    documents = needle_documents(text, 6, 48, classes=2, vocab_size=400, seed=100)
    seen = []
    for ids in documents.ids:
        filler = ids[ids < 400]
        assert len(filler) == 48 - 6 and bool((filler.diff() == 1).all())
        seen += filler.tolist()
    assert len(seen) == len(set(seen))


def test_needles_and_asks_fall_everywhere_in_their_half():
    documents = needle_documents(TEXT, 60, 40, classes=4, seed=101)
    assert set(documents.needles.flatten().tolist()) == set(range(20))
    assert set((documents.answers - 1).flatten().tolist()) == set(range(20, 39))


def test_entities_and_orders_are_uniform():
    documents = needle_documents(torch.zeros(2000 * 20, dtype=torch.int64), 2000, 20, classes=2, entities=4, seed=102)
    counts = torch.bincount(documents.targets.flatten() - 512, minlength=8)
    assert ((counts - 500).abs() < 6 * (500 * 0.75) ** 0.5).all()
    first = documents.targets[:, 0] < 516
    assert abs(int(first.sum()) - 1000) < 6 * 500**0.5


def test_seed_decides():
    first, again = (needle_documents(TEXT, 2, 64, seed=100) for _ in range(2))
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.ids, needle_documents(TEXT, 2, 64, seed=101).ids)
    source = torch.Generator().manual_seed(100)
    assert torch.equal(first.ids, needle_documents(TEXT, 2, 64, seed=source).ids)
    assert not torch.equal(first.ids, needle_documents(TEXT, 2, 64, seed=source).ids)


def test_names_match_the_numbers():
    names = needle_names(8, 16)
    assert len(names) == len(set(names)) == 8 * 16 + 8
    assert names[3 * 16 + 5] == "⟨3.5⟩" and names[8 * 16 + 3] == "⟨3?⟩"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 0}, "n and classes"),
        ({"classes": 0}, "n and classes"),
        ({"entities": 1}, "entities"),
        ({"length": 31}, "length must be at least 32"),
        ({"tokens": TEXT.float()}, "int64"),
        ({"tokens": TEXT[:75]}, "hold 2 fillers of 40"),
        ({"tokens": TEXT + 5}, "from 0 to 511"),
    ],
)
def test_bad_sizes_are_named(change, words):
    arguments = {"tokens": TEXT, "n": 2, "length": 64, "seed": 100, **change}
    with pytest.raises(ValueError, match=words):
        needle_documents(arguments.pop("tokens"), arguments.pop("n"), arguments.pop("length"), **arguments)
