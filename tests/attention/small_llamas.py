import torch
from transformers import LlamaConfig, LlamaForCausalLM


def llama(
    layers: int, heads: int, kv_heads: int, *, width: int = 32, vocab: int = 61, seed: int = 100, **config
) -> LlamaForCausalLM:
    """A random Llama on the CPU in float32 whose attention is peaked: what is left out of it shows in the logits.

    The forward takes the cache as `cache=`; the older name `past_key_values` makes transformers warn.
    """
    settings = {"intermediate_size": 2 * width, "max_position_embeddings": 4096, "attn_implementation": "sdpa"} | config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocab,
                hidden_size=width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_key_value_heads=kv_heads,
                bos_token_id=None,
                eos_token_id=None,
                **settings,
            )
        )
    return sharpen(model)


def sharpen(model: torch.nn.Module) -> torch.nn.Module:
    """Give matrices entries of variance 1 / inputs, three times as much in queries and keys."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                scale = 3.0 if "q_proj" in name or "k_proj" in name else 1.0
                weight.mul_(scale / weight.shape[1] ** 0.5 / weight.std())
    return model.eval().requires_grad_(False)


def tokens(model: torch.nn.Module, count: int, *, batch: int = 1, seed: int = 100) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.config.vocab_size, (batch, count), generator=generator)
