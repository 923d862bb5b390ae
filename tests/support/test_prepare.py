"""Preparing tasks: source training, self-supervision, what is known of the pool."""

import copy
import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from selectlib.data import backdrop_digits
from selectlib.nets import PooledConvNet
from selectlib.nets._initial import initial_model
from selectlib.support import BYOL, embed, ensemble_proba, prepare_tasks, train_source

SEEDS = [100, 101]
make_model = partial(PooledConvNet, widths=(4, 8))
prepare = partial(prepare_tasks, make_model=make_model, source_epochs=2, ssl_epochs=2)


@pytest.fixture(scope="module")
def shifts():
    return [backdrop_digits(seed=seed, size=8, n_source=100, n_pool=40, n_test=20) for seed in SEEDS]


@pytest.fixture(scope="module")
def tasks(shifts):
    return prepare(shifts, seeds=SEEDS)


def assert_equal_models(first: nn.Module, second: nn.Module):
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def assert_equal_knowledge(first, second):
    for field in ("features", "proba"):
        for name, rows in getattr(first, field).items():
            assert torch.equal(rows, getattr(second, field)[name]), (field, name)
    for name, model in first.models.items():
        assert_equal_models(model, second.models[name])


class Known:
    """In the place of BYOL: gives a model of known logits as f', and keeps what it was fitted to."""

    def __init__(self, adapted: nn.Module):
        self.adapted, self.fitted = adapted, []

    def __call__(self, source: nn.Module) -> "Known":
        return self

    def fit(self, X, **settings):
        self.fitted.append(X)
        return self.adapted, nn.Identity()


