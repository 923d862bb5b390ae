import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.attention._run import step_starts
from selectlib.attention._selection import draft_keep, prefix_union
from selectlib.kernels import topp_mask
from selectlib.seeding import generator


def draft_attention(layers, positions, width, seed=100):
    scores = 3 * torch.randn(layers, len(positions), width, generator=generator(seed))
    seen = torch.arange(width) <= torch.as_tensor(positions)[:, None]
    return scores.masked_fill(~seen, -torch.inf).softmax(-1)


def by_hand(rows, row_positions, positions, starts, p, mask, sink, recent):
    """The definition, set by set."""
    chosen = topp_mask(rows, p, method="sort")
    kept = torch.zeros(len(rows), len(positions), rows.shape[-1], dtype=torch.bool)
    for n in range(len(rows)):
        for i, (position, start) in enumerate(zip(positions, starts, strict=True)):
            step_end = max(t for t, s in zip(positions, starts, strict=True) if s == start)
            last = position if mask == "causal" else step_end
            union = {k for k in range(start) if k < sink or k >= start - recent}
            for row, at in zip(chosen[n], row_positions, strict=True):
                if start <= at <= last:
                    union |= {k for k in range(start) if row[k]}
            kept[n, i, list(union)] = True
    return kept


@pytest.mark.oracle
@pytest.mark.parametrize("mask", ["causal", "published"])
@pytest.mark.parametrize(("gamma", "sink", "recent"), [(1, 0, 0), (3, 0, 0), (4, 2, 0), (5, 1, 3), (40, 0, 0)])
def test_all_steps_at_once_are_the_definition(mask, gamma, sink, recent):
    length, prefill = 30, 7
    starts, positions = step_starts(length, prefill, gamma), torch.arange(length)
    row_positions = torch.arange(prefill, length)
    rows = draft_attention(3, row_positions, length)
    kept = draft_keep(rows, row_positions, positions, starts, 0.8, mask, sink=sink, recent=recent)
    wanted = by_hand(rows, row_positions.tolist(), positions.tolist(), starts.tolist(), 0.8, mask, sink, recent)
    assert torch.equal(kept, wanted)
    quick = draft_keep(
        rows, row_positions, positions, starts, 0.8, mask, sink=sink, recent=recent, longest=min(gamma, length)
    )
    assert torch.equal(quick, wanted)
    assert wanted[:, prefill:].any() and not wanted[:, prefill:].all()


@pytest.mark.oracle
@pytest.mark.parametrize("mask", ["causal", "published"])
@pytest.mark.parametrize("gamma", [1, 2, 3, 4, 8])
def test_one_decoding_step_has_a_query_more_than_rows(mask, gamma):
    start = 19
    row_positions, positions = torch.arange(start, start + gamma), torch.arange(start, start + gamma + 1)
    rows = draft_attention(2, row_positions, start + gamma)
    kept = draft_keep(rows, row_positions, positions, start, 0.7, mask)
    assert kept.shape == (2, gamma + 1, start)
    wanted = by_hand(rows, row_positions.tolist(), positions.tolist(), [start] * (gamma + 1), 0.7, mask, 0, 0)
    assert torch.equal(kept, wanted[..., :start])
    everything = topp_mask(rows, 0.7)[..., :start].any(1)
    assert torch.equal(kept[:, -1], everything)  # the last query has no row of its own and uses all
    assert torch.equal(kept.any(1), everything)  # the read list of both masks


def test_the_masks_differ_and_the_causal_one_is_within_the_published():
    rows = draft_attention(1, torch.arange(10, 14), 14)
    at = torch.arange(10, 14)
    causal, published = (draft_keep(rows, at, at, 10, 0.6, mask) for mask in ("causal", "published"))
    assert not (causal & ~published).any()
    assert (published & ~causal)[0, 0].any()


@pytest.mark.oracle
def test_a_later_row_moves_the_published_mask_of_an_earlier_query_only():
    at = torch.arange(10, 14)
    rows = draft_attention(1, at, 14)
    changed = rows.clone()
    changed[:, 2:] = draft_attention(1, at, 14, seed=101)[:, 2:]
    for mask, moves in (("causal", False), ("published", True)):
        before, after = (draft_keep(r, at, at, 10, 0.6, mask)[0, :2] for r in (rows, changed))
        assert torch.equal(before, after) is not moves


def test_the_whole_row_counts_although_only_cached_columns_are_kept():
    rows = torch.tensor([[[0.2, 0.0, 0.8]]])  # most mass is in flight
    at = torch.tensor([2])
    assert not draft_keep(rows, at, at, 2, 0.5).any()
    assert draft_keep(rows, at, at, 2, 0.9).tolist() == [[[True, False]]]


@pytest.mark.parametrize("mask", ["causal", "published"])
def test_without_rows_only_sinks_and_recent_tokens_stay(mask):
    none = torch.zeros(2, 0, 6)
    kept = draft_keep(none, torch.arange(0), torch.tensor([5, 6]), 5, 0.9, mask, sink=1, recent=2)
    assert kept.shape == (2, 2, 5)
    assert kept.int().unique(dim=1).tolist() == [[[1, 0, 0, 1, 1]]] * 2


def test_an_empty_cache_has_nothing_to_select():
    rows, at = draft_attention(1, [0, 1], 2), torch.arange(2)
    assert draft_keep(rows, at, at, 0, 0.9).shape == (1, 2, 0)


def test_the_published_linear_bisection_passes_through():
    at = torch.tensor([200])
    rows = draft_attention(1, at, 201)
    rows[..., 0] = 0
    rows[..., 0] = rows.sum(-1)  # a sink that holds half of the mass
    rows /= rows.sum(-1, keepdim=True)
    exact = draft_keep(rows, at, at, 200, 0.99)
    linear = draft_keep(rows, at, at, 200, 0.99, method="linear", iterations=10, bound="lower")
    assert linear.sum() > exact.sum()


@pytest.mark.parametrize(
    ("bad", "message"), [({"mask": "union"}, "mask"), ({"sink": -1}, "sink"), ({"recent": -2}, "-2")]
)
def test_bad_arguments_are_named(bad, message):
    rows, at = draft_attention(1, [3], 4), torch.tensor([3])
    with pytest.raises(ValueError, match=message):
        draft_keep(rows, at, at, 3, 0.9, **bad)


@pytest.mark.oracle
@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 2**31))
def test_prefix_union_is_a_running_or_within_steps(sizes, seed):
    steps = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    sets = torch.rand(2, len(steps), 9, generator=generator(seed)) < 0.2
    got = prefix_union(sets, steps, max(sizes))
    for end in range(len(steps)):
        begin = (steps == steps[end]).nonzero()[0, 0]
        assert torch.equal(got[:, end], sets[:, begin : end + 1].any(1))
    assert torch.equal(prefix_union(sets[0], steps, len(steps)), got[0])
