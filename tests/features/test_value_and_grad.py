"""One value and one gradient from every backend, equal to autograd through the authors' order of arithmetic."""

import math

import pytest
import scipy.sparse as sp
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from selectlib.features import MaskedLearnability, gram_moments, polynomial_coefficients, value_and_grad
from selectlib.seeding import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
BACKENDS = [("gram", None), ("chunk", 1), ("chunk", 7), ("chunk", 16), ("chunk", 101), ("chunk", None)]


def problem(n=101, d=23, dtype=torch.float64, device="cpu", seed=100):
    """Rows with means and scales of their own, a target, and masks of which one is 0."""
    draws = generator(seed)
    X = torch.randn(n, d, dtype=torch.float64, generator=draws) * (1 + torch.arange(d)) + 3
    y = X[:, 0] / 2 + torch.randn(n, dtype=torch.float64, generator=draws)
    s = torch.rand(d, dtype=torch.float64, generator=draws)
    s[d // 2] = 0
    mean, scale = X.mean(0), X.std(0) * 3
    return [value.to(device, dtype) for value in (s, X, y, mean, scale)]


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("order", [1, 2, 3, 4, 6, 8, 12])
@pytest.mark.parametrize(("backend", "chunk"), BACKENDS)
def test_backends_agree_with_autograd(backend, chunk, order, device):
    s, X, y, mean, scale = problem(device=device)
    coeffs = polynomial_coefficients(order, method="published")
    expected = value_and_grad(s, X, y, coeffs, backend="scan", mean=mean, scale=scale)
    found = value_and_grad(s, X, y, coeffs, backend=backend, chunk=chunk, mean=mean, scale=scale)
    assert found[0].item() == pytest.approx(expected[0].item(), rel=1e-10)
    assert (found[1] - expected[1]).abs().max() <= 1e-10 * expected[1].abs().max()


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["chunk", "gram", "scan"])
def test_means_and_scales_are_those_of_standardised_rows(backend, device):
    s, X, y, mean, scale = problem(device=device)
    coeffs = [1.0, -2.0, 0.5]
    inside = value_and_grad(s, X, y, coeffs, backend=backend, mean=mean, scale=scale)
    outside = value_and_grad(s, (X - mean) / scale, y, coeffs, backend=backend)
    assert all(torch.allclose(a, b, rtol=1e-11, atol=0) for a, b in zip(inside, outside, strict=True))
    only_scaled = value_and_grad(s, X - mean, y, coeffs, backend=backend, scale=scale)
    assert torch.allclose(only_scaled[1], outside[1], rtol=1e-11, atol=0)


@pytest.mark.oracle
@pytest.mark.parametrize("backend", ["chunk", "gram"])
def test_the_gradient_is_that_of_finite_differences(backend):
    s, X, y, mean, scale = problem(n=19, d=5)
    s = (s + 0.1).requires_grad_()
    arguments = (X, y, [2.0, -1.0, 0.3], 1, backend, None, mean, scale)
    assert torch.autograd.gradcheck(lambda masks: MaskedLearnability.apply(masks, *arguments), (s,))


@pytest.mark.oracle
def test_the_first_moment_alone_is_a_filter():
    """Order 1 ranks columns by the unbiased estimate of the squared covariance with the target, whatever the masks."""
    s, X, y, mean, _ = problem()
    x, n = X - mean, len(y)
    covariances = ((x * y[:, None]).sum(0) ** 2 - (x**2 * y[:, None] ** 2).sum(0)) / (n * (n - 1))
    _, grad = value_and_grad(s, X, y, [1.0], mean=mean)
    assert torch.allclose(grad, covariances, rtol=1e-11)


@pytest.mark.oracle
def test_columns_change_places_and_labels_their_sign():
    s, X, y, mean, scale = problem()
    coeffs = polynomial_coefficients(4)
    z, grad = value_and_grad(s, X, y, coeffs, mean=mean, scale=scale)
    turn = torch.randperm(len(s), generator=generator(101))
    moved = value_and_grad(s[turn], X[:, turn], y, coeffs, mean=mean[turn], scale=scale[turn])
    assert torch.allclose(moved[0], z, rtol=1e-11) and torch.allclose(moved[1], grad[turn], rtol=1e-10)
    assert torch.equal(value_and_grad(s, X, -y, coeffs, mean=mean, scale=scale)[1], grad)


