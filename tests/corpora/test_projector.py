"""JLProjector: one matrix for every device, batch and chunk, and metadata that tell matrices apart."""

import json
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectlib import kernels
from selectlib.corpora._projector import JLProjector
from selectlib.seeding import generator

KINDS = [("rademacher", 1), ("gaussian", 1), ("sjlt", 1), ("sjlt", 4)]


def projector(kind, nnz, proj_dim=32, seed=100):
    return JLProjector(proj_dim, kind=kind, nnz=nnz, seed=seed)


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_it_is_the_kernel_of_its_kind(kind, nnz):
    g, v = torch.randn(3, 200, generator=generator(100)), torch.randn(32, 2, generator=generator(101))
    extra = {"nnz": nnz} if kind == "sjlt" else {}
    stream = dict(model_id=3, row_offset=77)
    ours = projector(kind, nnz)
    there = getattr(kernels, f"project_{kind}")(g, 32, seed=100, **stream, **extra)
    assert torch.equal(ours.project(g, **stream), there)
    back = getattr(kernels, f"back_project_{kind}")(v, 200, seed=100, **stream, **extra)
    assert torch.equal(ours.back_project(v, 200, **stream), back)
    R = ours.back_project(torch.eye(32), 200, model_id=3)
    assert torch.equal(ours.signs(torch.arange(200), torch.arange(32), 3), R.sign().to(torch.int8))


@pytest.mark.oracle
@settings(max_examples=40, deadline=None)
@given(
    kind_nnz=st.sampled_from(KINDS),
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=5),
    batch=st.integers(1, 4),
    seed=st.integers(0, 2**64 - 1),
    model_id=st.integers(0, 2**32 - 1),
)
def test_a_gradient_may_come_tensor_by_tensor(kind_nnz, sizes, batch, seed, model_id):
    ours = projector(*kind_nnz, seed=seed)
    g = torch.randn(batch, sum(sizes), dtype=torch.float64, generator=generator(100))
    total, offset = torch.zeros(batch, 32, dtype=torch.float64), 0
    for part in g.split(sizes, dim=1):
        total += ours.project(part, model_id=model_id, row_offset=offset)
        offset += part.shape[1]
    torch.testing.assert_close(total, ours.project(g, model_id=model_id), rtol=1e-12, atol=1e-12)
    for i in range(batch):  # and example by example
        one = ours.project(g[i : i + 1], model_id=model_id)
        torch.testing.assert_close(one[0], total[i], rtol=1e-12, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_scores_may_be_taken_on_either_side(kind, nnz):
    ours = projector(kind, nnz)
    g = torch.randn(20, 5000, dtype=torch.float64, generator=generator(100))
    v = torch.randn(32, dtype=torch.float64, generator=generator(101))
    scores = ours.project(g, model_id=1) @ v
    torch.testing.assert_close(g @ ours.back_project(v, 5000, model_id=1), scores, rtol=1e-12, atol=1e-11)
    parts = [ours.back_project(v, 1250, model_id=1, row_offset=1250 * i) for i in range(4)]
    assert torch.equal(torch.cat(parts), ours.back_project(v, 5000, model_id=1))


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_same_gradients_have_same_features_and_every_coordinate_counts(kind, nnz):
    ours = projector(kind, nnz, proj_dim=64)
    g = torch.randn(1, 1000, generator=generator(100)).repeat(8, 1)
    features = ours.project(g)
    assert torch.allclose(features, features[:1].expand(8, 64), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours.project(g), features)
    for row in (0, 999):
        other = g.clone()
        other[0, row] += 5
        assert float((ours.project(other)[0] - features[0]).norm()) == pytest.approx(
            5 if kind != "gaussian" else 5 * float(ours.back_project(torch.eye(64), 1000)[row].norm()), rel=1e-4
        )


def test_metadata_are_plain_and_tell_matrices_apart():
    assert JLProjector(64, kind="sjlt", seed=100, nnz=2).metadata() == {
        "kind": "sjlt",
        "proj_dim": 64,
        "seed": 100,
        "nnz": 2,
        "version": 1,
    }
    family = [JLProjector(64, kind=kind, seed=seed) for kind in ("rademacher", "gaussian", "sjlt") for seed in (1, 2)]
    family += [JLProjector(65, seed=1), JLProjector(64, kind="sjlt", seed=1, nnz=3)]
    written = {json.dumps(one.metadata(), sort_keys=True) for one in family}
    assert len(written) == len(family)


def test_version_1_stays_what_it_is():
    signs = "".join(
        "-0+"[s + 1]
        for kind, nnz in KINDS
        for s in projector(kind, nnz).signs(torch.tensor([0, 127, 128, 2**33]), torch.arange(8), 5).flatten().tolist()
    )
    assert signs == (
        "--++++-+-+++--+++------+-+-++++-+---+--++----+--+-++--+++-+--+--000000000-00000000000+000000000000+00000-00000000+0000000000+000"
    ), "the entries changed: raise the version, or stores of old features would be mixed with new ones"


def test_a_projector_is_frozen_and_compares_by_value():
    ours = JLProjector(8)
    assert ours == JLProjector(8, kind="rademacher", seed=0, nnz=1) and hash(ours) == hash(JLProjector(8))
    with pytest.raises(FrozenInstanceError):
        ours.seed = 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(proj_dim=0), ValueError, "proj_dim must be from 1"),
        (dict(proj_dim=2.0), TypeError, "proj_dim must be an int, got float"),
        (dict(kind="normal"), ValueError, "kind must be one of rademacher, gaussian, sjlt, got 'normal'"),
        (dict(seed=-1), ValueError, "seed must be from 0"),
        (dict(nnz=2), ValueError, "nnz must be 1 for kind 'rademacher'"),
        (dict(kind="sjlt", nnz=9), ValueError, "nnz must be from 1 to 8"),
        (dict(kind="sjlt", proj_dim=2**31 + 1), ValueError, "proj_dim"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        JLProjector(**({"proj_dim": 8} | arguments))


@pytest.mark.parametrize(
    ("v", "error", "message"),
    [
        (torch.ones(7), ValueError, r"v must have proj_dim = 8 rows, got shape \(7,\)"),
        (torch.ones(7, 8), ValueError, "v must have proj_dim = 8 rows"),
        (torch.ones(8, dtype=torch.int64), TypeError, "v must be a floating tensor"),
    ],
)
def test_a_vector_of_another_length_is_refused(v, error, message):
    with pytest.raises(error, match=message):
        JLProjector(8).back_project(v, 100)
