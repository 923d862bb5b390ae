"""run_study: the whole loop against one written out for a single net, and what makes a comparison fair."""

import copy
import hashlib
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from small_nets import CLASSES, N_SOURCE, N_TARGET, make_net, make_task
from torch.nn.functional import cross_entropy

from selectlib.nets._initial import initial_model
from selectlib.pool import Pool, Random
from selectlib.queries import (
    EADA,
    AdaptationTask,
    Arm,
    CoreSet,
    Entropy,
    FreeEnergy,
    LabelOracle,
    free_energy,
    get_strategy,
    list_strategies,
    run_study,
)
from selectlib.queries._auroc import auroc
from selectlib.queries._loop import LABELLED, MIX, QUERY, SOURCE, TARGET, WEIGHTS, draws, stream_seed

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
SETTINGS = {"epochs": 4, "rounds": (1, 3), "budget": 0.4, "batch_size": 4}  # 4 labels in each round
LR = 0.5


def study(tasks, arms, **options):
    settings = {"seeds": list(range(100, 100 + len(tasks))), **SETTINGS, **options}
    return run_study(make_net, tasks, arms, optimizer=partial(torch.optim.Adadelta, lr=LR), **settings)


def assert_same(first, second, tolerance=1e-10):
    """Two outcomes are one, but for rounding."""
    assert [picks.tolist() for picks in first.picks] == [picks.tolist() for picks in second.picks]
    torch.testing.assert_close(
        torch.tensor(first.history.auroc), torch.tensor(second.history.auroc), rtol=0, atol=1e-6, equal_nan=True
    )
    for name, value in first.state.items():
        torch.testing.assert_close(value, second.state[name], rtol=0, atol=tolerance, msg=name)


class Spy:
    """A strategy that keeps what it was shown."""

    def __init__(self, inner=None, needs=frozenset({"logits"})):
        self.inner, self.needs, self.seen = inner or Random(), needs, []

    def select(self, pool, k, *, generator):
        self.seen.append((pool, generator.get_state()))
        return self.inner.select(pool, k, generator=generator)


