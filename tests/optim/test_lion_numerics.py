"""Lion in half precision, on a stream with NaN and infinities, under loss scaling and in CUDA graphs."""

import math

import pytest
import torch

from selectlib.kernels import lion_step_
from selectlib.optim import Lion, _blocks, box_report, lion

FORMS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
HALVES = [torch.bfloat16, torch.float16]


def stream(n, count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(100)
    return [torch.randn(n, generator=generator).to(dtype) for _ in range(count)]


def run(optimizer, grads):
    (p,) = optimizer.param_groups[0]["params"]
    for grad in grads:
        p.grad = grad.to(p.device, p.dtype)
        optimizer.step()
    return p.detach().cpu()


def weights(n, dtype, bound=0.2):
    generator = torch.Generator().manual_seed(7)
    return torch.nn.Parameter(((torch.rand(n, generator=generator) * 2 - 1) * bound).to(dtype))


@pytest.mark.oracle
@forms
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("momentum", [None, torch.float32, torch.bfloat16])
def test_half_precision_computes_in_float32_and_rounds_once(momentum, dtype, form):
    p, grads = weights(3001, dtype), stream(3001, 30, dtype)
    q, m = p.detach().clone(), torch.zeros(3001, dtype=momentum or dtype)
    optimizer = Lion([p], 3e-3, weight_decay=0.5, momentum_dtype=momentum, **form)
    run(optimizer, grads)
    for grad in grads:
        g, old = grad.float(), m.float()
        c = 0.9 * old + 0.1 * g
        q = (q.float() * (1 - 3e-3 * 0.5) - 3e-3 * c.sign()).to(dtype)
        m = (0.99 * old + 0.01 * g).to(m.dtype)
    # Where c or the momentum falls on a boundary, forms may differ: few, and by little.
    assert (p.detach() != q).float().mean() < 0.02
    assert optimizer.state[p]["exp_avg"].dtype == m.dtype
    torch.testing.assert_close(optimizer.state[p]["exp_avg"], m, rtol=2e-2, atol=1e-3)


@forms
def test_a_momentum_of_float64_widens_the_arithmetic(form):
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = Lion([p], momentum_dtype=torch.float64, **form)
    run(optimizer, [torch.ones(1)])
    assert optimizer.state[p]["exp_avg"].item() == pytest.approx(1 - 0.99, rel=1e-14)


@pytest.mark.oracle
def test_small_float16_gradients_still_give_a_sign():
    p = torch.nn.Parameter(torch.zeros(2, dtype=torch.float16))
    found = run(Lion([p], 0.25), [torch.tensor([6e-8, -6e-8])])  # a tenth of it is 0 in float16
    assert found.tolist() == [-0.25, 0.25]


@pytest.mark.oracle
def test_bfloat16_stalls_to_nearest_and_moves_at_random_and_with_kahan():
    ones, n = [torch.ones(100_000)], 100_000
    stalled = 1 - 2.0**-5 / 0.2  # from 2**-5 on, half an ulp is more than 1e-4
    p = weights(n, torch.bfloat16)
    start = p.detach().clone()
    optimizer = Lion([p], 1e-4)
    assert box_report(optimizer).stalled == pytest.approx(stalled, abs=5e-3)
    assert (run(optimizer, ones) == start).float().mean() == pytest.approx(stalled, abs=5e-3)

    p = weights(n, torch.bfloat16)
    ulp = torch.frexp(start.float())[1].sub(8).float().exp2()
    moved = run(Lion([p], 1e-4, rounding="stochastic"), ones)
    error = (moved.float() - (start.float() - 1e-4)) / ulp
    assert abs(error.mean()) < 4 * error.std() / math.sqrt(n)
    assert error.std() > 0.2
    wide = start.abs() > 2.0**-5
    rate = (1e-4 / ulp[wide]).clamp(max=1).mean().item()
    assert (moved != start)[wide].float().mean() == pytest.approx(rate, abs=4 * math.sqrt(rate / n))

    p = weights(n, torch.bfloat16)
    kept = Lion([p], 1e-4, rounding="kahan")
    for _ in range(50):
        run(kept, ones)
    whole = p.detach().float() + kept.state[p]["compensation"].float()
    torch.testing.assert_close(whole, start.float() - 50e-4, rtol=0, atol=2e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", HALVES)
def test_kahan_follows_float32(dtype):
    grads = stream(500, 100)
    p, q = weights(500, dtype), torch.nn.Parameter(weights(500, dtype).detach().float())
    settings = {"lr": 3e-4, "weight_decay": 0.5}
    optimizer = Lion([p], rounding="kahan", momentum_dtype=torch.float32, **settings)
    found = run(optimizer, grads).float() + optimizer.state[p]["compensation"].float()
    expected = run(Lion([q], **settings), [grad.to(dtype) for grad in grads])
    nearest = run(Lion([weights(500, dtype)], momentum_dtype=torch.float32, **settings), grads).float()
    assert (found - expected).abs().mean() < 0.1 * (nearest - expected).abs().mean()


@pytest.mark.oracle
def test_stochastic_rounding_does_not_depend_on_blocks_form_or_a_break(monkeypatch):
    grads = stream(1000, 10)

    def make(**settings):
        return Lion([weights(1000, torch.bfloat16)], 1e-3, rounding="stochastic", seed=100, **settings)

    straight = run(make(), grads)
    monkeypatch.setattr(_blocks, "_CPU_BLOCK", 64)
    assert torch.equal(run(make(), grads), straight)
    assert torch.equal(run(make(foreach=False), grads), straight)
    assert (run(make(fused=True), grads) != straight).float().mean() < 0.02  # the same bits
    first = make()
    run(first, grads[:4])
    second = make()
    second.load_state_dict(first.state_dict())
    second.param_groups[0]["params"][0].data.copy_(first.param_groups[0]["params"][0].data)
    assert torch.equal(run(second, grads[4:]), straight)
    other = Lion([weights(1000, torch.bfloat16)], 1e-3, rounding="stochastic", seed=101)
    assert not torch.equal(run(other, grads), straight)


def test_stochastic_rounding_draws_for_each_group_and_keeps_what_is_not_finite():
    twins = [weights(1000, torch.bfloat16) for _ in range(2)]
    optimizer = Lion([{"params": [p]} for p in twins], 1e-4, rounding="stochastic")
    for p in twins:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert not torch.equal(*twins)
    for form in ({"foreach": True}, {"fused": True}):
        p = torch.nn.Parameter(torch.tensor([math.nan, math.inf, -math.inf, 1.0], dtype=torch.bfloat16))
        found = run(Lion([p], 1e-4, rounding="stochastic", **form), [torch.ones(4)])
        assert found[0].isnan() and found[1:3].tolist() == [math.inf, -math.inf]


@pytest.mark.oracle
@forms
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nonfinite_gradients(dtype, form):
    bad = torch.tensor([math.nan, math.inf, 1.0]), torch.ones(3)
    p = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    optimizer = Lion([p], 0.25, **form)
    assert run(optimizer, [bad[0], bad[1], bad[1]]).tolist() == [1.0, 0.75, 0.25]  # two stay where they are
    assert box_report(optimizer).nonfinite_momentum == pytest.approx(2 / 3)

    p, other = torch.nn.Parameter(torch.ones(3, dtype=dtype)), torch.nn.Parameter(torch.ones(1))
    empty = torch.nn.Parameter(torch.ones(0))
    skipping = Lion([p, other, empty], 0.25, nonfinite="skip", **form)
    p.grad, other.grad, empty.grad = bad[0].to(dtype), torch.ones(1), torch.ones(0)
    skipping.step()
    assert (p.tolist(), other.tolist()) == ([1.0] * 3, [1.0])
    assert not any(state["exp_avg"].any() for state in skipping.state.values())
    p.grad = bad[1].to(dtype)
    skipping.step()
    assert (p.tolist(), other.tolist()) == ([0.75] * 3, [0.75])

    p, other = torch.nn.Parameter(torch.ones(3, dtype=dtype)), torch.nn.Parameter(torch.ones(2, 1))
    raising = Lion([{"params": [p]}, {"params": [other]}], 0.25, nonfinite="raise", **form)
    p.grad, other.grad = bad[1].to(dtype), torch.full((2, 1), math.inf)
    with pytest.raises(ValueError, match=r"parameter 0 of group 1, of shape \(2, 1\)"):
        raising.step()
    assert p.tolist() == [1.0] * 3


@forms
def test_loss_scaling_is_undone_and_its_overflow_skipped(form):
    p = torch.nn.Parameter(torch.zeros(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    optimizer = Lion([p], 0.25, nonfinite="raise", **form)
    for factor, expected in (([1.0, -2.0], [-0.25, 0.25]), ([math.inf, 1.0], [-0.25, 0.25])):
        optimizer.zero_grad()
        scaler.scale((p * torch.tensor(factor)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert p.tolist() == expected
        torch.testing.assert_close(optimizer.state[p]["exp_avg"], torch.tensor([0.01, -0.02]))
    assert scaler.get_scale() == 2.0**9


def test_fused_and_plain_draw_the_same_bits():
    generator = torch.Generator().manual_seed(100)
    sizes = (37, 200, 8)
    start = [torch.rand(n, generator=generator).to(torch.bfloat16) for n in sizes]
    grads = [torch.rand(n, generator=generator).add(1).to(torch.bfloat16) for n in sizes]
    found = []
    for take in (lion, lion_step_):
        p, m = [x.clone() for x in start], [torch.zeros_like(x) for x in start]
        rule = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}
        rounding = {"rounding": "stochastic"} if take is lion else {}
        take(p, grads, m, **rule, **rounding, seed=(3 << 32) + 5, step=9)
        found.append(p)
    assert all(map(torch.equal, *found))
    assert not all(map(torch.equal, found[0], [(x.float() - 1e-3).to(torch.bfloat16) for x in start]))


@pytest.mark.cuda
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_a_replayed_graph_equals_eager_steps(rounding):
    grads = [grad.cuda().bfloat16() for grad in stream(5000, 20)]

    def make():
        p = torch.nn.Parameter(weights(5000, torch.bfloat16).detach().cuda())
        p.grad = torch.zeros_like(p)
        lr = torch.tensor(1e-3, device="cuda")
        return p, Lion([p], lr, weight_decay=0.1, fused=True, capturable=True, rounding=rounding, nonfinite="skip")

    (p, eager), (q, captured) = make(), make()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        captured.step()
    torch.cuda.current_stream().wait_stream(side)
    eager.step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured.step()
    for k, grad in enumerate(grads):
        for optimizer, weight in ((eager, p), (captured, q)):
            optimizer.param_groups[0]["lr"].fill_(1e-3 * (k + 1))
            weight.grad.copy_(grad)
        eager.step()
        graph.replay()
        assert torch.equal(p, q)
