"""Token budgets: the longest prefix, against trying every prefix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.corpora._budget import within_token_budget


@pytest.mark.oracle
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=12).flatmap(
        lambda lengths: st.tuples(st.just(lengths), st.permutations(range(len(lengths))))
    ),
    st.integers(1, 60),
    st.integers(1, 4),
)
def test_the_longest_prefix_that_fits(items, budget, epochs):
    lengths, order = items
    fitting = [b for b in range(1, len(order) + 1) if epochs * sum(lengths[i] for i in order[:b]) <= budget]
    arguments = (torch.tensor(order), torch.tensor(lengths), budget)
    if fitting:
        assert within_token_budget(*arguments, epochs=epochs).tolist() == order[: max(fitting)]
    else:
        with pytest.raises(ValueError, match="budget must pay for the first item"):
            within_token_budget(*arguments, epochs=epochs)


@pytest.mark.oracle
def test_equal_lengths_give_the_papers_formula():
    order = torch.arange(100)
    assert len(within_token_budget(order, 65, 10_000)) == 10_000 // (4 * 65)
    assert len(within_token_budget(order, 65, 10_000, epochs=1)) == 100


ORDER, LENGTHS = torch.tensor([1, 0]), torch.tensor([3, 4])


@pytest.mark.parametrize(
    ("order", "lengths", "budget", "epochs", "error", "message"),
    [
        (ORDER, LENGTHS, 0, 1, ValueError, "budget must be at least 1, got 0"),
        (ORDER, LENGTHS, 1e6, 1, TypeError, "budget must be an int, got float"),
        (ORDER, LENGTHS, 10, 0, ValueError, "epochs must be at least 1, got 0"),
        (ORDER, LENGTHS, 15, 4, ValueError, "first item: 4 tokens, 4 epochs; got 15"),
        (ORDER[:0], LENGTHS, 10, 1, ValueError, "order must hold at least 1 index"),
        (ORDER.double(), LENGTHS, 10, 1, TypeError, "order must be a tensor of int64, got torch.float64"),
        (ORDER[None], LENGTHS, 10, 1, ValueError, "order must be 1-D"),
        (ORDER, LENGTHS[:1], 10, 1, ValueError, "order must hold indices of the 1 lengths, got 0 to 1"),
        (ORDER - 1, LENGTHS, 10, 1, ValueError, "got -1 to 0"),
        (ORDER, -LENGTHS, 10, 1, ValueError, "lengths must be at least 0, got -4"),
        (ORDER, LENGTHS.float(), 10, 1, TypeError, "lengths must be a tensor of int64"),
        (ORDER, [3, 4], 10, 1, TypeError, "lengths must be a tensor of int64 or an int, got list"),
        (ORDER, -1, 10, 1, ValueError, "lengths must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(order, lengths, budget, epochs, error, message):
    with pytest.raises(error, match=message):
        within_token_budget(order, lengths, budget, epochs=epochs)
