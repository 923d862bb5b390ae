"""The pool selector: the contract is tested with all selectors; here its law and its default kernel."""

import pytest
import torch

from selectlib.pool import Pool, PoolSelector
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit
from selectlib.subsets import RBF, DPPSelector, Linear, as_source
from selectlib.subsets._uniform import enumerate_kdpp


def points(n, d=2, seed=100):
    return torch.randn(n, d, dtype=torch.float64, generator=generator(seed))


@pytest.mark.oracle
def test_a_choice_has_the_law_of_the_kdpp():
    X, kernel, g = points(6), RBF(0.5), generator(101)
    selector = DPPSelector(kernel)
    assert isinstance(selector, PoolSelector) and selector.needs == {"features"}
    sets, p = enumerate_kdpp(kernel(X, X), 2)
    chosen = torch.stack([selector.select(Pool(X), 2, generator=g) for _ in range(600)])
    places = torch.searchsorted(sets @ torch.tensor([6, 1]), chosen @ torch.tensor([6, 1]))
    assert chi_square_fit(torch.bincount(places, minlength=len(sets)), p).p > 1e-5


def test_the_default_kernel_follows_the_scale_of_the_features():
    X = points(200)
    near, far = (DPPSelector().select(Pool(c * X), 5, generator=generator(101)) for c in (1.0, 1024.0))
    assert torch.equal(near, far)


def test_a_source_of_many_items():
    source = as_source(lambda idx: (idx[:, None].double() * torch.tensor([0.618, 0.755]).double()).frac(), n=10**7)
    chosen = DPPSelector().select(Pool(source), 6, generator=generator(101))
    assert len(set(chosen.tolist())) == 6 and int(chosen.max()) < 10**7


def test_k_above_the_rank_is_refused():
    with pytest.raises(ValueError, match="rank"):
        DPPSelector(Linear()).select(Pool(points(20, 3)), 4, generator=generator(101))


def test_items_that_are_all_the_same_leave_one_choice():
    X = torch.ones(10, 2)
    assert len(DPPSelector().select(Pool(X), 1, generator=generator(101))) == 1
    with pytest.raises(ValueError, match="rank"):
        DPPSelector().select(Pool(X), 2, generator=generator(101))
