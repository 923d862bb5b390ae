"""ActiveDA: one model in place by the loop of a study, and target labels that nothing but queries reaches."""

import copy
import math
from functools import partial

import pytest
import torch
from small_nets import N_TARGET, make_net, make_task
from torch import nn

from selectlib.nets._initial import initial_model
from selectlib.pool import Random
from selectlib.queries import (
    EADA,
    ActiveDA,
    Arm,
    FreeEnergyAlignment,
    LabelOracle,
    get_strategy,
    list_strategies,
    run_study,
)
from selectlib.queries._loop import WEIGHTS, stream_seed

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
SETTINGS = {"epochs": 4, "rounds": (1, 3), "budget": 0.4, "batch_size": 4}  # 4 labels in each round
ADADELTA = partial(torch.optim.Adadelta, lr=0.5)


def start(seed=100, device="cpu"):
    return initial_model(make_net, stream_seed(seed, WEIGHTS)).to(device)


def adapt(model, strategy, task=None, oracle=None, **options):
    settings = {**SETTINGS, "seed": 100, "optimizer": lambda net: ADADELTA(net.parameters()), **options}
    task = task or make_task()
    fit = ActiveDA(model, strategy, **settings).fit
    return fit(task.source, task.target, oracle or task.oracle, test=task.test, source_test=task.source_test)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bn", ["joint", "source", "target"])
def test_it_is_the_study_of_one_arm_and_one_task(bn, device):
    task, model = make_task(device=device), start(device=device)
    history = adapt(model, EADA(), task, bn=bn, align=0.25)
    (outcome,), *_ = run_study(
        make_net, [task], [Arm(EADA(), 0.25, bn)], seeds=[100], optimizer=ADADELTA, device=device, **SETTINGS
    )
    assert [picks.tolist() for picks in history.picks] == [picks.tolist() for picks in outcome.picks]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, outcome.state[name], rtol=0, atol=1e-9, msg=name)
    for name in ("labels", "test", "transductive", "rest", "queried", "auroc"):
        assert getattr(history, name) == pytest.approx(getattr(outcome.history, name), nan_ok=True), name


class Locked:
    """Labels behind `query`; whatever else is reached for is a failure."""

    __slots__ = ("_asked", "_labels")

    def __init__(self, labels):
        object.__setattr__(self, "_labels", labels)
        object.__setattr__(self, "_asked", [])

    def __len__(self):
        return N_TARGET

    @property
    def budget(self):
        return 8

    @property
    def spent(self):
        return len(object.__getattribute__(self, "_asked"))

    def query(self, idx):
        asked = object.__getattribute__(self, "_asked")
        asked += idx.tolist()
        assert len(set(asked)) == len(asked) <= 8
        return object.__getattribute__(self, "_labels")[idx]

    def __getattribute__(self, name):
        allowed = name in ("budget", "spent", "query") or name.startswith("__")
        assert allowed, f"{name} was reached for"
        return object.__getattribute__(self, name)


@pytest.mark.oracle
@pytest.mark.parametrize("name", list_strategies())
def test_nothing_but_a_query_reaches_a_label(name):
    task = make_task()
    labels = task.oracle.fresh(N_TARGET).query(torch.arange(N_TARGET))
    locked, known = Locked(labels), LabelOracle(labels, 8)
    with pytest.raises(AssertionError, match="_labels was reached for"):
        _ = locked._labels
    first, second = start(), start()
    history = adapt(first, get_strategy(name), oracle=locked)
    graded = adapt(second, get_strategy(name), oracle=known)
    assert locked.spent == known.spent == 8
    assert torch.cat(history.picks).tolist() == torch.cat(graded.picks).tolist() == known.queried.tolist()
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    assert all(math.isnan(share) for share in history.rest + history.transductive)
    assert history.test == graded.test


def test_the_model_is_trained_in_place_and_left_in_evaluation_mode():
    model = start()
    before, weight = copy.deepcopy(model.state_dict()), model.head.weight
    adapt(model, Random())
    assert model.head.weight is weight
    assert not any(module.training for module in model.modules())
    assert not torch.equal(before["head.weight"], weight)
    assert not torch.equal(before["features.1.running_mean"], model.features[1].running_mean)


def test_parameter_groups_have_their_own_rates():
    model = start()
    before = copy.deepcopy(model.state_dict())
    groups = [{"params": model.head.parameters(), "lr": 0.0}, {"params": model.features.parameters()}]
    adapt(model, Random(), optimizer=lambda net: torch.optim.SGD(groups, lr=0.1))
    assert torch.equal(before["head.weight"], model.head.weight)
    assert not torch.equal(before["features.0.weight"], model.features[0].weight)


class Picky(nn.Module):
    """A model that `torch.func.vmap` refuses: it draws, and its path depends on values."""

    def __init__(self):
        super().__init__()
        self.inner = make_net()
        self.drop = nn.Dropout(0.5)

    def features(self, inputs):
        if inputs.mean().item() > 100:
            raise AssertionError("no such images")
        return self.drop(self.inner.features(inputs))

    def head(self, features):
        return self.inner.head(features)


def test_any_module_will_do_and_its_draws_are_those_of_the_seed():
    states = []
    for seed in (100, 100, 101):
        torch.manual_seed(100)
        model = Picky()
        torch.manual_seed(len(states))  # what the caller's generators hold does not matter
        adapt(model, EADA(), align=0.1, seed=seed)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["inner.head.weight"], states[2]["inner.head.weight"])


def test_an_alignment_gives_its_settings_and_receives_the_bound():
    align = FreeEnergyAlignment(0.5, "l1", momentum=0.9, T=2.0)
    models = start(), start(), start()
    adapt(models[0], Random(), align=align)
    assert align.bound.isfinite()
    adapt(models[1], Random(), align=align)  # starts anew
    adapt(models[2], Random(), align=0.5)
    first, second, other = (model.head.weight for model in models)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_without_a_strategy_no_label_is_asked_for():
    task = make_task(budget=0)
    history = adapt(start(), None, task)
    assert (history.labels, task.oracle.spent) == ([0, 0, 0], 0)


def test_the_default_optimiser_is_that_of_the_official_code():
    first, second = start(), start()
    adapt(first, Random(), optimizer=None)
    adapt(second, Random(), optimizer=lambda net: torch.optim.Adadelta(net.parameters(), lr=0.1))
    assert torch.equal(first.head.weight, second.head.weight)


def test_a_spent_oracle_is_refused():
    task = make_task(budget=10)
    task.oracle.query(torch.tensor([3]))
    with pytest.raises(ValueError, match="oracle must be unspent, got one that has given 1 label"):
        adapt(start(), Random(), task)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"strategy": "eada"}, TypeError, "strategy must have `needs` and `select`, or be None, got str"),
        ({"bn": "none"}, ValueError, "bn must be one of"),
        ({"align": -0.1}, ValueError, "weight must be finite"),
        ({"align": FreeEnergyAlignment(torch.ones(2))}, ValueError, r"align must have one weight, got shape \(2,\)"),
        ({"seed": 2**32}, ValueError, "seed must be from 0"),
        ({"rounds": (1, 9)}, ValueError, "rounds must be below the 4 epochs"),
        ({"budget": 0.9}, ValueError, "oracle of task 0 must have a budget of 18 labels, got 8"),
        ({"model": nn.Linear(2, 2)}, TypeError, "Linear has no `features`"),
    ],
)
def test_arguments_are_checked_before_any_work(options, error, words):
    model = options.pop("model", None) or start()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=words):
        adapt(model, options.pop("strategy", Random()), **options)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
