"""The decoder: exact with dense attention, honest in its account, tidy in its caches, and clear in its errors."""

import pytest
import torch
from decoding_alone import greedy, noisy_copy
from small_llamas import llama, tokens

from selectlib.attention._capture import capture_attention
from selectlib.attention._decoder import SpecAttnDecoder
from selectlib.attention._law import ToyModel
from selectlib.attention._loop import Speculation
from selectlib.attention._meter import KVAccessMeter
from selectlib.attention._rules import Sampling
from selectlib.attention._selection import draft_keep
from selectlib.attention._target import Planner
from selectlib.attention._toy_loop import continuation_counts, continuation_law
from selectlib.seeding import generator
from selectlib.stats import chi_square_fit


@pytest.fixture(scope="module")
def pair():
    target = llama(3, 4, 2, seed=100)
    return target, noisy_copy(target)


def _new(result, prompt):
    return result.sequences[0, prompt.shape[1] :].tolist()


@pytest.mark.oracle
def test_greedy_dense_decoding_gives_the_targets_own_tokens(pair):
    for seed in range(100, 105):
        prompt = tokens(pair[0], 20, seed=seed)
        result = SpecAttnDecoder(*pair, p=None).generate(prompt, max_new_tokens=64, do_sample=False)
        assert torch.equal(result.sequences, greedy(pair[0], prompt, 64))
        assert 0 < result.stats.acceptance < 1  # both ways out of a step are used


@pytest.mark.oracle
def test_joint_law_of_three_tokens_is_the_targets():
    """The loop on toy models, whose 216 cells are filled in seconds."""
    source, prompt = generator(100), torch.tensor([0, 3, 1, 5])
    draft, target = (ToyModel.random(vocab=6, length=16, generator=source) for _ in range(2))
    law = continuation_law(target, prompt, 3).numpy()
    counts = continuation_counts(draft, target, prompt, 3, 6000, gamma=3, generator=source)
    assert chi_square_fit(counts.numpy(), law).p > 1e-4
    wrong = continuation_counts(draft, target, prompt, 3, 1000, gamma=3, generator=source, rule=_Hasty)
    assert chi_square_fit(wrong.numpy(), law).p < 1e-8


class _Hasty(Sampling):
    """Takes every draft: the control that the test must reject."""

    def verify(self, drafted, q, logits, p):
        return torch.cat([drafted, torch.multinomial(p[-1], 1, generator=self.generator)])


@pytest.mark.oracle
def test_joint_law_of_the_decoder_is_the_targets():
    """The same through `generate`, on real models and their caches."""
    vocab, runs, source = 6, 800, generator(101)
    target = llama(1, 2, 1, width=8, vocab=vocab)
    prompt = tokens(target, 5)
    paths = torch.cartesian_prod(*[torch.arange(vocab)] * 3)
    laws = target(torch.cat([prompt.expand(len(paths), -1), paths], 1)).logits.double().softmax(-1)[:, 4:-1]
    law = laws.gather(2, paths[..., None])[..., 0].prod(1).numpy()
    decoder = SpecAttnDecoder(target, noisy_copy(target, noise=0.3), p=None, gamma=3)
    found = [_new(decoder.generate(prompt, max_new_tokens=4, generator=source), prompt)[:3] for _ in range(runs)]
    cells = (torch.tensor(found) * torch.tensor([vocab**2, vocab, 1])).sum(1).bincount(minlength=vocab**3)
    assert chi_square_fit(cells.numpy(), law / law.sum()).p > 1e-4


@pytest.mark.parametrize("options", [{"p": None}, {"p": 0.7, "dense_layers": 1}])
def test_caches_hold_the_committed_tokens_after_every_step(pair, monkeypatch, options):
    """Lengths, and for the models that run densely the keys and values too: as if each had read the tokens at once."""
    run, full = Speculation.step, []

    def watched(self, sequence, room):
        before = self.accepted, self.drafted
        run(self, sequence, room)
        full.append(self.accepted - before[0] == self.drafted - before[1])
        assert self.target.length == len(sequence) - 1
        assert self.draft.cache.get_seq_length() == len(sequence) - (2 if full[-1] else 1)
        dense = [self.draft] if "dense_layers" in options else [self.draft, self.target]
        for side in dense:
            alone = side.model.model(torch.tensor([sequence[: side.cache.get_seq_length()]]), use_cache=True).cache
            for mine, other in zip(side.cache.layers, alone.layers, strict=True):
                assert torch.allclose(mine.keys, other.keys, atol=1e-4)
                assert torch.allclose(mine.values, other.values, atol=1e-4)

    monkeypatch.setattr(Speculation, "step", watched)
    SpecAttnDecoder(*pair, gamma=3, **options).generate(
        tokens(pair[0], 12), max_new_tokens=40, generator=generator(100)
    )
    assert any(full) and not all(full)


