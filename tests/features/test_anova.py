"""Products of columns as features: against explicit products, and what parity the method sees with and without them."""

import itertools
import math

import pytest
import torch

from selectlib.features import gram_moments, value_and_grad
from selectlib.features._anova import anova_moments, anova_value_and_grad, centre, elementary_kernels
from selectlib.features._kernel_scale import kernel_scale

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
COEFFS = [4.6, -5.2, 0.3, 1.5]


def draws(seed, *sizes):
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def signs(seed, *sizes, p=0.5):
    ones = torch.rand(*sizes, generator=torch.Generator().manual_seed(seed)) < p
    return ones.double() * 2 - 1


def products(X, s, degree):
    """All products of at most `degree` columns, (n, m), and their masks, (m,)."""
    sets = [list(c) for q in range(1, degree + 1) for c in itertools.combinations(range(X.shape[1]), q)]
    return torch.stack([X[:, c].prod(1) for c in sets], 1), torch.stack([s[c].prod() for c in sets])


def centred_gram(features, masks):
    """Strictly upper: the mean of (f_i - f_k)ᵀ M (f_j - f_l) over k != l that are neither i nor j, term by term."""
    n = len(features)
    differences = (features.unsqueeze(1) - features) * masks.sqrt()
    rows = [features.new_zeros(n) for _ in range(n)]
    for i, j in itertools.combinations(range(n), 2):
        others = [k for k in range(n) if k not in (i, j)]
        left, right = differences[i, others], differences[j, others]
        terms = left.sum(0) @ right.sum(0) - (left * right).sum()
        rows[i] = rows[i] + torch.nn.functional.one_hot(torch.tensor(j), n) * (terms / (n - 2) / (n - 3))
    return torch.stack(rows)


def moments_of(G, y, order):
    """Means over all chains of k + 1 rows in ascending order."""
    chain, moments = y, []
    for k in range(1, order + 1):
        chain = G @ chain
        moments.append(y @ chain / math.comb(len(y), k + 1))
    return torch.stack(moments)


