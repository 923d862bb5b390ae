"""The comparison of selectors: equal budgets, no leaks, paired draws, results that depend on nothing else."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from selectlib.pool import Random
from selectlib.support import StratifiedRandom, SupportTask, compare_support

C, N, M, D = 3, 40, 25, 4
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


class Prototypes(nn.Module):
    """Says the class whose mean is the nearest; stands in for a model and for what an adapter makes of it."""

    def __init__(self, means):
        super().__init__()
        self.means = nn.Parameter(means)

    def forward(self, images):
        return -torch.cdist(images, self.means).nan_to_num(nan=torch.inf)


def prototypes(model, images, labels, *, generator):
    """An adapter: class means of the support set."""
    return Prototypes(torch.stack([images[labels == c].mean(0) for c in range(C)]))


def noisy(model, images, labels, *, generator):
    """An adapter that draws: the model, shaken."""
    noise = torch.randn(model.means.shape, generator=generator, device=generator.device)
    return Prototypes(model.means.detach() + noise.to(model.means.device))


class First:
    """The first k of a list of indices, and notes of what was asked."""

    needs = frozenset({"features"})

    def __init__(self, indices=range(N)):
        self.indices, self.calls = torch.tensor(list(indices)), []

    def select(self, pool, k, *, generator):
        draw = torch.rand(1, generator=generator).item()
        self.calls.append((pool, k, draw))
        return self.indices[:k].to(pool.device)


class Recorder:
    """An adapter that changes nothing, and notes what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, model, images, labels, *, generator):
        self.calls.append((model, images, labels, torch.rand(1, generator=generator).item()))
        return model


def make_task(seed: int, device: str = "cpu") -> SupportTask:
    draws = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(C, D, generator=draws)
    labels, test_labels = (torch.randint(C, (n,), generator=draws) for n in (N, M))
    images, test = (centres[of] + torch.randn(len(of), D, generator=draws) for of in (labels, test_labels))
    images, labels, test, test_labels = (t.to(device) for t in (images, labels, test, test_labels))
    models = {name: Prototypes(torch.randn(C, D, generator=draws).to(device)) for name in ("source", "adapted")}
    proba = models["adapted"](images).softmax(1).detach()
    return SupportTask(
        images, labels, test, test_labels, models, {"projector": images, "raw": 2 * images}, {"ensemble": proba}, seed
    )


@pytest.fixture(scope="module")
def tasks():
    return [make_task(100), make_task(101)]


SELECTORS = {"random": Random(), "first": First(), "stratified": lambda task: StratifiedRandom(task.labels)}
ADAPTERS = {"prototypes": prototypes, "noisy": noisy}


def compare(tasks, selectors=None, adapters=None, shots=(1, 3), **settings):
    return compare_support(selectors or SELECTORS, adapters or ADAPTERS, tasks, shots, **{"seed": 100, **settings})


def keyed(study) -> dict:
    names = ("task", "shots", "selector", "draw", "backbone", "adapter")
    return {tuple(getattr(row, name) for name in names): row for row in study.rows}


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
def test_results_count_by_hand(device):
    task = make_task(100, device)
    indices = [7, 3, 30, 31, 8, 22]
    study = compare([task], {"first": First(indices)}, {"prototypes": prototypes}, shots=[1, 2])
    for row, chosen in zip(study.rows, (indices[:3], indices), strict=True):
        rest = [i for i in range(N) if i not in chosen]
        images, labels = task.images.cpu(), task.labels.cpu()
        means = {c: images[[i for i in chosen if labels[i] == c]].mean(0) for c in labels[chosen].tolist()}

        def percent(images, labels, means=means):
            nearest = [min(means, key=lambda c: torch.dist(image, means[c]).item()) for image in images]
            return 100 * np.mean([c == int(label) for c, label in zip(nearest, labels, strict=True)])

        assert row.held_out == pytest.approx(percent(task.test.cpu(), task.test_labels.cpu()))
        assert row.transductive == pytest.approx(percent(images[rest], labels[rest]))
        assert row.missing_classes == C - len(means)


@pytest.mark.oracle
def test_selectors_and_adapters_see_no_label_but_of_what_was_chosen_and_nothing_held_out(tasks):
    selectors = {"random": Random(), "first": First([7, 3, 30, 31, 8, 22, 1, 2, 9])}
    first, second = Recorder(), Recorder()
    clean = compare(tasks, selectors, {"recorder": first})
    chosen = torch.zeros(len(tasks), N, dtype=torch.bool)
    for call, row in zip(first.calls, clean.rows, strict=True):
        chosen[row.task] |= (tasks[row.task].images[:, None] == call[1]).all(2).any(1)
    poisoned = [
        dataclasses.replace(
            task,
            labels=torch.where(learnt, task.labels, (task.labels + 1) % C),
            test=torch.randn_like(task.test),
            test_labels=(task.test_labels + 1) % C,
        )
        for task, learnt in zip(tasks, chosen, strict=True)
    ]
    compare(poisoned, selectors, {"recorder": second})
    for (_, images, labels, draw), (_, other_images, other_labels, other_draw) in zip(
        first.calls, second.calls, strict=True
    ):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)
        assert draw == other_draw


