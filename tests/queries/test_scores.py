"""Scores of items by their logits: each against its formula in plain Python, and what must not change a choice."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib.pool import Pool
from selectlib.queries import Entropy, FreeEnergy, LeastConfidence, Margin, MvSM, _scores
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
STRATEGIES = [Entropy(), LeastConfidence(), Margin(), MvSM(), FreeEnergy(), FreeEnergy(T=0.5)]
each_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)


def probabilities(row):
    weights = [math.exp(f - max(row)) for f in row]
    return sorted((w / math.fsum(weights) for w in weights), reverse=True)


def by_hand(strategy, row):
    """The score of one item."""
    p, f = probabilities(row), sorted(row, reverse=True)
    match strategy:
        case Entropy():
            return -math.fsum(q * math.log(q) for q in p)
        case LeastConfidence():
            return -p[0]
        case Margin():
            return p[1] - p[0]
        case MvSM():
            return f[1] - f[0]
        case FreeEnergy():
            return -strategy.T * math.log(math.fsum(math.exp(g / strategy.T) for g in f))


def make_pool(logits):
    return Pool(logits.new_zeros(len(logits), 1), logits=logits)


def draw(n, classes=6, scale=3.0, seed=100):
    return scale * torch.randn(n, classes, dtype=torch.float64, generator=generator(seed))


def select(strategy, logits, k):
    return strategy.select(make_pool(logits), k, generator=generator(100))


@pytest.mark.oracle
@each_strategy
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("classes", [2, 6])
def test_the_scores_are_what_their_formulas_say(strategy, classes, device):
    logits = draw(101, classes)
    expected = [by_hand(strategy, row) for row in logits.tolist()]
    pool = make_pool(logits.to(device))
    found = strategy.scores(pool)
    assert found.device == pool.device
    torch.testing.assert_close(found.cpu(), torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=1e-13)
    order = sorted(range(101), key=lambda i: -expected[i])
    assert strategy.select(pool, 40, generator=generator(100)).tolist() == order[:40]


@pytest.mark.oracle
@each_strategy
@pytest.mark.parametrize("block", [1, 20, 601])
def test_blocks_change_nothing_and_no_more_is_scored_at_once(monkeypatch, strategy, block):
    logits = draw(100).float()
    whole, sizes = strategy.scores(make_pool(logits)), []
    monkeypatch.setattr(_scores, "_BLOCK", block)
    score = type(strategy)._score
    monkeypatch.setattr(type(strategy), "_score", lambda self, rows: sizes.append(rows.numel()) or score(self, rows))
    torch.testing.assert_close(strategy.scores(make_pool(logits)), whole, rtol=1e-6, atol=1e-6)
    assert sum(sizes) == 600 and max(sizes) <= max(block, 6)


@pytest.mark.oracle
@each_strategy
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 40), classes=st.integers(2, 7), seed=st.integers(0, 999))
def test_the_order_of_items_and_classes_does_not_matter(strategy, n, classes, seed):
    draws = generator(seed)
    # Distinct scores far apart, so that neither ties nor rounding decide.
    gaps = (torch.randperm(n, generator=draws) + 1.0).unsqueeze(1) / n
    logits = gaps * torch.tensor([2.0, 1.0, 0.0, -1.0, -1.5, -2.0, -3.0])[:classes]
    shuffle = torch.randperm(n, generator=draws)
    k = 1 + seed % n
    chosen = select(strategy, logits, k)
    assert torch.equal(shuffle[select(strategy, logits[shuffle], k)], chosen)
    assert torch.equal(select(strategy, logits[:, torch.randperm(classes, generator=draws)], k), chosen)


@pytest.mark.oracle
@pytest.mark.parametrize("strategy", STRATEGIES[:4], ids=lambda s: type(s).__name__)
def test_an_offset_of_an_item_changes_the_free_energy_alone(strategy):
    logits, offset = draw(60), draw(60, 1, scale=20, seed=101)
    moved = [s.scores(make_pool(logits + offset)) - s.scores(make_pool(logits)) for s in (strategy, FreeEnergy())]
    torch.testing.assert_close(moved[0], torch.zeros_like(moved[0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(moved[1], -offset[:, 0], rtol=0, atol=1e-12)


@pytest.mark.oracle
@each_strategy
@pytest.mark.parametrize("device", DEVICES)
def test_ties_go_to_the_lower_index(strategy, device):
    logits = torch.tensor([[3.0, 0.0], [1.0, 0.0]], device=device).repeat(50, 1)  # every second item scores higher
    assert select(strategy, logits, 60).tolist() == list(range(1, 100, 2)) + list(range(0, 20, 2))


@pytest.mark.oracle
@each_strategy
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_ranked_as_in_single(strategy, dtype, device):
    logits = torch.cat([draw(100), draw(100, scale=2e4).clamp(-6e4, 6e4)]).to(device, dtype)
    assert logits.abs().max() > 5e4
    scores = strategy.scores(make_pool(logits))
    assert scores.dtype == torch.float32 and scores.isfinite().all()
    assert torch.equal(scores, strategy.scores(make_pool(logits.float())))
    assert torch.equal(select(strategy, logits, 200), select(strategy, logits.float(), 200))


@each_strategy
def test_the_largest_floats_are_scored(strategy):
    big = torch.finfo(torch.float32).max
    logits = torch.tensor([[big, -big, 0.0], [0.0, 0.0, 0.0], [big, big, -big]])
    assert not strategy.scores(make_pool(logits)).isnan().any()


@each_strategy
def test_logits_with_a_graph_leave_none_behind(strategy):
    assert not strategy.scores(make_pool(draw(5).requires_grad_())).requires_grad


@pytest.mark.parametrize("strategy", [Margin(), MvSM()], ids=lambda s: type(s).__name__)
def test_one_class_has_no_second(strategy):
    with pytest.raises(ValueError, match=r"logits must have at least 2 classes .* shape \(4, 1\)"):
        select(strategy, torch.zeros(4, 1), 2)


@each_strategy
def test_scores_need_a_pool_with_logits(strategy):
    with pytest.raises(ValueError, match=f"{type(strategy).__name__} needs the pool's logits"):
        strategy.scores(Pool(torch.zeros(3, 1)))
    with pytest.raises(TypeError, match="pool must be"):
        strategy.scores(torch.zeros(3, 2))


@pytest.mark.parametrize(("T", "error"), [(0, ValueError), (math.nan, ValueError), (True, TypeError)])
def test_the_temperature_is_checked(T, error):
    with pytest.raises(error, match="T must be"):
        FreeEnergy(T)
