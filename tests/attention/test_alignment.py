"""Layer maps against exhaustive search, divergences against their definition, and what is refused."""

import itertools
import json
import math

import pytest
import torch
from small_llamas import llama, tokens

from selectlib.attention._alignment import LayerAlignment
from selectlib.attention._capture import capture_attention
from selectlib.attention._layer_maps import greedy_map, monotone_map, uniform_map
from selectlib.seeding import generator

# The paper's heat map: 32 layers of Llama-2-7B on 22 of TinyLlama-1.1B.
PRINTED = [0, 2, 4, 4, 5, 6, 6, 6, 9, 9, *[12] * 6, *[15] * 3, *[19] * 7, *[20] * 5, 21]


def maps(layers, texts, length, seed, sharpness=2.0):
    """Random causal attention, shape (layers, texts, length, length)."""
    scores = sharpness * torch.randn(layers, texts, length, length, generator=generator(seed))
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


def by_definition(draft, target, eps, first):
    """The mean divergence, one pair of layers, one text, one query after the other."""
    cost = torch.zeros(len(target), len(draft), dtype=torch.float64)
    for j, i in itertools.product(range(len(target)), range(len(draft))):
        rows = []
        for a, b in zip(target[j].double().flatten(0, 1), draft[i].double().flatten(0, 1), strict=True):
            kept = a > 0
            rows.append((a[kept] * (a[kept] / b[kept].clamp(min=eps)).log()).sum())
        cost[j, i] = torch.stack(rows).view(target.shape[1], -1)[:, first:].mean()
    return cost


def cheapest(cost):
    """The least cost of a non-decreasing map, and all maps that reach it."""
    m, n = cost.shape
    candidates = list(itertools.combinations_with_replacement(range(n), m))
    sums = {f: math.fsum(float(cost[j, i]) for j, i in enumerate(f)) for f in candidates}
    least = min(sums.values())
    return least, [f for f in candidates if sums[f] <= least + 1e-12]


@pytest.mark.oracle
def test_no_non_decreasing_map_is_cheaper():
    draw = generator(100)
    for _ in range(200):
        m, n = (int(torch.randint(1, high + 1, (), generator=draw)) for high in (5, 4))
        cost = torch.randn(m, n, generator=draw, dtype=torch.float64)
        least, best = cheapest(cost)
        found = tuple(monotone_map(cost).tolist())
        assert found in best
        assert float(cost[range(m), found].sum()) == pytest.approx(least, abs=1e-12)


@pytest.mark.oracle
def test_ties_go_to_the_smallest_index():
    draw = generator(101)
    for _ in range(200):
        cost = torch.randint(2, (4, 3), generator=draw).double()
        # Traced back from the last layer, every step takes the smallest index: the best map that is least backwards.
        assert tuple(monotone_map(cost).tolist()) == min(cheapest(cost)[1], key=lambda f: f[::-1])
        assert greedy_map(cost).tolist() == [row.index(min(row)) for row in cost.tolist()]
    assert monotone_map(torch.zeros(4, 3)).tolist() == [0, 0, 0, 0]


@pytest.mark.oracle
def test_the_printed_map_is_the_cheapest_of_its_own_costs():
    assert len(PRINTED) == 32 and sorted(PRINTED) == PRINTED and len(set(PRINTED)) == 11
    cost = (torch.arange(22)[None] - torch.tensor(PRINTED)[:, None]).abs().float()
    assert monotone_map(cost).tolist() == PRINTED
    noisy = cost + 0.4 * torch.rand(32, 22, generator=generator(102))
    assert monotone_map(noisy).tolist() == PRINTED


def test_one_draft_layer_and_more_draft_than_target_layers():
    assert monotone_map(torch.randn(5, 1, generator=generator(103))).tolist() == [0] * 5
    assert monotone_map(torch.tensor([[4.0, 2.0, 9.0, 9.0], [0.0, 9.0, 9.0, 1.0]])).tolist() == [1, 3]
    assert monotone_map(torch.tensor([[5.0, 2.0, 1.0]])).tolist() == [2]


def test_a_greedy_map_may_go_back():
    cost = torch.tensor([[0.81, 2.5, 1.3], [2.93, 1.16, 1.09], [3.75, 0.98, 1.15], [2.64, 1.72, 1.37]])
    assert greedy_map(cost).tolist() == [0, 2, 1, 2]
    assert monotone_map(cost).tolist() == [0, 1, 1, 2]


