import pytest
import torch
from small_llamas import llama, sharpen, tokens
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    DynamicCache,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    StaticCache,
)

from selectlib.attention._interface import register_sparse_attention
from selectlib.attention._plan import SparsePlan

GATHER = register_sparse_attention("sparse_by_gather", backend="gather")
MASKED = register_sparse_attention("sparse_by_mask", backend="sdpa_mask")
AUTO = register_sparse_attention()
SIZE = dict(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
)
FAMILIES = {
    "llama": lambda: llama(3, 4, 2),
    "mha": lambda: llama(3, 4, 4),
    "mistral": lambda: MistralForCausalLM(MistralConfig(sliding_window=None, **SIZE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZE)),
}


def family(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(100)
        return sharpen(FAMILIES[name]())


def random_masks(layers, g, q, length, *, share=0.3, seed=100):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(g, q, length, generator=generator) < share for _ in range(layers)]


def step(model, name, text, start, **kwargs):
    """Logits of the tokens from `start` on, after a dense prefill."""
    model.set_attn_implementation(name)
    cache = DynamicCache()
    if start:
        model(text[:, :start], cache=cache)
    return model(text[:, start:], cache=cache, **kwargs).logits


def whole_mask(masks, queries, length, *, heads):
    """(heads, t, t): dense before the step, then the step's mask and what is in flight."""
    total = length + queries
    causal = torch.ones(heads, total, total, dtype=torch.bool).tril()
    causal[:, length:, :length] = masks.repeat_interleave(heads // len(masks), 0)
    return causal


@pytest.mark.oracle
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("queries", [1, 2, 5])
def test_both_backends_equal_the_eager_implementation_under_the_same_mask(name, queries):
    model, text = family(name), tokens(llama(1, 2, 1), 30)
    length, hkv = 30 - queries, model.config.num_key_value_heads
    for g in {1, hkv, 4}:
        mask = random_masks(1, g, queries, length)[0]
        full = whole_mask(mask, queries, length, heads=4)
        model.set_attn_implementation("eager")
        bias = torch.zeros(1, 4, 30, 30).masked_fill(~full[None], -torch.inf)
        expected = model(text, attention_mask=bias).logits[:, length:]
        dense = model(text).logits[:, length:]
        assert (expected - dense).abs().max() > 0.1
        for backend in (GATHER, MASKED, AUTO):
            got = step(model, backend, text, length, sparse_plan=SparsePlan([mask] * 3))
            torch.testing.assert_close(got, expected, atol=2e-5, rtol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("g", [1, 2, 4])
@pytest.mark.parametrize("queries", [1, 3, 5])
def test_gather_equals_mask(g, queries):
    model = llama(1, 4, 2)  # one layer: the bound is on attention itself, before layers amplify it
    model.model.layers[0].self_attn.q_proj.weight.div_(9)  # scores of size 1: rounding grows with them
    text = tokens(model, 64)
    masks = random_masks(1, g, queries, 64 - queries)
    got = {}
    for name in (GATHER, MASKED):
        hook = model.model.layers[0].self_attn.o_proj.register_forward_pre_hook(
            lambda module, args, name=name: got.__setitem__(name, args[0])
        )
        step(model, name, text, 64 - queries, sparse_plan=SparsePlan(masks))
        hook.remove()
    assert got[GATHER].shape == (1, queries, 32)
    torch.testing.assert_close(got[GATHER], got[MASKED], atol=1e-6, rtol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("backend", [GATHER, MASKED])
@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("renormalize", [True, False])
def test_everything_kept_is_dense_bit_for_bit(backend, queries, renormalize):
    model = llama(2, 4, 2)
    text = tokens(model, 20)
    everything = torch.ones(1, queries, 20 - queries, dtype=torch.bool)
    plan = SparsePlan([everything, everything], renormalize=renormalize)
    dense = step(model, "sdpa", text, 20 - queries)
    assert torch.equal(step(model, backend, text, 20 - queries, sparse_plan=plan), dense)
    assert torch.equal(step(model, backend, text, 20 - queries, sparse_plan=SparsePlan([None, None])), dense)
    assert torch.equal(step(model, backend, text, 20 - queries), dense)
    assert torch.equal(step(model, backend, text, 20 - queries, layer_hook=lambda view: None), dense)


@pytest.mark.oracle
@pytest.mark.parametrize("backend", [GATHER, MASKED])
def test_an_empty_cache_leaves_only_what_is_in_flight(backend):
    model = llama(2, 4, 2)
    text = tokens(model, 4)
    plan = SparsePlan([torch.zeros(1, 4, 0, dtype=torch.bool)] * 2)
    assert torch.equal(step(model, backend, text, 0, sparse_plan=plan), step(model, "sdpa", text, 0))


@pytest.mark.oracle
@pytest.mark.parametrize("backend", [GATHER, MASKED])
def test_nothing_kept_equals_one_layer_that_sees_only_the_step(backend):
    model = llama(1, 4, 2)
    text = tokens(model, 12)
    plan = SparsePlan([torch.zeros(1, 3, 9, dtype=torch.bool)])
    alone = model(text[:, 9:], position_ids=torch.arange(9, 12)[None]).logits
    torch.testing.assert_close(step(model, backend, text, 9, sparse_plan=plan), alone, atol=1e-5, rtol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("backend", [GATHER, MASKED])
@pytest.mark.parametrize("renormalize", [True, False])
def test_a_padded_batch_gives_each_sequence_what_it_gets_alone(backend, renormalize):
    model = llama(2, 4, 2)
    short, long = tokens(model, 15), tokens(model, 20, seed=101)
    pad, start = 5, 16
    visible = torch.ones(2, 20, dtype=torch.int64)
    visible[0, :pad] = 0
    positions = (visible.cumsum(1) - 1).clamp(min=0)
    text = torch.cat([torch.cat([torch.zeros(1, pad, dtype=torch.int64), short], 1), long])
    masks = random_masks(2, 1, 4, start)
    model.set_attn_implementation(backend)
    cache = DynamicCache()
    model(text[:, :start], attention_mask=visible[:, :start], position_ids=positions[:, :start], cache=cache)
    both = model(
        text[:, start:],
        attention_mask=visible,
        position_ids=positions[:, start:],
        cache=cache,
        sparse_plan=SparsePlan(masks, renormalize=renormalize),
    ).logits
    cut = SparsePlan([mask[..., pad:] for mask in masks], renormalize=renormalize)
    alone = step(model, backend, short, start - pad, sparse_plan=cut)
    torch.testing.assert_close(both[:1], alone, atol=2e-5, rtol=0)
    alone = step(model, backend, long, start, sparse_plan=SparsePlan(masks, renormalize=renormalize))
    torch.testing.assert_close(both[1:], alone, atol=2e-5, rtol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("backend", [GATHER, MASKED])
def test_a_query_sees_its_own_prefix_of_the_read_list_only(backend):
    model = llama(2, 4, 2)
    text = tokens(model, 24)
    before = random_masks(2, 1, 4, 20)
    after = [mask.clone() for mask in before]
    for mask in after:
        mask[:, 2:] = ~mask[:, 2:]
    first, second = (step(model, backend, text, 20, sparse_plan=SparsePlan(masks)) for masks in (before, after))
    torch.testing.assert_close(first[:, :2], second[:, :2], atol=1e-5, rtol=0)
    assert (first[:, 2:] - second[:, 2:]).abs().amax(-1).min() > 0.01


def test_no_layer_waits_for_the_device():
    class Calls(TorchDispatchMode):
        names = ()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names = (*self.names, func.name())
            return func(*args, **(kwargs or {}))

    model = llama(2, 4, 2)
    text = tokens(model, 24)
    with Calls() as made:
        plan = SparsePlan(random_masks(2, 1, 4, 20))
    model.set_attn_implementation(GATHER)
    cache = model(text[:, :20], cache=DynamicCache()).cache
    with Calls() as used:
        model(text[:, 20:], cache=cache, sparse_plan=plan)
    waiting = {"aten::nonzero", "aten::_local_scalar_dense", "aten::item"}
    assert made.names.count("aten::nonzero") == 1  # for both masks together
    assert "aten::index_select" in used.names and not waiting & set(used.names)


@pytest.mark.oracle
def test_without_a_plan_a_padded_batch_is_dense_bit_for_bit():
    model = llama(2, 4, 2)
    text, visible = tokens(model, 9, batch=2), torch.ones(2, 9, dtype=torch.int64)
    visible[0, :3] = 0
    dense = model(text, attention_mask=visible).logits
    model.set_attn_implementation(AUTO)
    assert torch.equal(model(text, attention_mask=visible).logits, dense)


def test_what_a_forward_refuses():
    model = llama(2, 4, 2)
    text = tokens(model, 12)

    def refused(message, *, error=ValueError, start=8, text=text, **kwargs):
        with pytest.raises(error, match=message):
            step(model, GATHER, text, start, **kwargs)

    def plan(g=1, q=4, length=8, layers=2):
        return SparsePlan([torch.zeros(g, q, length, dtype=torch.bool)] * layers)

    refused("each of the 2 layers, got 3", sparse_plan=plan(layers=3))
    refused("4 queries after a cache of 7 tokens, got 4 queries after 8", sparse_plan=plan(length=7))
    refused("3 queries after a cache of 8 tokens, got 4 queries after 8", sparse_plan=plan(q=3))
    refused(r"1, 2 \(KV\) or 4 \(query\) heads, got 3", sparse_plan=plan(g=3))
    refused("cannot both", sparse_plan=plan(), layer_hook=lambda view: None)
    refused("batch of 2", text=tokens(model, 12, batch=2), layer_hook=lambda view: None)
    refused(r"\(1, 2 or 4, 4, 12\), got .* \(1, 4, 8\)", layer_hook=lambda view: torch.ones(1, 4, 8, dtype=torch.bool))
    refused("got torch.float32", layer_hook=lambda view: torch.ones(1, 4, 12))
    with pytest.raises(ValueError, match="auto, gather, sdpa_mask"):
        register_sparse_attention(backend="flex")


def test_a_static_cache_and_dropout_are_refused():
    model = llama(2, 4, 2, attention_dropout=0.1)
    model.set_attn_implementation(GATHER)
    cache = StaticCache(config=model.config, max_cache_len=16)
    model(tokens(model, 8), cache=cache)
    plan = SparsePlan([torch.zeros(1, 4, 8, dtype=torch.bool)] * 2)
    with pytest.raises(ValueError, match="cache of 8 tokens, got 4 queries after 12"):
        model(tokens(model, 4), cache=cache, sparse_plan=plan)
    with pytest.raises(ValueError, match=r"no dropout, got 0\.1"):
        model.train()(tokens(model, 4), layer_hook=lambda view: None)


def test_an_exception_in_a_hook_leaves_the_model_usable():
    model = llama(2, 4, 2)
    text = tokens(model, 10)
    model.set_attn_implementation(AUTO)
    cache = model(text[:, :6], cache=DynamicCache()).cache
    with pytest.raises(ZeroDivisionError):
        model(text[:, 6:], cache=cache, layer_hook=lambda view: 1 / 0)
    model.set_attn_implementation("sdpa")
    dense = model(text).logits[:, 6:]
    torch.testing.assert_close(step(model, AUTO, text, 6), dense, atol=1e-5, rtol=0)


@pytest.mark.cuda
@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("backend", [GATHER, MASKED])
def test_cuda_agrees_with_the_cpu(backend, renormalize):
    model = llama(2, 4, 2)
    text = tokens(model, 40)
    masks = random_masks(2, 1, 5, 35)
    expected = step(model, backend, text, 35, sparse_plan=SparsePlan(masks, renormalize=renormalize))
    plan = SparsePlan([mask.cuda() for mask in masks], renormalize=renormalize)
    got = step(model.cuda(), backend, text.cuda(), 35, sparse_plan=plan)
    torch.testing.assert_close(got.cpu(), expected, atol=1e-3, rtol=0)
