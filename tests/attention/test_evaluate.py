import pytest
import torch
from small_llamas import llama, tokens
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from selectlib.attention._budgets import matched_budgets
from selectlib.attention._evaluate import draft_rows, masked_perplexity
from selectlib.attention._look_ahead import look_ahead
from selectlib.attention._meter import KVAccessMeter
from selectlib.attention._plan import SparsePlan
from selectlib.attention._policies import (
    H2OPolicy,
    OracleTopKPolicy,
    OracleTopPPolicy,
    QuestPolicy,
    RandomPolicy,
    SelectionPolicy,
    SpecAttnPolicy,
    StreamingLLMPolicy,
    TOVAPolicy,
    WindowPolicy,
)
from selectlib.attention._rotary import rotary_frequencies
from selectlib.attention._selection import draft_keep
from selectlib.attention._stepwise import stepwise_logits
from selectlib.attention._target import sparse_attention
from selectlib.seeding import generator

LENGTH, MAP = 60, [0, 0, 1]
EVERYWHERE = torch.arange(LENGTH)[None]


@pytest.fixture(scope="module")
def pair():
    """Grouped queries in the target. Float64: where two scores nearly tie, rounding must not choose the token."""
    target, draft = llama(3, 4, 2).double(), llama(2, 4, 4, seed=101).double()
    return target, draft


POLICIES = {
    "causal": lambda _: SpecAttnPolicy(MAP, 0.8),
    "published": lambda _: SpecAttnPolicy(MAP, 0.8, mask="published"),
    "sinks and recent": lambda _: SpecAttnPolicy(MAP, 0.6, sink=2, recent=3),
    "linear": lambda _: SpecAttnPolicy(MAP, 0.8, method="linear", iterations=10, bound="upper"),
    "window": lambda _: WindowPolicy(),
    "streaming": lambda _: StreamingLLMPolicy(),
    "shifted": lambda target: StreamingLLMPolicy(inv_freq=rotary_frequencies(target)),
    "quest": lambda _: QuestPolicy(4, min_pages=1),
    "h2o": lambda _: H2OPolicy(),
    "heavy hitters": lambda _: H2OPolicy(recent=0.0),
    "tova": lambda _: TOVAPolicy(),
    "random": lambda _: RandomPolicy(generator(100)),
    "top-k": lambda _: OracleTopKPolicy(),
    "top-k of the mean": lambda _: OracleTopKPolicy("mean"),
    "top-p": lambda _: OracleTopPPolicy(0.8),
    "top-p each": lambda _: OracleTopPPolicy(0.8, "each"),
}


@pytest.mark.oracle
@pytest.mark.parametrize("gamma", [1, 4, 7])
@pytest.mark.parametrize("name", POLICIES)
def test_one_pass_is_the_loop_with_a_cache(pair, name, gamma):
    target, draft = pair
    ids, make = tokens(target, LENGTH), POLICIES[name]  # 54 sparse positions: the last step of 4 and of 7 is shorter
    options = {"gamma": gamma, "draft": draft, "budgets": 9, "dense_layers": 1}
    fast_meter, slow_meter = KVAccessMeter(target.config), KVAccessMeter(target.config)
    fast = masked_perplexity(target, ids, make(target), positions=EVERYWHERE, meter=fast_meter, **options)
    slow = stepwise_logits(target, ids, make(target), meter=slow_meter, **options)
    assert (fast.logits[0] - slow).abs().max() < 1e-8
    dense = target(ids).logits[0]
    prefill = int(0.1 * LENGTH)
    assert (slow[:prefill] - dense[:prefill]).abs().max() < 1e-8
    assert (slow[prefill:] - dense[prefill:]).abs().max() > 0.01  # the masks bite
    for scope in ("sparse", "all", "bytes"):
        for charge in ("union", "query"):
            assert fast_meter.reduction(scope, charge) == pytest.approx(slow_meter.reduction(scope, charge), abs=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("mask", ["causal", "published"])
def test_in_single_precision_too(mask):
    target, draft = llama(3, 4, 4), llama(2, 4, 2, seed=101)
    ids = tokens(target, LENGTH)
    policy = SpecAttnPolicy(MAP, 0.9, mask=mask)
    fast = masked_perplexity(target, ids, policy, draft=draft, dense_layers=1, positions=EVERYWHERE).logits[0]
    assert (fast - stepwise_logits(target, ids, policy, draft=draft, dense_layers=1)).abs().max() < 1e-4


class Swapped(SelectionPolicy):
    """Every second token, but in one step the others."""

    def __init__(self, start):
        self.start = start

    def keep(self, view):
        columns, starts = torch.arange(view.key.shape[1]), self.run.starts[:, None]
        return ((columns % 2 == 0) ^ (starts == self.start))[None]


@pytest.mark.oracle
def test_swapping_the_mask_of_one_step_changes_logits_from_there_on_and_nothing_before(pair):
    target, _ = pair
    ids, start = tokens(target, LENGTH), 6 + 4 * 5
    plain, swapped = (
        masked_perplexity(target, ids, Swapped(s), dense_layers=0, positions=EVERYWHERE).logits[0] for s in (-1, start)
    )
    moved = (plain - swapped).abs().amax(-1)
    assert (moved[:start] == 0).all()
    assert (moved[start:] > 1e-6).all()


@pytest.mark.oracle
@pytest.mark.parametrize(("mask", "leaks"), [("published", True), ("causal", False)])
def test_only_the_published_mask_looks_ahead(pair, mask, leaks):
    target, draft = pair
    ids, policy = tokens(target, LENGTH), SpecAttnPolicy(MAP, 0.6, mask=mask)
    moved = look_ahead(target, ids, policy, draft=draft, dense_layers=0, generator=generator(100), steps=10)
    assert moved.shape == (10,)
    if leaks:
        assert moved.max() > 0.1 and (moved > 1e-6).sum() >= 3
    else:
        assert (moved == 0).all()


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["window", "shifted", "quest", "h2o", "tova", "top-k", "top-p"])
def test_no_other_policy_looks_ahead(pair, name):
    target, _ = pair
    policy = POLICIES[name](target)
    moved = look_ahead(target, tokens(target, LENGTH), policy, budgets=9, generator=generator(100), steps=4)
    assert (moved < 1e-12).all()


