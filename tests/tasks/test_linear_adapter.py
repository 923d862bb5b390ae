"""The linear adapter: it starts as the identity, and is a matrix product."""

import pytest
import torch

from selectlib.tasks import LinearAdapter


def test_it_starts_as_the_identity_and_has_no_bias():
    features = torch.randn(3, 4, 7)
    adapter = LinearAdapter(7)
    assert torch.equal(adapter(features), features)
    assert [(name, tuple(p.shape)) for name, p in adapter.named_parameters()] == [("weight", (7, 7))]


@pytest.mark.oracle
def test_it_multiplies_each_row_by_its_weight():
    adapter = LinearAdapter(2)
    with torch.no_grad():
        adapter.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert adapter(torch.tensor([[1.0, 10.0]])).tolist() == [[21.0, 43.0]]


@pytest.mark.parametrize(("dim", "error"), [(0, ValueError), (2.0, TypeError)])
def test_a_bad_size_is_named(dim, error):
    with pytest.raises(error, match="dim must be"):
        LinearAdapter(dim)
