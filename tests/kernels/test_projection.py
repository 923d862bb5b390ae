"""Projections against matrices written down entry by entry, in any chunks, strides and dtypes."""

import math
from itertools import pairwise

import pytest
import torch
from by_hand import matrix

from selectlib import kernels
from selectlib.kernels import _projection_dense
from selectlib.kernels._dense_laws import GAUSSIAN, RADEMACHER, dense_tile, expand_numpy, expand_torch
from selectlib.kernels._philox import Stream, philox_grid
from selectlib.seeding import generator

CPU = torch.device("cpu")
KINDS = [("rademacher", 1), ("gaussian", 1), ("sjlt", 1), ("sjlt", 3)]


def project(kind, nnz, grads, proj_dim, **stream):
    extra = {"nnz": nnz} if kind == "sjlt" else {}
    return getattr(kernels, f"project_{kind}")(grads, proj_dim, **extra, **stream)


def back_project(kind, nnz, v, num_params, **stream):
    extra = {"nnz": nnz} if kind == "sjlt" else {}
    return getattr(kernels, f"back_project_{kind}")(v, num_params, **extra, **stream)


def whole_numbers(*shape, seed, dtype=torch.float32):
    return torch.randint(-8, 9, shape, generator=generator(seed)).to(dtype)


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
@pytest.mark.parametrize(
    ("seed", "model_id", "row_offset"), [(100, 0, 0), (2**64 - 1, 2**32 - 1, 77), (2**33 + 5, 3, 2**33 - 3)]
)
def test_projection_and_back_are_products_with_the_matrix_by_hand(kind, nnz, seed, model_id, row_offset):
    p, k = 150, 7  # over two blocks of 128 rows, the last one cut; no width is a multiple of anything
    R = matrix(kind, range(row_offset, row_offset + p), k, seed=seed, model_id=model_id, nnz=nnz)
    R /= math.sqrt(nnz if kind == "sjlt" else k)
    if kind == "gaussian":
        R /= math.sqrt(0.9999797186525823)  # the variance of the 65,536 quantiles
    g = torch.randn(5, p, dtype=torch.float64, generator=generator(100))
    stream = dict(seed=seed, model_id=model_id, row_offset=row_offset)
    found = project(kind, nnz, g, k, **stream)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, g @ R, rtol=0, atol=1e-6 if kind == "gaussian" else 1e-13)
    for v in (torch.randn(k, dtype=torch.float64, generator=generator(101)), torch.eye(k, dtype=torch.float64)):
        back = back_project(kind, nnz, v, p, **stream)
        torch.testing.assert_close(back, R @ v, rtol=0, atol=1e-6 if kind == "gaussian" else 1e-13)
    signs = kernels.projection_signs(
        kind, torch.arange(p) + row_offset, torch.arange(k), k, seed=seed, model_id=model_id, nnz=nnz
    )
    assert torch.equal(signs, R.sign().to(torch.int8))


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_the_way_back_is_the_transpose(kind, nnz):
    p, k = 3000, 1100  # more than one tile each way
    g = torch.randn(4, p, dtype=torch.float64, generator=generator(100))
    v = torch.randn(k, 2, dtype=torch.float64, generator=generator(101))
    there, back = project(kind, nnz, g, k, seed=100), back_project(kind, nnz, v, p, seed=100)
    torch.testing.assert_close(there @ v, g @ back, rtol=1e-12, atol=1e-11)


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz", "k"), [("rademacher", 1, 64), ("sjlt", 1, 50), ("sjlt", 4, 50)])
@pytest.mark.parametrize("cuts", [(1,), (127, 129), (1024, 2048), (3, 5, 1700), (0, 2500)])
def test_chunks_of_parameters_add_up_bit_by_bit(kind, nnz, k, cuts):
    g = whole_numbers(3, 2500, seed=100)  # sums of whole numbers are exact, so that only the signs decide
    whole = project(kind, nnz, g, k, seed=100, model_id=2, row_offset=59)
    edges = [0, *cuts, 2500]
    chunks = [project(kind, nnz, g[:, a:b], k, seed=100, model_id=2, row_offset=59 + a) for a, b in pairwise(edges)]
    assert torch.equal(sum(chunks), whole)
    rows = [project(kind, nnz, g[i : i + 1], k, seed=100, model_id=2, row_offset=59) for i in range(3)]
    assert torch.equal(torch.cat(rows), whole)


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_gaussian_and_all_other_chunks_add_up(kind, nnz):
    g = torch.randn(3, 2500, dtype=torch.float64, generator=generator(100))
    parts = [project(kind, nnz, g[:, a : a + 499], 50, seed=100, row_offset=a) for a in range(0, 2500, 499)]
    torch.testing.assert_close(sum(parts), project(kind, nnz, g, 50, seed=100), rtol=1e-12, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "nnz"), [("rademacher", 1), ("sjlt", 1), ("sjlt", 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_sees_the_same_signs(kind, nnz, dtype):
    g = whole_numbers(4, 700, seed=100)
    expected = project(kind, nnz, g, 16, seed=100)
    found = project(kind, nnz, g.to(dtype), 16, seed=100)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(found.float(), expected)
    v = whole_numbers(16, 2, seed=101)
    back = back_project(kind, nnz, v.to(dtype), 700, seed=100)
    assert back.dtype == found.dtype
    assert torch.equal(back.float(), back_project(kind, nnz, v, 700, seed=100))


@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_strides_and_autograd_do_not_matter(kind, nnz):
    g = torch.randn(700, 6, generator=generator(100)).requires_grad_()
    expected = project(kind, nnz, g.detach()[:, ::2].T.contiguous(), 33, seed=100)
    found = project(kind, nnz, g[:, ::2].T, 33, seed=100)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not found.requires_grad
    v = torch.randn(2, 66, generator=generator(101)).requires_grad_()
    back = back_project(kind, nnz, v.T[::2], 700, seed=100)
    assert not back.requires_grad
    torch.testing.assert_close(back, back_project(kind, nnz, v.detach().T[::2].contiguous(), 700, seed=100))


@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_float32_is_as_good_as_its_digits(kind, nnz):
    g = torch.randn(8, 20_000, generator=generator(100))
    exact = project(kind, nnz, g.double(), 64, seed=100)
    error = (project(kind, nnz, g, 64, seed=100) - exact).norm() / exact.norm()
    assert float(error) < 2e-6


@pytest.mark.parametrize(("kind", "nnz"), KINDS)
@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, 2**-24), (torch.bfloat16, 2**-120)])
def test_the_smallest_halves_are_not_lost(kind, nnz, dtype, least):
    g = whole_numbers(2, 300, seed=100, dtype=torch.float64) * least
    found = project(kind, nnz, g.to(dtype), 16, seed=100)
    torch.testing.assert_close(
        found.double() / least, project(kind, nnz, g / least, 16, seed=100), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("kind", "nnz"), KINDS)
