import pytest
import torch
from small_llamas import llama

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
from selectlib.attention._run import Run, step_starts
from selectlib.attention._view import LayerView
from selectlib.kernels import topp_mask
from selectlib.seeding import generator

LENGTH, PREFILL, GAMMA = 43, 6, 4
BUDGETED = {
    "window": WindowPolicy,
    "streaming": StreamingLLMPolicy,
    "quest": lambda: QuestPolicy(4, min_pages=1),
    "h2o": H2OPolicy,
    "heavy hitters": lambda: H2OPolicy(recent=0.0),
    "tova": TOVAPolicy,
    "random": lambda: RandomPolicy(generator(100)),
    "top-k": OracleTopKPolicy,
    "top-k of the mean": lambda: OracleTopKPolicy("mean"),
}


def random_view(heads=4, kv_heads=2, length=LENGTH, layer=0, width=8, seed=100):
    draws = generator(seed)
    query = 2 * torch.randn(heads, length, width, generator=draws)
    key = torch.randn(kv_heads, length, width, generator=draws)
    return LayerView(layer, query, key, torch.arange(length), width**-0.5)


def one_pass(budget=9, layers=2, **changes):
    starts = step_starts(LENGTH, PREFILL, GAMMA)
    return Run(starts, GAMMA, layers, budgets=torch.full((layers, LENGTH), budget), **changes)


def select(policy, view, run=None):
    policy.begin(one_pass() if run is None else run)
    kept = policy.keep(view)
    assert kept.dtype == torch.bool and kept.shape[1:] == (len(view.positions), view.key.shape[1])
    return kept & (torch.arange(view.key.shape[1]) < policy.run.starts[:, None])