def test_uniform_maps_are_even():
    assert uniform_map(3, 4).tolist() == [0, 1, 1, 2]
    assert uniform_map(2, 3).tolist() == [0, 1, 1]  # a half goes up
    assert uniform_map(4, 4).tolist() == [0, 1, 2, 3]
    assert uniform_map(4, 1).tolist() == [0]
    even = uniform_map(22, 32)
    assert even[0] == 0 and even[-1] == 21 and sorted(even.tolist()) == even.tolist()
    assert max(abs(float(f) - j * 21 / 31) for j, f in enumerate(even)) <= 0.5


@pytest.mark.parametrize("wrong", [torch.zeros(0, 3), torch.zeros(3, 0), torch.zeros(2, 3, 1)])
def test_empty_costs_are_refused(wrong):
    for find in (monotone_map, greedy_map):
        with pytest.raises(ValueError, match="cost must have at least one row and one column"):
            find(wrong)


def test_wrong_numbers_are_refused():
    for value in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="cost must be finite"):
            monotone_map(torch.tensor([[0.0, value]]))
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        uniform_map(0, 3)
    with pytest.raises(ValueError, match="m must be at least 1, got 0"):
        uniform_map(3, 0)


@pytest.mark.oracle
@pytest.mark.parametrize("skip_rows", [None, 0, 29])
def test_costs_are_mean_divergences_in_nats(skip_rows):
    draft, target = maps(3, 2, 30, 104), maps(2, 2, 30, 105)
    draft[0, 0, 20:, 3] = 0.0  # a weight that only the target has: the floor of eps shows
    draft = draft / draft.sum(-1, keepdim=True)
    fitted = LayerAlignment(skip_rows=skip_rows).fit(list(draft), list(target))
    first = 8 if skip_rows is None else skip_rows
    torch.testing.assert_close(fitted.cost_.double(), by_definition(draft, target, 1e-10, first), rtol=1e-5, atol=1e-5)


@pytest.mark.oracle
def test_long_texts_are_summed_block_by_block():
    draft, target = maps(2, 1, 600, 106), maps(2, 1, 600, 107)
    fitted = LayerAlignment().fit(list(draft), list(target))
    torch.testing.assert_close(fitted.cost_.double(), by_definition(draft, target, 1e-10, 60), rtol=1e-5, atol=1e-5)


@pytest.mark.oracle
def test_a_layer_does_not_diverge_from_itself():
    for sharpness in (0.1, 2.0, 20.0):
        attention = list(maps(3, 2, 300, 108, sharpness))
        fitted = LayerAlignment(skip_rows=0).fit(attention, attention)
        assert fitted.cost_.diagonal().abs().max() <= 1e-6
        assert fitted.mapping_.tolist() == [0, 1, 2] and fitted.mapping_.dtype == torch.int64


@pytest.mark.oracle
@pytest.mark.parametrize("planted", [[0, 0, 1, 2, 2], [1, 1, 1, 1, 3], [0, 2, 3, 3, 3]])
def test_a_planted_map_is_recovered(planted):
    draft = maps(4, 3, 60, 109)
    noise = maps(5, 3, 60, 110)
    target = [0.7 * draft[i] + 0.3 * noise[j] for j, i in enumerate(planted)]
    assert LayerAlignment().fit(list(draft), target).mapping_.tolist() == planted
    if planted[0] != 1:  # without the order, it is recovered backwards as well
        back = LayerAlignment(monotone=False).fit(list(draft), target[::-1])
        assert back.mapping_.tolist() == planted[::-1]


@pytest.mark.oracle
def test_the_order_of_the_texts_does_not_matter():
    draft, target = maps(3, 5, 40, 111), maps(4, 5, 40, 112)
    order = torch.randperm(5, generator=generator(113))
    one = LayerAlignment().fit(list(draft), list(target))
    other = LayerAlignment().fit(list(draft[:, order]), list(target[:, order]))
    torch.testing.assert_close(one.cost_, other.cost_, rtol=1e-6, atol=1e-6)
    assert one.mapping_.equal(other.mapping_)


