import pytest
import torch
from small_llamas import llama, tokens
from transformers import DynamicCache

from selectlib.attention import _capture
from selectlib.attention._capture import attention_weights, capture_attention
from selectlib.attention._interface import register_sparse_attention
from selectlib.attention._plan import SparsePlan


def eager_weights(model, text, **kwargs):
    model.set_attn_implementation("eager")
    weights = model(text, output_attentions=True, **kwargs).attentions
    model.set_attn_implementation("sdpa")
    return weights


@pytest.mark.oracle
@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("block", [1, 200, 1 << 20])
def test_weights_are_those_of_the_eager_implementation(monkeypatch, heads, kv_heads, block):
    monkeypatch.setattr(_capture, "_BLOCK", block)
    model = llama(3, heads, kv_heads)
    text = tokens(model, 21, batch=2)
    expected = eager_weights(model, text)
    for reduce, fold in (("mean", lambda w: w.mean(1)), ("max", lambda w: w.amax(1)), ("none", lambda w: w)):
        with capture_attention(model, reduce=reduce) as capture:
            model(text)
        assert capture.layers == (0, 1, 2)
        for got, full in zip(capture.weights, expected, strict=True):
            assert got.dtype == torch.float32
            torch.testing.assert_close(got, fold(full), atol=1e-5, rtol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("queries", [1, 4])
def test_with_a_cache_the_rows_are_the_last_of_the_whole(queries):
    model = llama(2, 4, 2)
    text = tokens(model, 15)
    with capture_attention(model) as capture:
        model(text)
        whole = capture.weights
        cache = model(text[:, :-queries], cache=DynamicCache()).cache
        model(text[:, -queries:], cache=cache)
        last = capture.weights
    for rows, full in zip(last, whole, strict=True):
        assert rows.shape == (1, queries, 15)
        torch.testing.assert_close(rows, full[:, -queries:], atol=1e-6, rtol=0)
        torch.testing.assert_close(rows.sum(-1), torch.ones(1, queries))


@pytest.mark.oracle
def test_left_padding_changes_no_row_and_pads_with_zeros():
    model = llama(2, 4, 2)
    text = tokens(model, 12)
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.int64), text], 1)
    both = torch.cat([padded, tokens(model, 17, seed=101)])
    visible = torch.ones(2, 17, dtype=torch.int64)
    visible[0, :5] = 0
    with capture_attention(model) as capture:
        model(text)
        alone = capture.weights
        model(both, attention_mask=visible, position_ids=(visible.cumsum(1) - 1).clamp(min=0))
    for rows, expected in zip(capture.weights, alone, strict=True):
        torch.testing.assert_close(rows[0, 5:, 5:], expected[0], atol=1e-5, rtol=0)
        assert (rows[0, :5] == 0).all() and (rows[0, :, :5] == 0).all()


def test_the_outputs_do_not_change_by_a_bit_and_nothing_is_left_behind():
    model = llama(2, 4, 2)
    text = tokens(model, 9)
    before = model(text).logits
    with capture_attention(model, layers=[1]) as capture:
        assert capture.weights == []
        assert torch.equal(model(text).logits, before)
    assert capture.layers == (1,) and len(capture.weights) == 1
    kept = capture.weights[0].clone()
    model(text[:, :3])
    assert torch.equal(capture.weights[0], kept)
    assert model.config._attn_implementation == "sdpa" and not model.base_model._forward_pre_hooks


def test_everything_is_restored_after_an_exception():
    model = llama(1, 2, 1, attn_implementation="eager")
    with pytest.raises(ZeroDivisionError), capture_attention(model):
        1 / 0  # noqa: B018
    assert model.config._attn_implementation == "eager" and not model.base_model._forward_pre_hooks


def test_layers_come_in_the_order_asked_for():
    model = llama(3, 2, 1)
    text = tokens(model, 7)
    with capture_attention(model) as everything:
        model(text)
    with capture_attention(model, layers=(2, 0)) as two:
        model(text)
    assert torch.equal(two.weights[0], everything.weights[2])
    assert torch.equal(two.weights[1], everything.weights[0])


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_to_one_in_float32(dtype):
    model = llama(2, 4, 2).to(dtype)
    with capture_attention(model) as capture:
        model(tokens(model, 40))
    for rows in capture.weights:
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.sum(-1), torch.ones(1, 40), atol=1e-5, rtol=0)


def test_what_is_refused():
    model = llama(2, 2, 1)
    with pytest.raises(ValueError, match="mean, max or none"), capture_attention(model, reduce="sum"):
        pass
    for layers in ([], [0, 0], [2], [-1]):
        with pytest.raises(ValueError, match="from 0 to 1"), capture_attention(model, layers=layers):
            pass
    with capture_attention(model), pytest.raises(ValueError, match="already"), capture_attention(model):
        pass
    register_sparse_attention()
    with capture_attention(model), pytest.raises(ValueError, match="dense attention"):
        model(tokens(model, 3), sparse_plan=SparsePlan([None, None]))


@pytest.mark.cuda
def test_cuda_agrees():
    query, key = torch.randn(2, 4, 33, 16), torch.randn(2, 2, 50, 16)
    got = attention_weights(query.cuda(), key.cuda(), 0.25).cpu()
    torch.testing.assert_close(got, attention_weights(query, key, 0.25), atol=1e-5, rtol=0)
