from itertools import pairwise

import pytest
import torch

from selectlib.attention._plan import SparsePlan


def random_mask(g, q, length, *, share=0.3, seed=100):
    return torch.rand(g, q, length, generator=torch.Generator().manual_seed(seed)) < share


@pytest.mark.oracle
@pytest.mark.parametrize("g, kv_heads", [(1, None), (2, None), (4, 2), (4, 1)])
def test_read_lists_follow_from_the_mask(g, kv_heads):
    masks = [random_mask(g, 3, 40, seed=100 + i) for i in range(3)]
    plan = SparsePlan([masks[0], None, *masks[1:]], kv_heads=kv_heads)
    for layer, mask in zip((0, 2, 3), masks, strict=True):
        groups = 1 if g == 1 else kv_heads or g
        lists = [
            sorted({k for head in mask[i * g // groups : (i + 1) * g // groups] for k in head.nonzero()[:, 1].tolist()})
            for i in range(groups)
        ]
        indptr, indices = plan.csr(layer)
        assert [indices[a:b].tolist() for a, b in pairwise(indptr)] == lists
        assert plan.reads(layer) == sum(map(len, lists)) / groups
        assert plan.indices(layer).tolist() == sorted(set().union(*lists))
        assert plan.bool_mask(layer) is mask
    assert plan.indices(1).tolist() == list(range(40)) and plan.reads(1) == 40 and plan.bool_mask(1).all()


def test_one_tensor_at_several_layers_is_derived_once():
    shared, other = random_mask(1, 2, 9), random_mask(1, 2, 9)
    plan = SparsePlan([shared, other, shared])
    assert plan.selection(0) is plan.selection(2)
    assert plan.selection(0) is not plan.selection(1)  # equal, but not the same
    assert plan.selection(0).gathered_mask is plan.selection(2).gathered_mask


def test_in_flight_columns_are_causal_and_follow_the_cache():
    plan = SparsePlan([torch.tensor([[[True, False, False], [True, False, True]]])])
    selection = plan.selection(0)
    assert selection.columns.tolist() == [0, 2, 3, 4]
    assert selection.gathered_mask.int().tolist() == [[[1, 0, 1, 0], [1, 1, 1, 1]]]
    assert selection.mask.int().tolist() == [[[1, 0, 0, 1, 0], [1, 0, 1, 1, 1]]]


def test_nothing_kept_and_an_empty_cache():
    nothing = SparsePlan([torch.zeros(1, 2, 5, dtype=torch.bool)])
    assert nothing.indices(0).tolist() == [] and nothing.reads(0) == 0
    assert nothing.csr(0)[0].tolist() == [0, 0]
    empty = SparsePlan([torch.zeros(2, 1, 0, dtype=torch.bool)])
    assert empty.reads(0) == 0 and empty.selection(0).everything


def test_a_dense_plan_does_not_know_its_shape():
    plan = SparsePlan([None, None])
    assert len(plan) == 2 and plan.selection(1) is None
    for ask in (plan.reads, plan.indices, plan.bool_mask, plan.csr):
        with pytest.raises(ValueError, match="all dense"):
            ask(0)


def test_what_is_refused():
    mask = random_mask(2, 3, 5)
    with pytest.raises(ValueError, match="entry for each layer"):
        SparsePlan([])
    for bad in (mask.float(), mask[0], mask[:0]):
        with pytest.raises(TypeError, match="3-D tensors of bool"):
            SparsePlan([bad])
    with pytest.raises(ValueError, match=r"\(2, 3, 5\).*\(2, 3, 4\)"):
        SparsePlan([mask, mask[..., :4]])
    with pytest.raises(ValueError, match="kv_heads must divide the 2 heads"):
        SparsePlan([mask], kv_heads=3)
