"""The study: arms of a task differ in what they name and in nothing else; budgets are equal; a stopped run goes on."""

from functools import partial

import pytest
import torch
from small_nets import N_TARGET, make_net, make_task

from selectlib.nets._initial import initial_model
from selectlib.pool import Random
from selectlib.queries import EADA, ActiveDA, Arm, Entropy, Margin, get_strategy, list_strategies, run_study
from selectlib.queries._loop import WEIGHTS, stream_seed

ROUNDS, EPOCHS = (1, 2, 3, 4), 5
STUDY = partial(
    run_study,
    make_net,
    epochs=EPOCHS,
    rounds=ROUNDS,
    budget=0.4,  # 8 of 20 labels, 2 a round
    batch_size=6,
    optimizer=partial(torch.optim.Adadelta, lr=1.0),
)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


class Watched:
    """A strategy that writes down what it was given."""

    def __init__(self, strategy):
        self.strategy, self.needs, self.seen = strategy, strategy.needs, []

    def select(self, pool, k, *, generator):
        self.seen.append((pool, generator.get_state()))
        return self.strategy.select(pool, k, generator=generator)


class Stopped(Exception):
    """Stands for the end of a process."""


def stop_before(epoch):
    """A progress bar that ends the run when so many epochs are done."""

    def wrap(epochs):
        for done, value in enumerate(epochs):
            if done == epoch:
                raise Stopped
            yield value

    return wrap


def same(a, b, *, exactly=True):
    """Whether two outcomes are equal: picks always, numbers to the last bit or to rounding."""
    close = torch.equal if exactly else partial(torch.allclose, rtol=1e-9, atol=1e-10)
    assert [p.tolist() for p in a.picks] == [p.tolist() for p in b.picks]
    assert a.history.test == pytest.approx(b.history.test, abs=1e-12)
    assert close(a.test_logits, b.test_logits) and close(a.source_logits, b.source_logits)
    assert a.state.keys() == b.state.keys() and all(close(a.state[name], b.state[name]) for name in a.state)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_every_strategy_spends_the_same_and_sees_no_label(device):
    watched = [Watched(get_strategy(name)) for name in list_strategies()]
    tasks = [make_task(100), make_task(101)]
    outcomes = STUDY(tasks, [Arm(one, align=0.01) for one in watched], seeds=[1, 2], device=device)
    for one, arm in zip(watched, outcomes, strict=True):
        assert len(one.seen) == len(ROUNDS) * len(tasks)
        for pool, _ in one.seen:
            integers = [v for v in vars(pool).values() if isinstance(v, torch.Tensor) and not v.is_floating_point()]
            assert not integers and pool.target_samples is None and pool.n_total == N_TARGET
        for outcome in arm:
            assert [len(picks) for picks in outcome.picks] == [2, 2, 2, 2]
            assert len(set(torch.cat(outcome.picks).tolist())) == 8
            assert outcome.history.labels == [0, 2, 4, 6, 8]
    assert all(task.oracle.spent == 0 for task in tasks)  # the study spends copies


@pytest.mark.oracle
def test_the_arms_of_a_task_are_equal_up_to_their_first_query():
    watched = [Watched(strategy) for strategy in (Random(), Entropy(), EADA())]
    STUDY([make_task()], [Arm(one, align=0.01) for one in watched], seeds=[1])
    (first, state), *others = (one.seen[0] for one in watched)
    for pool, other in others:
        assert torch.equal(pool.logits, first.logits) and torch.equal(pool.features, first.features)
        assert torch.equal(other, state)
    later = [one.seen[-1][0].logits for one in watched]
    assert not torch.equal(later[0], later[1])


@pytest.mark.oracle
def test_an_arm_does_not_depend_on_the_arms_and_tasks_beside_it():
    tasks, arms = [make_task(100), make_task(101)], [Arm(Margin()), Arm(EADA(), align=0.1), Arm(Random(), bn="source")]
    together = STUDY(tasks, arms, seeds=[1, 2])
    for a, arm in enumerate(arms):
        for t, task in enumerate(tasks):
            same(together[a][t], STUDY([task], [arm], seeds=[t + 1])[0][0], exactly=False)
    grouped = STUDY(tasks, arms, seeds=[1, 2], at_once=2)
    for a, t in ((0, 1), (1, 0)):
        same(together[a][t], grouped[a][t], exactly=False)


@pytest.mark.oracle
def test_one_module_is_adapted_as_a_study_of_one():
    task = make_task()
    (outcome,) = STUDY([task], [Arm(EADA(), align=0.01)], seeds=[7])[0]
    net = initial_model(make_net, stream_seed(7, WEIGHTS))
    adapt = ActiveDA(
        net,
        EADA(),
        budget=0.4,
        rounds=ROUNDS,
        epochs=EPOCHS,
        align=0.01,
        batch_size=6,
        seed=7,
        optimizer=lambda model: torch.optim.Adadelta(model.parameters(), lr=1.0),
    )
    history = adapt.fit(task.source, task.target, task.oracle, test=task.test)
    assert [p.tolist() for p in history.picks] == [p.tolist() for p in outcome.picks]
    assert history.test == pytest.approx(outcome.history.test)
    assert all(torch.allclose(value, outcome.state[name], atol=1e-10) for name, value in net.state_dict().items())
    assert not net.training and task.oracle.spent == 8


@pytest.mark.oracle
def test_what_the_statistics_of_batch_normalisation_see():
    task = make_task()
    arms = [Arm(bn="source"), Arm(bn="joint"), Arm(bn="target")]
    here, there = (STUDY([one], arms, seeds=[1], rounds=()) for one in (task, _moved(task)))
    norms = [name for name in here[0][0].state if "running" in name]
    learnt = [name for name, _ in make_net().named_parameters()]
    assert norms
    for a in range(3):  # without an alignment or labels the target moves no weight
        assert all(torch.equal(here[a][0].state[name], here[0][0].state[name]) for name in learnt)
        unmoved = all(torch.equal(here[a][0].state[name], there[a][0].state[name]) for name in norms)
        assert unmoved == (a == 0)


def _moved(task):
    """The same task with a brighter pool."""
    fields = {name: getattr(task, name) for name in ("source", "oracle", "source_test", "test")}
    return type(task)(target=task.target + 3, **fields)


@pytest.mark.oracle
@pytest.mark.parametrize("epoch", [2, 4])
def test_a_stopped_study_goes_on_to_the_same_end(tmp_path, epoch):
    tasks, arms = [make_task(100), make_task(101)], [Arm(EADA(), align=0.01), Arm(Random(), align=0.01)]
    whole = STUDY(tasks, arms, seeds=[1, 2])
    path = tmp_path / "study"
    with pytest.raises(Stopped):
        STUDY(tasks, arms, seeds=[1, 2], checkpoint=path, progress=stop_before(epoch))
    resumed = STUDY(tasks, arms, seeds=[1, 2], checkpoint=path)
    for a in range(2):
        for t in range(2):
            same(whole[a][t], resumed[a][t])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": (1, 2, 3, 9)}, "rounds"),
        ({"rounds": (2, 1)}, "rounds"),
        ({"seeds": [1, 2]}, "seeds"),
        ({"budget": 0.05}, "budget"),
        ({"budget": 0.9}, "budget"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 1}, "batch_size"),
    ],
)
def test_it_says_what_is_wrong_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        STUDY([make_task()], [Arm(Random())], **({"seeds": [1]} | change))