def weights_by_hand(view):
    """Dense causal attention, query by query."""
    heads, queries, _ = view.query.shape
    per_key = heads // view.key.shape[0]
    out = torch.zeros(heads, queries, view.key.shape[1])
    for h in range(heads):
        for i, position in enumerate(view.positions.tolist()):
            scores = view.key[h // per_key, : position + 1] @ view.query[h, i] * view.scaling
            out[h, i, : position + 1] = scores.softmax(0)
    return out


@pytest.mark.oracle
@pytest.mark.parametrize("name", BUDGETED)
def test_the_budget_is_kept_to_the_token(name):
    kept = select(BUDGETED[name](), random_view())
    counts, starts = kept.sum(-1), one_pass().starts
    if name == "quest":
        assert (counts <= 9).all() and (counts[:, PREFILL:] > 0).all()
    else:
        assert (counts == starts.clamp(max=9)).all()


@pytest.mark.oracle
@pytest.mark.parametrize("name", [*BUDGETED, "top-p", "specattn"])
def test_no_selection_depends_on_what_comes_after_the_query(name):
    rows = random_rows()
    extra = {"draft_rows": {0: rows}, "row_positions": torch.arange(PREFILL, LENGTH)}
    make = BUDGETED.get(
        name, {"top-p": lambda: OracleTopPPolicy(0.8), "specattn": lambda: SpecAttnPolicy([0, 0])}.get(name)
    )
    view, cut = random_view(), 21
    later = random_view(seed=101)
    changed = LayerView(
        0,
        torch.cat([view.query[:, :cut], later.query[:, cut:]], 1),
        torch.cat([view.key[:, :cut], later.key[:, cut:]], 1),
        view.positions,
        view.scaling,
    )
    if name == "specattn":
        other = random_rows(seed=101)
        changed_extra = extra | {"draft_rows": {0: torch.cat([rows[: cut - PREFILL], other[cut - PREFILL :]])}}
    else:
        changed_extra = extra
    before, after = select(make(), view, one_pass(**extra)), select(make(), changed, one_pass(**changed_extra))
    assert torch.equal(before[:, :cut], after[:, :cut])
    if name not in ("window", "streaming", "random"):
        assert not torch.equal(before[:, cut:], after[:, cut:])


def random_rows(seed=100):
    return weights_by_hand(random_view(seed=seed)).mean(0)[PREFILL:]


@pytest.mark.parametrize("name", BUDGETED)
def test_without_budgets_a_policy_says_what_it_needs(name):
    with pytest.raises(ValueError, match="budgets"):
        BUDGETED[name]().begin(Run(torch.zeros(3, dtype=torch.int64), 1, 1))


def test_a_window_is_the_last_tokens_of_the_cache():
    kept = select(WindowPolicy(), random_view())
    assert kept[0, 40].nonzero()[:, 0].tolist() == list(range(29, 38))  # the step of 40 began with 38 tokens


def test_streaming_keeps_sinks_and_the_last_tokens_and_never_more_than_the_budget():
    assert select(StreamingLLMPolicy(4), random_view())[0, 40].nonzero()[:, 0].tolist() == [0, 1, 2, 3, *range(33, 38)]
    small = select(StreamingLLMPolicy(4), random_view(), one_pass(budget=3))
    assert small[0, 40].nonzero()[:, 0].tolist() == [0, 1, 2]


@pytest.mark.oracle
@pytest.mark.parametrize("budget", [5, 12])
def test_shifted_positions_are_attention_over_a_cache_that_is_rotated_anew(budget):
    target = llama(1, 4, 2)
    inv_freq, rotary = rotary_frequencies(target), target.model.rotary_emb
    draws, width = generator(100), target.config.head_dim
    plain_query = torch.randn(4, LENGTH, width, generator=draws)
    plain_key = torch.randn(2, LENGTH, width, generator=draws)

    def rotate(x, positions):
        cos, sin = (part[0] for part in rotary(x[None], torch.as_tensor(positions)[None]))
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    at = torch.arange(LENGTH)
    view = LayerView(0, rotate(plain_query, at), rotate(plain_key, at), at, width**-0.5)
    policy = StreamingLLMPolicy(2, inv_freq=inv_freq)
    kept = select(policy, view, one_pass(budget))[0]
    bias = policy.score_bias(view)
    moved = 0.0
    for t in range(PREFILL, LENGTH):
        start = int(policy.run.starts[t])
        columns = [*kept[t].nonzero()[:, 0].tolist(), *range(start, t + 1)]
        in_cache = list(range(len(columns)))  # the authors' positions: the index in what is kept
        keys = rotate(plain_key[:, columns], in_cache).repeat_interleave(2, 0)
        wanted = (keys @ rotate(plain_query[:, t : t + 1], in_cache[-1:]).mT)[..., 0] * view.scaling
        scores = (view.key[:, columns].repeat_interleave(2, 0) @ view.query[:, t : t + 1].mT)[..., 0] * view.scaling
        moved = max(moved, (wanted - scores).abs().max().item())
        scores[:, :2] += bias[:, t]
        assert (scores - wanted).abs().max() < 1e-4
    assert moved > 0.1
    assert (bias[:, :PREFILL] == 0).all()


@pytest.mark.oracle
@pytest.mark.parametrize("page", [1, 3, 4, 16])
def test_quest_bounds_every_product_in_its_pages(page):
    view, policy = random_view(), QuestPolicy(page)
    policy.begin(one_pass())
    bounds = policy.page_scores(view)
    products = torch.stack([view.query[h] @ view.key[h // 2].T for h in range(4)])
    tight = 0
    for t in range(PREFILL, LENGTH):
        start = int(policy.run.starts[t])
        for index in range(bounds.shape[2]):
            inside = products[:, t, index * page : min((index + 1) * page, start)]
            if not inside.numel():
                assert (bounds[:, t, index] == -torch.inf).all()
                continue
            assert (bounds[:, t, index] >= inside.amax(-1) - 1e-5).all()
            keys = view.key[:, index * page : min((index + 1) * page, start)].repeat_interleave(2, 0)
            query = view.query[:, t, None]
            by_channel = torch.maximum(query * keys.amax(1, True), query * keys.amin(1, True)).sum((1, 2))
            assert torch.allclose(bounds[:, t, index], by_channel, atol=1e-5)
            tight += 1
    assert tight


@pytest.mark.oracle
def test_quest_with_pages_of_one_is_exact_top_k_by_score():
    view = random_view()
    kept = select(QuestPolicy(1, min_pages=1), view)
    for t in range(PREFILL, LENGTH):
        start = int(one_pass().starts[t])
        for h in range(4):
            best = (view.key[h // 2, :start] @ view.query[h, t]).topk(min(9, start)).indices
            assert kept[h, t].nonzero()[:, 0].tolist() == sorted(best.tolist())


def test_quest_keeps_whole_pages_three_at_least_and_pays_for_bounds_if_told():
    kept = select(QuestPolicy(4), random_view(), one_pass(budget=1))
    assert (kept[:, 30].unflatten(-1, (-1, 1))[:, :28, 0].unflatten(-1, (7, 4)).sum(-1) % 4 == 0)[:, :7].all()
    assert (kept.sum(-1)[:, PREFILL:] >= 6).all() and (kept.sum(-1) <= 12).all()
    free, paid = (
        select(QuestPolicy(4, min_pages=1, metadata_in_budget=m), random_view(), one_pass(budget=24)).sum(-1)
        for m in (False, True)
    )
    assert (paid <= free).all()
    assert (paid[:, -1] <= 24 - 11).all()  # the last step began with 42 tokens: 11 pages
    assert (free[:, -1] > 24 - 11).any()


def test_quest_metadata_is_two_keys_a_page():
    policy = QuestPolicy(16)
    policy.begin(one_pass())
    assert policy.metadata_bytes(random_view())[[0, 9, 20, 40]].tolist() == [0, 128, 256, 384]  # 2 · 2 · 8 · 4 a page


@pytest.mark.oracle
@pytest.mark.parametrize("recent", [0.0, 0.5])
def test_heavy_hitters_are_counted_up_to_the_step(recent):
    view = random_view()
    kept, attention = select(H2OPolicy(recent), view)[0], weights_by_hand(view).mean(0)
    last = int(9 * recent)
    for t in range(PREFILL, LENGTH):
        start = int(one_pass().starts[t])
        budget = min(9, start)
        recent_columns = set(range(start - min(last, int(budget * recent)), start))
        gathered = attention[:start].sum(0)[:start].clone()
        gathered[list(recent_columns)] = -1
        best = gathered.topk(budget - len(recent_columns)).indices.tolist()
        assert set(kept[t].nonzero()[:, 0].tolist()) == recent_columns | set(best)


@pytest.mark.oracle
def test_tova_looks_at_the_last_query_before_the_step():
    view = random_view()
    kept, attention = select(TOVAPolicy(), view)[0], weights_by_hand(view).mean(0)
    for t in range(PREFILL, LENGTH):
        start = int(one_pass().starts[t])
        best = attention[start - 1, :start].topk(min(9, start)).indices.tolist()
        assert kept[t].nonzero()[:, 0].tolist() == sorted(best)


def test_past_attention_is_forgotten_when_a_new_sequence_begins():
    for policy in (H2OPolicy(), TOVAPolicy()):
        first = select(policy, random_view())
        select(policy, random_view(seed=101))
        assert torch.equal(select(policy, random_view()), first)


@pytest.mark.oracle
def test_random_sets_are_uniform_and_shared_by_the_queries_of_a_step():
    policy = RandomPolicy(generator(100))
    hits, draws = torch.zeros(LENGTH), 0
    sets = set()
    for _ in range(200):
        for layer in (0, 1):
            kept = select(policy, random_view(layer=layer))[0] if layer == 0 else policy.keep(random_view(layer=1))[0]
            assert torch.equal(kept[38:42], kept[38:39].expand(4, -1))
            hits += kept[40].float()
            sets.add(tuple(kept[40].tolist()))
            sets.add(tuple(kept[36].tolist()))
            draws += 1
    assert not hits[38:].any()
    # 400 draws of 9 of 38 columns: a column is hit 94.7 times with standard deviation 8.5; 5.5 of them: p < 1e-6.
    assert (hits[:38] - draws * 9 / 38).abs().max() < 5.5 * (draws * 9 / 38 * 29 / 38) ** 0.5
    assert len(sets) > 790  # steps, layers and sequences draw anew


@pytest.mark.oracle
def test_oracles_select_by_the_targets_own_attention():
    view = random_view()
    attention = weights_by_hand(view)
    starts = one_pass().starts
    each, mean = select(OracleTopKPolicy(), view), select(OracleTopKPolicy("mean"), view)
    assert each.shape[0] == 4 and mean.shape[0] == 1
    for t in range(PREFILL, LENGTH):
        start = int(starts[t])
        for kept, weights in ((each, attention), (mean, attention.mean(0)[None])):
            for h in range(len(kept)):
                best = weights[h, t, :start].topk(min(9, start)).indices.tolist()
                assert kept[h, t].nonzero()[:, 0].tolist() == sorted(best)
    cached = torch.arange(LENGTH) < starts[:, None]
    topp = select(OracleTopPPolicy(0.8), view)
    assert torch.equal(topp[0], topp_mask(attention.mean(0), 0.8, method="sort") & cached)
    assert torch.equal(select(OracleTopPPolicy(0.8, "each"), view), topp_mask(attention, 0.8, method="sort") & cached)


def test_specattn_uses_the_rows_of_its_map_and_charges_them_once():
    at = torch.arange(PREFILL, LENGTH)
    rows = {0: random_rows(), 2: random_rows(seed=101)}
    run = one_pass(layers=4, dense_layers=1, draft_rows=rows, row_positions=at)
    policy = SpecAttnPolicy([0, 0, 2, 2], 0.8)
    assert policy.draft_layers == (0, 2)
    policy.begin(run)
    kept = [policy.keep(random_view(layer=layer)) for layer in range(4)]
    assert torch.equal(kept[0], kept[1]) and torch.equal(kept[2], kept[3]) and not torch.equal(kept[1], kept[2])
    charged = [policy.metadata_bytes(random_view(layer=layer))[40].item() for layer in (1, 2, 3)]
    assert charged == [4 * 4 * 38, 4 * 4 * 38, 0]  # four rows of 38 columns in float32
    assert policy.metadata_bytes(random_view(layer=1))[42].item() == 4 * 1 * 42  # the last step has one token


def test_specattn_takes_an_alignment_or_its_map():
    class Fitted:
        mapping_ = torch.tensor([1, 1])

    assert SpecAttnPolicy(Fitted()).mapping == SpecAttnPolicy([1, 1]).mapping == (1, 1)
    with pytest.raises(ValueError, match="2 layers, got 1"):
        SpecAttnPolicy([0]).begin(one_pass())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StreamingLLMPolicy(-1), "sinks"),
        (lambda: QuestPolicy(0), "page"),
        (lambda: QuestPolicy(min_pages=0), "min_pages"),
        (lambda: H2OPolicy(1.5), "recent"),
        (lambda: OracleTopKPolicy("max"), "heads"),
        (lambda: OracleTopPPolicy(0.0), "p must"),
        (lambda: SpecAttnPolicy([0], 1.1), "p must"),
        (lambda: SpecAttnPolicy([0], mask="both"), "mask"),
        (lambda: SpecAttnPolicy([0], recent=-1), "recent"),
        (lambda: SpecAttnPolicy([-1]), "alignment"),
        (lambda: SpecAttnPolicy("map"), "alignment"),
        (lambda: SpecAttnPolicy(None), "alignment"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_kinds_are_checked():
    with pytest.raises(TypeError, match="generator"):
        RandomPolicy(100)
    with pytest.raises(TypeError, match="abstract"):
        SelectionPolicy()


def test_rotary_frequencies_follow_the_configuration_and_refuse_those_that_move():
    model = llama(1, 4, 2, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0})
    assert torch.allclose(rotary_frequencies(model), rotary_frequencies(llama(1, 4, 2)) / 4)
    moving = llama(1, 4, 2, rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0})
    with pytest.raises(ValueError, match="dynamic"):
        rotary_frequencies(moving)
