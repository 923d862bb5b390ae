import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from selectlib.attention._break_even import break_even, break_even_length, weight_bytes

LLAMA_2_7B = LlamaConfig(
    vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("length", "gigabytes", "saving", "kv_4090", "kv_h100"),
    [
        (2048, 1.07, 5.8, 1.07, 0.32),
        (8192, 4.29, 18.9, 4.26, 1.28),
        (32768, 17.2, 43.7, 17.0, 5.13),
        (131072, 68.7, 65.2, 68.2, 20.5),
    ],
)
def test_the_table_of_llama_2(length, gigabytes, saving, kv_4090, kv_h100):
    for bandwidth, weights_ms, kv_ms in ((1.008e12, 13.37, kv_4090), (3.35e12, 4.02, kv_h100)):
        (row,) = break_even(LLAMA_2_7B, [length], 0.78, bandwidth, 0.0, dtype=torch.float16)
        assert row.weight_bytes / 1e9 == pytest.approx(13.48, abs=0.005)
        assert row.kv_bytes / 1e9 == pytest.approx(gigabytes, rel=0.005)
        assert 100 * row.saving == pytest.approx(saving, abs=0.051)
        assert row.weight_ms == pytest.approx(weights_ms, abs=0.006)
        assert row.kv_ms == pytest.approx(kv_ms, rel=0.005)
        assert row.saved_ms == pytest.approx(0.78 * row.kv_ms)
        assert row.speedup == pytest.approx(1 / (1 - row.saving))  # the bound, where masks are free


@pytest.mark.oracle
@pytest.mark.parametrize("tied", [False, True])
def test_weights_are_those_of_the_model(tied):
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    numbers = sum(parameter.numel() for parameter in LlamaForCausalLM(config).parameters())
    assert weight_bytes(config, torch.bfloat16) == 2 * numbers
    assert weight_bytes(config) == 4 * numbers


@pytest.mark.oracle
def test_at_the_break_even_length_nothing_is_gained():
    length = break_even_length(LLAMA_2_7B, 0.7, 3.35e12, 1e-3, dtype=torch.float16)
    less, more = break_even(LLAMA_2_7B, [int(length), int(length) + 1], 0.7, 3.35e12, 1e-3, dtype=torch.float16)
    assert less.speedup <= 1 < more.speedup
    assert less.mask_ms == 1.0
    assert break_even_length(LLAMA_2_7B, 0.0, 3.35e12, 1e-3) == float("inf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([8], 1.2, 1e12, 0.0), "reduction"),
        (([8], -0.1, 1e12, 0.0), "reduction"),
        (([8], 0.5, 0.0, 0.0), "bandwidth"),
        (([8], 0.5, 1e12, -1.0), "mask_cost"),
        (([-8], 0.5, 1e12, 0.0), "lengths"),
    ],
)
def test_bad_numbers_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        break_even(LLAMA_2_7B, *arguments)
