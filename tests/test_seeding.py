import numpy as np
import pytest
import torch
from scipy import stats

from selectlib.seeding import generator, replicate_seeds, uniform_indices


def test_same_seed_same_stream_and_other_seed_another():
    draws = [torch.rand(8, generator=generator(seed)) for seed in (100, 100, 101)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_global_stream_is_left_alone():
    before = torch.get_rng_state()
    uniform_indices(10, 5, generator=generator(100))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.cuda
def test_generator_on_cuda():
    assert uniform_indices(10, 5, generator=generator(100, "cuda")).device.type == "cuda"


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_torch_would_fold_onto_others_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be from 0 to"):
        generator(seed)
    with pytest.raises(ValueError, match="seed must be from 0 to"):
        replicate_seeds(seed, 2)


@pytest.mark.parametrize("seed", [1.0, "100", None, True])
def test_seeds_that_are_no_int_are_refused(seed):
    with pytest.raises(TypeError, match="seed"):
        generator(seed)


def test_replicate_seeds_are_those_of_the_spawned_sequences():
    children = np.random.SeedSequence(100).spawn(4)
    assert replicate_seeds(100, 4) == [int(child.generate_state(1)[0]) for child in children]


def test_replicate_seeds_differ_and_do_not_change_when_more_are_added():
    seeds = replicate_seeds(100, 1000)
    assert len(set(seeds)) == 1000
    assert replicate_seeds(100, 7) == seeds[:7]
    assert not set(seeds) & set(replicate_seeds(101, 1000))
    for seed in seeds:
        generator(seed)


@pytest.mark.parametrize(("replicates", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError)])
def test_replicates_must_be_a_count(replicates, error):
    with pytest.raises(error, match="replicates"):
        replicate_seeds(100, replicates)


@pytest.mark.oracle
def test_uniform_indices_are_uniform():
    counts = torch.bincount(uniform_indices(50, 100_000, generator=generator(100)), minlength=50)
    assert len(counts) == 50
    assert stats.chisquare(counts.numpy()).pvalue > 1e-6


@pytest.mark.oracle
def test_uniform_indices_do_not_favour_small_indices_as_a_32_bit_draw_would():
    # 2**32 = 21 n + n / 3: a 32-bit number modulo n falls into the first third in 22 of 64 cases, not 1 of 3.
    n, draws = 3 * 2**26, 1_000_000
    below = int((uniform_indices(n, draws, generator=generator(100)) < n // 3).sum())
    assert stats.binomtest(below, draws, 1 / 3).pvalue > 1e-6
    assert stats.binomtest(round(draws * 22 / 64), draws, 1 / 3).pvalue < 1e-50  # so the test sees such a bias


def test_uniform_indices_reach_beyond_32_bits():
    drawn = uniform_indices(10**12, 1000, generator=generator(100))
    assert drawn.dtype == torch.int64
    assert 0 <= int(drawn.min()) < 2**37 and 9 * 10**11 < int(drawn.max()) < 10**12


def test_uniform_indices_of_no_draws():
    assert uniform_indices(3, 0, generator=generator(100)).shape == (0,)


@pytest.mark.parametrize(
    ("n", "size", "given", "error", "name"),
    [
        (0, 1, generator(100), ValueError, "n must be"),
        (2**62 + 1, 1, generator(100), ValueError, "n must be"),
        (5, -1, generator(100), ValueError, "size must be"),
        (5.0, 1, generator(100), TypeError, "n must be"),
        (5, 1.0, generator(100), TypeError, "size must be"),
        (5, 1, None, TypeError, "generator must be"),
        (5, 1, np.random.default_rng(100), TypeError, "generator must be"),
    ],
)
def test_uniform_indices_names_what_is_wrong(n, size, given, error, name):
    with pytest.raises(error, match=name):
        uniform_indices(n, size, generator=given)
