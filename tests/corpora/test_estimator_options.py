"""What the estimator's arguments promise, what it reports, stores and refuses."""

import pytest
import torch
from sklearn.exceptions import NotFittedError
from small_models import Dense, Prediction, classifier, count, explicit, relative_error
from torch import nn

from selectlib.corpora._estimator import DatamodelEstimator
from selectlib.corpora._gradients import Linearization
from selectlib.corpora._outputs import CorrectClassMargin
from selectlib.corpora._projector import JLProjector
from selectlib.seeding import generator


@pytest.mark.oracle
def test_std_divides_each_models_scores_by_their_spread():
    model, output, states, pool, targets = classifier(models=3)
    plain = DatamodelEstimator(model, output, projector=None).fit(states, pool).score_mean(pool, targets).per_model
    estimator = DatamodelEstimator(model, output, projector=None, average="std").fit(states, pool)
    want = (plain / plain.std(0, correction=0)).mean(1)
    torch.testing.assert_close(estimator.score_mean(pool, targets).scores, want)
    torch.testing.assert_close(
        estimator.score(tuple(field[:1] for field in targets))[:, 0],
        estimator.score_mean(pool, tuple(field[:1] for field in targets)).scores,
    )


@pytest.mark.oracle
def test_without_kernel_scores_are_products_of_gradients():
    model, output, states, pool, targets = classifier()
    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 8), kernel="none", reweight=None).fit(
        states, pool
    )
    found = [explicit(model, output, s, pool)[0] @ explicit(model, output, s, targets)[0].T for s in states]
    assert relative_error(estimator.score_mean(pool, targets).scores, torch.stack(found).mean(0).mean(1)) < 1e-10
    R = estimator._setup.featuriser.projector.R
    each = [
        explicit(model, output, s, pool)[0] @ R[m] @ R[m].T @ explicit(model, output, s, targets)[0].T
        for m, s in enumerate(states)
    ]
    assert relative_error(estimator.score(targets), torch.stack(each).mean(0)) < 1e-10


@pytest.mark.oracle
def test_a_kernel_of_drawn_rows():
    model, output, states, pool, targets = classifier(models=1)
    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 16))
    found = estimator.fit(states, pool, kernel_rows=40, generator=generator(207)).score_mean(pool, targets)
    rows = torch.randperm(64, generator=generator(207))[:40]
    drawn = tuple(field[rows] for field in pool)
    want = DatamodelEstimator(model, output, projector=Dense(count(model), 16)).fit(states, drawn)
    torch.testing.assert_close(found.scores, want.score_mean(pool, targets).scores, rtol=1e-9, atol=1e-12)
    assert found.report["kernel_rows"] == 40
    torch.testing.assert_close(estimator.score(targets).mean(1), found.scores, rtol=1e-9, atol=1e-12)
    same = estimator.fit(states, pool, kernel_rows=40, generator=generator(207)).score_mean(pool, targets)
    assert torch.equal(same.scores, found.scores)


def test_several_tasks_are_scored_as_one_by_one():
    model, output, states, pool, targets = classifier()
    tasks = [tuple(field[:3] for field in targets), tuple(field[3:] for field in targets)]
    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 16)).fit(states, pool)
    for mode in ("jvp", "project"):
        found = estimator.score_mean(pool, tasks, mode=mode)
        for task, scores in zip(tasks, found, strict=True):
            alone = estimator.score_mean(pool, task, mode=mode)
            torch.testing.assert_close(scores.per_model, alone.per_model)
            torch.testing.assert_close(scores.scores, alone.scores)


@pytest.mark.parametrize("reweight", ["mean", "token"])
def test_features_are_made_once(monkeypatch, reweight):
    model, output, states, pool, targets = classifier()
    seen = []
    plain = Linearization.gradients
    monkeypatch.setattr(Linearization, "gradients", lambda *args: seen.append(len(args[2][0])) or plain(*args))
    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 16), reweight=reweight)
    estimator.fit(states, pool).score(targets)
    once = 64 * 2 if reweight == "mean" else 2 * 64 * 2  # by tokens, the kernel's gradients are not the pool's
    assert sum(seen) == once + 7 * 2
    estimator.score_mean(pool, targets, mode="project")
    estimator.score_mean(pool, targets)
    assert sum(seen) == once + 7 * 2


def test_checkpoints_in_files(tmp_path):
    model, output, states, pool, targets = classifier()
    for m, state in enumerate(states):
        torch.save(state, tmp_path / f"{m}.pt")
    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 16))
    want = estimator.fit(states, pool).score_mean(pool, targets).scores
    found = estimator.fit([tmp_path / "0.pt", str(tmp_path / "1.pt")], pool).score_mean(pool, targets).scores
    assert torch.equal(found, want)