@pytest.mark.oracle
@pytest.mark.parametrize("mask", ["causal", "published"])
def test_plans_are_those_of_the_drafts_own_attention(pair, monkeypatch, mask):
    """Each step's mask, made from rows that were caught token by token, against one pass over all tokens."""
    plan, step, plans, steps = Planner.plan, Speculation.step, [], []

    def planned(self, rows, start, queries):
        plans.append((rows.clone(), start, plan(self, rows, start, queries)))
        return plans[-1][2]

    def stepped(self, sequence, room):
        before = len(sequence)
        step(self, sequence, room)
        steps.append((before, list(sequence)))

    monkeypatch.setattr(Planner, "plan", planned)
    monkeypatch.setattr(Speculation, "step", stepped)
    target, draft = pair
    decoder = SpecAttnDecoder(target, draft, [0, 0, 2], p=0.8, gamma=3, mask=mask, dense_layers=1)
    decoder.generate(tokens(target, 12), max_new_tokens=30, generator=generator(100))
    checked = differ = 0
    for (rows, start, made), (before, sequence) in zip(plans, steps, strict=True):
        assert start == before - 1
        known = min(rows.shape[1], len(sequence) - before)  # rows whose token was committed; the others are gone
        with capture_attention(draft, layers=[0, 2]) as capture:
            draft(torch.tensor([sequence[: start + known]]))
        alone = torch.zeros_like(rows[:, :known])
        alone[..., : start + known] = torch.stack([weights[0, start:] for weights in capture.weights])
        assert torch.allclose(rows[:, :known], alone, atol=1e-5)
        at = torch.arange(start, start + rows.shape[1] + 1)
        keep = draft_keep(rows, at[:-1], at, start, 0.8, mask)
        assert made.selection(0) is None
        assert torch.equal(made.bool_mask(1)[0], keep[0])
        assert torch.equal(made.bool_mask(2)[0], keep[1])
        checked += known
        differ += not (keep == keep[:, -1:]).all()
    assert checked > len(plans)
    assert differ == 0 if mask == "published" else differ > len(plans) / 2


def test_keeping_everything_changes_no_token(pair):
    prompt = tokens(pair[0], 20)
    runs = [
        SpecAttnDecoder(*pair, p=p, dense_layers=0).generate(prompt, max_new_tokens=30, generator=generator(100))
        for p in (None, 1.0, 0.6)
    ]
    assert torch.equal(runs[0].sequences, runs[1].sequences)
    assert not torch.equal(runs[0].sequences, runs[2].sequences)
    assert [run.stats.reduction("all") for run in runs[:2]] == [0.0, 0.0]


def test_sink_recent_and_renormalize_reach_the_target(pair):
    prompt = tokens(pair[0], 60)

    def run(**options):
        decoder = SpecAttnDecoder(*pair, p=0.1, dense_layers=0, **options)
        return decoder.generate(prompt, max_new_tokens=12, do_sample=False)

    plain = run()
    everything = run(recent=1000)
    assert torch.equal(everything.sequences, greedy(pair[0], prompt, 12))
    assert everything.stats.reduction() == 0
    assert 0 < run(sink=40).stats.reduction() < plain.stats.reduction()
    assert not torch.equal(run(renormalize=False).sequences, plain.sequences)


@pytest.mark.oracle
def test_reads_are_those_of_the_meter(pair, monkeypatch):
    run, meter = Planner.plan, KVAccessMeter(pair[0].config)

    def watched(self, rows, start, queries):
        plan = run(self, rows, start, queries)
        meter.begin(torch.full((queries,), start))
        for layer in range(3):
            meter.record(layer, None if plan.selection(layer) is None else plan.bool_mask(layer))
        return plan

    monkeypatch.setattr(Planner, "plan", watched)
    decoder = SpecAttnDecoder(*pair, p=0.8, dense_layers=1)
    stats = decoder.generate(tokens(pair[0], 30), max_new_tokens=30, generator=generator(100)).stats
    assert list(stats.reads) == meter.reads().sum(0).tolist()
    assert stats.dense_reads == meter.dense_reads()[:, 0].sum().item()
    for scope in ("sparse", "all"):
        assert stats.reduction(scope) == pytest.approx(meter.reduction(scope))
    assert 0 < stats.reduction("all") < stats.reduction("sparse") < 1
    assert stats.reads[0] == stats.dense_reads
    # γ rows of the step in float32 over its cached tokens, for each draft layer: γ is shorter in the last steps.
    assert 0.8 < stats.row_bytes / (4 * 2 * 4 * stats.dense_reads) <= 1
    assert stats.reduction("bytes") < stats.reduction("all")