def test_adapters_get_the_chosen_images_with_their_own_labels(tasks):
    recorder, indices = Recorder(), [7, 3, 30]
    compare(tasks, {"first": First(indices)}, {"recorder": recorder}, [1], backbones=["source", "adapted"])
    given = [(task, backbone) for task in tasks for backbone in ("source", "adapted")]
    for (task, backbone), (model, images, labels, _) in zip(given, recorder.calls, strict=True):
        assert model is task.models[backbone]
        assert torch.equal(images, task.images[indices])
        assert torch.equal(labels, task.labels[indices])


@pytest.mark.oracle
def test_all_selectors_have_the_same_pool_budget_and_draws_and_all_adapters_the_same_draws(tasks):
    selectors, adapters = {"a": First(), "b": First(reversed(range(N)))}, {"a": Recorder(), "b": Recorder()}
    compare(tasks, selectors, adapters, draws=2)
    a, b = (selector.calls for selector in selectors.values())
    assert [(id(pool), k, draw) for pool, k, draw in a] == [(id(pool), k, draw) for pool, k, draw in b]
    assert [k for _, k, _ in a] == [C, C, 3 * C, 3 * C] * 2
    assert len({draw for _, _, draw in a}) == 8  # anew for each task, number of shots and draw
    drawn = [[call[3] for call in adapter.calls] for adapter in adapters.values()]
    assert drawn[0] == drawn[1]
    by_selector = np.reshape(drawn[0], (2, 2, 2, 2))  # tasks, shots, selectors, draws
    assert (by_selector[:, :, 0] == by_selector[:, :, 1]).all()
    assert len(set(drawn[0])) == 8


def test_a_selection_serves_all_adapters_and_backbones(tasks):
    selector = First()
    study = compare(tasks, {"first": selector}, backbones=["source", "adapted"], draws=3)
    assert len(selector.calls) == 2 * 2 * 3
    assert len(study.rows) == 2 * 2 * 3 * 2 * 2


def test_selectors_choose_by_the_features_that_were_named(tasks):
    selector = First()
    compare(tasks, {"first": selector}, shots=[1], features="raw")
    assert all(pool.features is task.features["raw"] for task, (pool, _, _) in zip(tasks, selector.calls, strict=True))


@pytest.mark.oracle
def test_a_result_depends_on_nothing_else_that_is_compared(tasks):
    everything = keyed(compare(tasks, draws=2))
    turned = compare(tasks, dict(reversed(SELECTORS.items())), dict(reversed(ADAPTERS.items())), shots=(3, 1), draws=2)
    assert keyed(turned) == everything
    one = compare(tasks[1:], {"random": Random()}, {"noisy": noisy}, [3], draws=1)
    assert dataclasses.replace(one.rows[0], task=1) == everything[1, 3, "random", 0, "adapted", "noisy"]


def test_results_are_reproducible_and_follow_the_seed(tasks):
    first, again, other = (compare(tasks, seed=seed).rows for seed in (100, 100, 101))
    assert first == again
    assert first != other


