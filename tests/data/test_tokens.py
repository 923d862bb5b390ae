"""The tokenizer and the sequences cut with it."""

import sys

import pytest
import torch

from selectlib.data import sequences, topic_texts, train_bpe


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(topic_texts().texts, vocab_size=512)


def test_any_text_survives_the_round_trip(tokenizer):
    for text in (topic_texts().texts[3][:500], "naïve – 東京\t\n\x00", "  two  spaces"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.get_vocab_size() == 512


def test_training_again_gives_the_same_tokens(tokenizer):
    assert train_bpe(topic_texts().texts, vocab_size=512).to_str() == tokenizer.to_str()


def test_common_words_become_few_tokens(tokenizer):
    text = "the value of the object"
    assert len(tokenizer.encode(text).ids) < len(text) / 2


@pytest.mark.oracle
def test_sequences_are_the_texts_cut_up(tokenizer):
    texts = topic_texts().texts[:6]
    tokens, origin = sequences(tokenizer, texts, 17)
    assert tokens.dtype == torch.int64 and tokens.shape == (len(origin), 17)
    for i, text in enumerate(texts):
        ids = torch.tensor(tokenizer.encode(text).ids)
        whole = len(ids) // 17 * 17
        assert torch.equal(tokens[origin == i].flatten(), ids[:whole])
    assert torch.equal(origin, origin.sort().values)


def test_errors_name_the_argument(tokenizer):
    with pytest.raises(ValueError, match="vocab_size must be at least the 256 bytes, got 255"):
        train_bpe(["a"], vocab_size=255)
    with pytest.raises(ValueError, match="texts give only 256 tokens, not vocab_size=300"):
        train_bpe(["a"], vocab_size=300)
    with pytest.raises(ValueError, match="length must be at least 1"):
        sequences(tokenizer, ["a"], 0)
    with pytest.raises(ValueError, match="one of 99 tokens or more; all 2 are shorter"):
        sequences(tokenizer, ["a", "b"], 99)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"what-to-keep\[hf\]"):
        train_bpe(["a"])
