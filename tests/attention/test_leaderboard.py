import pytest
import torch
from small_llamas import llama, tokens

from selectlib.attention._evaluate import masked_perplexity
from selectlib.attention._leaderboard import leaderboard, score_policy
from selectlib.attention._policies import (
    OracleTopKPolicy,
    OracleTopPPolicy,
    QuestPolicy,
    RandomPolicy,
    SpecAttnPolicy,
    StreamingLLMPolicy,
    TOVAPolicy,
    WindowPolicy,
)

SETTING = {"gamma": 3, "prefill": 0.1, "dense_layers": 1}


@pytest.fixture(scope="module")
def scene():
    target = llama(3, 4, 2)
    ids = tokens(target, 200, batch=2)
    return target, ids, score_policy(target, ids, TOVAPolicy(), budgets=60, **SETTING)


def test_score_is_what_one_pass_evaluation_says(scene):
    target, ids, _ = scene
    answers = torch.tensor([[40, 100], [60, 149]])
    score = score_policy(target, ids, WindowPolicy(), budgets=20, answers=answers, **SETTING)
    result = masked_perplexity(target, ids, WindowPolicy(), budgets=20, positions=answers - 1, **SETTING)
    assert score.perplexity == pytest.approx(result.perplexity, rel=1e-5)
    assert torch.equal(score.right, result.logits.argmax(-1) == ids.gather(1, answers))
    assert torch.equal(score.accuracies, score.right.double().mean(1))
    assert score.meter.reads().shape == (2, 3)


@pytest.mark.parametrize("charge", ["union", "query"])
@pytest.mark.parametrize(
    "policy",
    [
        WindowPolicy(),
        StreamingLLMPolicy(4),
        TOVAPolicy(),
        QuestPolicy(8, min_pages=1),
        OracleTopKPolicy(),
        RandomPolicy(torch.Generator().manual_seed(100)),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_rivals_pay_what_the_reference_paid(scene, policy, charge):
    target, ids, reference = scene
    found = leaderboard(target, ids, reference, {"rival": policy}, charge=charge, **SETTING)["rival"].meter
    paid = 1 - found.reduction("sparse", charge)
    assert paid == pytest.approx(1 - reference.meter.reduction(), rel=0.02)
    assert found.sparse_layers == [1, 2]


def test_union_charge_buys_less_than_query_charge_where_queries_choose(scene):
    target, ids, reference = scene
    quest = {"Quest": QuestPolicy(8, min_pages=1)}
    by_query, by_union = (
        leaderboard(target, ids, reference, quest, charge=charge, **SETTING)["Quest"] for charge in ("query", "union")
    )
    assert by_union.meter.reads("query").sum() < 0.9 * by_query.meter.reads("query").sum()


def test_metadata_is_paid_from_the_budget_where_the_policy_says_so(scene):
    target, ids, reference = scene
    rivals = {name: QuestPolicy(8, min_pages=1, metadata_in_budget=name == "paid") for name in ("free", "paid")}
    found = leaderboard(target, ids, reference, rivals, charge="query", **SETTING)
    meter = found["paid"].meter
    sparse = meter.sparse_layers
    tokens_paid = meter.reads("query")[:, sparse] + meter.metadata_bytes("query")[:, sparse] / meter.bytes_per_token
    share = tokens_paid.sum() / meter.dense_reads("query")[:, sparse].sum()
    assert float(share) == pytest.approx(1 - reference.meter.reduction(), rel=0.02)
    assert meter.reads("query").sum() < found["free"].meter.reads("query").sum()


def test_layer_matched_budgets_follow_the_reference_layer_by_layer(scene):
    target, ids, _ = scene
    reference = score_policy(target, ids, SpecAttnPolicy([0, 0, 1], p=0.9), draft=llama(2, 2, 1, seed=101), **SETTING)
    (found,) = leaderboard(target, ids, reference, {"window": WindowPolicy()}, mode="layer-matched", **SETTING).values()
    assert torch.equal(found.meter.counts()[0], reference.meter.counts()[0])


def test_a_policy_without_budgets_is_no_rival(scene):
    target, ids, reference = scene
    with pytest.raises(ValueError, match="'oracle' is a OracleTopPPolicy"):
        leaderboard(target, ids, reference, {"oracle": OracleTopPPolicy()}, **SETTING)


def test_accuracies_need_answers(scene):
    with pytest.raises(ValueError, match="answers"):
        _ = scene[2].accuracies