@pytest.mark.parametrize("device", DEVICES)
def test_a_left_out_column_still_has_a_gradient(device):
    s, X, y, mean, scale = problem(device=device)
    _, grad = value_and_grad(torch.zeros_like(s), X, y, [1.0, 1.0], backend="chunk", mean=mean, scale=scale)
    assert (grad != 0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_results_are_plain_tensors_of_the_callers_type(device):
    s, X, y, mean, scale = problem(dtype=torch.float32, device=device)
    for backend in ("chunk", "gram", "scan"):
        z, grad = value_and_grad(s.requires_grad_(), X, y, [1.0, 0.5], backend=backend, mean=mean, scale=scale)
        assert z.shape == () and grad.shape == s.shape and z.dtype == grad.dtype == torch.float32
        assert z.device == grad.device == s.device
        assert not (z.requires_grad or grad.requires_grad or z.is_inference() or grad.is_inference())


def test_rows_may_lie_anyhow_in_memory():
    s, X, y, mean, scale = problem()
    expected = value_and_grad(s, X, y, [1.0, 0.5], backend="chunk", mean=mean, scale=scale)
    wide = torch.zeros(X.shape[0] * 2, X.shape[1] * 3, dtype=X.dtype)
    wide[::2, ::3] = X
    found = value_and_grad(s, wide[::2, ::3], y, [1.0, 0.5], backend="chunk", mean=mean, scale=scale)
    assert torch.equal(found[1], expected[1])


class LargestResult(TorchDispatchMode):
    """Records how many numbers the largest tensor holds that any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            self.numbers = max(self.numbers, value.numel() if isinstance(value, torch.Tensor) else 0)
        return result


@pytest.mark.oracle
def test_blocks_are_all_that_is_ever_made():
    s, X, y, mean, scale = problem(n=600, d=400)
    with LargestResult() as largest:
        value_and_grad(s, X, y, [1.0] * 4, backend="chunk", chunk=16, mean=mean, scale=scale)
    assert 16 * 400 <= largest.numbers <= (16 + 2 * 4) * 400
    with LargestResult() as largest:
        gram_moments(X, y, s, backend="chunk", chunk=16, mean=mean, scale=scale)
    assert 16 * 400 <= largest.numbers <= (16 + 2 * 4) * 400


@pytest.mark.oracle
def test_float32_holds_a_large_mean_and_small_scales():
    s, X, y, mean, scale = problem(n=300)
    X = (X - mean) / scale
    coeffs = polynomial_coefficients(4)
    _, expected = value_and_grad(s, X, y, coeffs)
    for backend in ("chunk", "gram"):
        far = (X * 2.0**-40 + 2.0**-30).float()
        statistics = {"mean": far.mean(0), "scale": torch.full_like(far[0], 2.0**-40)}
        _, grad = value_and_grad(s.float(), far, y.float(), coeffs, backend=backend, **statistics)
        _, same = value_and_grad(s, ((far.double() - statistics["mean"]) * 2.0**40), y, coeffs)
        assert (grad - same).abs().max() <= 1e-5 * same.abs().max()
        assert (same - expected).abs().max() <= 0.02 * expected.abs().max()


def test_the_operation_fits_a_graph_once():
    s, X, y, mean, scale = problem()
    logits = torch.zeros_like(s, requires_grad=True)
    z = MaskedLearnability.apply(torch.sigmoid(2 * logits), X, y, [1.0, 0.5], 1, "chunk", 8, mean, scale)
    (slope,) = torch.autograd.grad(3 * z, logits, create_graph=True)
    _, grad = value_and_grad(torch.full_like(s, 0.5), X, y, [1.0, 0.5], mean=mean, scale=scale)
    assert torch.allclose(slope, 3 * grad / 2)
    with pytest.raises(RuntimeError, match="MaskedLearnability can be differentiated once, not twice"):
        slope.sum().backward()


@pytest.mark.parametrize("degree", [2, 3])
def test_products_of_columns_go_through_the_gram_matrix(degree):
    s, X, y, mean, scale = problem(n=20, d=4)
    z, grad = value_and_grad(s, X, y, [1.0, 0.5], degree=degree, mean=mean, scale=scale)
    linear, _ = value_and_grad(s, X, y, [1.0, 0.5], mean=mean, scale=scale)
    assert z.isfinite() and grad.isfinite().all() and z != linear
    both = gram_moments(X, y, s, order=2, degree=degree, mean=mean, scale=scale)
    assert both @ both.new_tensor([1.0, 0.5]) == pytest.approx(z.item(), rel=1e-10)


@pytest.mark.parametrize("form", ["scipy", "torch"])
def test_csr_goes_to_the_sparse_backend(form):
    s, X, y, mean, scale = problem(n=40)
    X = X * (torch.rand(X.shape, generator=generator(102)) < 0.2)
    rows = sp.csr_matrix(X.numpy()) if form == "scipy" else X.to_sparse_csr()
    expected = value_and_grad(s, X, y, [1.0, 0.5], mean=mean, scale=scale)
    found = value_and_grad(s, rows, y, [1.0, 0.5], mean=mean, scale=scale)
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coeffs": []}, "coeffs must hold at least one number, got none"),
        ({"coeffs": [1.0] * 5}, "X must have at least 6 rows for order 5 and degree 1, got 5"),
        ({"degree": 4}, "degree must be from 1 to 3, got 4"),
        ({"degree": 2, "backend": "chunk"}, "backend must be auto or gram where degree is 2, got 'chunk'"),
        ({"backend": "fast"}, "backend must be one of auto, chunk, gram, scan, sparse, got 'fast'"),
        ({"backend": "sparse"}, "X must be CSR for backend 'sparse', got a dense tensor"),
        ({"backend": "gram", "chunk": 2}, "chunk belongs to the backends chunk and sparse, got 2 for 'gram'"),
        ({"chunk": 0}, "chunk must be at least 1, got 0"),
        ({"s": torch.ones(2)}, r"s must have shape \(3,\) and be on cpu like X, got \(2,\) on cpu"),
        ({"y": torch.ones(4)}, r"y must have shape \(5,\) and be on cpu like X, got \(4,\) on cpu"),
        ({"mean": torch.ones(3, 1)}, r"mean must have shape \(3,\)"),
        ({"X": torch.ones(5)}, r"X must have shape \(n, d\) with n and d at least 1, got \(5,\)"),
        (
            {"X": sp.eye(5, 3, format="csr", dtype="f4"), "degree": 2},
            "X must be dense for degree 2 and backend 'gram', got CSR",
        ),
    ],
)
def test_values_that_are_not_allowed(changes, message):
    arguments = {"s": torch.ones(3), "X": torch.eye(5, 3), "y": torch.ones(5), "coeffs": [1.0]} | changes
    with pytest.raises(ValueError, match=message):
        value_and_grad(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": [[1.0]]}, "X must be a dense tensor, or a CSR matrix of torch or scipy, got list"),
        ({"X": sp.eye(5, 3, format="coo")}, "X must be a dense tensor, or a CSR matrix of torch or scipy"),
        ({"X": torch.eye(5, 3).double()}, "X must hold torch.float32 like y, got torch.float64"),
        ({"y": torch.ones(5, dtype=torch.int64)}, "y must be a tensor of floats, got torch.int64"),
        ({"s": torch.ones(3).double()}, "s must be a tensor of torch.float32 like y, got torch.float64"),
        ({"scale": 2.0}, "scale must be a tensor of torch.float32 like y, got float"),
        ({"degree": 1.0}, "degree must be an int, got float"),
    ],
)
def test_types_that_are_not_allowed(changes, message):
    arguments = {"s": torch.ones(3), "X": torch.eye(5, 3), "y": torch.ones(5), "coeffs": [1.0]} | changes
    with pytest.raises(TypeError, match=message):
        value_and_grad(**arguments)


def test_nan_comes_out_as_nan():
    s, X, y, *_ = problem(n=40)
    X[20, 2] = math.nan
    z, grad = value_and_grad(s, X, y, [1.0])
    assert z.isnan() and grad.isnan().any()
