import json
from pathlib import Path

import pytest
import torch
import transformers

from selectlib.attention import _tiny_pair
from selectlib.attention._load_pair import load_pair
from selectlib.attention._needles import needle_names
from selectlib.attention._tiny_pair import (
    CONTEXT,
    CURRICULA,
    FOLDER,
    TEXT_LESSONS,
    retrain_tiny_draft,
    tiny_draft_after_text,
    tiny_llama_pair,
    tiny_texts,
)
from selectlib.attention._tiny_quality import answer_accuracy, text_perplexity
from selectlib.attention._tiny_training import Lesson, new_llama, train_on_needles, train_on_text
from selectlib.data import topic_texts

SMALL = {"width": 16, "layers": 1, "heads": 2, "kv_heads": 1, "hidden": 32, "context": 64}


def same(first, second) -> bool:
    weights = second.state_dict()
    return all(torch.equal(w, weights[name]) for name, w in first.state_dict().items())


def test_shapes_precision_and_vocabulary():
    pair = tiny_llama_pair()
    for model in (pair.draft, pair.target):
        assert not model.training and {p.dtype for p in model.parameters()} == {torch.float32}
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert model.config.vocab_size == pair.tokenizer.get_vocab_size() == 648
        assert model.generation_config.eos_token_id is None  # token 2 is a byte of text
    assert [pair.tokenizer.id_to_token(512 + i) for i in range(136)] == needle_names()
    text = "if x < 3.5: print('ü')"
    assert pair.tokenizer.decode(pair.tokenizer.encode(text).ids) == text


def test_quality_is_what_the_provenance_says():
    pair = tiny_llama_pair()
    said = pair.provenance["measured_on_held_out_text"]
    train, held_out = tiny_texts(pair.tokenizer)
    for name, model in (("draft", pair.draft), ("target", pair.target)):
        found = answer_accuracy(model, held_out, n=12, length=CONTEXT, seed=150)
        assert found > 0.9 and said[name]["accuracy"] > 0.95
        if topic_texts().sha256 == pair.provenance["training_text"]["sha256"]:
            measured = text_perplexity(model, held_out, length=CONTEXT)
            assert measured == pytest.approx(said[name]["perplexity"], rel=0.01)  # half-precision weights
    text_only = tiny_draft_after_text()
    assert answer_accuracy(text_only, held_out, n=12, length=CONTEXT, seed=150) < 0.2
    assert len(train) > 5 * len(held_out)


