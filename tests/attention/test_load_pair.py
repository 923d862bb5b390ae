import pytest
import torch
import transformers
from small_llamas import llama
from tokenizers import Tokenizer

from selectlib.attention._load_pair import load_pair
from selectlib.data import train_bpe

TEXTS = ["the theory of the other, and the other theory"] * 3


@pytest.fixture(autouse=True)
def _quiet():
    before = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    yield
    if before:
        transformers.utils.logging.enable_progress_bar()


def _save(folder, model, tokenizer: Tokenizer):
    """A model and its tokenizer as the hub has them."""
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return folder


def _pair(tmp_path, draft_vocabulary=264, target_vocabulary=264):
    draft = _save(tmp_path / "draft", llama(1, 2, 1, vocab=draft_vocabulary), train_bpe(TEXTS, draft_vocabulary))
    target = llama(2, 4, 2, vocab=target_vocabulary, seed=101)
    return draft, _save(tmp_path / "target", target, train_bpe(TEXTS, target_vocabulary)), target


def test_a_saved_pair_comes_back_as_it_was(tmp_path):
    draft, target, model = _pair(tmp_path)
    pair = load_pair(draft, str(target), device="cpu", dtype=torch.float32)
    ids = torch.tensor([pair.tokenizer.encode("the other", add_special_tokens=False).ids])
    assert pair.tokenizer.decode(ids[0].tolist()) == "the other"
    assert torch.equal(pair.target(ids).logits, model(ids).logits)
    assert (pair.draft.config.num_hidden_layers, pair.target.config.num_hidden_layers) == (1, 2)
    assert not pair.draft.training and not pair.target.training


def test_half_precision_is_the_default(tmp_path):
    draft, target, _ = _pair(tmp_path)
    pair = load_pair(draft, target, device="cpu")
    assert {p.dtype for p in pair.target.parameters()} == {torch.bfloat16}


def test_other_vocabularies_are_refused(tmp_path):
    draft, target, _ = _pair(tmp_path, target_vocabulary=265)
    with pytest.raises(ValueError, match="264 and 265"):
        load_pair(draft, target, device="cpu")


def test_other_tokenizers_of_the_same_size_are_refused(tmp_path):
    draft, target, _ = _pair(tmp_path)
    _save(draft, llama(1, 2, 1, vocab=264), train_bpe(["zebra quiz jazz fizz quizzes"] * 9, 264))
    with pytest.raises(ValueError, match="tokenizers must give each token one number"):
        load_pair(draft, target, device="cpu")


def test_pickled_weights_are_refused(tmp_path):
    draft, target, model = _pair(tmp_path)
    (target / "model.safetensors").unlink()
    torch.save(model.state_dict(), target / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_pair(draft, target, device="cpu")


def test_a_missing_folder_is_named(tmp_path):
    draft, _, _ = _pair(tmp_path)
    with pytest.raises((OSError, ValueError), match="absent"):
        load_pair(draft, tmp_path / "absent", device="cpu")


def test_a_tokenizer_without_a_fast_form_is_refused(tmp_path, monkeypatch):
    draft, target, _ = _pair(tmp_path)
    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "is_fast", False)
    with pytest.raises(ValueError, match="fast form"):
        load_pair(draft, target, device="cpu")
