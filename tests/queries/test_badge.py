"""BADGE: embeddings against autograd, the law of the picks, and the cases that trap implementations."""

import pytest
import torch
from fetched import Fetched

from selectlib.pool import Pool
from selectlib.queries import BADGE, _features, _scores
from selectlib.queries._badge import _residuals
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
METHODS = ["rejection", "sequential"]


def draw(*shape, scale=1.0, seed=100):
    return scale * torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def select(pool, k, method="rejection", seed=100):
    return BADGE(method).select(pool, k, generator=generator(seed, pool.device))


def gradients(features, logits):
    """Gradient of each item's cross-entropy at its predicted class with regard to the last layer's weights."""
    last = torch.zeros(logits.shape[1], features.shape[1], dtype=torch.float64, requires_grad=True)
    rows = []
    for h, f in zip(features, logits, strict=True):
        loss = torch.nn.functional.cross_entropy(f + last @ h, f.argmax())
        rows.append(torch.autograd.grad(loss, last)[0].flatten())
    return torch.stack(rows)


def squared_distances(embeddings, chosen):
    """To the nearest embedding chosen, in full."""
    distances = (embeddings[:, None] - embeddings[chosen][None]).square().sum(2).amin(1)
    distances[chosen] = 0
    return distances


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_the_two_factors_make_the_gradient_of_the_last_layer(device):
    features, logits = draw(30, 4), draw(30, 5, scale=3, seed=101)
    residuals = _residuals(logits.to(device)).cpu()
    embeddings = (residuals[:, :, None] * features[:, None]).flatten(1)
    torch.testing.assert_close(-embeddings, gradients(features, logits), rtol=0, atol=1e-14)


@pytest.mark.oracle
def test_the_residual_of_a_sure_item_keeps_its_digits():
    logits = torch.tensor([[30.0, 0.0, 1.0], [0.0, 60.0, 3.0]])
    residuals, exact = _residuals(logits), _residuals(logits.double())
    torch.testing.assert_close(residuals, exact.float(), rtol=1e-6, atol=0)  # 1 - p would be 0 in single precision
    assert (residuals != 0).all()


@pytest.mark.oracle
def test_equal_logits_predict_the_first_class():
    assert _residuals(torch.zeros(1, 4)).tolist() == [[0.75, -0.25, -0.25, -0.25]]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
def test_the_picks_follow_their_squared_distances(method, device):
    """The first is the longest gradient, the second and (given the second) the third are drawn by D²."""
    features, logits = draw(12, 3), draw(12, 4, scale=2, seed=101)
    embeddings = gradients(features, logits)
    pool, draws = Pool(features.to(device), logits=logits.to(device)), generator(100, device)
    picks = torch.stack([BADGE(method).select(pool, 3, generator=draws) for _ in range(1500)]).cpu()
    longest = int(embeddings.norm(dim=1).argmax())
    assert (picks[:, 0] == longest).all()
    second = squared_distances(embeddings, [longest])
    counts = torch.bincount(picks[:, 1], minlength=12)
    assert counts[longest] == 0
    others = second > 0
    assert chi_square_fit(counts[others].tolist(), (second / second.sum())[others].tolist()).p > 1e-3
    usual = int(counts.argmax())
    third = squared_distances(embeddings, [longest, usual])
    counts = torch.bincount(picks[picks[:, 1] == usual, 2], minlength=12)
    others = third > 0
    assert counts[~others].sum() == 0 and counts.sum() > 150
    assert chi_square_fit(counts[others].tolist(), (third / third.sum())[others].tolist()).p > 1e-3


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_the_origin_is_no_centre(method):
    """Items whose gradients are almost 0 are far from the first pick; a centre at the origin would hide them."""
    logits = torch.tensor([[0.1, 0.0]] * 7 + [[40.0, 0.0]] * 7)
    pool = Pool(torch.ones(14, 2), logits=logits)
    for seed in range(100, 130):
        first, second = select(pool, 2, method, seed).tolist()
        assert first < 7 <= second


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_zero_are_drawn_uniformly(method):
    pool, draws = Pool(torch.zeros(6, 2), logits=draw(6, 3)), generator(100)
    picks = torch.stack([BADGE(method).select(pool, 3, generator=draws) for _ in range(600)])
    assert (picks.sort(1).values.diff(dim=1) > 0).all()  # never an item twice
    counts = torch.bincount(picks[:, 0] * 6 + picks[:, 1], minlength=36).reshape(6, 6)
    assert counts.diagonal().sum() == 0
    assert chi_square_fit(counts[~torch.eye(6, dtype=torch.bool)].tolist(), [1 / 30] * 30).p > 1e-3


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [1, 2, 9, 30])
def test_no_item_twice_up_to_the_whole_pool_and_among_copies(method, k):
    for pool in (
        Pool(draw(30, 4), logits=draw(30, 5, seed=101)),
        Pool(draw(3, 4).repeat(10, 1), logits=draw(3, 5, seed=101).repeat(10, 1)),
    ):
        assert len(set(select(pool, k, method).tolist())) == k


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_copies_come_after_all_that_is_distinct(method):
    pool = Pool(draw(5, 4).repeat(4, 1), logits=draw(5, 3, seed=101).repeat(4, 1))
    for seed in range(100, 110):
        assert {i % 5 for i in select(pool, 5, method, seed).tolist()} == set(range(5))


@pytest.mark.oracle
def test_neither_blocks_nor_a_source_of_items_change_the_choice(monkeypatch):
    features, logits = draw(200, 6), draw(200, 4, seed=101)
    expected = select(Pool(features, logits=logits), 20)
    monkeypatch.setattr(_scores, "_BLOCK", 30)
    monkeypatch.setattr(_features, "_BLOCK", 100)
    source = Fetched(features)
    assert torch.equal(select(Pool(source, logits=logits), 20), expected)
    assert max(source.sizes) == 16  # 100 // 6 items at once


@pytest.mark.oracle
@pytest.mark.parametrize("method", METHODS)
def test_an_offset_of_an_item_changes_nothing(method):
    features, logits = draw(100, 6), draw(100, 4, seed=101)
    moved = logits + draw(100, 1, scale=5, seed=102)
    assert torch.equal(
        *(select(Pool(features, logits=f), 10, method) for f in (logits, moved))
    )  # the same draws, up to rounding


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precisions_are_taken(dtype):
    pool = Pool(draw(50, 4).to(dtype), logits=draw(50, 3, scale=1e4, seed=101).to(dtype))
    assert len(set(select(pool, 20).tolist())) == 20


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be one of rejection, sequential, got 'greedy'"):
        BADGE("greedy")