def test_the_report_says_what_happened():
    model, output, states, pool, targets = classifier()
    model.spare = nn.Linear(2, 2).double()
    model.forward = lambda x: nn.Sequential(*list(model)[:-1])(x.flatten(1))
    list(model.parameters())[1].requires_grad_(False)
    states = [{**s, "spare.weight": torch.ones(2, 2), "spare.bias": torch.ones(2)} for s in states]
    first, second, *_ = (name for name, _ in model.named_parameters())
    pool[0][:5] = 0  # of these the first layer has no gradient
    estimator = DatamodelEstimator(model, output, projector=None, parameters=[first, "spare.weight"])
    found = estimator.fit(states, pool).score_mean(pool, targets)
    assert found.report["zero_gradients"] == [5, 5]
    assert found.scores[:5].tolist() == [0.0] * 5
    assert second in found.report["parameters_without_gradient"]
    assert {"spare.weight", "spare.bias"} <= set(found.report["parameters_without_gradient"])
    assert first not in found.report["parameters_without_gradient"]
    columns = found.per_model
    assert found.report["model_correlation"] == pytest.approx(float(torch.corrcoef(columns.T)[0, 1]))
    assert found.report["nan"] == 0 and found.report["models"] == 2 and found.report["average"] == "mean"
    assert all(damping > 0 for damping in found.report["damping"])


def test_an_item_without_a_score_is_counted():
    model, _, states, pool, targets = classifier()

    class Gap(CorrectClassMargin):
        def margins(self, forward, *batch):
            margins, counted = super().margins(forward, *batch)
            return margins + torch.where(batch[1] == 9, torch.nan, 0.0).unsqueeze(1) * margins, counted

    estimator = DatamodelEstimator(model, Gap(), projector=Dense(count(model), 16)).fit(states, pool)
    odd = (pool[0], torch.cat([torch.tensor([9]), pool[1][1:]]))
    found = estimator.score_mean(odd, targets)
    assert found.report["nan"] == 1 and found.scores.isnan().nonzero().tolist() == [[0]]
    with pytest.raises(ValueError, match="the kernel is not finite"):
        estimator.fit(states, odd)


def test_progress_counts_every_block():
    model, output, states, pool, targets = classifier()
    bars = []

    def progress(blocks):
        bars.append([len(blocks), 0])
        for block in blocks:
            yield block
            bars[-1][1] += 1

    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 16), chunk_size=10)
    estimator.fit(states, pool, progress=progress).score_mean(pool, targets, progress=progress)
    assert bars == [[14, 14], [14, 14]]


def test_the_models_mode_is_given_back():
    model, output, states, pool, targets = classifier()
    model.train()
    DatamodelEstimator(model, output, projector=None).fit(states, pool).score_mean(pool, targets)
    assert all(module.training for module in model.modules())


# Stores: resume, refuse, share.


def test_a_store_goes_on_where_it_was_and_gives_the_same_bits(tmp_path):
    model, output, states, pool, targets = classifier()
    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 16), chunk_size=5).fit(states, pool)
    tasks = [targets, tuple(field[:2] for field in targets)]

    def stops(blocks):
        for block in blocks:
            if block == 9:
                raise KeyboardInterrupt
            yield block

    with pytest.raises(KeyboardInterrupt):
        estimator.score_mean(pool, tasks, store=tmp_path / "a", shard_rows=12, progress=stops)
    left = []
    found = estimator.score_mean(
        pool, tasks, store=tmp_path / "a", shard_rows=12, progress=lambda blocks: left.append(len(blocks)) or blocks
    )
    assert left == [2 * (3 * 4 + 1)]  # the first of 6 shards was done
    estimator.score_mean(pool, tasks, store=tmp_path / "b", shard_rows=12)
    assert (tmp_path / "a" / "scores.npy").read_bytes() == (tmp_path / "b" / "scores.npy").read_bytes()
    memory = estimator.score_mean(pool, tasks)
    for a, b in zip(found, memory, strict=True):
        torch.testing.assert_close(a.scores.double(), b.scores, rtol=1e-6, atol=1e-9)


def test_a_store_of_another_estimate_is_refused(tmp_path):
    model, output, states, pool, targets = classifier()

    def score(states=states, pool=pool, rows=None, **options):
        estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 16), **options)
        estimator.fit(states, pool, kernel_rows=rows, generator=generator(100))
        return estimator.score_mean(pool, targets, store=tmp_path / "store")

    first = score().scores
    assert torch.equal(score().scores, first)
    other = {name: tensor + 1e-9 for name, tensor in states[1].items()}
    for changed, key in (
        ({"states": [states[0], other]}, r"parameters_sha256'\]\[1\]"),
        ({"pool": (pool[0] + 1e-9, pool[1])}, "kernel_rows_sha256"),
        ({"rows": 50}, r"kernel_rows'\] = 64; got 50"),
        ({"fisher": True}, "fisher"),
        ({"reweight": "token"}, "reweight"),
        ({"kernel": "none"}, "kernel"),
        ({"parameters": ["1.weight"]}, "parameter_table"),
    ):
        with pytest.raises(ValueError, match=key):
            score(**changed)