class Constant(nn.Module):
    """A model whose features are its logits, the same for all images."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))
        self.head = nn.Identity()

    def features(self, images):
        return self.logits.expand(len(images), -1)

    def forward(self, images):
        return self.head(self.features(images))


@pytest.mark.oracle
def test_side_by_side_equals_each_alone(shifts, tasks):
    for shift, seed, task in zip(shifts, SEEDS, tasks, strict=True):
        (alone,) = prepare([shift], seeds=[seed])
        assert_equal_knowledge(task, alone)
        assert (task.seed, len(task.images), len(task.test)) == (seed, 40, 20)


@pytest.mark.oracle
def test_self_supervision_leaves_the_source_model_and_both_heads_alone(shifts, tasks):
    sources = train_source(make_model, shifts, seeds=SEEDS, epochs=2)
    for source, task in zip(sources, tasks, strict=True):
        assert_equal_models(task.models["source"], source)
        assert_equal_models(task.models["adapted"].head, source.head)
        assert not torch.equal(task.features["adapted"], task.features["source"])
        assert not any(module.training for model in task.models.values() for module in model.modules())


@pytest.mark.oracle
def test_no_epochs_of_self_supervision_change_nothing(shifts):
    (task,) = prepare(shifts[:1], seeds=SEEDS[:1], ssl_epochs=0)
    assert_equal_models(task.models["adapted"], task.models["source"])
    for name in ("adapted", "projector"):
        assert torch.equal(task.features[name], task.features["source"])
    for name in ("adapted", "ensemble"):
        assert torch.equal(task.proba[name], task.proba["source"])


@pytest.mark.oracle
def test_pseudo_labels_average_probabilities_not_logits(shifts):
    first, second = ([0.90, 0.05, 0.05], [0.02, 0.49, 0.49])
    shift = dataclasses.replace(shifts[0], pool_labels=torch.zeros(40).long(), test_labels=torch.zeros(20).long())
    source, adapted = (Constant(torch.tensor(p).log().tolist()) for p in (first, second))
    (task,) = prepare_tasks([shift], lambda: source, seeds=[100], source_epochs=0, byol=Known(adapted))
    torch.testing.assert_close(task.proba["ensemble"][0], torch.tensor([0.46, 0.27, 0.27]))
    assert (task.proba["ensemble"].argmax(1) == 0).all()  # the mean of the logits says 1


@pytest.mark.oracle
def test_what_is_known_is_what_the_models_say(tasks):
    for task in tasks:
        source, adapted = task.models["source"], task.models["adapted"]
        torch.testing.assert_close(task.features["adapted"], embed(adapted, task.images))
        torch.testing.assert_close(task.proba["ensemble"], ensemble_proba(source, adapted, X=task.images))
        torch.testing.assert_close(task.proba["source"], source(task.images).softmax(1))


@pytest.mark.oracle
def test_neither_labels_of_the_target_nor_held_out_images_are_read(shifts, tasks):
    poisoned = [
        dataclasses.replace(
            shift,
            pool_labels=shift.pool_labels.flip(0),
            test=torch.full_like(shift.test, torch.nan),
            test_labels=(shift.test_labels + 1) % 10,
            source_test=torch.full_like(shift.source_test, torch.nan),
            source_test_labels=(shift.source_test_labels + 1) % 10,
        )
        for shift in shifts
    ]
    for task, other in zip(tasks, prepare(poisoned, seeds=SEEDS), strict=True):
        assert_equal_knowledge(task, other)


def test_self_supervision_sees_the_pool_alone(shifts):
    known = Known(make_model().eval())
    prepare(shifts[:1], seeds=[100], source_epochs=0, byol=known)
    (fitted,) = known.fitted
    assert torch.equal(fitted, shifts[0].pool)


def test_widths_of_the_projector_can_be_set(shifts):
    (task,) = prepare(shifts[:1], seeds=[100], source_epochs=0, byol=partial(BYOL, projection=6, hidden=12))
    assert task.features["projector"].shape == (40, 6)


def test_a_seed_chooses_all_draws_and_global_generators_are_left_alone(shifts, tasks):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    (other,) = prepare(shifts[:1], seeds=[7])
    assert torch.equal(torch.rand(4), expected)
    assert not torch.equal(other.features["source"], tasks[0].features["source"])


def test_the_source_is_learnt():
    (shift,) = [backdrop_digits(seed=100, size=8, n_source=600, n_pool=10, n_test=200)]
    (model,) = train_source(PooledConvNet, [shift], seeds=[100], epochs=6)
    right = model(shift.source_test).argmax(1) == shift.source_test_labels
    assert right.double().mean() > 0.85


def test_without_epochs_models_are_as_they_are_made(shifts):
    models = train_source(make_model, shifts, seeds=SEEDS, epochs=0)
    assert not torch.equal(models[0].head.weight, models[1].head.weight)
    trained = copy.deepcopy(initial_model(make_model, 5))
    (model,) = train_source(lambda: trained, shifts[:1], seeds=[100], epochs=0)
    assert_equal_models(model, trained)


def test_a_source_smaller_than_a_batch_is_one_batch(shifts):
    (model,) = train_source(make_model, shifts[:1], seeds=[100], epochs=1, batch_size=1000)
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("function", [prepare_tasks, train_source])
def test_progress_wraps_the_shifts(shifts, function):
    settings = {"source_epochs": 0, "ssl_epochs": 0} if function is prepare_tasks else {"epochs": 0}
    shown = []

    def progress(items):
        shown.append(len(items))
        return items

    arguments = {"make_model": make_model, "shifts": shifts, "seeds": SEEDS, "progress": progress}
    assert len(function(**arguments, **settings)) == 2
    assert shown == [2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shifts": []}, "shifts must hold at least one"),
        ({"seeds": [100]}, "seeds must name one seed a shift, got 1 for 2 shifts"),
        ({"seeds": [100, -1]}, "seeds must be from 0"),
        ({"source_epochs": -1}, "source_epochs must be at least 0"),
        ({"source_lr": 0.0}, "source_lr must be a finite positive number"),
        ({"ssl_epochs": -1}, "ssl_epochs must be at least 0"),
        ({"ssl_lr": -1.0}, "ssl_lr must be a finite positive number"),
        ({"device": "abacus"}, "device must be"),
    ],
)
def test_bad_arguments_are_refused(shifts, changed, message):
    with pytest.raises(ValueError, match=message):
        prepare(**{"shifts": shifts, "seeds": SEEDS, **changed})


def test_a_model_in_one_piece_is_refused(shifts):
    with pytest.raises(TypeError, match="got one without `features`"):
        prepare_tasks(shifts, lambda: nn.Linear(64, 10), seeds=SEEDS)


@pytest.mark.cuda
def test_tasks_are_made_on_the_device(shifts):
    (task,) = prepare(shifts[:1], seeds=[100], device="cuda")
    tensors = [task.images, task.labels, task.test, task.test_labels, *task.features.values(), *task.proba.values()]
    assert {tensor.device.type for tensor in tensors} == {"cuda"}
    assert 0 <= task.accuracy(task.models["adapted"]) <= 100
