import weakref
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.attention._budgets import matched_budgets
from selectlib.attention._meter import KVAccessMeter, kv_bytes_per_token
from selectlib.attention._run import step_starts
from selectlib.seeding import generator


def config(layers=2, heads=4, kv_heads=2, head_dim=8):
    return SimpleNamespace(
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim
    )


def sets(length, *columns):
    kept = torch.zeros(1, len(columns), length, dtype=torch.bool)
    for query, chosen in enumerate(columns):
        kept[0, query, list(chosen)] = True
    return kept


@pytest.mark.oracle
def test_two_layers_and_three_steps_by_hand():
    meter = KVAccessMeter(config(heads=1, kv_heads=1))
    meter.begin(torch.tensor([0, 0, 2, 2, 4, 4, 6]))  # a prefill of 2, then steps of 2, 2 and 1
    meter.record(0, None)
    keep = sets(7, [0, 1], [0], [0], [1, 2], [0, 3, 4], [0, 1, 5], [0, 5, 6])
    meter.record(1, keep, torch.tensor([9.0, 9.0, 10.0, 10.0, 20.0, 20.0, 30.0]))
    # Layer 1 by step: {0, 1}, {0, 1, 3}, {0, 5} of 2, 4 and 6; by query: 1, 1, 2, 2, 2 of 2, 2, 4, 4, 6.
    assert meter.reads().tolist() == [[12, 7]] and meter.dense_reads().tolist() == [[12, 12]]
    assert meter.reads("query").tolist() == [[18, 8]] and meter.dense_reads("query").tolist() == [[18, 18]]
    assert meter.metadata_bytes().tolist() == [[0, 60]] and meter.metadata_bytes("query").tolist() == [[0, 90]]
    assert meter.reduction() == pytest.approx(5 / 12)
    assert meter.reduction("all") == pytest.approx(5 / 24)
    token = 2 * 8 * 4  # bytes of a key and a value
    assert meter.bytes_per_token == token
    assert meter.reduction("bytes") == pytest.approx(1 - (19 * token + 60) / (24 * token))
    assert meter.reduction(charge="query") == pytest.approx(10 / 18)
    assert meter.reduction("bytes", "query") == pytest.approx(1 - (26 * token + 90) / (36 * token))


@pytest.mark.oracle
def test_the_heads_of_a_kv_group_read_together_and_groups_apart():
    meter = KVAccessMeter(config(layers=3))
    meter.begin(torch.tensor([4, 4]))
    by_head = torch.cat([sets(6, a, b) for a, b in (([0], [1]), ([0, 1], [1]), ([2], [3]), ([2], [2]))])
    meter.record(0, by_head)  # groups {0, 1} and {2, 3}
    meter.record(1, by_head[::2])  # one mask a group: {0, 1} and {2, 3}
    meter.record(2, by_head[1:2])  # one for all: {0, 1}
    assert meter.reads().tolist() == [[2, 2, 2]]
    assert meter.reads("query").tolist() == [[(3 + 3) / 2, (2 + 2) / 2, 3]]


@pytest.mark.oracle
def test_a_budget_of_256_tokens_on_2048_saves_77_percent():
    length, prefill = 2048, 205
    starts = step_starts(length, prefill, 1)
    meter = KVAccessMeter(config(layers=1, heads=1, kv_heads=1))
    meter.begin(starts, 1)
    columns = torch.arange(length)
    meter.record(0, (columns >= starts[:, None] - 256)[None])
    assert round(meter.reduction(), 3) == 0.773
    dense, ratios = starts[prefill:], (starts[prefill:] - 256).clamp(min=0) / starts[prefill:]
    assert meter.dense_reads().item() == dense.sum() and round(ratios.mean().item(), 3) == 0.683  # not a mean of ratios


def reads_by_hand(keep, starts, kv_heads, charge):
    groups = 1 if len(keep) == 1 else kv_heads
    total = 0
    for start in set(starts.tolist()) - {0}:
        queries = (starts == start).nonzero()[:, 0].tolist()
        for heads in keep[..., :start].chunk(groups):
            if charge == "union":
                total += len({k for h in heads for q in queries for k in h[q].nonzero()[:, 0].tolist()})
            else:
                total += sum(len({k for h in heads for k in h[q].nonzero()[:, 0].tolist()}) for q in queries)
    return total / groups


@pytest.mark.oracle
@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(0, 9), st.sampled_from([1, 2, 4]), st.integers(0, 2**31))
def test_any_masks_are_counted_as_sets(gamma, prefill, g, seed):
    starts = step_starts(17, prefill, gamma)
    keep = torch.rand(g, 17, 17, generator=generator(seed)) < 0.2
    meter = KVAccessMeter(config(layers=1))
    meter.begin(starts, gamma)
    meter.record(0, keep)
    for charge in ("union", "query"):
        assert meter.reads(charge).item() == reads_by_hand(keep, starts, 2, charge)
        assert 0 <= meter.reduction(charge=charge) <= 1


