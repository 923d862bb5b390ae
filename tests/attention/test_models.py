import pytest
import torch
from small_llamas import llama, tokens
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    DynamicCache,
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    StaticCache,
    T5Config,
    T5ForConditionalGeneration,
)

from selectlib.attention._models import check_model, check_pair, crop_cache

SIZE = dict(
    vocab_size=11,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
)


class Vocabulary:
    def __init__(self, **numbers):
        self.numbers = numbers

    def get_vocab(self):
        return self.numbers


def test_the_llama_family_passes():
    check_model(llama(1, 2, 1))
    check_model(MistralForCausalLM(MistralConfig(sliding_window=None, **SIZE)))
    check_model(Qwen2ForCausalLM(Qwen2Config(**SIZE)))
    check_model(Qwen3ForCausalLM(Qwen3Config(**SIZE)))


def test_other_attention_is_refused():
    with pytest.raises(ValueError, match="sliding_window=7"):
        check_model(MistralForCausalLM(MistralConfig(sliding_window=7, **SIZE)))
    windowed = Qwen2Config(use_sliding_window=True, sliding_window=7, max_window_layers=1, **SIZE)
    with pytest.raises(ValueError, match="layers of sliding_attention"):
        check_model(Qwen2ForCausalLM(windowed))
    with pytest.raises(ValueError, match="Gemma2ForCausalLM"):
        check_model(Gemma2ForCausalLM(Gemma2Config(**SIZE)))
    capped = Gemma2Config(layer_types=["full_attention"] * 2, **SIZE)
    with pytest.raises(ValueError, match="caps its attention scores"):
        check_model(Gemma2ForCausalLM(capped))
    with pytest.raises(ValueError, match="BloomForCausalLM does not take its attention"):
        check_model(BloomForCausalLM(BloomConfig(vocab_size=11, hidden_size=8, n_layer=1, n_head=2)))
    with pytest.raises(ValueError, match=r"T5\w+ (has an encoder|does not take)"):
        check_model(
            T5ForConditionalGeneration(T5Config(vocab_size=11, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
        )
    with pytest.raises(TypeError, match="Linear"):
        check_model(torch.nn.Linear(1, 1))


def test_a_static_cache_is_refused():
    model = llama(1, 2, 1)
    model.generation_config.cache_implementation = "static"
    with pytest.raises(ValueError, match="'static'"):
        check_model(model)
    with pytest.raises(TypeError, match="StaticLayer"):
        crop_cache(StaticCache(config=model.config, max_cache_len=8), 0)


def test_pairs_share_a_vocabulary():
    draft, target = llama(1, 2, 1, vocab=9), llama(2, 4, 2, vocab=9)
    check_pair(draft, target)
    check_pair(draft, target, tokenizers=(Vocabulary(a=0, b=1), Vocabulary(b=1, a=0)))
    with pytest.raises(ValueError, match="9 and 10 tokens"):
        check_pair(draft, llama(1, 2, 1, vocab=10))
    with pytest.raises(ValueError, match="'b' is 1 for the draft and 2 for the target"):
        check_pair(draft, target, tokenizers=(Vocabulary(a=0, b=1), Vocabulary(a=0, b=2)))
    with pytest.raises(ValueError, match="'c' is None"):
        check_pair(draft, target, tokenizers=(Vocabulary(a=0), Vocabulary(a=0, c=2)))


@pytest.mark.oracle
@pytest.mark.parametrize("length", [0, 1, 6, 9])
def test_a_cropped_cache_is_the_cache_of_the_shorter_text(length):
    model = llama(2, 4, 2)
    text = tokens(model, 12)
    cache = model(text[:, :9], cache=DynamicCache()).cache
    crop_cache(cache, length)
    assert cache.get_seq_length() == length
    expected = model(text[:, : length + 3]).logits[:, length:]
    torch.testing.assert_close(model(text[:, length : length + 3], cache=cache).logits, expected, atol=1e-5, rtol=0)


def test_a_cache_is_not_cropped_to_more_than_it_holds():
    cache = DynamicCache()
    cache.update(torch.ones(1, 1, 4, 2), torch.ones(1, 1, 4, 2), 0)
    for length in (-1, 5):
        with pytest.raises(ValueError, match="0 to the 4 tokens"):
            crop_cache(cache, length)
    assert cache.get_seq_length() == 4