def test_counts_of_steps_and_tokens(pair):
    prompt = tokens(pair[0], 12)
    stats = SpecAttnDecoder(pair[0], noisy_copy(pair[0], noise=0), p=None, gamma=4).generate(
        prompt, max_new_tokens=21, do_sample=False
    ).stats  # fmt: skip
    assert (stats.steps, stats.drafted, stats.accepted, stats.acceptance) == (4, 16, 16, 1.0)  # 1 + 4 · 5 tokens
    assert stats.dense_reads == 12 + 17 + 22 + 27
    assert stats.seconds == {} and stats.audit is None


def test_time_is_measured_on_request(pair):
    decoder = SpecAttnDecoder(*pair, p=0.9)
    seconds = decoder.generate(
        tokens(pair[0], 12), max_new_tokens=8, generator=generator(100), profile=True
    ).stats.seconds
    assert set(seconds) == {"draft", "select", "verify"}
    assert all(value > 0 for value in seconds.values())


@pytest.mark.parametrize("count", range(1, 12))
def test_exactly_as_many_tokens_as_asked(pair, count):
    prompt = tokens(pair[0], 1)  # a prompt of one token: the first step selects from a cache of one
    result = SpecAttnDecoder(*pair, p=0.9, dense_layers=0).generate(
        prompt, max_new_tokens=count, generator=generator(100)
    )
    assert result.sequences.shape == (1, 1 + count)


def test_streaming_and_interruption(pair):
    prompt, decoder = tokens(pair[0], 12), SpecAttnDecoder(*pair, p=0.8, dense_layers=1)
    whole, seen = [], []
    result = decoder.generate(prompt, max_new_tokens=30, do_sample=False, on_token=whole.append)
    assert whole == _new(result, prompt)
    assert all(type(token) is int for token in whole)

    def interrupt(token):
        seen.append(token)
        if len(seen) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoder.generate(prompt, max_new_tokens=30, do_sample=False, on_token=interrupt)
    assert seen == whole[:7]
    assert [model.config._attn_implementation for model in pair] == ["sdpa", "sdpa"]
    dense = SpecAttnDecoder(*pair, p=None)
    start = _new(dense.generate(prompt, max_new_tokens=7, do_sample=False), prompt)
    longer = torch.cat([prompt, torch.tensor([start])], 1)
    rest = _new(dense.generate(longer, max_new_tokens=23, do_sample=False), longer)
    assert start + rest == _new(dense.generate(prompt, max_new_tokens=30, do_sample=False), prompt)


def test_stops_at_the_first_end_inside_an_accepted_block(pair):
    prompt = tokens(pair[0], 12)
    decoder = SpecAttnDecoder(pair[0], noisy_copy(pair[0], noise=0), p=None, gamma=6)
    whole = _new(decoder.generate(prompt, max_new_tokens=20, do_sample=False), prompt)
    for ends in (whole[0], whole[3], [60, whole[4]], [whole[5], whole[2]]):
        allowed = {ends} if isinstance(ends, int) else set(ends)
        stop = next(i for i, token in enumerate(whole) if token in allowed)
        seen = []
        result = decoder.generate(prompt, max_new_tokens=20, do_sample=False, eos_token_id=ends, on_token=seen.append)
        assert _new(result, prompt) == seen == whole[: stop + 1]


def test_the_same_seed_gives_the_same_tokens_at_any_temperature(pair):
    prompt, decoder = tokens(pair[0], 12), SpecAttnDecoder(*pair, p=0.8)
    first, again, other = (
        decoder.generate(prompt, max_new_tokens=20, temperature=t, generator=generator(100)).sequences
        for t in (1.5, 1.5, 0.5)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    cold = SpecAttnDecoder(*pair, p=None).generate(
        prompt, max_new_tokens=20, temperature=1e-4, generator=generator(100)
    )
    assert torch.equal(cold.sequences, greedy(pair[0], prompt, 20))


def test_an_alignment_object_serves_as_its_map(pair):
    class Fitted:
        mapping_ = torch.tensor([2, 2, 2])

    prompt = tokens(pair[0], 12)
    given, listed, other = (
        SpecAttnDecoder(*pair, alignment, p=0.5, dense_layers=0)
        .generate(prompt, max_new_tokens=20, do_sample=False)
        .stats.reads
        for alignment in (Fitted(), [2, 2, 2], [0, 0, 0])
    )
    assert given == listed != other


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"p": 0.0}, ValueError, r"p must be in \(0, 1\] or None, got 0.0"),
        ({"p": "all"}, TypeError, "p must be a number, got str"),
        ({"gamma": 0}, ValueError, "gamma must be at least 1, got 0"),
        ({"gamma": 2.0}, TypeError, "gamma must be an int, got float"),
        ({"mask": "both"}, ValueError, "mask must be one of 'causal', 'published', got 'both'"),
        ({"dense_layers": -1}, ValueError, "dense_layers must be at least 0"),
        ({"sink": -1}, ValueError, "sink must be at least 0"),
        ({"recent": -1}, ValueError, "recent must be at least 0"),
        ({"audit_rate": 1.5}, ValueError, "audit_rate must be from 0 to 1, got 1.5"),
        ({"audit_reference": "past"}, ValueError, "audit_reference must be one of 'cache', 'prompt'"),
        ({"alignment": [0, 1]}, ValueError, "each of the target's 3 layers to a draft layer from 0 to 2"),
        ({"alignment": [0, 1, 3]}, ValueError, r"got \[0, 1, 3\]"),
        ({"alignment": 1}, TypeError, "alignment must be a fitted LayerAlignment or a sequence"),
    ],
)
def test_errors_of_the_options(pair, options, error, message):
    with pytest.raises(error, match=message):
        SpecAttnDecoder(*pair, **options)