@pytest.mark.oracle
def test_everything_kept_saves_nothing_and_sequences_add_up():
    meter = KVAccessMeter(config(layers=1))
    for length in (8, 12):
        meter.begin(step_starts(length, 2, 3))
        meter.record(0, torch.ones(1, length, length, dtype=torch.bool))
    assert meter.reduction() == meter.reduction("all") == meter.reduction("bytes") == 0
    assert meter.reads().tolist() == [[2 + 5], [2 + 5 + 8 + 11]]


def test_all_layers_dense_or_no_step_saves_nothing():
    meter = KVAccessMeter(config())
    meter.begin(torch.tensor([0, 0]))
    for layer in range(2):
        meter.record(layer, None)
    assert meter.reduction() == meter.reduction("all") == 0 and meter.sparse_layers == []


def test_masks_are_not_held():
    meter, keep = KVAccessMeter(config()), torch.ones(1, 2, 4, dtype=torch.bool)
    meter.begin(torch.tensor([4, 4]))
    meter.record(0, keep)
    held = weakref.ref(keep)
    del keep
    assert held() is None


def test_bad_records_are_named():
    meter = KVAccessMeter(config())
    with pytest.raises(ValueError, match="begin"):
        meter.record(0, None)
    with pytest.raises(ValueError, match="recorded nothing"):
        meter.reduction()
    meter.begin(torch.tensor([4, 4]))
    with pytest.raises(ValueError, match="1, 2 or 4 masks of 2 queries"):
        meter.record(0, torch.ones(3, 2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="2 queries"):
        meter.record(0, torch.ones(1, 3, 4, dtype=torch.bool))
    meter.record(0, None)
    with pytest.raises(ValueError, match=r"layers \[1\]"):
        meter.reduction()
    meter.record(1, None)
    with pytest.raises(ValueError, match="scope"):
        meter.reduction("layers")
    with pytest.raises(ValueError, match="charge"):
        meter.reduction(charge="step")


@pytest.mark.oracle
@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 5),
    st.integers(1, 9),
    st.floats(0.0, 1.0),
    st.sampled_from(["union", "query"]),
    st.integers(0, 2**31),
)
def test_uniform_budgets_hold_the_total_of_each_sequence(gamma, prefill, share, charge, seed):
    length, layers, draws = 19, 3, generator(seed)
    starts = step_starts(length, prefill, gamma)
    meter = KVAccessMeter(config(layers=layers, heads=1, kv_heads=1))
    for _ in range(2):
        meter.begin(starts, gamma)
        meter.record(0, None)
        for layer in (1, 2):
            meter.record(layer, torch.rand(1, length, length, generator=draws) < share)
    budgets = matched_budgets(meter, "uniform", charge)
    assert (budgets <= starts).all() and not budgets[:, 0].any()
    again = KVAccessMeter(config(layers=layers, heads=1, kv_heads=1))
    for sequence in range(2):
        again.begin(starts, gamma)
        again.record(0, None)
        for layer in (1, 2):
            columns = torch.arange(length)
            again.record(layer, (columns >= starts[:, None] - budgets[sequence, layer][:, None])[None])
    assert torch.equal(again.reads(charge).sum(1), meter.reads(charge).sum(1))


def test_bad_budgets_are_named():
    meter = KVAccessMeter(config())
    with pytest.raises(ValueError, match="recorded nothing"):
        matched_budgets(meter)
    with pytest.raises(ValueError, match="mode"):
        matched_budgets(meter, "equal")
    for length in (3, 4):
        meter.begin(step_starts(length, 1, 2))
        meter.record(0, None)
        meter.record(1, None)
    with pytest.raises(ValueError, match="as many queries"):
        matched_budgets(meter)
    with pytest.raises(ValueError, match="charge"):
        matched_budgets(meter, charge="step")


@pytest.mark.oracle
def test_bytes_of_a_token():
    assert kv_bytes_per_token(config(layers=32, heads=32, kv_heads=32, head_dim=128), torch.float16) == 524288
    assert kv_bytes_per_token(config(layers=32, heads=32, kv_heads=8, head_dim=128), torch.bfloat16) == 131072
    plain = SimpleNamespace(num_hidden_layers=2, num_attention_heads=4, hidden_size=32, dtype=torch.float16)
    assert kv_bytes_per_token(plain) == 2 * 4 * 2 * 8 * 2
