import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.attention import _gather
from selectlib.attention._gather import gather_attention
from selectlib.attention._masked import zeroed_attention


def draw(seed, *, h=4, hkv=2, q=3, length=17, d=8, peak=3.0):
    generator = torch.Generator().manual_seed(seed)
    query = peak * torch.randn(1, h, q, d, generator=generator)
    key, value = (torch.randn(1, hkv, length, d, generator=generator) for _ in range(2))
    keep = torch.rand(h, q, length, generator=generator) < 0.4
    keep[..., 0] |= ~keep.any(-1)
    return query, key, value, keep


def by_definition(query, key, value, keep, *, renormalize=True):
    """One query of one head at a time, in double precision; also the dense output and the mass dropped."""
    h, hkv = query.shape[1], key.shape[1]
    out, dense = torch.empty(2, *query.shape[1:], dtype=torch.float64)
    dropped = torch.empty(h, query.shape[2], dtype=torch.float64)
    for i in range(h):
        keys, values = (x[0, i // (h // hkv)].double() for x in (key, value))
        for s in range(query.shape[2]):
            weights = (keys @ query[0, i, s].double() * 0.3).softmax(0)
            kept = weights * keep[i, s]
            dropped[i, s] = 1 - kept.sum()
            dense[i, s] = weights @ values
            out[i, s] = (kept / kept.sum() if renormalize else kept) @ values
    return out, dense, dropped


def gathered(query, key, value, keep):
    columns = keep.any(0).any(0).nonzero()[:, 0]
    return gather_attention(query, key, value, columns, keep[None][..., columns], 0.3)[0]


@pytest.mark.oracle
@settings(deadline=None, max_examples=50)
@given(st.integers(100, 10**6))
def test_gather_equals_the_definition(seed):
    inputs = draw(seed)
    torch.testing.assert_close(gathered(*inputs).double(), by_definition(*inputs)[0], atol=2e-6, rtol=0)


@pytest.mark.oracle
@settings(deadline=None, max_examples=50)
@given(st.integers(100, 10**6))
def test_zeroed_weights_equal_the_definition(seed):
    query, key, value, keep = draw(seed)
    visible = torch.ones(1, 1, 3, 17, dtype=torch.bool)
    got = zeroed_attention(query, key, value, visible, keep, 0.3)[0]
    expected = by_definition(query, key, value, keep, renormalize=False)[0]
    torch.testing.assert_close(got.double(), expected, atol=2e-6, rtol=0)


@pytest.mark.oracle
@settings(deadline=None, max_examples=50)
@given(st.integers(100, 10**6))
def test_the_output_lies_between_the_kept_values(seed):
    query, key, value, keep = draw(seed)
    out = gathered(query, key, value, keep)
    values = value[0].repeat_interleave(2, 0)[:, None].expand(4, 3, 17, 8)
    kept = keep[..., None]
    low = values.masked_fill(~kept, torch.inf).amin(2)
    high = values.masked_fill(~kept, -torch.inf).amax(2)
    assert (out >= low - 1e-6).all() and (out <= high + 1e-6).all()
    ones = gathered(query, key, torch.ones_like(value), keep)  # the weights sum to one
    torch.testing.assert_close(ones, torch.ones_like(ones))


@pytest.mark.oracle
@settings(deadline=None, max_examples=50)
@given(st.integers(100, 10**6))
def test_the_error_is_bounded_by_the_mass_dropped(seed):
    query, key, value, keep = draw(seed)
    _, dense, dropped = by_definition(query, key, value, keep)
    longest = value[0].norm(dim=-1).amax(-1).repeat_interleave(2, 0)[:, None].double()  # (h, 1)
    error = (gathered(query, key, value, keep) - dense).norm(dim=-1)
    assert (error <= 2 * dropped * longest + 1e-5).all()
    visible = torch.ones(1, 1, 3, 17, dtype=torch.bool)
    error = (zeroed_attention(query, key, value, visible, keep, 0.3)[0] - dense).norm(dim=-1)
    assert (error <= dropped * longest + 1e-5).all()  # not scaled up again: half the bound


@pytest.mark.oracle
def test_nothing_outside_the_read_list_is_read():
    query, key, value, keep = draw(100)
    keep[..., ::2] = False
    keep[..., 1] = True
    expected = gathered(query, key, value, keep)
    key[..., ::2, :], value[..., ::2, :] = torch.nan, torch.nan
    assert torch.equal(gathered(query, key, value, keep), expected)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    query, key, value, keep = draw(100)
    inputs = [x.to(dtype) for x in (query, key, value)]
    expected = by_definition(*inputs, keep)[0]
    got = gathered(*inputs, keep)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), expected, atol=0.03, rtol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("g", [1, 2, 4])
@pytest.mark.parametrize("block", [1, 300])
def test_few_heads_at_a_time_change_nothing(monkeypatch, g, block):
    query, key, value, keep = draw(100)
    keep = keep[:g] if g != 2 else keep[::2]
    columns = keep.any(0).any(0).nonzero()[:, 0]
    inputs = query, key, value, columns, keep[None][..., columns], 0.3
    whole = gather_attention(*inputs)
    monkeypatch.setattr(_gather, "_BLOCK", block)
    torch.testing.assert_close(gather_attention(*inputs), whole, atol=1e-6, rtol=0)
    expected = by_definition(query, key, value, keep.repeat_interleave(4 // g, 0))[0]
    torch.testing.assert_close(whole[0].double(), expected, atol=2e-6, rtol=0)