def test_padded_rows_are_left_out_for_every_layer():
    draft, target = maps(3, 2, 40, 114), maps(2, 2, 40, 115)
    whole = LayerAlignment(skip_rows=0).fit(list(draft[:, 1:]), list(target[:, 1:]))
    for nothing in (torch.nan, 0.0):
        target[:, 0] = nothing  # all of the first text
        padded = LayerAlignment(skip_rows=0).fit(list(draft), list(target))
        torch.testing.assert_close(padded.cost_, whole.cost_)
    draft[0, 1, 20:] = torch.nan  # in one layer of the draft alone
    half = LayerAlignment(skip_rows=0).fit(list(draft), list(target))
    expected = by_definition(maps(3, 2, 40, 114)[:, 1:, :20], maps(2, 2, 40, 115)[:, 1:, :20], 1e-10, 0)
    torch.testing.assert_close(half.cost_.double(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="no row is left"):
        LayerAlignment(skip_rows=20).fit(list(draft), list(target))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_summed_again_in_float32(dtype):
    draft, target = maps(3, 2, 60, 116), maps(2, 2, 60, 117)
    fitted = LayerAlignment().fit(list(draft.to(dtype)), list(target.to(dtype)))
    assert fitted.cost_.dtype == torch.float32
    torch.testing.assert_close(fitted.cost_, LayerAlignment().fit(list(draft), list(target)).cost_, rtol=0.03, atol=0)


def test_what_is_no_attention_is_refused():
    good = list(maps(2, 1, 20, 118))
    for wrong in (2 * good[0], good[0] - 0.1, torch.full((1, 20, 20), torch.inf)):
        with pytest.raises(ValueError, match="attention must have rows of non-negative weights that sum to 1"):
            LayerAlignment().fit(good, [wrong])
    with pytest.raises(ValueError, match="at least one layer each"):
        LayerAlignment().fit([], good)
    for wrong in (good[0][:, :15], good[0][0], torch.zeros(0, 20, 20)):
        with pytest.raises(ValueError, match=r"must hold maps of one shape \(s, t, t\)"):
            LayerAlignment().fit([wrong], [wrong])
    with pytest.raises(
        ValueError, match=r"must hold maps of one shape \(s, t, t\), got \[\(1, 20, 20\), \(2, 20, 20\)"
    ):
        LayerAlignment().fit(good, [good[0].repeat(2, 1, 1)])
    with pytest.raises(ValueError, match="more than skip_rows = 8 tokens, got 8"):
        LayerAlignment().fit([torch.eye(8)[None]], [torch.eye(8)[None]])
    for eps in (0.0, -1.0, 0.1, math.nan):
        with pytest.raises(ValueError, match="eps must be above 0"):
            LayerAlignment(eps=eps)
    with pytest.raises(ValueError, match="skip_rows must be at least 0, got -1"):
        LayerAlignment(skip_rows=-1)


def test_an_eps_that_makes_divergences_negative_is_found_out():
    thin = torch.full((1, 2000, 2000), 1e-6)
    thin[..., 0] = 1 - 1999 * 1e-6
    assert LayerAlignment(skip_rows=1990).fit([thin], [thin]).cost_.abs().item() <= 1e-6
    with pytest.raises(ValueError, match="eps is too large"):
        LayerAlignment(eps=1e-3, skip_rows=1990).fit([thin], [thin])


def test_models_are_aligned_as_their_maps_are():
    draft, target = llama(3, 4, 2, seed=100), llama(4, 4, 4, seed=101)
    ids = tokens(draft, 40, batch=3)
    seen = []

    def progress(texts):
        for text in texts:
            seen.append(text)
            yield text

    fitted = LayerAlignment.from_models(draft, target, ids, progress=progress)
    assert seen == [0, 1, 2]
    gathered = []
    for model in (draft, target):
        with torch.no_grad(), capture_attention(model) as captured:
            model(ids)
            gathered.append(list(captured.weights))
    by_maps = LayerAlignment().fit(*gathered)
    torch.testing.assert_close(fitted.cost_, by_maps.cost_, rtol=1e-4, atol=1e-5)
    assert fitted.cost_.shape == (4, 3) and fitted.mapping_.equal(by_maps.mapping_)
    assert len(fitted.calibration_) == 64 and by_maps.calibration_ is None
    again = LayerAlignment.from_models(draft, target, ids.view(6, 20))
    assert again.calibration_ != fitted.calibration_
    itself = LayerAlignment.from_models(target, target, ids, monotone=False, skip_rows=1)
    assert itself.mapping_.tolist() == [0, 1, 2, 3] and itself.skip_rows == 1
    assert itself.cost_.diagonal().abs().max() <= 1e-6


class Vocabulary(dict):
    def get_vocab(self):
        return self


def test_models_that_are_no_pair_are_refused():
    draft = llama(2, 2, 2)
    with pytest.raises(ValueError, match="share one vocabulary, got 61 and 62 tokens"):
        LayerAlignment.from_models(draft, llama(2, 2, 2, vocab=62), tokens(draft, 30))
    vocabularies = Vocabulary(a=0, b=1), Vocabulary(a=1, b=0)
    with pytest.raises(ValueError, match="tokenizers must give each token one number"):
        LayerAlignment.from_models(draft, draft, tokens(draft, 30), tokenizers=vocabularies)
    for ids in (torch.zeros(30, dtype=torch.int64), torch.zeros(0, 30, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"input_ids must be texts of one length, shape \(s, t\)"):
            LayerAlignment.from_models(draft, draft, ids)
    for wrong in (-1, 61):
        with pytest.raises(ValueError, match="input_ids must be from 0 to 60"):
            LayerAlignment.from_models(draft, draft, torch.full((1, 30), wrong))
    with pytest.raises(ValueError, match="more than skip_rows = 8 tokens"):
        LayerAlignment.from_models(draft, draft, tokens(draft, 8))


@pytest.fixture
def saved(tmp_path):
    draft, target = llama(2, 2, 2, seed=100), llama(3, 2, 2, seed=101)
    draft.config.name_or_path = "someone/draft"
    fitted = LayerAlignment.from_models(draft, target, tokens(draft, 30, batch=2), eps=1e-8)
    fitted.save(tmp_path / "alignment.json")
    return fitted, tmp_path / "alignment.json"


def test_what_is_saved_is_loaded(saved):
    fitted, path = saved
    loaded = LayerAlignment.load(path)
    assert loaded.mapping_.equal(fitted.mapping_) and loaded.mapping_.dtype == torch.int64
    assert loaded.cost_.equal(fitted.cost_)
    for name in ("draft_", "target_", "calibration_", "monotone", "eps", "skip_rows"):
        assert getattr(loaded, name) == getattr(fitted, name), name
    assert loaded.draft_ == "someone/draft" and loaded.target_ is None
    assert [file.name for file in path.parent.iterdir()] == ["alignment.json"]


DAMAGES = {
    "no JSON": lambda content: "{",
    "a list": lambda content: json.dumps([content]),
    "another format": lambda content: json.dumps(content | {"format": "something"}),
    "another map": lambda content: json.dumps(content | {"mapping": [*content["mapping"], 0]}),
    "ragged cost": lambda content: json.dumps(content | {"cost": [[0.0], [0.0, 1.0]]}),
    "no numbers": lambda content: json.dumps(content | {"cost": [["a"]]}),
    "NaN": lambda content: json.dumps(content | {"cost": [[math.nan]]}),
    "no cost": lambda content: json.dumps({name: value for name, value in content.items() if name != "cost"}),
    "eps": lambda content: json.dumps(content | {"eps": "small"}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused_by_name(saved, damage):
    path = saved[1]
    path.write_text(DAMAGES[damage](json.loads(path.read_text())))
    with pytest.raises(ValueError, match=r"alignment\.json is not a layer alignment: "):
        LayerAlignment.load(path)


def test_files_that_are_not_there(saved, tmp_path):
    fitted, path = saved
    with pytest.raises(FileNotFoundError):
        LayerAlignment.load(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError):
        fitted.save(tmp_path / "none" / "alignment.json")
    before = path.read_text()
    with pytest.raises(ValueError, match="not fitted"):
        LayerAlignment().save(path)
    assert path.read_text() == before


@pytest.mark.cuda
def test_on_a_device():
    draft, target = maps(3, 2, 300, 119), maps(4, 2, 300, 120)
    here = LayerAlignment().fit(list(draft), list(target))
    there = LayerAlignment().fit(list(draft.cuda()), list(target.cuda()))
    assert there.cost_.is_cuda and there.mapping_.is_cuda and there.mapping_.cpu().equal(here.mapping_)
    torch.testing.assert_close(there.cost_.cpu(), here.cost_, rtol=1e-4, atol=1e-5)
    models = llama(2, 2, 2), llama(3, 2, 2).cuda()  # on two devices
    ids = tokens(models[0], 40, batch=2)
    both = LayerAlignment.from_models(*models, ids)
    torch.testing.assert_close(both.cost_.cpu(), LayerAlignment.from_models(models[0], models[1].cpu(), ids).cost_)
