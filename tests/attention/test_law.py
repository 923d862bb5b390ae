"""A mask that has seen the tokens under test biases what is emitted; the causal mask does not: enumerated exactly."""

import pytest
import torch

from selectlib.attention._accept import speculative_accept
from selectlib.attention._law import ToyModel, mask_bias, toy_keep
from selectlib.seeding import generator, replicate_seeds

VOCAB, LENGTH = 3, 9


def _toys(seed: int) -> tuple[ToyModel, ToyModel, torch.Tensor]:
    source = generator(seed)
    draft, target = (ToyModel.random(vocab=VOCAB, length=LENGTH, generator=source) for _ in range(2))
    return draft, target, torch.randint(VOCAB, (6,), generator=source)


def _bias(mask: str, gamma: int, models: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    found = [mask_bias(*_toys(seed), gamma=gamma, mask=mask) for seed in replicate_seeds(100, models)]
    return torch.stack([bias.own for bias in found]), torch.stack([bias.averaged for bias in found])


@pytest.mark.oracle
@pytest.mark.parametrize("gamma", [1, 2, 3])
def test_causal_masks_are_exact(gamma):
    own, averaged = _bias("causal", gamma)
    assert own.shape == (60, gamma)
    assert own.max() < 1e-12
    assert averaged.max() < 1e-12


@pytest.mark.oracle
@pytest.mark.parametrize("gamma", [2, 3])
def test_published_masks_are_biased_at_all_queries_but_the_last_row(gamma):
    own, averaged = _bias("published", gamma)
    assert (own[:, :-1].mean(0) > 0.05).all()
    assert (averaged[:, :-1].mean(0) > 0.005).all()
    assert (averaged <= own + 1e-12).all()  # averaging over masks cannot take two laws apart
    assert own[:, -1].max() < 1e-12


@pytest.mark.oracle
def test_enumeration_agrees_with_simulation():
    """50,000 steps through the shipped acceptance rule: the first token's law, mask by mask."""
    draft, target, committed = _toys(100)
    runs, gamma, source, start = 50_000, 2, generator(101), len(committed) - 1
    tokens = committed.expand(runs, -1)
    for _ in range(gamma):
        law = _by_sequence(draft.laws, tokens)[:, -1]
        tokens = torch.cat([tokens, torch.multinomial(law, 1, generator=source)], 1)
    keep = _by_sequence(lambda t: toy_keep(draft, t, start, 0.7, "published"), tokens)
    q = _by_sequence(draft.laws, tokens)[:, start:-1]
    p = _by_sequence(lambda t: target.laws(t, toy_keep(draft, t, start, 0.7, "published")), tokens)[:, start:]
    first = speculative_accept(tokens[:, -gamma:], q, p, generator=source)[0][:, 0]
    masks = keep[:, start, :start].unique(dim=0, return_inverse=True)[1]
    distance = 0.0
    for mask in masks.unique():
        emitted = first[masks == mask].bincount(minlength=VOCAB) / runs
        distance += (emitted - p[masks == mask][:, 0].sum(0) / runs).abs().sum().item() / 2
    expected = mask_bias(draft, target, committed, gamma=gamma, mask="published").own[0].item()
    assert expected > 0.05
    assert abs(distance - expected) < 0.02  # the standard error of a cell is below 0.0023


def _by_sequence(what, tokens):
    """A function of sequences, computed once for each distinct one."""
    distinct, which = tokens.unique(dim=0, return_inverse=True)
    return what(distinct)[which]


@pytest.mark.oracle
def test_a_mask_that_keeps_everything_has_no_bias():
    own = mask_bias(*_toys(100), gamma=3, p=1.0, mask="published").own
    assert own.max() < 1e-12


def test_toy_attention_is_causal():
    draft, _, _ = _toys(100)
    tokens = torch.tensor([[0, 1, 2, 0], [0, 1, 1, 2]])
    laws = draft.laws(tokens)
    assert torch.equal(laws[0, :2], laws[1, :2])
    assert not torch.allclose(laws[0, 2], laws[1, 2])
    assert torch.allclose(draft.attention(tokens).sum(-1), torch.ones(2, 4, dtype=torch.float64))
    assert draft.attention(tokens).triu(1).abs().max() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"target": ToyModel.random(vocab=4, length=LENGTH, generator=generator(100))},
            "share a vocabulary; got 3 and 4",
        ),
        ({"committed": torch.zeros(0, dtype=torch.int64)}, "committed must hold a token"),
        ({"gamma": 0}, "gamma be at least 1; got 6 and 0"),
        ({"gamma": 4}, "must have 10 positions, got 9"),
        ({"mask": "both"}, "mask must be 'causal' or 'published'"),
        ({"p": 1.5}, "p must be"),
    ],
)
def test_errors_name_the_argument(change, message):
    draft, target, committed = _toys(100)
    arguments = {"draft": draft, "target": target, "committed": committed, "gamma": 2} | change
    with pytest.raises(ValueError, match=message):
        mask_bias(**arguments)