class Listed:
    """A random-access source over a tensor."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def fetch(self, idx):
        return self.items[idx]


# --- the loop, written out for one net -------------------------------------------------------------------------------


def reference(
    task, seed, strategy, *, weight, bn="joint", momentum="uniform", epochs=4, rounds=(1, 3), sizes=(4, 4), b=4
):
    """Train one net by a plain loop; return it with its history's lists."""
    net = initial_model(make_net, stream_seed(seed, WEIGHTS)).train()
    optimizer = torch.optim.Adadelta(net.parameters(), lr=LR)
    (images, labels), target, oracle = task.source, task.target, task.oracle.fresh()
    pool, asked, answers, bound = list(range(N_TARGET)), [], [], None
    tests, areas = [], []

    def cut(n, stream, epoch, steps):
        shuffles, size = draws(seed, stream, epoch), min(b, n)
        order = torch.cat([torch.randperm(n, generator=shuffles) for _ in range(-(-steps * size // n))])
        return order[: steps * size].view(steps, size).tolist()

    def untracked(batch):
        return copy.deepcopy(net)(batch)

    def stage():
        net.eval()
        with torch.no_grad():
            tests.append((net(task.test[0]).argmax(1) == task.test[1]).double().mean().item())
            areas.append(auroc(free_energy(net(task.source_test[0])), free_energy(net(target[pool]))).item())
            features = net.features(target)
            logits = net.head(features)
        net.train()
        return features, logits

    for epoch in range(epochs):
        if epoch in rounds:
            features, logits = stage()
            view = Pool(
                features[pool],
                logits[pool],
                labeled_features=features[asked].view(-1, features.shape[1]),
                n_total=N_TARGET,
            )
            k = sizes[rounds.index(epoch)]
            chosen = [pool[i] for i in strategy.select(view, k, generator=draws(seed, QUERY, epoch)).tolist()]
            asked += chosen
            answers += oracle.query(torch.tensor(chosen)).tolist()
            pool = [i for i in pool if i not in chosen]
        steps = math.ceil(max(N_SOURCE, len(pool)) / b)
        first, second = cut(N_SOURCE, SOURCE, epoch, steps), cut(len(pool), TARGET, epoch, steps)
        third = cut(len(asked), LABELLED, epoch, steps) if asked else None
        mixes = torch.rand(steps, generator=draws(seed, MIX, epoch))
        for t in range(steps):
            logits = net(images[first[t]])
            loss = cross_entropy(logits, labels[first[t]])
            batch = target[[pool[i] for i in second[t]]]
            if bn == "joint":
                unlabelled = net(batch)
            elif weight:
                unlabelled = torch.func.functional_call(
                    net, {name: value.clone() for name, value in net.named_buffers()}, (batch,)
                )
            if third:
                rows = torch.tensor(third[t])
                loss = loss + cross_entropy(net(target[asked][rows]), torch.tensor(answers)[rows])
            if weight:
                mean = free_energy(logits).mean().detach()
                lam = mixes[t].item() if momentum == "uniform" else momentum
                bound = mean if bound is None else lam * bound + (1 - lam) * mean
                loss = loss + weight * (free_energy(unlabelled) - bound).clamp(min=0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    stage()
    return net, asked, tests, areas


@pytest.mark.oracle
@pytest.mark.parametrize("bn", ["joint", "source"])
@pytest.mark.parametrize("strategy", [EADA(), CoreSet(), Random()], ids=["eada", "core_set", "random"])
def test_the_study_is_the_plain_loop_of_each_arm_and_task(bn, strategy):
    tasks, seeds = [make_task(100), make_task(101)], [100, 101]
    arms = [Arm(strategy, align, bn) for align in (0.5, 0.0, 0.25)]
    for arm, outcomes in zip(arms, study(tasks, arms), strict=True):
        for task, seed, outcome in zip(tasks, seeds, outcomes, strict=True):
            net, asked, tests, areas = reference(task, seed, strategy, weight=arm.align, bn=bn)
            assert torch.cat(outcome.picks).tolist() == asked
            for name, value in net.state_dict().items():
                torch.testing.assert_close(outcome.state[name], value, rtol=0, atol=1e-10, msg=name)
            assert outcome.history.test == pytest.approx(tests)
            assert outcome.history.auroc == pytest.approx(areas)
            net.eval()
            torch.testing.assert_close(outcome.test_logits, net(task.test[0]).detach(), rtol=0, atol=1e-9)
            torch.testing.assert_close(outcome.source_logits, net(task.source_test[0]).detach(), rtol=0, atol=1e-9)


@pytest.mark.oracle
def test_a_number_as_momentum_is_the_plain_average():
    outcome = study([make_task()], [Arm(Random(), 0.5, momentum=0.75)])[0][0]
    net, *_ = reference(make_task(), 100, Random(), weight=0.5, momentum=0.75)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(outcome.state[name], value, rtol=0, atol=1e-10, msg=name)


# --- fair comparison -------------------------------------------------------------------------------------------------


@pytest.mark.oracle
def test_before_the_first_query_all_arms_of_a_task_are_equal(tmp_path):
    """Parameters, averages, optimiser state, bound, what the strategy sees, and the state of its generator."""
    spies = [Spy(get_strategy(name)) for name in list_strategies()]
    saved = []

    def watched(epochs):
        for epoch in epochs:
            yield epoch
            if epoch == 1:  # the file of the first round is there, that of the second not yet
                saved.append(torch.load(tmp_path / "run.pt", weights_only=True)["content"]["running"])

    tasks, arms = [make_task(100), make_task(101)], [Arm(spy, 0.5) for spy in spies]
    study(tasks, arms, progress=watched, checkpoint=tmp_path / "run.pt")
    (running,) = saved
    for task in range(2):
        shown = {_hash(spy.seen[task][0].logits, spy.seen[task][0].features, spy.seen[task][1]) for spy in spies}
        assert len(shown) == 1
        stacks = [*running["net"]["values"].values(), running["bound"]]
        for state in running["net"]["optimizer"]["state"].values():
            stacks += [state["square_avg"], state["acc_delta"]]
        assert len({_hash(*(stack[arm * 2 + task] for stack in stacks)) for arm in range(len(arms))}) == 1
    assert _hash(spies[0].seen[0][0].logits) != _hash(spies[0].seen[1][0].logits)  # but the tasks are two
    assert not torch.equal(spies[0].seen[0][1], spies[0].seen[1][1])


def _hash(*tensors):
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()


@pytest.mark.oracle
@pytest.mark.parametrize("name", list_strategies())
def test_labels_that_were_not_asked_for_change_nothing(name):
    task = make_task()
    (first,), *_ = study([task], [Arm(get_strategy(name), 0.5)])
    labels = task.oracle.fresh(N_TARGET).query(torch.arange(N_TARGET))
    other = (labels + 1) % CLASSES
    asked = torch.cat(first.picks)
    other[asked] = labels[asked]
    (second,), *_ = study([replace(task, oracle=LabelOracle(other, 8))], [Arm(get_strategy(name), 0.5)])
    assert_same(first, second, tolerance=0)
    assert first.history.rest != second.history.rest


@pytest.mark.parametrize("rounding", ["exact", "official"])
def test_budgets_are_equal_to_the_label(rounding):
    arms = [Arm(get_strategy(name)) for name in list_strategies()]
    outcomes = study([make_task(100), make_task(101)], arms, rounding=rounding)
    for row in outcomes:
        for outcome in row:
            assert outcome.history.labels == [0, 4, 8]
            assert [len(picks) for picks in outcome.picks] == [4, 4]
            assert len(set(torch.cat(outcome.picks).tolist())) == 8


def test_oracles_of_the_tasks_stay_unspent():
    task = make_task()
    study([task], [Arm(Random())])
    assert task.oracle.spent == 0


def test_one_stack_or_many_make_no_difference():
    tasks = [make_task(seed) for seed in (100, 101)]
    arms = [Arm(EADA(), 0.5), Arm(Random()), Arm(Entropy(), 0.25), Arm(None, 0.5), Arm(Entropy(), 0.5, kind="l1")]
    arms += [Arm(Random(), bn="source"), Arm(Random(), 0.5, bn="target")]
    together = study(tasks, arms)
    for at_once in (1, 3):
        for row, other in zip(together, study(tasks, arms, at_once=at_once), strict=True):
            for first, second in zip(row, other, strict=True):
                assert_same(first, second)


def test_a_task_is_its_own_whatever_stands_beside_it():
    tasks = [make_task(seed) for seed in (100, 101)]
    together = study(tasks, [Arm(EADA(), 0.5), Arm(Random(), 0.25)])
    (alone,) = study(tasks[1:], [Arm(Random(), 0.25)], seeds=[101])[0]
    assert_same(together[1][1], alone)


# --- what a strategy is shown ----------------------------------------------------------------------------------------


def test_the_pool_shrinks_and_its_fields_are_of_the_current_net():
    spy = Spy(FreeEnergy())
    task = make_task()
    (outcome,), *_ = study([task], [Arm(spy)])
    first, second = (pool for pool, _ in spy.seen)
    assert (len(first), len(second)) == (20, 16)
    assert first.n_total == second.n_total == 20
    assert first.source_features is None
    assert first.labeled_features.shape == (0, 4)
    assert second.labeled_features.shape == (4, 4)
    scores = free_energy(first.logits)
    assert sorted(scores.topk(4).indices.tolist()) == sorted(outcome.picks[0].tolist())
    assert torch.equal(outcome.history.predicted[0], first.logits.argmax(1)[outcome.picks[0]])


def test_source_features_are_made_for_those_who_need_them():
    spy = Spy(CoreSet("labeled+source"), needs=frozenset({"features", "source_features"}))
    study([make_task()], [Arm(spy)])
    assert [pool.source_features.shape for pool, _ in spy.seen] == [(N_SOURCE, 4)] * 2


def test_failures_say_whose_they_are():
    class Short(Random):
        def select(self, pool, k, *, generator):
            return super().select(pool, k, generator=generator)[1:]

    class Twice(Random):
        def select(self, pool, k, *, generator):
            return torch.zeros(k, dtype=torch.int64)

    for strategy, words in ((Short(), "select must return 4 indices"), (Twice(), "idx must name each image once")):
        with pytest.raises(ValueError, match=words) as caught:
            study([make_task()], [Arm(strategy)])
        assert (
            f"{type(strategy).__name__} was choosing for the task of seed 100, after 1 epochs" in caught.value.__notes__
        )
    broken = make_task()
    broken.target[3] = math.nan
    with pytest.raises(ValueError, match="must be finite"):
        study([broken], [Arm(Random())])


# --- batch normalisation ---------------------------------------------------------------------------------------------


def tracked(outcome):
    return int(outcome.state["features.1.num_batches_tracked"])


@pytest.mark.parametrize(
    ("align", "bn", "passes"), [(0, "joint", 2), (0.5, "joint", 2), (0, "source", 1), (0.5, "source", 1)]
)
def test_the_unlabelled_target_moves_averages_in_joint_mode_only(align, bn, passes):
    (outcome,), *_ = study([make_task()], [Arm(None, align, bn)], rounds=(), epochs=2)
    assert tracked(outcome) == passes * 2 * 5  # two epochs of ceil(20 / 4) steps


@pytest.mark.oracle
def test_without_weight_the_source_mode_never_sees_the_target():
    near, far = make_task(), make_task()
    near, far = (AdaptationTask(near.source, images, near.oracle) for images in (near.target, far.target + 5))
    arm = [Arm(None, 0.0, "source")]
    first, second = (study([task], arm, rounds=(), epochs=2)[0][0] for task in (near, far))
    assert all(torch.equal(value, second.state[name]) for name, value in first.state.items())
    joint = study([far], [Arm(None, 0.0, "joint")], rounds=(), epochs=2)[0][0]
    for name in ("head.weight", "features.0.weight"):  # batches are normalised by themselves: only averages differ
        assert torch.equal(joint.state[name], first.state[name])
    assert not torch.allclose(joint.state["features.1.running_mean"], first.state["features.1.running_mean"])


@pytest.mark.oracle
def test_target_mode_takes_its_averages_from_the_unlabelled_pool():
    task = make_task()
    source, target = (study([task], [Arm(Random(), 0.5, bn)])[0][0] for bn in ("source", "target"))
    assert torch.equal(source.state["head.weight"], target.state["head.weight"])
    left = torch.ones(N_TARGET, dtype=torch.bool)
    left[torch.cat(target.picks)] = False
    net = make_net()
    net.load_state_dict(target.state)
    out = net.features[0](task.target[left])  # 12 images: one block
    torch.testing.assert_close(
        target.state["features.1.running_mean"], out.mean((0, 2, 3)).detach(), rtol=0, atol=1e-12
    )
    variance = out.transpose(0, 1).flatten(1).var(1).detach()
    torch.testing.assert_close(target.state["features.1.running_var"], variance, rtol=0, atol=1e-12)


# --- forms of input, and the edges -----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_sources_and_tensors_give_the_same(device):
    task = make_task(device=device)
    listed = AdaptationTask(
        (Listed(task.source[0].cpu()), task.source[1]),
        Listed(task.target.cpu()),
        task.oracle,
        (Listed(task.source_test[0].cpu()), task.source_test[1]),
        (Listed(task.test[0].cpu()), task.test[1]),
    )
    arms = [Arm(EADA(), 0.5), Arm(Random())]
    for row, other in zip(study([task], arms, device=device), study([listed], arms, device=device), strict=True):
        assert row[0].test_logits.device.type == device
        assert_same(row[0], other[0], tolerance=0 if device == "cpu" else 1e-9)  # CUDA adds up in any order
        assert row[0].history.test == other[0].history.test


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.cuda)])
def test_devices_agree(device):
    tasks, arms = [make_task(100), make_task(101)], [Arm(EADA(), 0.5), Arm(Random()), Arm(CoreSet(), 0.25, "target")]
    for row, other in zip(study(tasks, arms), study(tasks, arms, device=device), strict=True):
        for first, second in zip(row, other, strict=True):
            second.state = {name: value.cpu() for name, value in second.state.items()}
            assert_same(first, second, tolerance=1e-6)


def test_tasks_that_share_their_tensors_and_differ_in_seed():
    task = make_task()
    first, second = study([task, task], [Arm(Random())])[0]
    assert first.picks[0].tolist() != second.picks[0].tolist()
    assert_same(study([task], [Arm(Random())], seeds=[101])[0][0], second)


def test_no_query_and_no_held_out_images():
    (outcome,), *_ = study([make_task(held_out=False)], [Arm(None, 0.5)], rounds=())
    history = outcome.history
    assert (history.labels, history.picks) == ([0], [])
    assert math.isnan(history.test[0]) and math.isnan(history.auroc[0]) and math.isnan(history.queried[0])
    assert history.transductive == history.rest
    assert outcome.source_logits is None and outcome.test_logits is None


def test_an_arm_without_strategy_is_evaluated_at_the_same_stages():
    (none,), (some,) = study([make_task()], [Arm(None), Arm(Random())])
    assert (none.history.labels, none.picks) == ([0, 0, 0], [])
    assert none.history.test[0] == some.history.test[0]


def test_a_query_may_come_before_any_training():
    spy = Spy()
    (outcome,), *_ = study([make_task()], [Arm(spy, 0.5)], rounds=(0, 1))
    net = initial_model(make_net, stream_seed(100, WEIGHTS)).eval()
    torch.testing.assert_close(spy.seen[0][0].logits, net(make_task().target).detach(), rtol=0, atol=1e-12)
    assert outcome.history.labels == [0, 4, 8]


def test_a_single_labelled_image_comes_twice_to_a_batch():
    (outcome,), *_ = study([make_task()], [Arm(Random())], budget=0.1, epochs=3, rounds=(1, 2))
    assert outcome.history.labels == [0, 1, 2]
    assert torch.isfinite(outcome.state["features.1.running_var"]).all()


def test_progress_wraps_the_epochs_of_each_stack():
    seen = []

    def progress(epochs):
        seen.append(list(epochs))
        return epochs

    study([make_task(100), make_task(101)], [Arm(Random()), Arm(Random(), 0.5)], progress=progress, at_once=1)
    assert seen == [[0, 1, 2, 3]] * 4


def test_global_generators_are_left_alone():
    torch.manual_seed(100)
    before = torch.get_rng_state()
    study([make_task()], [Arm(Random())])
    assert torch.equal(torch.get_rng_state(), before)


TASK = make_task()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"rounds": (1, 4)}, ValueError, r"rounds must be below the 4 epochs, .* got \(1, 4\)"),
        ({"rounds": (3, 1)}, ValueError, r"rounds must rise, got \(3, 1\)"),
        ({"rounds": (1, 1)}, ValueError, "rounds must rise"),
        ({"rounds": (-1, 1)}, ValueError, "rounds must be at least 0"),
        ({"rounds": (1.0,)}, TypeError, "rounds must be an int"),
        ({"epochs": 0, "rounds": ()}, ValueError, "epochs must be at least 1"),
        ({"batch_size": 1}, ValueError, "batch_size must be at least 2"),
        ({"budget": 0.05}, ValueError, "budget must buy a label each round"),
        ({"budget": 0.95}, ValueError, "budget must leave at least 2 of the 20 images unlabelled"),
        ({"budget": 0.5}, ValueError, "oracle of task 0 must have a budget of 10 labels, got 8"),
        ({"rounding": "up"}, ValueError, "rounding must be one of exact, official"),
        ({"seeds": [100, 101]}, ValueError, "seeds must name one seed a task, got 2 for 1 tasks"),
        ({"seeds": [-1]}, ValueError, "seed must be from 0"),
        ({"at_once": 0}, ValueError, "at_once must be at least 1"),
        ({"tasks": []}, ValueError, "tasks must hold at least one"),
        ({"tasks": [3]}, TypeError, "tasks must hold AdaptationTasks, got int"),
        ({"arms": []}, ValueError, "arms must hold at least one"),
        ({"arms": [Random()]}, TypeError, "arms must hold Arms, got Random"),
        ({"device": "abacus"}, ValueError, "device must be"),
    ],
)
def test_arguments_are_checked_before_any_work(change, error, words):
    def never(*_):
        raise AssertionError("a model was made")

    given = {"tasks": [TASK], "arms": [Arm(Random())], "seeds": [100], **SETTINGS, **change}
    with pytest.raises(error, match=words):
        run_study(never, given.pop("tasks"), given.pop("arms"), **given)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            AdaptationTask(TASK.source, TASK.target[:10], LabelOracle(torch.zeros(10).long(), 8)),
            "tasks must have targets",
        ),
        (replace(TASK, source=(TASK.source[0][:6], TASK.source[1][:6])), "source must have one size in all tasks"),
        (replace(TASK, target=TASK.target[:, :, 1:]), "target must have one size in all tasks"),
        (replace(TASK, test=None), "test must be given in all tasks or in none, got it in 1 of 2"),
    ],
)
def test_tasks_of_different_forms_are_refused(other, words):
    with pytest.raises(ValueError, match=words):
        study([TASK, other], [Arm(Random())])
    with pytest.raises(TypeError, match="target must be tensors in all tasks, or sources in all"):
        study([TASK, replace(TASK, target=Listed(TASK.target))], [Arm(Random())])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"oracle": LabelOracle(torch.zeros(19).long(), 8)}, ValueError, "oracle must be for the 20 images"),
        ({"oracle": torch.zeros(20)}, TypeError, "oracle must have `query`"),
        ({"target": [1, 2]}, TypeError, "target must be a tensor or a source"),
        ({"target": TASK.target.long()}, TypeError, "target must hold floats"),
        ({"source": TASK.source[0]}, TypeError, "source must be a tuple of inputs and labels"),
        ({"source": (TASK.source[0], TASK.source[1][:3])}, ValueError, "source must have one label an input, got 3"),
        ({"test": (TASK.test[0], TASK.test[1].double())}, TypeError, "test's labels must be a 1-D tensor of int64"),
    ],
)
def test_a_task_checks_its_parts(change, error, words):
    with pytest.raises(error, match=words):
        replace(TASK, **change)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"strategy": "random"}, TypeError, "strategy must have `needs` and `select`, got str"),
        ({"align": -1.0}, ValueError, "weight must be finite and at least 0"),
        ({"bn": "both"}, ValueError, "bn must be one of joint, source, target"),
        ({"kind": "huber"}, ValueError, "kind must be one of hinge, l1, mse"),
        ({"momentum": 1.0}, ValueError, "momentum must be"),
    ],
)
def test_an_arm_checks_its_parts(arguments, error, words):
    with pytest.raises(error, match=words):
        Arm(**arguments)
