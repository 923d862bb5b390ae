"""Lion's state: saved, loaded, taken over from others; and the report on a run."""

import io
import math

import pytest
import torch

from selectlib.optim import BoxReport, Lion, box_report, convert_adamw_state, lion_from_adamw


def setup(dtype=torch.float32):
    generator = torch.Generator().manual_seed(100)
    return [torch.nn.Parameter(torch.randn(n, generator=generator).to(dtype)) for n in (40, 7)]


def run(optimizer, first, last):
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        optimizer.step()
    return params


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.oracle
@pytest.mark.parametrize("settings", [
    {}, {"momentum_dtype": torch.bfloat16}, {"momentum_dtype": torch.float32, "dtype": torch.bfloat16},
    {"dtype": torch.bfloat16, "rounding": "kahan"}, {"dtype": torch.bfloat16, "rounding": "stochastic"},
])  # fmt: skip
def test_a_run_that_was_saved_goes_on_bit_for_bit(settings):
    settings = {"lr": 1e-3, "weight_decay": 0.1, **settings}
    dtype = settings.pop("dtype", torch.float32)
    straight = run(Lion(setup(dtype), **settings), 0, 100)
    half = Lion(setup(dtype), **settings)
    copies = [torch.nn.Parameter(p.detach().clone()) for p in run(half, 0, 50)]
    resumed = Lion(copies)
    resumed.load_state_dict(through_a_file(half.state_dict()))
    for p, q in zip(half.state.values(), resumed.state.values(), strict=True):
        assert q["exp_avg"].dtype == settings.get("momentum_dtype", dtype) and torch.equal(p["exp_avg"], q["exp_avg"])
        assert p["exp_avg"].data_ptr() != q["exp_avg"].data_ptr()
    assert all(map(torch.equal, run(resumed, 50, 100), straight))


@pytest.mark.oracle
@pytest.mark.parametrize("others", [
    {},  # what each of the three common implementations keeps beyond the rate, the betas and the decay
    {"caution": False, "corrected_weight_decay": False, "maximize": False, "foreach": None},
    {"weight_decouple": True, "fixed_decay": False, "use_gc": False, "adanorm": False, "step": 50, "foreach": None},
])  # fmt: skip
def test_the_state_of_other_lions_can_be_loaded(others):
    straight = Lion(setup(), 1e-3, weight_decay=0.1)
    copies = [torch.nn.Parameter(p.detach().clone()) for p in run(straight, 0, 50)]
    momenta = [straight.state[p]["exp_avg"].clone() for p in straight.param_groups[0]["params"]]
    group = {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.1, **others, "params": [0, 1]}
    loaded = Lion(copies, nonfinite="raise")
    loaded.load_state_dict({"state": {k: {"exp_avg": m} for k, m in enumerate(momenta)}, "param_groups": [group]})
    assert all(map(torch.equal, run(loaded, 50, 100), run(straight, 50, 100)))
    copies[0].grad.fill_(math.nan)
    with pytest.raises(ValueError, match="finite"):  # a setting that the other lacked stays
        loaded.step()


def test_a_loaded_momentum_takes_the_dtype_asked_for():
    whole = Lion(setup())
    run(whole, 0, 3)
    state = whole.state_dict()
    del state["param_groups"][0]["momentum_dtype"]
    narrow = Lion(setup(), momentum_dtype=torch.bfloat16)
    narrow.load_state_dict(state)
    assert {state["exp_avg"].dtype for state in narrow.state.values()} == {torch.bfloat16}
    with pytest.raises(ValueError, match="group"):
        Lion(setup()[:1]).load_state_dict(state)


