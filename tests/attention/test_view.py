import pytest
import torch
from small_llamas import llama, tokens
from transformers import DynamicCache

from selectlib.attention._interface import register_sparse_attention
from selectlib.attention._view import LayerView


@pytest.mark.oracle
@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2)])
@pytest.mark.parametrize("start", [0, 6])
def test_a_hook_sees_what_attention_is_made_of(heads, kv_heads, start):
    model = llama(3, heads, kv_heads)
    text = tokens(model, 10)
    model.set_attn_implementation("eager")
    expected = model(text, output_attentions=True).attentions
    model.set_attn_implementation(register_sparse_attention())
    cache = DynamicCache()
    if start:
        model(text[:, :start], cache=cache)
    views: list[LayerView] = []
    model(text[:, start:], cache=cache, layer_hook=views.append)
    assert [view.layer for view in views] == [0, 1, 2]
    for view, weights in zip(views, expected, strict=True):
        assert view.positions.tolist() == list(range(start, 10)) and view.positions.dtype == torch.int64
        assert torch.equal(view.key, cache.layers[view.layer].keys[0])
        scores = view.query @ view.key.repeat_interleave(heads // kv_heads, 0).mT * view.scaling
        later = torch.arange(10) > view.positions[:, None]
        torch.testing.assert_close(
            scores.masked_fill(later, -torch.inf).softmax(-1), weights[0, :, start:], atol=1e-5, rtol=0
        )


@pytest.mark.oracle
@pytest.mark.parametrize("g", [1, 2, 4])
@pytest.mark.parametrize("start", [0, 6])
def test_the_mask_of_a_hook_is_applied_and_never_shows_the_future(g, start):
    model = llama(2, 4, 2)
    text = tokens(model, 10)
    mask = torch.rand(g, 10 - start, 10, generator=torch.Generator().manual_seed(100)) < 0.4
    mask[..., range(10 - start), range(start, 10)] = True
    model.set_attn_implementation("eager")
    whole = torch.ones(4, 10, 10, dtype=torch.bool)
    whole[:, start:] = mask.repeat_interleave(4 // g, 0)
    bias = torch.zeros(1, 4, 10, 10).masked_fill(~whole.tril()[None], -torch.inf)
    expected = model(text, attention_mask=bias).logits[:, start:]
    model.set_attn_implementation(register_sparse_attention())
    cache = DynamicCache()
    if start:
        model(text[:, :start], cache=cache)
    got = model(text[:, start:], cache=cache, layer_hook=lambda view: mask).logits
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=0)
