"""Speculative acceptance gives the target's law exactly: against enumeration, at the edges, and for whole batches."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from selectlib.attention._accept import greedy_accept, speculative_accept
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit

VOCAB, GAMMA, RUNS = 5, 3, 200_000


def _chain(seed: int) -> torch.Tensor:
    """A Markov chain: row i is the law of the token after i. Spread so that drafts are often rejected and often not."""
    return (0.8 * torch.randn(VOCAB, VOCAB, generator=generator(seed), dtype=torch.float64)).softmax(-1)


def _drafts(chain: torch.Tensor, runs: int, source: torch.Generator) -> torch.Tensor:
    tokens = torch.zeros(runs, 1, dtype=torch.int64)  # all begin at token 0
    for _ in range(GAMMA):
        tokens = torch.cat([tokens, torch.multinomial(chain[tokens[:, -1]], 1, generator=source)], 1)
    return tokens


def _law_of_three(chain: torch.Tensor) -> np.ndarray:
    paths = [(0, *path) for path in itertools.product(range(VOCAB), repeat=GAMMA)]
    return np.array([np.prod([chain[a, b].item() for a, b in itertools.pairwise(path)]) for path in paths])


def _complete(tokens: torch.Tensor, chain: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    """The target continues each row to three tokens: if what was emitted has its law, so have all three."""
    tokens = tokens[:, :GAMMA].clone()
    for s in range(1, GAMMA):
        more = torch.multinomial(chain[tokens[:, s - 1].clamp(min=0)], 1, generator=source)[:, 0]
        tokens[:, s] = torch.where(tokens[:, s] < 0, more, tokens[:, s])
    return tokens


def _p_value(tokens: torch.Tensor, chain: torch.Tensor) -> float:
    cells = (tokens * torch.tensor([VOCAB**2, VOCAB, 1])).sum(1).bincount(minlength=VOCAB**3)
    law = _law_of_three(chain)
    return chi_square_fit(cells.numpy(), law / law.sum()).p


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_law_of_three_tokens_is_the_targets(dtype):
    source, q, p = generator(102), _chain(100), _chain(101)
    path = _drafts(q, RUNS, source)
    laws = q[path[:, :GAMMA]].to(dtype), p[path].to(dtype)
    tokens, accepted = speculative_accept(path[:, 1:], *laws, generator=source)
    assert 0.2 < accepted.double().mean() / GAMMA < 0.8  # both ways out of a step are used
    assert _p_value(_complete(tokens, p, source), p) > 1e-4
    bonus = tokens[accepted == GAMMA]
    after = bonus[:, 2] * VOCAB + bonus[:, 3]
    last = bonus[:, 2].bincount(minlength=VOCAB).double() / len(bonus)
    assert chi_square_fit(after.bincount(minlength=VOCAB**2).numpy(), _conditional(last, p)).p > 1e-4


def _conditional(last: torch.Tensor, chain: torch.Tensor) -> np.ndarray:
    joint = (last[:, None] * chain).flatten().numpy()
    return joint / joint.sum()


@pytest.mark.oracle
def test_drawing_from_the_target_after_a_rejection_is_found_out():
    """The tempting wrong rule: the token that replaces a rejected one comes from p instead of the residual."""
    source, q, p = generator(102), _chain(100), _chain(101)
    path = _drafts(q, RUNS, source)
    tokens, accepted = speculative_accept(path[:, 1:], q[path[:, :GAMMA]], p[path], generator=source)
    row = torch.arange(RUNS)
    wrong = torch.multinomial(p[path[row, accepted]], 1, generator=source)[:, 0]
    tokens[row, accepted] = torch.where(accepted < GAMMA, wrong, tokens[row, accepted])
    assert _p_value(_complete(tokens, p, source), p) < 1e-12


@pytest.mark.oracle
def test_acceptance_rate_is_the_overlap():
    source, q, p = generator(103), _chain(100)[:1], _chain(101)[:1]
    first = torch.multinomial(q.expand(RUNS, -1), 1, generator=source)
    laws = q.expand(RUNS, 1, -1), p.expand(RUNS, 2, -1)
    accepted = speculative_accept(first, *laws, generator=source)[1]
    overlap = torch.minimum(p, q).sum().item()
    assert scipy_stats.binomtest(int(accepted.sum()), RUNS, overlap).pvalue > 1e-4


def test_equal_laws_accept_everything():
    law = torch.rand(1000, 1, 7, generator=generator(100)).softmax(-1)
    law[:, :, 3] = 0
    law = law / law.sum(-1, keepdim=True)
    drafted = torch.multinomial(law[:, 0], 4, replacement=True, generator=generator(101))
    q, p = law.expand(-1, 4, -1), law.expand(-1, 5, -1)
    tokens, accepted = speculative_accept(drafted, q, p, generator=generator(102))
    assert (accepted == 4).all()
    assert torch.equal(tokens[:, :4], drafted)
    assert ((tokens >= 0) & (tokens != 3)).all()


def test_disjoint_supports_accept_nothing():
    q = torch.tensor([0.5, 0.5, 0.0, 0.0]).expand(1000, 2, 4)
    p = torch.tensor([0.0, 0.0, 0.25, 0.75]).expand(1000, 3, 4)
    drafted = torch.randint(2, (1000, 2), generator=generator(100))
    tokens, accepted = speculative_accept(drafted, q, p, generator=generator(101))
    assert (accepted == 0).all()
    assert (tokens[:, 1:] == -1).all()
    counts = tokens[:, 0].bincount(minlength=4)
    assert counts[:2].sum() == 0
    assert scipy_stats.binomtest(int(counts[2]), 1000, 0.25).pvalue > 1e-4


def test_a_residual_that_rounds_to_zero_falls_back_to_the_target():
    """p is below q everywhere, within the tolerance of a law's sum: a rejection leaves no residual."""
    q = torch.tensor([0.25, 0.75]).expand(20_000, 1, 2)
    p = (q * 0.9995).expand(-1, 2, -1)
    drafted = torch.multinomial(q[:, 0], 1, generator=generator(100))
    tokens, accepted = speculative_accept(drafted, q, p, generator=generator(101))
    rejected = tokens[accepted == 0]
    assert 0 < len(rejected) < 60
    assert torch.equal(rejected[:, 1], torch.full((len(rejected),), -1))
    assert set(rejected[:, 0].tolist()) <= {0, 1}


