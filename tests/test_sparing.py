"""Shapes and types are checked in the first calls of each test, and in no later ones."""

import jaxtyping
import pytest
import sparing
import torch
from jaxtyping import Float, jaxtyped
from torch import Tensor


@pytest.fixture
def doubled():
    @jaxtyped(typechecker=sparing.checker)
    def doubled(x: Float[Tensor, "n n"], times: int = 2) -> Float[Tensor, "n n"]:
        return times * x if times else x[:1]

    sparing.begin()
    yield doubled
    sparing.begin()


SQUARE, OBLONG = torch.ones(2, 2), torch.ones(2, 3)


@pytest.mark.parametrize(
    "wrong", [lambda f: f(OBLONG), lambda f: f(SQUARE, 2.0), lambda f: f(SQUARE, 0)], ids=["shape", "type", "returned"]
)
def test_a_wrong_call_is_refused_at_first_and_in_the_next_test(doubled, wrong):
    with pytest.raises(jaxtyping.TypeCheckError):
        wrong(doubled)
    for _ in range(sparing.CALLS):
        doubled(SQUARE)
    wrong(doubled)  # no longer looked at
    sparing.begin()
    with pytest.raises(jaxtyping.TypeCheckError):
        wrong(doubled)


def test_each_test_begins_with_checks():
    assert sparing.made == 0 and not jaxtyping.config.jaxtyping_disable
