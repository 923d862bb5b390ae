"""An audit changes no token, measures what it says, and estimates the mean over all steps without bias."""

import pytest
import torch
from decoding_alone import noisy_copy
from scipy import stats as scipy_stats
from small_llamas import llama, tokens

from selectlib.attention._audit import Audit, StepAuditor
from selectlib.attention._decoder import SpecAttnDecoder
from selectlib.seeding import generator

BOTH = pytest.mark.parametrize("reference", ["cache", "prompt"])
NEW = 40


@pytest.fixture(scope="module")
def pair():
    target = llama(3, 4, 2, seed=100)
    return target, noisy_copy(target)


@pytest.fixture(scope="module")
def prompt(pair):
    return tokens(pair[0], 24)


def _run(pair, prompt, *, p=0.7, greedy=False, seed=100, **options):
    decoder = SpecAttnDecoder(*pair, p=p, dense_layers=0, gamma=3, **options)
    return decoder.generate(prompt, max_new_tokens=NEW, do_sample=not greedy, generator=generator(seed))


@BOTH
@pytest.mark.parametrize("greedy", [True, False])
def test_an_audit_changes_no_token(pair, prompt, reference, greedy):
    plain = _run(pair, prompt, greedy=greedy)
    audited = _run(pair, prompt, greedy=greedy, audit_rate=0.5, audit_reference=reference)
    assert torch.equal(plain.sequences, audited.sequences)
    assert 0 < len(audited.stats.audit.kl) < audited.stats.steps
    assert audited.stats.reads == plain.stats.reads
    assert plain.stats.audit is None


@pytest.mark.oracle
@BOTH
def test_the_numbers_are_those_of_a_computation_by_hand(pair, prompt, reference, monkeypatch):
    """Sparse laws as the decoder used them, against the target reading everything at once."""
    sparse, record = [], StepAuditor.record

    def watched(self, said, dense):
        sparse.append(said)
        record(self, said, dense)

    monkeypatch.setattr(StepAuditor, "record", watched)
    result = _run(pair, prompt, audit_rate=1.0, audit_reference=reference)
    audit = result.stats.audit
    logits, at, expected = pair[0](result.sequences).logits[0], prompt.shape[1], []
    for said in sparse:
        alone = logits[at : at + len(said)]  # a step's first query is the last token before it
        p, q = alone.double().softmax(-1)[: len(said)], said.double().softmax(-1)[: len(alone)]
        kl = (p * (p / q).log()).sum(-1).mean()
        expected.append(torch.stack([(p - q).abs().sum(-1).mean() / 2, kl]))
        at += len(said)
    by_hand = torch.stack(expected, 1)
    found = torch.stack([audit.total_variation, audit.kl])
    assert len(sparse) == result.stats.steps == found.shape[1]
    assert found[0].min() > 0.01  # the masks matter in each step
    compared = slice(-1) if reference == "prompt" else slice(1)  # the last step may be cut short of its last query
    assert torch.allclose(found[:, compared], by_hand[:, compared], atol=1e-4)
    if reference == "cache":  # later steps read what the sparse ones wrote
        assert not torch.allclose(found[:, 1:-1], by_hand[:, 1:-1], atol=1e-2)


@BOTH
def test_no_distance_where_everything_is_kept(pair, prompt, reference):
    audit = _run(pair, prompt, p=1.0, audit_rate=1.0, audit_reference=reference).stats.audit
    assert audit.total_variation.max() < 1e-5
    assert audit.kl.abs().max() < 1e-5


@pytest.mark.oracle
def test_audited_steps_are_a_random_sample_of_all(pair, prompt):
    """Greedy runs with different coins take the same steps: the audits must be draws from one list of numbers."""
    everything = _run(pair, prompt, greedy=True, audit_rate=1.0).stats.audit.total_variation
    chosen = torch.zeros(len(everything))
    for seed in range(100, 112):
        some = _run(pair, prompt, greedy=True, seed=seed, audit_rate=0.3).stats.audit.total_variation
        where = (some[:, None] - everything).abs()
        assert where.min(1).values.max() < 1e-6
        chosen[where.argmin(1)] += 1
    runs = 12 * len(everything)
    assert scipy_stats.binomtest(int(chosen.sum()), runs, 0.3).pvalue > 1e-4
    assert (chosen > 0).double().mean() > 0.8  # no step is beyond an audit's reach


@pytest.mark.oracle
def test_distances_at_the_temperature_of_the_run():
    auditor = StepAuditor(1.0, generator(100), 2.0)
    dense, sparse = torch.tensor([[0.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    auditor.record(sparse, dense)
    audit, p = auditor.result(), torch.tensor([0.0, 1.0]).double().softmax(-1)
    assert audit.total_variation.item() == pytest.approx((p[1].item() - 0.5) / 2)  # two queries, one of them equal
    assert audit.kl.item() == pytest.approx((p * (2 * p).log()).sum().item() / 2)


def test_an_interval_needs_two_steps():
    audit = Audit(torch.tensor([0.1, 0.3]).double(), torch.tensor([0.2, 0.2]).double())
    assert audit.interval().value == pytest.approx(0.2)
    assert (audit.interval("kl").low, audit.interval("kl").n) == (pytest.approx(0.2), 2)
    with pytest.raises(ValueError, match="at least 2 audited steps, got 0"):
        StepAuditor(0.5, generator(100), 1.0).result().interval()
    with pytest.raises(ValueError, match="measure must be 'total_variation' or 'kl', got 'tv'"):
        audit.interval("tv")


def test_an_audit_of_greedy_decoding_needs_a_generator(pair, prompt):
    decoder = SpecAttnDecoder(*pair, audit_rate=0.5)
    with pytest.raises(ValueError, match="generator must be given"):
        decoder.generate(prompt, max_new_tokens=4, do_sample=False)