def test_nothing_to_project_and_no_one_to_project_for(kind, nnz):
    assert torch.equal(project(kind, nnz, torch.zeros(2, 0), 5, seed=100), torch.zeros(2, 5))
    assert project(kind, nnz, torch.zeros(0, 3), 5, seed=100).shape == (0, 5)
    assert back_project(kind, nnz, torch.zeros(5), 0, seed=100).shape == (0,)
    assert back_project(kind, nnz, torch.zeros(5, 0), 4, seed=100).shape == (4, 0)
    assert torch.equal(project(kind, nnz, torch.zeros(2, 9), 5, seed=100), torch.zeros(2, 5))


@pytest.mark.oracle
@pytest.mark.parametrize(("p", "parity"), [(300, 0), (301, 1), (128, 0), (129, 1)])
def test_ones_give_even_sums_for_even_lengths_and_odd_for_odd(p, parity):
    sums = project("rademacher", 1, torch.ones(1, p), 64, seed=100) * 8
    assert torch.equal(sums, sums.round()) and bool((sums % 2 == parity).all())


@pytest.mark.oracle
@pytest.mark.parametrize("row", [0, 127, 128, 255, 299])
def test_one_coordinate_gives_entries_of_one_size(row):
    g = torch.zeros(1, 300)
    g[0, row] = 3.0
    phi = project("rademacher", 1, g, 100, seed=100)
    assert phi.abs().unique().tolist() == pytest.approx([0.3])
    for nnz in (1, 4):
        phi = project("sjlt", nnz, g, 100, seed=100)
        assert int((phi != 0).sum()) == nnz
        assert phi[phi != 0].abs().tolist() == pytest.approx([3 / math.sqrt(nnz)] * nnz)
        assert [int(part.count_nonzero()) for part in phi[0].chunk(nnz)] == [1] * nnz


