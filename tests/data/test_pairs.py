from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from selectlib.data import encode_pairs, load_targets


class Letters:
    """A tokenizer of one token a letter: its place in the alphabet, from 1."""

    def encode(self, text, /):
        return SimpleNamespace(ids=[ord(letter) - 96 for letter in text])


@pytest.fixture(scope="module")
def bytes_bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat, and the dog on the log"] * 3, trainer)
    return tokenizer


def test_contexts_lose_their_beginning_and_rows_are_filled_up():
    tokens, target_mask = encode_pairs([("abc", "xy"), ("a", "x"), ("abcdef", "wxyz"), ("ab", "xyz")], Letters(), 5)
    assert tokens.tolist() == [[1, 2, 3, 24, 25], [1, 24, 0, 0, 0], [6, 23, 24, 25, 26], [1, 2, 24, 25, 26]]
    assert target_mask.int().tolist() == [[0, 0, 0, 1, 1], [0, 1, 0, 0, 0], [0, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    assert (tokens.dtype, target_mask.dtype) == (torch.int64, torch.bool)


def test_padding_is_chosen_and_never_counted():
    tokens, target_mask = encode_pairs([("a", "x")], Letters(), 4, padding=24)
    assert tokens.tolist() == [[1, 24, 24, 24]]
    assert target_mask.tolist() == [[False, True, False, False]]


@pytest.mark.oracle
@given(
    pairs=st.lists(
        st.tuples(st.text("abc", min_size=1, max_size=9), st.text("xyz", min_size=1, max_size=4)),
        min_size=1,
        max_size=5,
    ),
    length=st.integers(5, 12),
)
def test_what_is_counted_is_the_answer_and_what_is_before_it_ends_the_context(pairs, length):
    tokens, target_mask = encode_pairs(pairs, Letters(), length)
    assert tokens.shape == target_mask.shape == (len(pairs), length)
    assert not target_mask[:, 0].any()
    for (context, answer), row, mask in zip(pairs, tokens, target_mask, strict=True):
        written = "".join(chr(96 + token) for token in row.tolist() if token)
        assert (context + answer).endswith(written) and len(written) == min(length, len(context + answer))
        assert row[mask].tolist() == Letters().encode(answer).ids
        assert mask.nonzero().flatten().tolist() == list(range(len(written) - len(answer), len(written)))


def test_with_a_tokenizer_of_the_library(bytes_bpe):
    pairs = [("the cat sat on the", " mat"), ("the dog", " sat"), ("über", " alles — ok")]
    tokens, target_mask = encode_pairs(pairs, bytes_bpe, 40)
    for (context, answer), row, mask in zip(pairs, tokens, target_mask, strict=True):
        end = int(mask.nonzero().max()) + 1
        assert bytes_bpe.decode(row[mask].tolist()) == answer
        assert bytes_bpe.decode(row[:end].tolist()) == context + answer


def test_a_real_task(real_data, bytes_bpe):
    task = load_targets("lambada")
    tokens, target_mask = encode_pairs(task.target[:50], bytes_bpe, 64)
    assert tokens.shape == (50, 64)
    for (_, answer), row, mask in zip(task.target[:50], tokens, target_mask, strict=True):
        assert bytes_bpe.decode(row[mask].tolist()) == answer
        assert mask[-1]  # these passages are longer than the row, and lose their beginning


@pytest.mark.parametrize(
    ("pairs", "length", "message"),
    [
        ([], 5, "pairs must hold at least one pair"),
        ([("a", "x")], 1, "length must be at least 2, got 1"),
        ([("a", "x"), ("", "x")], 5, r"pairs\[1\] must have at least 1 token of context .* got 0 and 1"),
        ([("a", "")], 5, r"pairs\[0\] must have .* from 1 to 4 of answer, .* got 1 and 0"),
        ([("a", "vwxyz")], 5, r"pairs\[0\] must have .* from 1 to 4 of answer, as length is 5, got 1 and 5"),
    ],
)
def test_wrong_pairs_are_named(pairs, length, message):
    with pytest.raises(ValueError, match=message):
        encode_pairs(pairs, Letters(), length)


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="padding must be a token, at least 0, got -100"):
        encode_pairs([("a", "x")], Letters(), 5, padding=-100)


def test_a_tokenizer_with_special_tokens_is_refused(bytes_bpe):
    special = Tokenizer.from_str(bytes_bpe.to_str())
    special.add_special_tokens(["<s>"])
    begin = special.token_to_id("<s>")
    special.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    with pytest.raises(ValueError, match=rf"must not add special tokens, but the empty text has \[{begin}\]"):
        encode_pairs([("the", " cat")], special, 5)