def test_processes_that_are_told_their_rank(tmp_path):
    model, output, states, pool, targets = classifier()
    estimator = DatamodelEstimator(model, output, projector=Dense(count(model), 16)).fit(states, pool)
    options = {"store": tmp_path / "store", "shard_rows": 12, "world_size": 2}
    with pytest.raises(ValueError, match=r"not complete: 3 shards pending"):
        estimator.score_mean(pool, targets, rank=1, **options)
    shared = estimator.score_mean(pool, targets, rank=0, **options).scores
    torch.testing.assert_close(shared.double(), estimator.score_mean(pool, targets).scores, rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="store must be given where several processes"):
        estimator.score_mean(pool, targets, rank=0, world_size=2)
    with pytest.raises(ValueError, match="rank must be from 0 to world_size - 1 = 1, got 2"):
        estimator.score_mean(pool, targets, rank=2, **options)


# What is refused.


def test_arguments_that_are_refused_before_any_work():
    model, output, _, pool, targets = classifier()
    for options, error, words in (
        ({"damping": -1.0}, ValueError, "damping must be finite and at least 0, got -1"),
        ({"damping": float("nan")}, ValueError, "damping must be finite"),
        ({"damping": "big"}, TypeError, "damping must be a number, got str"),
        ({"reweight": "max"}, ValueError, "reweight must be one of"),
        ({"average": "median"}, ValueError, "average must be one of"),
        ({"kernel": "rbf"}, ValueError, "kernel must be one of"),
        ({"fisher": "yes"}, ValueError, "fisher must be one of"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1, got 0"),
        ({"chunk_size": 2.5}, TypeError, "chunk_size must be an int, got float"),
        ({"projector": 64}, TypeError, "projector must be a projector"),
        ({"projector": Dense}, TypeError, "projector must be a projector"),
    ):
        with pytest.raises(error, match=words):
            DatamodelEstimator(model, output, **{"projector": None, **options})
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
        DatamodelEstimator("net", output, projector=None)
    for wrong in (CorrectClassMargin, "margin"):
        with pytest.raises(TypeError, match="output must be an output function"):
            DatamodelEstimator(model, wrong, projector=None)
    with pytest.raises(ValueError, match="reweight='token' needs"):
        DatamodelEstimator(model, Prediction(), projector=None, reweight="token")
    estimator = DatamodelEstimator(model, output, projector=None)
    with pytest.raises(NotFittedError):
        estimator.score(targets)
    with pytest.raises(NotFittedError):
        estimator.score_mean(pool, targets)


def test_data_that_is_refused_before_any_work():
    model, output, states, pool, targets = classifier()
    estimator = DatamodelEstimator(model, output, projector=None)
    none = tuple(field[:0] for field in targets)
    with pytest.raises(ValueError, match="checkpoints is empty"):
        estimator.fit([], pool)
    for wrong in (states[0], "model.pt", None):
        with pytest.raises(TypeError, match="checkpoints must be a sequence"):
            estimator.fit(wrong, pool)
    with pytest.raises(ValueError, match="pool must be tensors with as many rows each"):
        estimator.fit(states, (pool[0], pool[1][:-1]))
    with pytest.raises(TypeError, match="pool must be a tuple of tensors"):
        estimator.fit(states, pool[0])
    with pytest.raises(ValueError, match="pool holds NaN or infinity"):
        estimator.fit(states, (pool[0] / 0, pool[1]))
    for rows in (0, 65):
        with pytest.raises(ValueError, match=f"kernel_rows must be from 1 to 64, got {rows}"):
            estimator.fit(states, pool, kernel_rows=rows, generator=generator(100))
    with pytest.raises(TypeError, match=r"generator must be a torch.Generator where kernel_rows is given"):
        estimator.fit(states, pool, kernel_rows=9)
    estimator.fit(states, pool)
    with pytest.raises(ValueError, match="targets holds no examples"):
        estimator.score(none)
    with pytest.raises(ValueError, match="targets holds no examples"):
        estimator.score_mean(pool, none)
    with pytest.raises(ValueError, match="targets is an empty list"):
        estimator.score_mean(pool, [])
    with pytest.raises(ValueError, match=r"mode must be one of .'jvp', 'project'., got 'fast'"):
        estimator.score_mean(pool, targets, mode="fast")


@pytest.mark.cuda
@pytest.mark.parametrize("kind", ["rademacher", "sjlt"])
def test_a_model_on_cuda_scores_a_pool_on_the_cpu_alike(kind, tmp_path):
    model, output, states, pool, targets = classifier()
    estimator = DatamodelEstimator(model, output, projector=JLProjector(32, kind=kind, seed=100))
    want = estimator.fit(states, pool).score_mean(pool, targets).scores
    there = DatamodelEstimator(model.cuda(), output, projector=JLProjector(32, kind=kind, seed=100)).fit(states, pool)
    for mode in ("jvp", "project"):
        found = there.score_mean(pool, targets, mode=mode, store=tmp_path / mode).scores
        assert not found.is_cuda
        torch.testing.assert_close(found.double(), want, rtol=1e-5, atol=1e-7)
    on_device = tuple(field.cuda() for field in pool)
    drawn = there.fit(states, on_device, kernel_rows=50, generator=generator(100, "cuda"))
    assert drawn.score_mean(on_device, targets).scores.is_cuda
    assert drawn.score(targets, on_device).is_cuda