@pytest.mark.oracle
@pytest.mark.parametrize("policy", [None, SpecAttnPolicy(MAP, 1.0), WindowPolicy()])
def test_keeping_everything_is_dense(pair, policy):
    target, draft = pair
    ids, meter = tokens(target, LENGTH), KVAccessMeter(target.config)
    result = masked_perplexity(
        target, ids, policy, draft=draft, dense_layers=0, budgets=LENGTH, positions=EVERYWHERE, meter=meter
    )
    assert (result.logits[0] - target(ids).logits[0]).abs().max() < 1e-12
    for charge in ("union", "query"):
        assert meter.reduction("sparse", charge) == meter.reduction("all", charge) == 0


@pytest.mark.oracle
def test_nll_is_that_of_each_token_after_a_sparse_query(pair):
    target, draft = pair
    ids = tokens(target, LENGTH, batch=3)
    policy = SpecAttnPolicy(MAP, 0.8)
    result = masked_perplexity(target, ids, policy, draft=draft, positions=EVERYWHERE.expand(3, -1))
    assert result.nll.shape == (3, LENGTH)
    assert result.nll.isnan().nonzero()[:, 1].tolist() == list(range(7)) * 3  # the query at 6 is the first sparse one
    wanted = cross_entropy(result.logits[:, 6:-1].flatten(0, 1), ids[:, 7:].flatten(), reduction="none")
    assert torch.allclose(result.nll[:, 7:].flatten().double(), wanted, atol=1e-5)
    assert result.perplexity == pytest.approx(wanted.mean().exp().item(), rel=1e-5)
    alone = masked_perplexity(target, ids[1:2], policy, draft=draft)
    assert torch.allclose(alone.nll[0], result.nll[1], equal_nan=True)
    assert alone.logits is None


def test_dense_layers_stay_dense(pair):
    target, _ = pair
    ids, meter = tokens(target, LENGTH), KVAccessMeter(target.config)
    masked_perplexity(target, ids, WindowPolicy(), budgets=5, meter=meter)
    reads, dense = meter.reads(), meter.dense_reads()
    assert torch.equal(reads[:, :2], dense[:, :2]) and (reads[:, 2] < dense[:, 2]).all()
    everything = masked_perplexity(target, ids, WindowPolicy(), budgets=5, dense_layers=3)
    assert torch.allclose(everything.nll, masked_perplexity(target, ids, None).nll, equal_nan=True)


def test_prefill_is_a_share_or_a_number(pair):
    target, _ = pair
    ids = tokens(target, LENGTH)
    share, number = (masked_perplexity(target, ids, WindowPolicy(), budgets=5, prefill=p) for p in (0.25, 15))
    assert torch.equal(share.nll.isnan(), number.nll.isnan()) and int(number.nll.isnan().sum()) == 16


@pytest.mark.oracle
@pytest.mark.parametrize("charge", ["union", "query"])
@pytest.mark.parametrize("mode", ["uniform", "layer-matched"])
@pytest.mark.parametrize("mask", ["causal", "published"])
def test_budgets_from_a_run_are_read_to_the_token(pair, charge, mode, mask):
    target, draft = pair
    ids, config = tokens(target, LENGTH, batch=2), target.config
    meter = KVAccessMeter(config)
    options = {"draft": draft, "dense_layers": 1}
    masked_perplexity(target, ids, SpecAttnPolicy(MAP, 0.8, mask=mask), meter=meter, **options)
    budgets = matched_budgets(meter, mode, charge)
    for make in (WindowPolicy, StreamingLLMPolicy, H2OPolicy, TOVAPolicy):
        other = KVAccessMeter(config)
        masked_perplexity(target, ids, make(), meter=other, budgets=budgets, **options)
        assert torch.equal(other.reads(charge).sum(1), meter.reads(charge).sum(1))
        if mode == "layer-matched":
            assert torch.equal(other.reads(charge), meter.reads(charge))
    if mode == "uniform":
        sparse = budgets[:, 1:][..., int(0.1 * LENGTH) :]
        starts = meter.counts()[1][:, None, int(0.1 * LENGTH) :]
        free = sparse < starts  # not held down by a short cache
        for sequence in range(2):
            levels = sparse[sequence][free.expand_as(sparse)[sequence]]
            assert levels.max() - levels.min() <= 1