@pytest.mark.oracle
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_value_and_gradient_are_those_of_explicit_products(degree, device):
    X, y = draws(0, 15, 6), draws(1, 15)
    mean, scale = draws(2, 6), draws(3, 6).exp()
    s = draws(4, 6).sigmoid().requires_grad_()
    features, masks = products((X - mean) / scale, s, degree)
    moments = moments_of(centred_gram(features, masks), y, 4)
    z = moments @ torch.tensor(COEFFS, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(z, s)
    move = dict(mean=mean.to(device), scale=scale.to(device), degree=degree)
    s, X, y = s.detach().to(device), X.to(device), y.to(device)
    value, own = anova_value_and_grad(s, X, y, COEFFS, **move)
    torch.testing.assert_close(value.cpu(), z.detach(), rtol=1e-11, atol=0)
    torch.testing.assert_close(own.cpu(), gradient, rtol=1e-11, atol=1e-11 * float(gradient.abs().max()))
    torch.testing.assert_close(anova_moments(s, X, y, 4, **move).cpu(), moments.detach(), rtol=1e-11, atol=1e-14)


@pytest.mark.oracle
@pytest.mark.parametrize("degree", [2, 3])
def test_the_public_functions_hand_over(degree):
    X, y, s, mean, scale = draws(0, 30, 5), draws(1, 30), draws(2, 5).sigmoid(), draws(3, 5), draws(4, 5).exp()
    expected = anova_value_and_grad(s, X, y, COEFFS, degree=degree, mean=mean, scale=scale)
    torch.testing.assert_close(value_and_grad(s, X, y, COEFFS, degree=degree, mean=mean, scale=scale), expected)
    moments = gram_moments(X, y, s, order=4, degree=degree, mean=mean, scale=scale)
    torch.testing.assert_close(moments @ torch.tensor(COEFFS, dtype=torch.float64), expected[0])


@pytest.mark.oracle
def test_blocks_of_rows_and_columns_join(monkeypatch):
    X, y, s, mean, scale = draws(0, 30, 11), draws(1, 30), draws(2, 11).sigmoid(), draws(3, 11), draws(4, 11).exp()
    whole = anova_value_and_grad(s, X, y, COEFFS, degree=3, mean=mean, scale=scale)
    monkeypatch.setattr("selectlib.features._anova._ROWS", 7)
    monkeypatch.setattr("selectlib.features._anova._COLUMNS", 4)
    torch.testing.assert_close(anova_value_and_grad(s, X, y, COEFFS, degree=3, mean=mean, scale=scale), whole)


@pytest.mark.oracle
def test_centring_ignores_any_shift_and_is_its_own_adjoint():
    K, A, shift = draws(0, 12, 12).triu(1), draws(1, 12, 12).triu(1), draws(2, 12)
    moved = K + shift + shift.unsqueeze(1)
    torch.testing.assert_close(centre(moved), centre(K))
    torch.testing.assert_close((centre(K) * A).sum(), (K * centre(A)).sum())
    assert bool((centre(K).tril() == 0).all())


@pytest.mark.oracle
def test_centring_is_unbiased_where_the_mean_of_all_rows_is_not():
    n, d, R = 8, 400, 400
    center = draws(0, d)
    X = draws(1, R, n, d) + center
    own = torch.stack([centre(x @ x.T)[0, 1] for x in X]) / d
    plain = X - X.mean(1, keepdim=True)
    naive = (plain[:, 0] * plain[:, 1]).sum(1) / d
    assert abs(own.mean()) < 4 * own.std() / R**0.5
    assert abs(naive.mean() + 1 / n) < 4 * naive.std() / R**0.5


@pytest.mark.oracle
def test_parity_is_invisible_to_columns_and_all_to_their_products():
    seen, blind = [], []
    for seed in range(200):
        X = signs(seed, 60, 4)
        y = X[:, 0] * X[:, 1]
        blind.append(gram_moments(X, y, order=4))
        pairs = [torch.eye(4, dtype=torch.float64)[list(pair)].sum(0) for pair in itertools.combinations(range(4), 2)]
        seen.append(torch.stack([anova_moments(s, X, y, 1, degree=2)[0] for s in pairs]))
    blind, seen = torch.stack(blind), torch.stack(seen)
    assert bool((blind.mean(0).abs() < 3 * blind.std(0) / 200**0.5).all())
    target = torch.tensor([1.0, 0, 0, 0, 0, 0], dtype=torch.float64)
    assert bool(((seen.mean(0) - target).abs() < 4 * seen.std(0) / 200**0.5).all())
    assert float(seen[:, 0].mean() / seen[:, 0].std()) > 5


@pytest.mark.oracle
def test_on_unbalanced_inputs_parity_is_not_invisible():
    gradients = []
    for seed in range(40):
        X = signs(seed, 500, 10, p=0.3)
        y = X[:, 0] * X[:, 1]
        gradients.append(
            value_and_grad(X.new_ones(10), X, y - y.mean(), [1.0], mean=X.mean(0), scale=X.std(0, correction=0))[1]
        )
    mean, se = torch.stack(gradients).mean(0), torch.stack(gradients).std(0) / 40**0.5
    # b = E[(x1 + 0.4) / sd x1 x2] = 2 * 0.3 * 0.7 * 2 * (-0.4) / sd, sd² = 4 * 0.3 * 0.7.
    expected = (0.84 * 0.4) ** 2 / 0.84
    assert bool(((mean[:2] - expected).abs() < 4 * se[:2] + 0.01).all())
    assert bool((mean[2:].abs() < 4 * se[2:]).all())


@pytest.mark.oracle
def test_a_search_over_columns_cannot_tell_flipped_rows_from_flipped_labels():
    """If x has the law of -x and y(-x) = y(x), the whole search has the law of random labels; with products not."""
    X = signs(0, 200, 8)
    y, flips = X[:, 0] * X[:, 1], signs(1, 200)

    def path(X, y, degree):
        logits, masks = torch.zeros(8, dtype=torch.float64), []
        for batch in torch.randperm(200, generator=torch.Generator().manual_seed(2)).view(10, 20):
            masks.append(torch.sigmoid(2 * logits))
            gradient = value_and_grad(masks[-1], X[batch], y[batch], COEFFS, degree=degree)[1]
            logits = logits + (gradient / gradient.norm() - 0.05) * masks[-1] * (1 - masks[-1])
        return torch.stack(masks)

    flipped = flips.unsqueeze(1) * X
    torch.testing.assert_close(path(flipped, y, 1), path(X, flips * y, 1), rtol=1e-10, atol=0)
    assert float((path(flipped, y, 2) - path(X, flips * y, 2)).abs().max()) > 0.1


@pytest.mark.oracle
@pytest.mark.parametrize("degree", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_scaled_kernel_has_top_eigenvalue_n(degree, dtype):
    X = (draws(0, 150, 20) * draws(1, 20).exp() + 3).to(dtype)
    mean, scale = X.mean(0), X.std(0)
    c = kernel_scale(X, degree=degree, mean=mean, scale=scale)
    K = torch.stack(elementary_kernels(X, degree, mean, scale * c)).sum(0).double()
    top = float(torch.linalg.eigvalsh(K + K.T)[-1])
    assert abs(top / 150 - 1) < 0.01


def test_columns_without_variance_need_no_scale():
    assert kernel_scale(torch.ones(10, 3), degree=2, mean=torch.ones(3)) == 1.0


@pytest.mark.parametrize("degree", [2, 3])
def test_float32_is_as_good_as_its_digits(degree):
    X, y, s = draws(0, 300, 40), draws(1, 300), draws(2, 40).sigmoid()
    c = kernel_scale(X, degree=degree)
    z, gradient = anova_value_and_grad(s, X / c, y, COEFFS, degree=degree)
    z32, gradient32 = anova_value_and_grad(s.float(), (X / c).float(), y.float(), COEFFS, degree=degree)
    assert z32.dtype == gradient32.dtype == torch.float32
    assert abs(z32 - z) < 1e-5 * float(gradient.abs().sum())
    assert float((gradient32 - gradient).abs().max()) < 1e-5 * float(gradient.abs().max())


def test_a_mask_of_zero_has_a_gradient_and_leaves_no_trace():
    X, y, s = draws(0, 30, 5), draws(1, 30), torch.tensor([1.0, 0, 0.5, 1, 0], dtype=torch.float64)
    z, gradient = anova_value_and_grad(s, X, y, COEFFS, degree=3)
    kept = s > 0
    alone, own = anova_value_and_grad(s[kept], X[:, kept], y, COEFFS, degree=3)
    torch.testing.assert_close(z, alone)
    torch.testing.assert_close(gradient[kept], own)
    assert bool((gradient[~kept] != 0).all())


def test_products_need_four_rows():
    with pytest.raises(ValueError, match="X must have at least 4 rows for products of columns, got 3"):
        anova_moments(torch.ones(2), torch.ones(3, 2), torch.ones(3), 1, degree=2)