def test_provenance_names_this_recipe_and_every_file():
    made = tiny_llama_pair().provenance
    assert made["text_lessons"] == {name: vars(lesson) for name, lesson in TEXT_LESSONS.items()}
    assert made["curricula"] == {name: [vars(lesson) for lesson in lessons] for name, lessons in CURRICULA.items()}
    files = {f.relative_to(FOLDER).as_posix() for f in FOLDER.rglob("*") if f.is_file()}
    assert files == set(made["files"]) | {"provenance.json"}
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file()) < 2**21


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    for name in json.loads((FOLDER / "provenance.json").read_text())["files"] | {"provenance.json": ""}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(Path(FOLDER / name).read_bytes())
    monkeypatch.setattr(_tiny_pair, "FOLDER", tmp_path)
    assert same(tiny_llama_pair().target, tiny_llama_pair().target)
    weights = bytearray((tmp_path / "target/model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "target/model.safetensors").write_bytes(weights)
    with pytest.raises(ValueError, match=r"target/model\.safetensors of the tiny pair must have the checksum"):
        tiny_llama_pair()


def test_files_are_in_the_hubs_format(tmp_path):
    transformers.utils.logging.disable_progress_bar()
    pair = tiny_llama_pair()
    for name in ("draft", "target"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "model.safetensors"):
            (tmp_path / name / file).write_bytes((FOLDER / name / file).read_bytes())
        transformers.PreTrainedTokenizerFast(tokenizer_object=pair.tokenizer).save_pretrained(tmp_path / name)
    loaded = load_pair(tmp_path / "draft", tmp_path / "target", device="cpu", dtype=torch.float32)
    assert same(loaded.draft, pair.draft) and same(loaded.target, pair.target)
    assert loaded.tokenizer.get_vocab() == pair.tokenizer.get_vocab()


def test_loading_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    tiny_llama_pair(pretrained=False)
    tiny_llama_pair()
    assert torch.equal(state, torch.random.get_rng_state())


def test_untrained_pair_has_the_same_form():
    pair, trained = tiny_llama_pair(pretrained=False), tiny_llama_pair()
    assert pair.tokenizer.get_vocab_size() == 648 and not pair.provenance
    assert [w.shape for w in pair.target.parameters()] == [w.shape for w in trained.target.parameters()]
    assert not same(pair.draft, trained.draft)


def test_retraining_is_decided_by_the_seed_and_starts_from_text():
    train, _ = tiny_texts(tiny_llama_pair().tokenizer)
    short = (Lesson(32, 8, 3), Lesson(64, 4, 2))
    first, again, other = (retrain_tiny_draft(train, seed, curriculum=short) for seed in (100, 100, 101))
    assert same(first, again) and not same(first, other)
    start = tiny_draft_after_text()
    change = max(
        float((a - b).detach().abs().max()) for a, b in zip(first.parameters(), start.parameters(), strict=True)
    )
    assert 0 < change < 0.1


def test_needles_are_learned_from_short_to_long():
    model = new_llama(16, seed=100, **SMALL)
    text, sizes = torch.arange(500) % 7, {"classes": 2, "entities": 3, "vocab_size": 7}
    assert answer_accuracy(model, text, n=15, length=32, seed=101, **sizes) < 0.7
    train_on_needles(model, text, [Lesson(12, 8, 80), Lesson(32, 8, 50)], seed=100, **sizes)
    assert answer_accuracy(model, text, n=15, length=32, seed=101, **sizes) > 0.9


def test_the_text_stage_leaves_the_needles_rows_alone():
    model = new_llama(20, seed=100, **SMALL)
    before = model.model.embed_tokens.weight.detach().clone()
    train_on_text(model, torch.arange(400) % 9, Lesson(16, 4, 5), seed=100, vocab_size=12)
    after = model.model.embed_tokens.weight.detach()
    assert torch.equal(before[12:], after[12:]) and not torch.equal(before[:9], after[:9])


def test_perplexity_by_hand():
    model = new_llama(20, seed=100, **SMALL)
    tokens = torch.randint(20, (70,), generator=torch.Generator().manual_seed(100))
    losses = []
    for window in tokens[:64].view(4, 16):
        laws = model(input_ids=window[None]).logits[0].log_softmax(-1)
        losses += [-laws[i, window[i + 1]] for i in range(15)]
    expected = torch.stack(losses).mean().exp()
    assert text_perplexity(model, tokens, length=16, batch=3) == pytest.approx(expected.item(), rel=1e-5)


def test_bad_arguments_are_named():
    model = new_llama(20, seed=100, **SMALL)
    text = torch.arange(30) % 9
    with pytest.raises(ValueError, match="longer than an excerpt of 30"):
        train_on_text(model, text, Lesson(30, 1, 1), seed=100)
    with pytest.raises(ValueError, match="curriculum"):
        train_on_needles(model, text, [], seed=100)
    with pytest.raises(ValueError, match="vocabulary of 648 tokens, got 20"):
        train_on_needles(model, text, [Lesson(32, 1, 1)], seed=100)
    with pytest.raises(ValueError, match="window of 31"):
        text_perplexity(model, text, length=31)


@pytest.mark.cuda
def test_training_on_cuda_in_bfloat16():
    model = new_llama(16, seed=100, **SMALL).cuda()
    text, sizes = torch.arange(500) % 7, {"classes": 2, "entities": 3, "vocab_size": 7}
    train_on_text(model, text, Lesson(16, 8, 80), seed=100, vocab_size=7)
    assert text_perplexity(model, text, length=16) < 4
    train_on_needles(model, text, [Lesson(12, 8, 60), Lesson(24, 8, 60)], seed=100, **sizes)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert answer_accuracy(model, text, n=8, length=24, seed=101, **sizes) > 0.3