@pytest.mark.parametrize("law", [RADEMACHER, GAUSSIAN], ids=["rademacher", "gaussian"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fast_expansion_is_the_reference(law, dtype):
    words = philox_grid(range(3, 9), range(11), law.tag, Stream(100, 1), CPU)
    fast, reference = expand_numpy(law, words, dtype), expand_torch(law, words, dtype)
    assert fast.dtype == dtype and torch.equal(fast, reference)


def test_no_tile_grows_with_the_matrix(monkeypatch):
    sizes = []

    def watched(law, rows, columns, stream, **kind):
        sizes.append(len(rows) * len(columns))
        return dense_tile(law, rows, columns, stream, **kind)

    monkeypatch.setattr(_projection_dense, "dense_tile", watched)
    project("rademacher", 1, torch.ones(1, 5000), 3000, seed=100, row_offset=300)
    back_project("gaussian", 1, torch.ones(3000), 2000, seed=100)
    assert max(sizes) <= 2**20 and sum(sizes) == 7000 * 3000


@pytest.mark.parametrize(
    ("kind", "bad", "error", "message"),
    [
        ("rademacher", dict(grads=[[1.0]]), TypeError, "grads must be a floating tensor, got list"),
        ("rademacher", dict(grads=torch.ones(2, 2, dtype=torch.int64)), TypeError, "grads .* got torch.int64"),
        ("gaussian", dict(grads=torch.ones(3)), ValueError, "grads must have 2 dimensions"),
        ("rademacher", dict(proj_dim=0), ValueError, "proj_dim must be from 1"),
        ("sjlt", dict(proj_dim=2**31 + 1), ValueError, "proj_dim must be from 1 to 2147483648"),
        ("gaussian", dict(proj_dim=4.0), TypeError, "proj_dim must be an int, got float"),
        ("sjlt", dict(nnz=5), ValueError, "nnz must be from 1 to 4, got 5"),
        ("sjlt", dict(nnz=True), TypeError, "nnz must be an int"),
        ("rademacher", dict(seed=-1), ValueError, "seed must be from 0"),
        ("rademacher", dict(seed=2**64), ValueError, "seed must be from 0"),
        ("rademacher", dict(model_id=2**32), ValueError, "model_id must be from 0"),
        ("rademacher", dict(row_offset=-1), ValueError, "row_offset must be from 0"),
        ("sjlt", dict(row_offset=2**34 - 2), ValueError, "row_offset must be from 0 to 17179869181"),
    ],
)
def test_bad_arguments_are_named(kind, bad, error, message):
    arguments = dict(grads=torch.ones(2, 3), proj_dim=4, seed=100) | bad
    with pytest.raises(error, match=message):
        getattr(kernels, f"project_{kind}")(arguments.pop("grads"), arguments.pop("proj_dim"), **arguments)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian", "sjlt"])
@pytest.mark.parametrize(
    ("v", "num_params", "error", "message"),
    [
        ([1.0], 3, TypeError, "v must be a floating tensor"),
        (torch.ones(()), 3, ValueError, "v must have 1 or 2 dimensions"),
        (torch.ones(0), 3, ValueError, "v must have at least one row"),
        (torch.ones(4), -1, ValueError, "num_params must be from 0"),
        (torch.ones(4), 2.0, TypeError, "num_params must be an int"),
    ],
)
def test_bad_vectors_are_named(kind, v, num_params, error, message):
    with pytest.raises(error, match=message):
        getattr(kernels, f"back_project_{kind}")(v, num_params, seed=100)


@pytest.mark.parametrize(
    ("kind", "rows", "cols", "error", "message"),
    [
        ("normal", torch.arange(2), torch.arange(2), ValueError, "kind must be one of"),
        ("sjlt", torch.arange(2.0), torch.arange(2), TypeError, "rows must be an int64 tensor"),
        ("sjlt", torch.arange(2), torch.tensor([4]), ValueError, "cols must be a vector of indices from 0 to 3"),
        ("sjlt", torch.tensor([-1]), torch.arange(2), ValueError, "rows must be a vector"),
        ("sjlt", torch.tensor([2**34]), torch.arange(2), ValueError, "rows must be a vector"),
    ],
)
def test_bad_indices_are_named(kind, rows, cols, error, message):
    with pytest.raises(error, match=message):
        kernels.projection_signs(kind, rows, cols, 4, seed=100)