def test_a_token_impossible_for_the_target_is_never_emitted():
    q = torch.tensor([0.9, 0.1]).expand(500, 1, 2)
    p = torch.tensor([0.0, 1.0]).expand(500, 2, 2)
    drafted = torch.multinomial(q[:, 0], 1, generator=generator(100))
    tokens, accepted = speculative_accept(drafted, q, p, generator=generator(101))
    assert (tokens[:, 0] == 1).all()
    assert torch.equal(accepted, drafted[:, 0])  # 1 is accepted always, 0 never


def test_padding_and_counts_agree():
    source = generator(100)
    q, p = (torch.rand(500, n, 6, generator=source).softmax(-1) for n in (4, 5))
    drafted = torch.multinomial(q.flatten(0, 1), 1, generator=source).view(500, 4)
    tokens, accepted = speculative_accept(drafted, q, p, generator=source)
    assert tokens.dtype == accepted.dtype == torch.int64
    assert torch.equal((tokens >= 0).sum(1), accepted + 1)
    place = torch.arange(4)
    assert torch.equal(tokens[:, :4].where(place < accepted[:, None], -1), drafted.where(place < accepted[:, None], -1))


def test_the_same_seed_gives_the_same_tokens():
    q, p = torch.full((50, 2, 3), 1 / 3), torch.tensor([0.2, 0.3, 0.5]).expand(50, 3, 3)
    drafted = torch.ones(50, 2, dtype=torch.int64)
    first, again = (speculative_accept(drafted, q, p, generator=generator(100))[0] for _ in range(2))
    assert torch.equal(first, again)


def test_greedy_accepts_up_to_the_first_difference():
    logits = torch.nn.functional.one_hot(torch.tensor([[2, 0, 1], [1, 1, 1], [0, 2, 2]]), 3).float()
    tokens, accepted = greedy_accept(torch.tensor([[2, 0], [1, 0], [1, 2]]), logits)
    assert tokens.tolist() == [[2, 0, 1], [1, 1, -1], [0, -1, -1]]
    assert accepted.tolist() == [2, 1, 0]


LAW = torch.full((2, 3, 4), 0.25)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"generator": None}, TypeError, "generator must be a torch.Generator"),
        ({"draft_tokens": torch.zeros(2, 3, dtype=torch.int32)}, TypeError, "draft_tokens must be int64"),
        ({"draft_probs": LAW.half()}, TypeError, "draft_probs must be float32 or float64"),
        ({"draft_probs": LAW.double()}, TypeError, "one dtype"),
        ({"draft_tokens": torch.zeros(2, 0, dtype=torch.int64)}, ValueError, "at least 1 token"),
        ({"draft_probs": LAW[:, :2]}, ValueError, r"target_probs \(2, 4, v\)"),
        ({"target_probs": torch.full((2, 4, 5), 0.2)}, ValueError, r"target_probs \(2, 4, v\)"),
        ({"draft_tokens": torch.full((2, 3), 4)}, ValueError, "draft_tokens must be from 0 to 3"),
        ({"draft_tokens": torch.full((2, 3), -1)}, ValueError, "draft_tokens must be from 0 to 3"),
        ({"draft_probs": LAW * torch.tensor([0.0, 2, 1, 1])}, ValueError, "positive probability"),
        ({"draft_probs": LAW * 1.1}, ValueError, "draft_probs must be at least 0, finite and sum to 1"),
        ({"target_probs": torch.full((2, 4, 4), torch.nan)}, ValueError, "target_probs must be at least 0"),
        ({"target_probs": torch.tensor([1.5, -0.5, 0, 0]).expand(2, 4, 4)}, ValueError, "target_probs must be at"),
    ],
)
def test_errors_name_the_argument(change, error, message):
    arguments = {
        "draft_tokens": torch.zeros(2, 3, dtype=torch.int64),
        "draft_probs": LAW,
        "target_probs": torch.full((2, 4, 4), 0.25),
        "generator": generator(100),
    }
    with pytest.raises(error, match=message):
        speculative_accept(**(arguments | change))


@pytest.mark.cuda
def test_cuda_draws_the_same_law():
    source = generator(100, "cuda")
    q, p = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]], device="cuda", dtype=torch.float64)
    drafted = torch.multinomial(q.expand(RUNS, -1), 1, generator=source)
    laws = q.expand(RUNS, 1, -1), p.expand(RUNS, 2, -1)
    tokens, _ = speculative_accept(drafted, *laws, generator=source)
    assert chi_square_fit(tokens[:, 0].bincount(minlength=3).cpu().numpy(), p.cpu().numpy()).p > 1e-4