def test_settings_from_adamw_keep_the_strength_of_the_decay():
    found = lion_from_adamw(3e-3, 0.1)
    assert found == {"lr": pytest.approx(1e-3), "weight_decay": pytest.approx(0.3)}
    assert lion_from_adamw(torch.tensor(1.0), 0.5, ratio=10)["lr"].item() == pytest.approx(0.1)
    for ratio, error in ((0.0, ValueError), (math.inf, ValueError), ("3", TypeError)):
        with pytest.raises(error, match="ratio must be a"):
            lion_from_adamw(1e-3, 0.1, ratio)


def test_a_run_of_adamw_goes_on_as_lion():
    a, b = setup()
    adamw = torch.optim.AdamW(
        [{"params": [a], "lr": 0.3}, {"params": [b], "weight_decay": 0.2}], lr=0.06, maximize=True
    )
    torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: 0.5)
    run(adamw, 0, 5)
    converted = convert_adamw_state(adamw, momentum_dtype=torch.bfloat16)
    first, second = converted.param_groups
    assert (first["lr"], first["initial_lr"], first["weight_decay"]) == pytest.approx((0.05, 0.1, 0.03))
    assert (second["lr"], second["initial_lr"], second["weight_decay"]) == pytest.approx((0.01, 0.02, 0.6))
    assert first["maximize"] and first["params"][0] is a and second["params"][0] is b
    for p in (a, b):
        momentum = adamw.state[p]["exp_avg"]
        assert torch.equal(converted.state[p]["exp_avg"], momentum.bfloat16())
    before = adamw.state[a]["exp_avg"].clone()
    run(converted, 5, 6)
    assert torch.equal(adamw.state[a]["exp_avg"], before)


def test_conversion_takes_what_is_given_and_names_what_is_wrong():
    named = torch.nn.Linear(2, 1)
    adamw = torch.optim.AdamW(named.named_parameters(), lr=0.3)
    converted = convert_adamw_state(adamw, lr=0.2, weight_decay=0.0, betas=(0.95, 0.98))
    group = converted.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.2, 0.0, (0.95, 0.98))
    assert group["param_names"] == ["weight", "bias"] and not converted.state
    sgd = torch.optim.SGD(named.parameters(), lr=0.1, momentum=0.9)
    run(sgd, 0, 1)
    with pytest.raises(ValueError, match="must keep exp_avg, as AdamW does, but SGD keeps momentum_buffer"):
        convert_adamw_state(sgd)
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer, got Linear"):
        convert_adamw_state(named)


def test_report_counts_over_groups():
    wide = torch.nn.Parameter(torch.tensor([0.5, -2.0, 4.0, math.inf]))
    stuck = torch.nn.Parameter(torch.tensor([1.0, 2.0**-9, math.nan, 0.0], dtype=torch.bfloat16))
    groups = [{"params": [wide], "weight_decay": 0.5}, {"params": [stuck, torch.nn.Parameter(torch.zeros(0))]}]
    optimizer = Lion(groups, lr=1e-3)
    optimizer.state[wide]["exp_avg"] = torch.tensor([0.0, math.nan, 1.0, 1.0])
    report = box_report(optimizer)
    assert math.isnan(report.occupancy)
    assert report == BoxReport(report.occupancy, 5 / 8, 1 / 8, 2 / 8, 1 / 4)
    with torch.no_grad():
        wide[3], stuck[2] = 1.0, 1.0
    assert box_report(optimizer) == BoxReport(2.0, 7 / 8, 2 / 8, 0.0, 1 / 4)
    assert box_report(torch.optim.AdamW(groups, lr=1e-3)).nonfinite_momentum == 0.0


def test_a_weight_that_moves_one_way_is_not_stalled():
    one = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))  # its neighbours are 2**-8 below and 2**-7 above
    assert [box_report(Lion([one], lr)).stalled for lr in (1e-3, 2.5e-3, 5e-3)] == [1.0, 0.0, 0.0]


def test_report_names_what_is_wrong():
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer, got dict"):
        box_report({})
    with pytest.raises(ValueError, match="must have weights"):
        box_report(Lion([torch.nn.Parameter(torch.zeros(0))]))