def test_the_models_own_attention_comes_back(pair):
    target, draft = pair
    ids, before = tokens(target, LENGTH), target.config._attn_implementation

    class Breaks(SelectionPolicy):
        def keep(self, view):
            raise RuntimeError("on purpose")

    masked_perplexity(target, ids, SpecAttnPolicy(MAP), draft=draft)
    assert target.config._attn_implementation == draft.config._attn_implementation == before
    with pytest.raises(RuntimeError, match="on purpose"):
        masked_perplexity(target, ids, Breaks(), dense_layers=0)
    assert target.config._attn_implementation == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": 0}, "gamma"),
        ({"prefill": 1.0}, "prefill"),
        ({"prefill": 0.0}, "prefill"),
        ({"prefill": 59}, "prefill"),
        ({"dense_layers": 4}, "dense_layers"),
        ({"budgets": None}, "WindowPolicy needs budgets"),
        ({"budgets": -1}, "budgets"),
        ({"budgets": torch.ones(1, 3, 5, dtype=torch.int64)}, "budgets"),
        ({"policy": SpecAttnPolicy(MAP)}, "SpecAttnPolicy needs a draft"),
        ({"policy": SpecAttnPolicy(MAP), "draft": llama(2, 2, 2, vocab=7)}, "vocabulary"),
        ({"policy": SpecAttnPolicy([0]), "draft": llama(2, 2, 2)}, "3 layers, got 1"),
        ({"policy": SpecAttnPolicy([0, 1, 5]), "draft": llama(2, 2, 2)}, "layers"),
        ({"positions": torch.tensor([[60]])}, "positions"),
        ({"input_ids": torch.zeros(0, 9, dtype=torch.int64)}, "input_ids"),
        ({"input_ids": torch.zeros(1, 2, dtype=torch.int64)}, "input_ids"),
    ],
)
def test_bad_arguments_are_named(pair, changes, message):
    arguments = {"input_ids": tokens(pair[0], LENGTH), "policy": WindowPolicy(), "budgets": 9} | changes
    with pytest.raises(ValueError, match=message):
        masked_perplexity(pair[0], **arguments)


def test_kinds_and_look_ahead_arguments_are_checked(pair):
    target, ids = pair[0], tokens(pair[0], LENGTH)
    with pytest.raises(TypeError, match="policy"):
        masked_perplexity(target, ids, "window")
    with pytest.raises(ValueError, match="one sequence, got 2"):
        stepwise_logits(target, ids.expand(2, -1), None)
    for changes, message in (({"gamma": 1}, "gamma"), ({"steps": 99}, "steps"), ({"steps": 0}, "steps")):
        with pytest.raises(ValueError, match=message):
            look_ahead(target, ids, WindowPolicy(), budgets=9, generator=generator(100), **changes)
    with pytest.raises(ValueError, match="one sequence, got 2"):
        look_ahead(target, ids.expand(2, -1), WindowPolicy(), budgets=9, generator=generator(100))


@pytest.mark.oracle
def test_weights_that_are_not_scaled_up_again(pair):
    """The first step, as a decoder would run it with a plan of the same masks."""
    target, draft = pair
    ids, start, gamma = tokens(target, LENGTH), 20, 4
    options = {"gamma": gamma, "draft": draft, "dense_layers": 1, "prefill": start, "positions": EVERYWHERE}
    fast = masked_perplexity(target, ids, SpecAttnPolicy(MAP, 0.6), renormalize=False, **options).logits[0]
    scaled = masked_perplexity(target, ids, SpecAttnPolicy(MAP, 0.6), **options).logits[0]
    at = torch.arange(start, start + gamma)
    rows = draft_rows(draft, ids[0], (0, 1))
    keep = draft_keep(torch.stack([rows[0][at], rows[1][at]]), at, at, start, 0.6)
    plan = SparsePlan([None, keep[0][None], keep[1][None]], renormalize=False)
    with sparse_attention(target):
        cache = target(ids[:, :start], cache=DynamicCache()).cache
        slow = target(ids[:, start : start + gamma], cache=cache, sparse_plan=plan).logits[0]
    assert (fast[at] - slow).abs().max() < 1e-5  # these weights are float32
    assert (fast[at] - scaled[at]).abs().max() > 0.01
    with pytest.raises(ValueError, match="renormalize=False does not go with StreamingLLMPolicy"):
        shifted = StreamingLLMPolicy(inv_freq=rotary_frequencies(target))
        masked_perplexity(target, ids, shifted, budgets=9, renormalize=False, **options)
