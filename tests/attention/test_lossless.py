"""The two-level loop has the dense target's law, with causal masks only, and leaves dense keys and values."""

from functools import cache

import pytest
import torch
from decoding_alone import greedy, noisy_copy
from small_llamas import llama, tokens

from selectlib.attention._decoder import SpecAttnDecoder
from selectlib.attention._law import ToyModel, mask_bias
from selectlib.attention._loop import Speculation
from selectlib.attention._toy_loop import continuation_counts, continuation_law
from selectlib.seeding import generator, replicate_seeds
from selectlib.stats import chi_square_fit

PROMPT, NEW, GAMMA, RUNS = torch.tensor([0, 1, 2, 2, 1, 0]), 2, 2, 5000


@cache
def _most_biased_pair() -> tuple[ToyModel, ToyModel]:
    """Of 200 toy pairs the one that published masks bias most, by enumeration: no draw of the test is looked at."""
    pairs = []
    for seed in replicate_seeds(100, 200):
        source = generator(seed)
        pairs.append(tuple(ToyModel.random(vocab=3, length=16, generator=source) for _ in range(2)))

    def bias(pair):
        return mask_bias(*pair, PROMPT, gamma=GAMMA, mask="published").averaged[0].item()

    return max(pairs, key=bias)


def _p_value(mask: str, every: int) -> float:
    draft, target = _most_biased_pair()
    options = {"gamma": GAMMA, "generator": generator(101), "mask": mask, "verify_every": every}
    counts = continuation_counts(draft, target, PROMPT, NEW, RUNS, **options)
    return chi_square_fit(counts.numpy(), continuation_law(target, PROMPT, NEW).numpy()).p


@pytest.mark.oracle
@pytest.mark.parametrize("every", [1, 2])
def test_two_levels_have_the_dense_targets_law(every):
    assert _p_value("causal", every) > 1e-4


@pytest.mark.oracle
def test_published_masks_bias_the_two_levels():
    assert _p_value("published", 2) < 1e-12


@pytest.fixture(scope="module")
def pair():
    target = llama(3, 4, 2, seed=100)
    return target, noisy_copy(target)


def _decoder(pair, **options):
    return SpecAttnDecoder(*pair, p=0.7, dense_layers=0, **options)


def test_greedy_gives_the_targets_own_tokens(pair):
    for seed in range(100, 103):
        prompt = tokens(pair[0], 24, seed=seed)
        expected = greedy(pair[0], prompt, 40)
        decoder = _decoder(pair, lossless=True, verify_every=6)
        result = decoder.generate(prompt, max_new_tokens=40, do_sample=False)
        assert torch.equal(result.sequences, expected)
        assert 0 < result.stats.kept < result.stats.verified
    sparse = _decoder(pair).generate(prompt, max_new_tokens=40, do_sample=False)
    assert not torch.equal(sparse.sequences, expected)  # the masks do matter here


def test_the_cache_keeps_dense_keys_and_values(pair, monkeypatch):
    far = {"lossless": [], "sparse": []}
    for name, method in (("lossless", "block"), ("sparse", "step")):
        run = getattr(Speculation, method)

        def watched(self, sequence, *arguments, name=name, run=run):
            run(self, sequence, *arguments)
            assert self.target.length == len(sequence) - 1
            dense = pair[0].model(torch.tensor([sequence[:-1]]), use_cache=True, cache=None).cache
            layers = zip(dense.layers, self.target.cache.layers, strict=True)
            far[name].append(max((a.values - b.values).abs().max().item() for a, b in layers))

        with monkeypatch.context() as patch:
            patch.setattr(Speculation, method, watched)
            decoder = _decoder(pair, lossless=name == "lossless", verify_every=6)
            decoder.generate(tokens(pair[0], 24), max_new_tokens=30, generator=generator(100))
    assert len(far["lossless"]) > 2
    assert max(far["lossless"]) < 1e-4 < 1e-2 < max(far["sparse"])


def test_tokens_come_in_blocks_and_stop_exactly(pair):
    prompt = tokens(pair[0], 10)
    for count in (1, 2, 7, 20):
        seen = []
        decoder = _decoder(pair, lossless=True, verify_every=4)
        result = decoder.generate(prompt, max_new_tokens=count, generator=generator(100), on_token=seen.append)
        assert result.sequences[0, 10:].tolist() == seen
        assert len(seen) == count
    whole = decoder.generate(prompt, max_new_tokens=20, do_sample=False).sequences[0, 10:].tolist()
    end = whole[8]
    cut = decoder.generate(prompt, max_new_tokens=20, do_sample=False, eos_token_id=end).sequences[0, 10:].tolist()
    assert cut == whole[: whole.index(end) + 1]


def test_dense_verifications_are_on_the_account(pair):
    prompt, options = tokens(pair[0], 24), {"max_new_tokens": 20, "do_sample": False}
    stats = _decoder(pair, lossless=True, verify_every=1).generate(prompt, **options).stats
    dense = SpecAttnDecoder(*pair, p=None).generate(prompt, **options).stats
    assert all(read > stats.dense_reads for read in stats.reads)  # each step is verified densely at once
    assert stats.tokens == dense.tokens == 20
    assert stats.reads_per_token == pytest.approx(sum(stats.reads) / 60)
    assert stats.reads_per_token > dense.reads_per_token
    with pytest.raises(ValueError, match="a lossless run has no reduction"):
        stats.reduction()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "published"}, "exact with mask='causal' only"),
        ({"audit_rate": 0.1}, "needs no audit"),
        ({"verify_every": 0}, "verify_every must be at least 1, got 0"),
    ],
)
def test_errors_name_the_argument(pair, options, message):
    with pytest.raises(ValueError, match=message):
        _decoder(pair, lossless=True, **options)