def test_accuracies_are_means_over_draws_in_the_order_of_the_tasks(tasks):
    study = compare(tasks, draws={"random": 4})
    for where in ("held_out", "transductive"):
        rows = [row for row in study.rows if (row.selector, row.adapter, row.shots) == ("random", "noisy", 3)]
        assert len(rows) == 8
        expected = [np.mean([getattr(row, where) for row in rows if row.task == task]) for task in (0, 1)]
        np.testing.assert_allclose(study.accuracy("random", "noisy", 3, where=where), expected)
    assert {row.draw for row in study.rows if row.selector != "random"} == {0}
    missing = [[row.missing_classes for row in study.rows if row.selector == "random" and row.shots == 1]]
    np.testing.assert_allclose(study.missing_classes("random", 1), np.reshape(missing, (2, -1)).mean(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dice", "noisy", 1), "selector must be one of 'random', 'first', 'stratified', got 'dice'"),
        (("random", "linear", 1), "adapter must be one of 'prototypes', 'noisy', got 'linear'"),
        (("random", "noisy", 2), "shots must be one of 1, 3, got 2"),
    ],
)
def test_a_result_that_is_not_there_says_what_is(tasks, arguments, message):
    with pytest.raises(ValueError, match=message):
        compare(tasks).accuracy(*arguments)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (torch.tensor([0, 1]), r"must return 3 indices of int64, got torch.int64 of shape \(2,\)"),
        (torch.tensor([0, 1, 2, 3]), r"must return 3 indices of int64, got torch.int64 of shape \(4,\)"),
        (torch.tensor([0, 1, 1]), "must return 3 distinct indices, got 2"),
        (torch.tensor([0, 1, N]), "must return indices of the pool's 40 items"),
        (torch.tensor([0, 1, -1]), "must return indices of the pool's 40 items"),
        (torch.tensor([0, 1, 2], dtype=torch.int32), "must return 3 indices of int64, got torch.int32"),
        ([0, 1, 2], "must return 3 indices of int64, got list"),
    ],
)
def test_a_selector_that_breaks_the_budget_is_refused_by_name(tasks, chosen, message):
    class Cheat(First):
        def select(self, pool, k, *, generator):
            return chosen

    with pytest.raises(ValueError, match=f"selector 'cheat' {message}") as caught:
        compare(tasks, {"honest": First(), "cheat": Cheat()})
    assert caught.value.__notes__ == ["while comparing task 0, shots 1, selector 'cheat', draw 0"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tasks": []}, "tasks must hold at least one"),
        ({"selectors": {}}, "selectors must hold at least one"),
        ({"adapters": {}}, "adapters must hold at least one"),
        ({"shots": []}, "shots must hold at least one"),
        ({"shots": [0]}, "shots must be from 1 to 13, got 0"),
        ({"shots": [14]}, "shots must be from 1 to 13, got 14"),
        ({"backbones": []}, "backbones must hold at least one"),
        ({"backbones": ["big"]}, "backbones must be one of source, adapted, got 'big'"),
        ({"draws": 0}, "draws of 'random' must be at least 1"),
        ({"draws": {"dice": 2}}, "draws must be one of random, first, stratified, got 'dice'"),
        ({"features": "pixels"}, "features must be one of projector, raw"),
        ({"seed": -1}, "seed must be from 0"),
        ({"checkpoint": "/nowhere/at/all.json"}, "checkpoint must be in a folder that is there"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(tasks, changed, message):
    selector = First()
    arguments = {"selectors": {**SELECTORS, "first": selector}, "adapters": ADAPTERS, "tasks": tasks, "shots": [1]}
    with pytest.raises(ValueError, match=message):
        compare_support(**{**arguments, "seed": 100, **changed})
    assert selector.calls == []


def test_progress_wraps_the_selections(tasks):
    shown = []

    def progress(selections):
        shown.append(len(selections))
        return selections

    compare(tasks, draws={"random": 3}, progress=progress)
    assert shown == [2 * 2 * (3 + 1 + 1)]


class Interrupted:
    """An adapter that is interrupted at its nth call."""

    def __init__(self, at: int | None):
        self.at, self.calls = at, 0

    def __call__(self, model, images, labels, *, generator):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return noisy(model, images, labels, generator=generator)


@pytest.mark.parametrize("at", [1, 4, 12])
def test_an_interrupt_loses_no_result(tasks, tmp_path, at):
    path = tmp_path / "rows.json"
    whole = compare(tasks, adapters={"noisy": Interrupted(None)})
    assert len(whole.rows) == 12
    with pytest.raises(KeyboardInterrupt):
        compare(tasks, adapters={"noisy": Interrupted(at)}, checkpoint=path)
    assert len(json.loads(path.read_text())["rows"]) == at - 1
    rest = Interrupted(None)
    assert compare(tasks, adapters={"noisy": rest}, checkpoint=path).rows == whole.rows
    assert rest.calls == 12 - (at - 1)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.json"]


def test_a_comparison_can_grow(tasks, tmp_path):
    path = tmp_path / "rows.json"
    compare(tasks, {"random": Random()}, {"noisy": noisy}, [1], checkpoint=path)
    adapter = Interrupted(None)
    grown = compare(tasks, adapters={"noisy": adapter, "prototypes": prototypes}, draws=2, checkpoint=path)
    assert keyed(grown) == keyed(compare(tasks, draws=2))
    assert adapter.calls == 2 * 2 * 3 * 2 - 2
    assert len(compare(tasks, {"random": Random()}, checkpoint=path).rows) == 2 * 2 * 2  # only what is asked for


@pytest.mark.parametrize("changed", [{"seed": 101}, {"features": "raw"}, {"tasks": [make_task(100), make_task(102)]}])
def test_a_checkpoint_of_another_comparison_is_refused(tasks, tmp_path, changed):
    path = tmp_path / "rows.json"
    compare(tasks, shots=[1], checkpoint=path)
    before = path.read_text()
    with pytest.raises(ValueError, match=f"is of a comparison with other {next(iter(changed))}$"):
        compare(**{"tasks": tasks, "shots": [1], "checkpoint": path, **changed})
    assert path.read_text() == before


@pytest.mark.parametrize("content", ["", "[]", '{"settings": {}}', '{"settings": {}, "rows": [{"colour": "red"}]}'])
def test_a_file_of_something_else_is_refused_and_left_alone(tasks, tmp_path, content):
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"checkpoint {path} is not a file of a comparison"):
        compare(tasks, checkpoint=path)
    assert path.read_text() == content