def test_errors_of_the_models(pair):
    with pytest.raises(ValueError, match="draft and target must be two models"):
        SpecAttnDecoder(pair[0], pair[0])
    with pytest.raises(ValueError, match="must share one vocabulary, got 7 and 61"):
        SpecAttnDecoder(pair[0], llama(1, 2, 1, vocab=7))
    learning = noisy_copy(pair[0]).train()
    with pytest.raises(ValueError, match="draft must be in eval mode"):
        SpecAttnDecoder(pair[0], learning)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"input_ids": torch.zeros(2, 5, dtype=torch.int64)}, ValueError, "one prompt, got a batch of 2"),
        ({"input_ids": torch.zeros(5, dtype=torch.int64)}, ValueError, r"shape \(1, t\) with t >= 1, got \(5,\)"),
        ({"input_ids": torch.zeros(1, 0, dtype=torch.int64)}, ValueError, r"got \(1, 0\)"),
        ({"input_ids": torch.zeros(1, 5)}, TypeError, "int64 tensor, got torch.float32"),
        ({"input_ids": torch.tensor([[61]])}, ValueError, "from 0 to 60, got 61 to 61"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens must be at least 1"),
        ({"max_new_tokens": 4093}, ValueError, "target's context of 4096 tokens, got 4 and max_new_tokens=4093"),
        ({"temperature": 0.0}, ValueError, "greedy decoding is do_sample=False"),
        ({"generator": None}, ValueError, "generator must be given"),
        ({"generator": 100}, TypeError, "generator must be a torch.Generator, got int"),
        ({"eos_token_id": "end"}, TypeError, "eos_token_id must be an int"),
    ],
)
def test_errors_of_a_request_come_before_any_work(pair, monkeypatch, change, error, message):
    monkeypatch.setattr(type(pair[0]), "forward", lambda *args, **kwargs: pytest.fail("work was begun"))
    request = {"input_ids": torch.zeros(1, 4, dtype=torch.int64), "max_new_tokens": 4, "generator": generator(100)}
    with pytest.raises(error, match=message):
        SpecAttnDecoder(*pair).generate(**(request | change))


def test_half_precision_models(pair):
    halves = [noisy_copy(model, noise=0).to(torch.bfloat16) for model in pair]
    prompt = tokens(pair[0], 20)
    for options in ({"p": None}, {"p": 0.8, "audit_rate": 1.0}, {"p": 0.8, "lossless": True}):
        result = SpecAttnDecoder(*halves, dense_layers=0, **options).generate(
            prompt, max_new_tokens=20, generator=generator(100)
        )
        assert result.sequences.shape == (1, 40)
        assert result.stats.kv_bytes == 2 * 2 * 8 * 2  # keys and values, heads, width, bytes of a number
        assert result.stats.acceptance > 0.1


@pytest.mark.cuda
def test_cuda_decodes_like_the_cpu(pair):
    prompt = tokens(pair[0], 20)
    expected = SpecAttnDecoder(*pair, p=0.8).generate(prompt, max_new_tokens=20, do_sample=False).sequences
    moved = [noisy_copy(model, noise=0).cuda() for model in pair]
    decoder = SpecAttnDecoder(*moved, p=0.8)
    assert torch.equal(decoder.generate(prompt.cuda(), max_new_tokens=20, do_sample=False).sequences.cpu(), expected)
    drawn = decoder.generate(prompt.cuda(), max_new_tokens=20, generator=generator(100, "cuda"), profile=True)
    assert drawn.sequences.shape == (1, 40)
